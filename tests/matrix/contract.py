"""What the matrix wants to know of a client: its version, how to install it, and the ways its users use it.

A module of clients is short: acts of one client (`issue`, `renew`, …) put together to ways by `tests.matrix.ways`.

    def issue(device: Device, names: Sequence[str]) -> Path:
        device.run("/usr/bin/thing", "--server", device.directory, "--kid", device.kid, ...)
        return device.folder / "chain.pem"

    CLIENTS = [
        Client("thing", "Debian 12", version=lambda: said("thing", "--version"), missing=on_path("thing"),
               ways=[Way("http standalone", ways.one_name(issue)), Way("wildcard", ways.wildcard(issue))])
    ]
"""

import enum
import re
import shutil
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tests.matrix.device import ClientFailed, Device

Act = Callable[[Device], None]


class Speed(enum.Enum):
    """How long the upstream takes until it validates, in seconds from newOrder; the name is what a person types."""

    FAST = 0
    SLOW_60 = 60
    SLOW_170 = 170

    @property
    def typed(self) -> str:
        """`fast`, `60`, `170`."""
        return "fast" if self is Speed.FAST else str(self.value)

    @property
    def zone(self) -> str:
        """The DNS zone whose names are validated at this speed."""
        return f"{'fast' if self is Speed.FAST else f'slow{self.value}'}.test"


@dataclass(frozen=True)
class Limit:
    """A limit of a client's own that no server can lift.

    `seconds` is the earliest at which it gives up: one that fails sooner has failed. `words` say the limit, `setting`
    what the user sets against it, `cured` is the way with that setting; it must pass.
    """

    seconds: float
    words: str
    setting: str
    cured: Act


@dataclass(frozen=True)
class Way:
    """One way of using a client: `act` gets certificates and tells the device (`Device.got`), or raises
    `ClientFailed`. `limit` may excuse a failure at 170 s, and there only. `speeds` are those that it is run at."""

    name: str
    act: Act
    limit: Limit | None = None
    speeds: frozenset[Speed] = frozenset(Speed)


@dataclass(frozen=True)
class Client:
    """A client: where it comes from, what it says it is, and its ways.

    `missing()` says how to install it where it is not there, else nothing; `build()` fetches or builds it below
    `.run/matrix` (raising `ClientFailed`), which `make matrix` does where `missing()` says something. `unfit()` says
    why it cannot run on this machine at all; its rows then say so, and nothing has failed. One that speaks to no other
    port than 443 needs the hub there (`only_443`).
    """

    name: str
    source: str
    version: Callable[[], str]
    missing: Callable[[], str]
    ways: Sequence[Way]
    build: Callable[[], None] | None = None
    unfit: Callable[[], str] = lambda: ""
    only_443: bool = False


def said(*command: str) -> str:
    """The version number in what a command prints."""
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, timeout=60)
    found = re.search(r"\d+\.\d+(?:\.\d+)*", done.stdout)
    if found is None:
        raise ClientFailed(f"{' '.join(command)} does not say its version: {done.stdout[-300:]}")
    return found[0]


def from_debian(program: str, package: str) -> Callable[[], str]:
    """`Client.missing` of a program that a Debian package holds."""
    return lambda: "" if shutil.which(program) else f"apt-get install {package}"


def version_in_debian(package: str) -> Callable[[], str]:
    """`Client.version` of a Debian package: the upstream's part of it."""
    return lambda: said("dpkg-query", "-W", "-f", "${source:Upstream-Version}", package)
