"""Back-off, poll intervals and jitter, each by one formula; and a clock that never goes back."""

import random
from datetime import datetime, timedelta

from acmehub.ports.clock import Clock

KEPT_COUNTS = 8192
LONGEST_RETRY_AFTER = 3600.0  # seconds of a Retry-After that are followed (docs/reliability.md 2.12)
LONGEST_BACK_OFF = 300.0
SHORTEST_POLL = 0.25  # seconds, where the other side asks for less
_UNSEEN = 0.5  # seconds after which a clock that was put back may not show by an earlier time than the last


class SteadyClock:
    """The wall clock, but never stepping back: what was due stays due, and a lease that ended stays ended.

    It follows a step forward at once, as other processes do.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._wall = clock.now()
        self._at = clock.monotonic()

    def now(self) -> datetime:
        """The time; not before what was returned last."""
        wall, at = self._clock.now(), self._clock.monotonic()
        if wall < self._wall or at - self._at > _UNSEEN:
            wall = max(wall, self._wall + timedelta(seconds=at - self._at))
        self._wall, self._at = wall, at
        return wall

    def monotonic(self) -> float:
        """Seconds that never go back."""
        return self._clock.monotonic()


class PollCounts:
    """How often this process has polled each order in each phase; used for poll intervals only."""

    def __init__(self) -> None:
        self._counts: dict[tuple[str, str], int] = {}

    def next(self, order_id: str, phase: str) -> int:
        """The number of this poll, from 1; the oldest counts are forgotten first."""
        count = self._counts.pop((order_id, phase), 0) + 1
        if len(self._counts) >= KEPT_COUNTS:
            self._counts.pop(next(iter(self._counts)))
        self._counts[order_id, phase] = count
        return count


def jittered(seconds: float, rng: random.Random, *, spread: float | None = None) -> float:
    """`seconds`, and up to `spread` more (by default a fifth of them): never earlier than asked."""
    return seconds + rng.uniform(0.0, seconds / 5 if spread is None else spread)


def growing(number: int, *, first: float, factor: float, longest: float) -> float:
    """Pause number `number` (from 1): `first`, then `factor` times the one before, `longest` at most; in seconds."""
    return min(longest, first * factor ** min(number - 1, 64))


def back_off(
    attempts: int, retry_after: float | None = None, *, first: float = 2.0, longest: float = LONGEST_BACK_OFF
) -> float:
    """Seconds until the next attempt after failure number `attempts` (from 1), not before the other side asked for."""
    pause = growing(attempts, first=first, factor=2.0, longest=longest)
    return max(pause, min(retry_after or 0.0, LONGEST_RETRY_AFTER))


def poll_in(
    polls: int,
    retry_after: float | None = None,
    *,
    first: float,
    factor: float = 2.0,
    longest: float = 5.0,
) -> float:
    """Seconds until the poll after number `polls` (from 1): as the other side asked, else growing."""
    if retry_after is not None:
        return min(max(retry_after, SHORTEST_POLL), LONGEST_RETRY_AFTER)
    return growing(polls, first=first, factor=factor, longest=longest)
