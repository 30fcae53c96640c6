"""acme-tiny, which knows no External Account Binding."""

from collections.abc import Sequence
from pathlib import Path

from tests.matrix import ways
from tests.matrix.contract import Way
from tests.matrix.device import Device


def issue(executable: Path | str) -> ways.Issue:
    """What users paste."""

    def act(device: Device, names: Sequence[str]) -> Path:
        text = device.pasted("acme-tiny").replace(" acme-tiny ", f" {executable} ")
        device.shell(text.replace(f"DNS:{device.name}", ",".join(f"DNS:{name}" for name in names)))
        return device.folder / "host.pem"

    return act


def renew(executable: Path | str) -> ways.Renew:
    """Its last command again, as cron does it."""

    def act(device: Device) -> Path:
        last = device.pasted("acme-tiny").replace(" acme-tiny ", f" {executable} ").rpartition("\n")[2]
        device.shell(last)
        return device.folder / "host.pem"

    return act


def all_ways(executable: Path | str) -> list[Way]:
    """Its ways."""
    return [
        Way("no EAB", ways.one_name(issue(executable))),
        Way("no EAB, two names", ways.two_names(issue(executable))),
        Way("no EAB, renewal", ways.renewal(issue(executable), renew(executable))),
    ]
