"""What is known of a CA's limits (docs/reliability.md 1.6): until a 429 ends, the hub answers from memory; validations
that failed are counted."""

from collections.abc import Collection

from acmehub.ports.authority import UpstreamRateLimited
from acmehub.ports.clock import Clock

KEPT = 2048
HOUR = 3600.0
MOST_TIMES = 16


class KnownLimits:
    """The refusals of this process by upstream account and names; the oldest are forgotten first."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._until: dict[tuple[str, str], tuple[float, UpstreamRateLimited]] = {}
        self._failed: dict[tuple[str, str], list[float]] = {}

    def note(self, account_url: str, name_set: str, error: UpstreamRateLimited) -> None:
        """Remember a 429 that says when it ends."""
        if error.retry_after is None:
            return
        key = (account_url, name_set)
        self._until.pop(key, None)
        if len(self._until) >= KEPT:
            self._until.pop(next(iter(self._until)))
        self._until[key] = (self._clock.monotonic() + error.retry_after, error)

    def check(self, account_url: str, name_set: str) -> None:
        """Raise a 429 that still lasts, with the time that is left."""
        until, error = self._until.get((account_url, name_set), (0.0, None))
        left = until - self._clock.monotonic()
        if error is None:
            return
        if left <= 0:
            del self._until[account_url, name_set]
            return
        raise UpstreamRateLimited(error.detail, server=error.server, retry_after=left)

    def count_failed(self, account_url: str, names: Collection[str]) -> int:
        """Note that the CA could not validate these names; how often it could not in the last hour, of the name that
        failed most."""
        now = self._clock.monotonic()
        for name in names:
            times = [at for at in self._failed.pop((account_url, name), ()) if now - at < HOUR]
            if len(self._failed) >= KEPT:
                self._failed.pop(next(iter(self._failed)))
            self._failed[account_url, name] = [*times[1 - MOST_TIMES :], now]
        return max((len(self._failed.get((account_url, name), ())) for name in names), default=0)
