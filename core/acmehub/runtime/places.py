"""The places of a job loop, shared out so that no group of jobs keeps the others waiting.

A job belongs to groups, by what it may wait for or whom it serves. A group may hold `SHARE` times as many places as are
free: alone it gets most of them, and a group that comes later finds some free. A job that waits longer than
`PLACE_SECONDS` gives its place back until it goes on.
"""

import asyncio
import bisect
import itertools
import math
from collections import Counter
from collections.abc import Callable, Sequence

import msgspec

SHARE = 3
PLACE_SECONDS = 0.25  # seconds; then a step waits for somebody else, and its place can serve another job
FEW = 4  # jobs at once of a group that does not answer


class Groups(msgspec.Struct, frozen=True):
    """What a job belongs to: the groups that places are shared out among, and its crowd.

    Jobs of one crowd are no more than there are places, those that wait counted.
    """

    shares: tuple[str, ...] = ()
    crowd: str = ""


NO_GROUPS = Groups()


class Places:
    """`count` places, taken and left by the keys of jobs. `freed` is called whenever another job may begin.

    Unless `shared`, a job takes any place that is free, and groups do not matter.
    """

    def __init__(self, count: int, freed: Callable[[], None], *, shared: bool) -> None:
        self.count = count
        self._freed = freed
        self._shared = shared
        self._groups: dict[str, Groups] = {}
        self._waiting: set[str] = set()
        self._held = Counter[str]()  # places by group
        self._jobs = Counter[str]()  # jobs by group, with and without a place
        self._crowds = Counter[str]()  # jobs by crowd
        self._since: dict[str, float] = {}  # jobs within `waiting`, longest first
        self._timer: asyncio.TimerHandle | None = None  # one for all of them
        self._silent: set[str] = set()
        self._returning: list[tuple[str, Groups, asyncio.Future[None]]] = []  # oldest first

    @property
    def free(self) -> int:
        """Places that no job holds; below zero while jobs go on that had given theirs back."""
        return self.count - len(self._groups) + len(self._waiting)

    def take(self, key: str, groups: Groups) -> None:
        """A job begins."""
        self._forget(key)
        self._groups[key] = groups
        _add(self._held, groups.shares, 1)
        _add(self._jobs, groups.shares, 1)
        _add(self._crowds, (groups.crowd,), 1)

    def leave(self, key: str) -> None:
        """A job has ended."""
        if key in self._groups:
            self._forget(key)
            self._hand_out()

    def _forget(self, key: str) -> None:
        if (groups := self._groups.pop(key, None)) is None:
            return
        if key not in self._waiting:
            _add(self._held, groups.shares, -1)
        self._waiting.discard(key)
        _add(self._jobs, groups.shares, -1)
        _add(self._crowds, (groups.crowd,), -1)

    async def come_back(self, key: str, groups: Groups) -> None:
        """A job that had left goes on: it takes a place as soon as its groups may have one, before any claim.

        Of those that wait for it, the smallest key is first: an id begins with the time.
        """
        if self.open_to(groups):
            self.take(key, groups)
            return
        entry = (key, groups, asyncio.get_running_loop().create_future())
        bisect.insort(self._returning, entry, key=lambda item: item[0])
        try:
            await entry[2]
        finally:
            if entry in self._returning:
                self._returning.remove(entry)

    def let_in(self) -> None:
        """Nobody waits for a place any longer: jobs that come back end soon."""
        for key, groups, future in self._returning:
            self.take(key, groups)
            if not future.done():
                future.set_result(None)
        self._returning.clear()

    def waiting(self, key: str) -> "_Waiting":
        """A context: what the job does in it may last, and after `PLACE_SECONDS` it holds no place until the end."""
        return _Waiting(self, key)

    def begin_waiting(self, key: str) -> None:
        """The context of `waiting` begins."""
        loop = asyncio.get_running_loop()
        self._since[key] = loop.time()
        if self._timer is None:
            self._timer = loop.call_later(PLACE_SECONDS, self._give_back)

    def end_waiting(self, key: str) -> None:
        """The context of `waiting` ends."""
        self._since.pop(key, None)
        if key in self._waiting:
            self._waiting.discard(key)
            _add(self._held, self._groups[key].shares, 1)

    def answers(self, group: str, yes: bool) -> None:
        """Whether what the group's jobs wait for answered: if not, it gets few places until it does."""
        if not yes:
            self._silent.add(group)
        elif group in self._silent:
            self._silent.discard(group)
            self._hand_out()

    def full(self) -> frozenset[str]:
        """The groups and crowds of which no further job may begin."""
        if self._is_calm:
            return frozenset()
        return frozenset(
            [name for name in self._jobs if self._is_full(name)]
            + [name for name in self._crowds if self._is_crowded(name)]
        )

    def open_to(self, groups: Groups) -> bool:
        """Whether a job of these groups may begin now."""
        if self.free <= 0 or self._is_calm:
            return self.free > 0
        return not (self._is_crowded(groups.crowd) or any(self._is_full(name) for name in groups.shares))

    def _is_full(self, group: str) -> bool:
        held = self._held[group]
        return (held > 0 and held >= SHARE * self.free) or (group in self._silent and self._jobs[group] >= FEW)

    def _is_crowded(self, crowd: str) -> bool:
        return self._crowds[crowd] >= self.count

    def room(self) -> int:
        """How many jobs may begin now, whichever groups that are not `full` they belong to."""
        free = max(self.free, 0)
        if not self._shared or not free:
            return free
        if self._is_calm:
            return _share(free, len(self._groups))
        full = self.full()
        rooms = [_share(free, number) for name, number in self._held.items() if name not in full]
        rooms += [FEW - self._jobs[name] for name in self._silent - full]
        rooms += [self.count - number for name, number in self._crowds.items() if name not in full]
        return min([_share(free, 0), *rooms])

    @property
    def _is_calm(self) -> bool:
        """Whether so few jobs are there that no group can be full, were they all its own: the usual case."""
        return not self._shared or not (self._silent or len(self._groups) >= SHARE * (self.count - len(self._groups)))

    def _give_back(self) -> None:
        """Those that have waited for `PLACE_SECONDS` give their places back; the timer is set for the next one."""
        self._timer = None
        loop = asyncio.get_running_loop()
        end = loop.time() - PLACE_SECONDS
        long = list(itertools.takewhile(lambda key: self._since[key] <= end, self._since))
        for key in long:
            del self._since[key]
            if key in self._groups and key not in self._waiting:
                self._waiting.add(key)
                _add(self._held, self._groups[key].shares, -1)
        if self._since:
            self._timer = loop.call_at(next(iter(self._since.values())) + PLACE_SECONDS, self._give_back)
        if long:
            self._hand_out()

    def _hand_out(self) -> None:
        """Places are free: those that come back are first."""
        for entry in tuple(self._returning):
            key, groups, future = entry
            if self.free <= 0:
                return
            if self.open_to(groups):
                self._returning.remove(entry)
                if not future.done():  # its job was cancelled meanwhile
                    self.take(key, groups)
                    future.set_result(None)
        if self.free > 0:
            self._freed()


class _Waiting:
    """The context of `Places.waiting`; a class costs a third of a generator, and each step has one."""

    __slots__ = ("_key", "_places")

    def __init__(self, places: Places, key: str) -> None:
        self._places = places
        self._key = key

    def __enter__(self) -> None:
        self._places.begin_waiting(self._key)

    def __exit__(self, *_: object) -> None:
        self._places.end_waiting(self._key)


def _share(free: int, held: int) -> int:
    """How many more places a group with `held` may take one after the other while `free` are free."""
    return math.ceil((SHARE * (free + 1) - held + 1) / (SHARE + 1)) - 1


def _add(counts: Counter[str], names: Sequence[str], number: int) -> None:
    """What is counted down to nothing is forgotten."""
    for name in names:
        counts[name] += number
        if not counts[name]:
            del counts[name]
