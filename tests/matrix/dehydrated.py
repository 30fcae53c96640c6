"""dehydrated."""

from collections.abc import Sequence
from pathlib import Path

from tests.matrix import ways
from tests.matrix.contract import Way
from tests.matrix.device import Device

PROGRAM = "/usr/bin/dehydrated"
AGAIN = "dehydrated -f config -c"
HOOK = "CHALLENGETYPE=dns-01\nHOOK=/bin/true\n"


def issue(*, eab: bool = True, config: str = "") -> ways.Issue:
    """What users paste, with more lines of `config`."""

    def act(device: Device, names: Sequence[str]) -> Path:
        text = device.pasted("dehydrated")
        if not eab:
            text = text.replace(device.directory, device.secret_directory)
            text = text.replace(f"EAB_KID={device.kid}\nEAB_HMAC_KEY={device.hmac_key}\n", "")
        text = text.replace("\nEND\n", f"\n{config}END\n", 1)
        text = text.replace(f"-d {device.name}", f"{_names(names)} --alias it")
        device.shell(text)
        return device.folder / "certs/it/fullchain.pem"

    return act


def renew(device: Device) -> Path:
    """`-c -x`."""
    device.shell(f"{AGAIN} -x {_names([device.name])} --alias it")
    return device.folder / "certs/it/fullchain.pem"


def revoke(device: Device, chain: Path) -> None:
    """`--revoke`."""
    device.shell(f"dehydrated -f config --revoke {chain.with_name('cert.pem')}")


WAYS = [
    Way("http webroot", ways.two_names(issue())),
    Way("dns hook", ways.one_name(issue(config=HOOK))),
    Way("wildcard", ways.wildcard(issue(config=HOOK))),
    Way("no EAB", ways.one_name(issue(eab=False))),
    Way("renewal", ways.renewal(issue(), renew)),
    Way("revocation", ways.revocation(issue(), revoke)),
]


def _names(names: Sequence[str]) -> str:
    return f"-d '{' '.join(names)}'"
