"""uacme. It trusts what the system trusts: here the hub's CA takes the place of the system's, for this client alone."""

from collections.abc import Sequence
from pathlib import Path

from tests.matrix import ways
from tests.matrix.contract import Way
from tests.matrix.device import Device

PROGRAM = "/usr/bin/uacme"
SYSTEM = "/etc/ssl/certs/ca-certificates.crt"
HOOK = "/bin/true"
DNS_HOOK = '#!/bin/sh\n[ "$2" = dns-01 ]\n'


def issue(hook: str = HOOK, *, eab: bool = True) -> ways.Issue:
    """What users paste, with another hook in it."""

    def act(device: Device, names: Sequence[str]) -> Path:
        text = device.pasted("uacme", trusted=True).replace(
            f"issue {device.name}", f"issue {' '.join(map(_quoted, names))}"
        )
        if hook != HOOK:
            device.write("hook", hook, 0o755)
            text = text.replace(HOOK, str(device.folder / "hook"))
        if not eab:
            text = text.replace(device.directory, device.secret_directory)
            text = text.replace(f"-e {device.kid}:{device.hmac_key} ", "")
        return _run(device, text, names[0])

    return act


def again(verb: str) -> ways.Renew:
    """One more command of it."""

    def act(device: Device) -> Path:
        return _run(device, f"uacme -a {device.directory} {verb}", device.name)

    return act


def renew(device: Device) -> Path:
    """`issue --force`."""
    return again(f"-h {HOOK} -f issue {device.name}")(device)


def revoke(device: Device, chain: Path) -> None:
    """`revoke`."""
    again(f"revoke {chain}")(device)


def roll(device: Device) -> None:
    """`newkey`."""
    again("newkey")(device)


WAYS = [
    Way("http hook", ways.two_names(issue())),
    Way("dns hook", ways.one_name(issue(DNS_HOOK))),
    Way("wildcard", ways.wildcard(issue(DNS_HOOK))),
    Way("no EAB", ways.one_name(issue(eab=False))),
    Way("renewal", ways.renewal(issue(), renew)),
    Way("revocation", ways.revocation(issue(), revoke)),
    Way("key roll-over", ways.roll_over(issue(), roll, renew)),
]


def _run(device: Device, text: str, name: str) -> Path:
    ours = text.replace("uacme -", "uacme -c conf -")
    lines = f"mount --bind {device.ca_file} {SYSTEM}\n{ours}"
    device.run("unshare", "--mount", "/bin/sh", "-ec", lines)
    return device.folder / "conf" / name / "cert.pem"


def _quoted(name: str) -> str:
    return f"'{name}'"
