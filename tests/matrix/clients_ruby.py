"""Debian's ruby-acme-client, with a script that does what its README does. It knows no External Account Binding."""

import os
from pathlib import Path

from tests.matrix import ways
from tests.matrix.contract import Client, Way, version_in_debian
from tests.matrix.device import ClientFailed
from tests.matrix.mains import HERE, Main, build

PACKAGE = "ruby-acme-client"
INSTALLED = Path("/usr/share/doc") / PACKAGE
RUBY = Main(("ruby", str(HERE / "ruby" / "acme-client.rb")), dash="--", eab=False)


def install() -> None:
    """As root, from Debian."""
    if os.geteuid() != 0:
        raise ClientFailed(f"as root: apt-get install {PACKAGE}")
    build(HERE, "apt-get", "update", "-qq")
    options = ("install", "-y", "-qq", "--no-install-recommends")
    build(HERE, "apt-get", *options, PACKAGE, DEBIAN_FRONTEND="noninteractive")


CLIENTS = [
    Client(
        PACKAGE,
        "Debian 12",
        version=version_in_debian(PACKAGE),
        missing=lambda: "" if INSTALLED.exists() else f"apt-get install {PACKAGE}",
        ways=[
            Way("no EAB", ways.one_name(RUBY.issue())),
            Way("two names", ways.two_names(RUBY.issue())),
            Way("wildcard", ways.wildcard(RUBY.issue())),
            Way("renewal", ways.renewal(RUBY.issue(), RUBY.renew())),
            Way("revocation", ways.revocation(RUBY.issue(), RUBY.revoke)),
            Way("key roll-over", ways.roll_over(RUBY.issue(), RUBY.roll, RUBY.renew())),
        ],
        build=install,
    ),
]
