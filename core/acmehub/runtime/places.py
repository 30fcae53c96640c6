"""The places of a job loop, shared out so that no group of jobs keeps the others waiting.

A job belongs to groups, by what it may wait for or whom it serves. A group may hold `SHARE` times as many places as are
free: alone it gets most of them, and a group that comes later finds some free. A job that waits longer than
`PLACE_SECONDS` gives its place back until it goes on.
"""

import asyncio
import math
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

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
        self._held: Counter[str] = Counter()  # places, by group
        self._jobs: Counter[str] = Counter()  # with and without a place, by group
        self._crowds: Counter[str] = Counter()  # jobs, likewise
        self._silent: set[str] = set()

    @property
    def free(self) -> int:
        """Places that no job holds; below zero while jobs go on that had given theirs back."""
        return self.count - len(self._groups) + len(self._waiting)

    def take(self, key: str, groups: Groups) -> None:
        """A job begins."""
        self.leave(key)
        self._groups[key] = groups
        for name in groups.shares:
            self._held[name] += 1
            self._jobs[name] += 1
        self._crowds[groups.crowd] += 1

    def leave(self, key: str) -> None:
        """A job has ended."""
        groups = self._groups.pop(key, None)
        if groups is None:
            return
        waited = key in self._waiting
        self._waiting.discard(key)
        for name in groups.shares:
            _subtract(self._jobs, name)
            if not waited:
                _subtract(self._held, name)
        _subtract(self._crowds, groups.crowd)
        self._freed()

    @contextmanager
    def waiting(self, key: str) -> Iterator[None]:
        """What the job does here may last: after `PLACE_SECONDS` it holds no place until the end of the block."""
        handle = asyncio.get_running_loop().call_later(PLACE_SECONDS, self._give_back, key)
        try:
            yield
        finally:
            handle.cancel()
            if key in self._waiting:
                self._waiting.discard(key)
                for name in self._groups[key].shares:
                    self._held[name] += 1

    def answers(self, group: str, yes: bool) -> None:
        """Whether what the group's jobs wait for answered: if not, it gets few places until it does."""
        if yes:
            self._silent.discard(group)
        else:
            self._silent.add(group)

    def full(self) -> frozenset[str]:
        """The groups and crowds of which no further job may begin."""
        most = SHARE * self.free
        full = {name for name, held in self._held.items() if held >= most}
        full.update(name for name in self._silent if self._jobs[name] >= FEW)
        full.update(name for name, jobs in self._crowds.items() if jobs >= self.count)
        return frozenset(full) if self._shared else frozenset()

    def open_to(self, groups: Groups) -> bool:
        """Whether a job of these groups may begin now."""
        return self.free > 0 and self.full().isdisjoint((*groups.shares, groups.crowd))

    def room(self) -> int:
        """How many jobs may begin now, whichever groups that are not `full` they belong to."""
        free = max(self.free, 0)
        if not self._shared or not free:
            return free
        full = self.full()
        rooms = [_share(free, held) for name, held in self._held.items() if name not in full]
        rooms += [FEW - self._jobs[name] for name in self._silent - full]
        rooms += [self.count - jobs for name, jobs in self._crowds.items() if name not in full]
        return min([_share(free, 0), *rooms])

    def _give_back(self, key: str) -> None:
        groups = self._groups.get(key)
        if groups is None or key in self._waiting:
            return
        self._waiting.add(key)
        for name in groups.shares:
            _subtract(self._held, name)
        self._freed()


def _share(free: int, held: int) -> int:
    """How many more places a group with `held` may take one after the other while `free` are free."""
    return math.ceil((SHARE * (free + 1) - held + 1) / (SHARE + 1)) - 1


def _subtract(counter: Counter[str], name: str) -> None:
    counter[name] -= 1
    if not counter[name]:
        del counter[name]
