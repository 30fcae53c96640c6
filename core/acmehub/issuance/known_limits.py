"""Known rate limits: until a CA's 429 ends, the hub answers from memory (docs/reliability.md 1.6)."""

from acmehub.ports.authority import UpstreamRateLimited
from acmehub.ports.clock import Clock

KEPT = 2048


class KnownLimits:
    """The refusals of this process by upstream account and names; the oldest are forgotten first."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._until: dict[tuple[str, str], tuple[float, UpstreamRateLimited]] = {}

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
