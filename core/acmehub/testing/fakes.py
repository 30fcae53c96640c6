"""Fakes for tests of the hub and of plugins: clock, DNS provider, authorities.

`FakeRelay` (an ACME CA) and `FakeCa` have modules of their own and can be imported from here as well.
"""

from collections import defaultdict
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from acmehub.ports.authority import IssueRequest
from acmehub.ports.clock import Clock
from acmehub.testing.fake_ca import FakeCa as FakeCa
from acmehub.testing.fake_ca import make_csr as make_csr
from acmehub.testing.fake_relay import FakeRelay as FakeRelay
from acmehub.testing.fake_relay import lost_answer as lost_answer


class ManualClock:
    """A clock that only moves by `advance` and `jump`. It starts at the machine's time, so that new certificates are
    valid."""

    def __init__(self, start: datetime | None = None) -> None:
        self._wall = start or datetime.now(UTC)
        self._elapsed = 1000.0

    def now(self) -> datetime:
        return self._wall

    def monotonic(self) -> float:
        return self._elapsed

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self._wall += timedelta(seconds=seconds)
        self._elapsed += seconds

    def jump(self, seconds: float) -> None:
        """Set the wall clock forward or back; the monotonic clock stays."""
        self._wall += timedelta(seconds=seconds)


class FakeDnsProvider:
    """A `DnsProvider` in memory: `records` has the values by (zone, name).

    `on_add` and `on_remove` are called with each change, for instance to update a DNS server. `fail` sets errors for
    the next calls of a verb. `calls` lists the calls.
    """

    def __init__(self) -> None:
        self.records: dict[tuple[str, str], set[str]] = {}
        self.calls: list[tuple[str, str, str, str]] = []
        self.on_add: Callable[[str, str], None] = lambda _name, _value: None
        self.on_remove: Callable[[str, str], None] = lambda _name, _value: None
        self.without_effect = False
        self._script: defaultdict[str, list[BaseException]] = defaultdict(list)

    def fail(self, verb: str, error: BaseException, *, times: int = 1) -> None:
        """Let the next `times` calls of `verb` (`add_txt`, `remove_txt`) raise `error`."""
        self._script[verb] += [error] * times

    def mend(self) -> None:
        """Let no verb fail any more."""
        self._script.clear()

    def has(self, name: str, value: str) -> bool:
        """Whether a name has a value, in any zone."""
        return any(value in values for (_zone, at), values in self.records.items() if at == name)

    async def add_txt(self, zone: str, name: str, value: str) -> None:
        self._begin("add_txt", zone, name, value)
        if not self.without_effect:
            self.records.setdefault((zone, name), set()).add(value)
            self.on_add(name, value)

    async def remove_txt(self, zone: str, name: str, value: str) -> None:
        self._begin("remove_txt", zone, name, value)
        values = self.records.get((zone, name), set())
        if value in values:
            values.remove(value)
            self.on_remove(name, value)
        if not values:
            self.records.pop((zone, name), None)

    def _begin(self, verb: str, zone: str, name: str, value: str) -> None:
        self.calls.append((verb, zone, name, value))
        if self._script[verb]:
            raise self._script[verb].pop(0)


class FakeSigner:
    """A `SigningAuthority` that signs with a `FakeCa`."""

    def __init__(self, clock: Clock) -> None:
        self.ca = FakeCa(clock.now(), "Fake Signer")
        self.revoked: list[tuple[bytes, int | None]] = []
        self.substitute: Callable[[str], str] = lambda chain: chain
        self.errors: list[BaseException] = []
        self._clock = clock

    async def sign(self, csr: bytes, request: IssueRequest) -> str:
        """Raise the next of `errors`, or sign."""
        if self.errors:
            raise self.errors.pop(0)
        names = [item.value for item in request.identifiers]
        return self.substitute(self.ca.chains(csr, names, self._clock.now())[0])

    async def revoke_signed(self, certificate: bytes, reason: int | None) -> None:
        self.revoked.append((certificate, reason))

    @property
    def root(self) -> str:
        return self.ca.root
