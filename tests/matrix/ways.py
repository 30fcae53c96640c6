"""Ways that many clients have, put together from a client's own acts.

`Issue` orders one certificate for names and returns the file of its chain; `Renew` gets the next one for the same
names, `Revoke` revokes it. Each raises `ClientFailed`.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

from tests.issued import Issued
from tests.matrix.contract import Act
from tests.matrix.device import ClientFailed, Device

Issue = Callable[[Device, Sequence[str]], Path]
Renew = Callable[[Device], Path]
Revoke = Callable[[Device, Path], None]


def one_name(issue: Issue) -> Act:
    """A certificate for one name."""
    return lambda device: _ignore(device.got(issue(device, (device.name,))))


def two_names(issue: Issue) -> Act:
    """A certificate for two names in one order."""

    def act(device: Device) -> None:
        names = (device.name, f"www.{device.name}")
        device.got(issue(device, names), *names)

    return act


def wildcard(issue: Issue) -> Act:
    """A certificate for a name and all below it, in one order."""

    def act(device: Device) -> None:
        names = (device.name, f"*.{device.name}")
        device.got(issue(device, names), *names)

    return act


def only_wildcard(issue: Issue) -> Act:
    """A certificate for a wildcard alone: for clients that make an order per name."""

    def act(device: Device) -> None:
        device.got(issue(device, (f"*.{device.name}",)), f"*.{device.name}")

    return act


def renewal(issue: Issue, renew: Renew) -> Act:
    """A certificate, and another one from `renew`."""

    def act(device: Device) -> None:
        first = device.got(issue(device, (device.name,)))
        other(first, device.got(renew(device)))

    return act


def ari_renewal(issue: Issue, renew: Renew) -> Act:
    """A certificate, and another one from `renew`, which the client does only because ARI says that it is time."""

    def act(device: Device) -> None:
        first = device.got(issue(device, (device.name,)))
        device.hurry(first)
        other(first, device.got(renew(device)))

    return act


def revocation(issue: Issue, revoke: Revoke) -> Act:
    """A certificate that the client then revokes; Pebble must know."""

    def act(device: Device) -> None:
        chain = issue(device, (device.name,))
        issued = device.got(chain)
        revoke(device, chain)
        device.revoked(issued)

    return act


def roll_over(issue: Issue, roll: Callable[[Device], None], renew: Renew) -> Act:
    """A certificate, a new account key, and another certificate with it."""

    def act(device: Device) -> None:
        first = device.got(issue(device, (device.name,)))
        roll(device)
        other(first, device.got(renew(device)))

    return act


def other(first: Issued, second: Issued) -> None:
    """The second is another certificate than the first."""
    if first.serial == second.serial:
        raise ClientFailed("the client kept its certificate instead of getting another one")


def _ignore(_issued: Issued) -> None:
    return None
