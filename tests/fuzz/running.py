"""The loop: an input from each seed, what it must not do, and how it is told."""

import gc
import math
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from random import Random

from acmehub.models.problems import Problem

LONGEST = 0.050  # seconds of CPU time for one input of at most 64 KiB
AGAIN = 5

Make = Callable[[Random], bytes]
Take = Callable[[bytes], str]


@dataclass(frozen=True)
class Target:
    """`make` gives an input, `take` reads it and says what came of it; whatever `take` raises is a finding."""

    name: str
    make: Make
    take: Take
    longest: float = LONGEST


@dataclass
class Report:
    """What a run did: how many inputs ended how, and its findings, each once, by the seed of its input."""

    target: str
    seconds: float = 0.0
    inputs: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    slowest: tuple[float, int] = (0.0, 0)
    findings: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        rate = self.inputs / self.seconds if self.seconds else 0.0
        lines = [f"{self.target}: {self.inputs} inputs in {self.seconds:.0f} s, {rate:.0f}/s; slowest {self.slowest}"]
        lines += [f"  {count:8} {outcome}" for outcome, count in self.outcomes.most_common(12)]
        lines += [f"  FINDING {what}\n{text}" for what, text in self.findings.items()]
        return "\n".join(lines)


def refusal(problem: Problem) -> str:
    """A refusal that a client may be told, for the count of outcomes."""
    assert problem.status < 500, problem
    return f"{problem.type.value[0]} {words(problem.detail)}"


def words(detail: str) -> str:
    """The beginning of what is said, which must not echo what cannot be shown."""
    assert detail.isascii(), detail
    return detail[:60]


@contextmanager
def as_in_production() -> Iterator[None]:
    """Warnings are warnings, not errors: what comes after one must be sound as well. No collection counts as slow."""
    gc.disable()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        gc.enable()


def fuzz(target: Target, *, seconds: float = math.inf, inputs: float = math.inf, first: int = 0) -> Report:
    """Take inputs of the seeds `first`, `first` + 1 …, for `seconds`, or so many."""
    target.take(target.make(Random(first)))  # what is made once per run, such as keys, is no input's doing
    report, began = Report(target.name), time.monotonic()
    with as_in_production():
        while time.monotonic() - began < seconds and report.inputs < inputs:
            _one(target, first + report.inputs, report)
            if report.inputs % 2000 == 0:
                gc.collect()
    report.seconds = time.monotonic() - began
    return report


def _one(target: Target, seed: int, report: Report) -> None:
    data = target.make(Random(seed))
    report.inputs += 1
    began = time.thread_time()
    try:
        outcome = target.take(data)
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # noqa: BLE001  whatever it is, a panic of a native library too: it is the finding
        where = traceback.extract_tb(error.__traceback__)[-1]
        what = f"{type(error).__name__} at {where.filename.rpartition('/')[2]}:{where.lineno}"
        report.findings.setdefault(what, _told(seed, data, "".join(traceback.format_exception(error)[-4:])))
        return
    report.outcomes[outcome] += 1
    took = time.thread_time() - began
    if took > report.slowest[0]:
        report.slowest = (took, seed)
    if took > target.longest and min(_took(target, data) for _ in range(AGAIN)) > target.longest:
        report.findings.setdefault("too slow", _told(seed, data, f"{took * 1000:.0f} ms"))


def _took(target: Target, data: bytes) -> float:
    began = time.thread_time()
    target.take(data)
    return time.thread_time() - began


def _told(seed: int, data: bytes, text: str) -> str:
    return f"    seed {seed}, {len(data)} bytes: {data[:3000].hex()}\n    {text}"
