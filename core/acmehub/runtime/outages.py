"""Outages: what the hub needs and cannot use, told in two lines, at the begin and at the end.

Known to one process, in memory: one that starts within an outage tells its begin once again.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import msgspec

from acmehub.ports.clock import Clock
from acmehub.ports.dns import DnsProviderError
from acmehub.runtime.lru import Lru
from acmehub.runtime.plugin_objects import PLUGIN_UNUSABLE
from acmehub.runtime.snapshot import Snapshots

AUTHORITY = "authority"
MANAGED_CHALLENGE = "managed_challenge"
RENEWAL_INFORMATION = "renewal_information"
_WORDS = {
    AUTHORITY: ("authority cannot be used", "authority works again"),
    MANAGED_CHALLENGE: ("managed challenge cannot be used", "managed challenge works again"),
    RENEWAL_INFORMATION: ("authority does not say when to renew", "authority says when to renew again"),
}
QUIET = 60.0
"""Seconds after the end of an outage in which another one is not told unless it lasts: what comes and goes is two lines
a minute."""

_MOST = 1024
_log = logging.getLogger(__name__)


class _Outage(msgspec.Struct):
    since: float
    failures: int = 0
    told: bool = False


class Outages:
    """The outages of one process; times are seconds of the steady clock."""

    def __init__(self, snapshots: Snapshots, clock: Clock) -> None:
        self._snapshots = snapshots
        self._clock = clock
        self._present: dict[tuple[str, str], _Outage] = {}
        self._ended: Lru[tuple[str, str], float] = Lru(_MOST)

    def failed(self, what: str, id: str, reason: str, began: float, server: str = "") -> None:
        """An exchange with an authority or a managed challenge, which `began` then, has failed."""
        key = (what, id)
        now, ended = self._clock.monotonic(), self._ended.get(key)
        if ended is not None and began < ended:  # it was under way when another one succeeded
            return
        if what == RENEWAL_INFORMATION and (AUTHORITY, id) in self._present:  # the same outage, which is told
            return
        if key not in self._present and len(self._present) >= _MOST:
            del self._present[next(iter(self._present))]
        outage = self._present.setdefault(key, _Outage(now))
        outage.failures += 1
        if not outage.told and (ended is None or now - ended >= QUIET):
            outage.told = True
            members = {"server": server} if server else {}
            _log.warning(_WORDS[what][0], extra={**self._named(what, id), **members, "reason": reason})

    def works(self, what: str, id: str, began: float) -> None:
        """An exchange that `began` then has succeeded."""
        if not self._present or (outage := self._present.get((what, id))) is None or began < outage.since:
            return
        del self._present[what, id]
        if outage.told:
            now = self._clock.monotonic()
            self._ended.put((what, id), now)
            seconds = round(now - outage.since, 3)
            extra = {**self._named(what, id), "seconds": seconds, "failures": outage.failures}
            _log.warning(_WORDS[what][1], extra=extra)

    @contextmanager
    def of_managed_challenge(self, id: str) -> Iterator[None]:
        """The body is one exchange with a managed challenge's provider."""
        began = self._clock.monotonic()
        try:
            yield
        except (DnsProviderError, *PLUGIN_UNUSABLE) as error:
            server = error.server if isinstance(error, DnsProviderError) else ""
            self.failed(MANAGED_CHALLENGE, id, str(error) or type(error).__name__, began, server)
            raise
        self.works(MANAGED_CHALLENGE, id, began)

    def _named(self, what: str, id: str) -> dict[str, str]:
        return {AUTHORITY if what == RENEWAL_INFORMATION else what: self._snapshots.name_of(id)}
