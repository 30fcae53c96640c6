"""Ansible's community.crypto, in .run/matrix/ansible (large, so not in `make test`)."""

import subprocess
from collections.abc import Sequence
from pathlib import Path

from tests.matrix import ways
from tests.matrix.contract import Client, Way, said
from tests.matrix.device import ClientFailed, Device

ROOT = Path(__file__).resolve().parent.parent.parent
HOME = ROOT / ".run" / "matrix" / "ansible"
PACKAGE = "ansible==12.3.0"
PLAYBOOK = HOME / "bin" / "ansible-playbook"
COMMUNITY = HOME / "bin" / "ansible-community"  # comes last


def missing() -> str:
    return "" if COMMUNITY.exists() else f"pip install {PACKAGE} in {HOME}"


def build() -> None:
    venv = [str(ROOT / "scripts" / "venv"), "python3", str(HOME)]
    install = [str(HOME / "bin" / "python"), "-m", "pip", "install", "--quiet", PACKAGE]
    for command in (venv, install):
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
        if done.returncode:
            raise ClientFailed(done.stdout)


def version() -> str:
    return said(str(COMMUNITY), "--version")


def issue(*, eab: bool = True, more: str = "") -> ways.Issue:
    """The playbook that users paste; `more` are further lines of both orders."""

    def act(device: Device, names: Sequence[str]) -> Path:
        text = device.pasted("Ansible").replace(f'"DNS:{device.name}"', ", ".join(f'"DNS:{name}"' for name in names))
        if not eab:
            text = text.replace(device.directory, device.secret_directory)
            text = "\n".join(line for line in text.splitlines() if "external_account_binding" not in line)
        text = text.replace("        remaining_days: 30\n", f"        remaining_days: 30\n{more}")
        device.write("site.yml", text + "\n")
        environment = {"SSL_CERT_FILE": str(device.ca_file), "ANSIBLE_LOCALHOST_WARNING": "False", "LC_ALL": "C.UTF-8"}
        device.run(PLAYBOOK, "-c", "local", "site.yml", **environment)
        return device.folder / "host.pem"

    return act


def renew(device: Device) -> Path:
    """With `force`."""
    return issue(more="        force: true\n")(device, (device.name,))


WAYS = [
    Way("http", ways.two_names(issue())),
    Way("wildcard, dns", ways.wildcard(issue(more="        challenge: dns-01\n"))),
    Way("no EAB", ways.one_name(issue(eab=False))),
    Way("renewal", ways.renewal(issue(), renew)),
]

CLIENTS = [Client("Ansible community.crypto", "PyPI", version, missing, WAYS, build)]
