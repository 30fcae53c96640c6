"""Cases: each way of each client at each speed, and what came of it."""

import enum
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

from acmehub.testing.hub_process import HubFailed
from tests.matrix.contract import Client, Speed, Way
from tests.matrix.device import ClientFailed, Device
from tests.matrix.world import World

# Speeds that are run together, how many cases at a time, and the seconds between their starts: a client that waits
# needs no processor, but one that starts does, and this machine has two.
BATCHES = ((frozenset({Speed.FAST}), 3, 0.0), (frozenset({Speed.SLOW_60, Speed.SLOW_170}), 80, 0.8))
TROUBLE = (ClientFailed, HubFailed, OSError)


class Outcome(enum.StrEnum):
    """What came of a case; `impossible` is a limit of the client that a setting of the client lifts, `not run` a client
    that this machine cannot run."""

    PASSED = "passed"
    FAILED = "failed"
    IMPOSSIBLE = "impossible"
    NOT_RUN = "not run"


class Case(NamedTuple):
    """A client used in one way at one speed."""

    client: Client
    way: Way
    speed: Speed

    def __str__(self) -> str:
        upstream = "at once" if self.speed is Speed.FAST else f"{self.speed.value} s"
        return f"{self.client.name} · {self.way.name} · {upstream}"


@dataclass(frozen=True)
class Result:
    """`seconds` until the slowest certificate of the case; for an impossible one, until the client gave up without the
    setting, and `cured` until the certificate with it. `words` are the limit, or a failed client's last lines."""

    client: str
    source: str
    version: str
    way: str
    speed: str
    outcome: Outcome
    seconds: float
    words: str = ""
    setting: str = ""
    cured: float = 0.0


def cases_of(clients: Iterable[Client], speeds: Sequence[Speed]) -> list[Case]:
    """All cases, client by client."""
    return [
        Case(client, way, speed) for client in clients for way in client.ways for speed in speeds if speed in way.speeds
    ]


def not_run(client: Client, speeds: Sequence[Speed]) -> list[Result]:
    """The results of a client that is unfit for this machine."""
    version, words = client.version(), client.unfit()
    return [
        Result(client.name, client.source, version, case.way.name, case.speed.typed, Outcome.NOT_RUN, 0.0, words)
        for case in cases_of([client], speeds)
    ]


def run_cases(world: World, cases: Sequence[Case], report: Callable[[Result], None]) -> list[Result]:
    """Run them: first those at once, a few at a time; then those that wait. `report` hears of each, in this thread."""
    results = []
    for speeds, threads, apart in BATCHES:
        batch = [case for case in cases if case.speed in speeds]
        for result in run_batch(world, batch, threads, apart):
            report(result)
            results.append(result)
    return results


def run_batch(world: World, cases: Sequence[Case], threads: int, apart: float = 0.0) -> Iterator[Result]:
    """Run them `threads` at a time, the slowest first, the starts `apart` seconds from each other; each result as it
    comes."""
    versions = {client.name: client.version() for client in {case.client.name: case.client for case in cases}.values()}
    with ThreadPoolExecutor(threads) as pool:
        running: list[Future[Result]] = []
        for case in sorted(cases, key=lambda case: -case.speed.value):
            device = partial(world.device, case.speed, case.client.name, case.way.name)
            running.append(pool.submit(run_case, case, device, versions[case.client.name]))
            time.sleep(apart)
        for done in as_completed(running):
            yield done.result()


def run_case(case: Case, new_device: Callable[[], Device], version: str) -> Result:
    """Run one case; where a limit of the client's own ends it, run it once more with the setting against it."""
    common = (case.client.name, case.client.source, version, case.way.name, case.speed.typed)
    device = new_device()
    begin = time.monotonic()
    try:
        _act(case.way.act, device)
    except TROUBLE as failure:
        seconds = time.monotonic() - begin
        limit = case.way.limit
        if case.speed is not Speed.SLOW_170 or limit is None:
            return Result(*common, Outcome.FAILED, seconds, str(failure))
        if seconds < limit.seconds:
            words = f"gave up after {seconds:.0f} s, before its own limit ({limit.words})\n{failure}"
            return Result(*common, Outcome.FAILED, seconds, words)
        cure = new_device()
        try:
            _act(limit.cured, cure)
        except TROUBLE as second:
            return Result(*common, Outcome.FAILED, seconds, f"not even with {limit.setting}: {second}")
        return Result(*common, Outcome.IMPOSSIBLE, seconds, limit.words, limit.setting, cure.slowest)
    return Result(*common, Outcome.PASSED, device.slowest)


def _act(act: Callable[[Device], None], device: Device) -> None:
    act(device)
    if not device.certificates:
        raise ClientFailed("the way got no certificate")
