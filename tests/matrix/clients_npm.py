"""Clients from npm: acme-client, in .run/matrix/node."""

import json
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from tests.matrix import ways
from tests.matrix.contract import Client, Way
from tests.matrix.device import ClientFailed, Device

ROOT = Path(__file__).resolve().parent.parent.parent
HOME = ROOT / ".run" / "matrix" / "node"
PACKAGE = "acme-client@5.4.0"
SCRIPT = Path(__file__).with_name("node") / "client.js"


def missing() -> str:
    if shutil.which("npm") is None:
        return "apt-get install npm"
    return "" if (HOME / "node_modules" / "acme-client").exists() else f"npm install --prefix {HOME} {PACKAGE}"


def build() -> None:
    HOME.mkdir(parents=True, exist_ok=True)
    command = ["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix", str(HOME), PACKAGE]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if done.returncode:
        raise ClientFailed(done.stdout)


def version() -> str:
    package = json.loads((HOME / "node_modules" / "acme-client" / "package.json").read_text())
    return str(package["version"])


def pasted(device: Device, names: Sequence[str]) -> Path:
    """The script that users paste."""
    text = device.pasted("node acme-client").replace(f"'{device.name}'", ", ".join(f"'{name}'" for name in names))
    _node(device, device.write("host.js", text))
    return device.folder / "host.pem"


def issue(challenge: str = "http-01", *, eab: bool = True) -> ways.Issue:
    """The same with a kept account."""

    def act(device: Device, names: Sequence[str]) -> Path:
        return _act(device, "issue", names, challenge, eab=eab)

    return act


def renew(device: Device) -> Path:
    """Another order of the same account."""
    return issue()(device, (device.name,))


def revoke(device: Device, _chain: Path) -> None:
    """`client.revokeCertificate`."""
    _act(device, "revoke")


def roll(device: Device) -> None:
    """`client.updateAccountKey`."""
    _act(device, "roll")


WAYS = [
    Way("http", ways.two_names(pasted)),
    Way("dns", ways.one_name(issue("dns-01"))),
    Way("wildcard", ways.wildcard(issue("dns-01"))),
    Way("no EAB", ways.one_name(issue(eab=False))),
    Way("renewal", ways.renewal(issue(), renew)),
    Way("revocation", ways.revocation(issue(), revoke)),
    Way("key roll-over", ways.roll_over(issue(), roll, renew)),
]

CLIENTS = [Client("node acme-client", "npm", version, missing, WAYS, build)]


def _act(device: Device, act: str, names: Sequence[str] = (), challenge: str = "", *, eab: bool = True) -> Path:
    asked = {
        "directory": device.directory if eab else device.secret_directory,
        "kid": device.kid if eab else "",
        "hmac_key": device.hmac_key,
        "mail": device.mail,
        "names": names,
        "challenge": challenge,
        "folder": str(device.folder),
    }
    _node(device, SCRIPT, act, ASKED=json.dumps(asked))
    return device.folder / "host.pem"


def _node(device: Device, *arguments: str | Path, **environment: str) -> None:
    trust = {"NODE_EXTRA_CA_CERTS": str(device.ca_file), "NODE_PATH": str(HOME / "node_modules")}
    device.run("node", *arguments, **trust, **environment)
