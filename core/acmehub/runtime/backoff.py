"""How long to wait, and by which clock: pauses after failures, intervals of polling, time that never goes back."""

import random
from datetime import datetime, timedelta

from acmehub.ports.clock import Clock

KEPT_COUNTS = 8192
LONGEST_PAUSE = 3600.0  # what is believed of a Retry-After (docs/reliability.md 2.12)


class SteadyClock:
    """The wall clock, except that it does not step back: what was due is not put off, no lease comes alive again.

    A step forward is followed at once, as other processes follow it.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._wall = clock.now()
        self._at = clock.monotonic()

    def now(self) -> datetime:
        """See `Clock.now`."""
        wall, at = self._clock.now(), self._clock.monotonic()
        steady = self._wall + timedelta(seconds=at - self._at)
        self._wall, self._at = max(wall, steady), at
        return self._wall

    def monotonic(self) -> float:
        """See `Clock.monotonic`."""
        return self._clock.monotonic()


class PollCounts:
    """How often this process has looked at what others work on: paces the polling, and matters for nothing else."""

    def __init__(self) -> None:
        self._counts: dict[tuple[str, str], int] = {}

    def next(self, order_id: str, phase: str) -> int:
        """The number of this look, from 1; the oldest counts are forgotten first."""
        count = self._counts.pop((order_id, phase), 0) + 1
        if len(self._counts) >= KEPT_COUNTS:
            self._counts.pop(next(iter(self._counts)))
        self._counts[order_id, phase] = count
        return count


def jittered(seconds: float, rng: random.Random) -> float:
    """`seconds` and up to a fifth more: never earlier than asked."""
    return seconds * rng.uniform(1.0, 1.2)


def back_off(attempts: int, retry_after: float | None = None, *, longest: float = 300.0) -> float:
    """Seconds until the next attempt after failure number `attempts` (from 1), not before the other side asked for."""
    pause = min(longest, float(2 ** min(attempts, 16)))
    return max(pause, min(retry_after or 0.0, LONGEST_PAUSE))


def poll_in(looks: int, retry_after: float | None = None) -> float:
    """Seconds until look number `looks` (from 1) at something the other side works on: as asked, else 0.25 s to 5 s."""
    if retry_after is not None:
        return min(max(retry_after, 0.25), LONGEST_PAUSE)
    return min(5.0, 0.25 * 1.6 ** min(looks - 1, 16))
