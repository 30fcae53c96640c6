"""Old clients that many devices still have: certbot 1 as Debian 11 and Ubuntu 22.04 ship it, from PyPI."""

import sys

from tests.matrix import certbot
from tests.matrix.contract import Client, said
from tests.matrix.mains import BUILT, HERE, build

PYTHON = (3, 11)  # the last that certbot 1 with zope.interface 5.4.0 runs on
CONSTRAINTS = HERE / "old-certbots.txt"


def unfit() -> str:
    """Why this machine's Python cannot run them."""
    mine = sys.version_info[:2]
    return "" if mine == PYTHON else f"Python 3.11 alone runs it; here is {mine[0]}.{mine[1]}"


def _client(distribution: str, version: str) -> Client:
    home = BUILT / f"certbot-{version}"
    program = home / "bin" / "certbot"

    def install() -> None:
        build(HERE, sys.executable, "-m", "venv", "--clear", str(home))
        # Without pip's cache, which may have a zope.interface that a newer setuptools has built.
        pip = (str(home / "bin" / "pip"), "install", "--quiet", "--no-cache-dir", "--disable-pip-version-check")
        build(HERE, *pip, f"certbot=={version}", f"acme=={version}", PIP_CONSTRAINT=str(CONSTRAINTS))

    return Client(
        f"certbot ({distribution})",
        "PyPI, Python 3.11",
        version=lambda: said(str(program), "--version") if program.exists() else version,
        missing=lambda: "" if program.exists() else f"not installed yet: certbot {version} from PyPI",
        ways=certbot.basic_ways(program, patient=False),
        build=install,
        unfit=unfit,
    )


CLIENTS = [_client("Debian 11", "1.12.0"), _client("Ubuntu 22.04", "1.21.0")]
