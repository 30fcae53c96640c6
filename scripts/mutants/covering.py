"""Which tests run a line: one run of the quick tests, with coverage by test, kept by commit in `.run/mutants/`."""

import subprocess
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import Any

import coverage
import msgspec
import pytest

BEFORE, BEYOND = 3, 8  # lines that are near
RARE = 10.0  # a line that one test alone runs makes it so much likelier
START = 0.03  # seconds that each test costs beside those that are measured


class Covering(msgspec.Struct, dict=True):
    """The tests that passed (node id, seconds each took), and by file and line the positions of those that run it."""

    tests: list[str]
    seconds: list[float]  # without the fixtures that tests share
    lines: dict[str, dict[int, list[int]]]
    libraries: list[str] = []  # the modules that the tests import, without those of the product and the tests
    shared: list[list[str]] = []  # for each test, the fixtures that it shares with others, as a database server
    setup: dict[str, float] = {}  # seconds that each shared fixture takes
    imported: dict[str, set[int]] = {}  # by file, the lines that run before the first test

    def of(self, file: str, lines: Sequence[int]) -> set[int]:
        """The positions of the tests that run one of these lines."""
        known = self.lines.get(file, {})
        return {test for line in lines for test in known.get(line, ())}

    def chosen(self, positions: set[int], file: str, most: float, line: int = 0) -> list[int]:
        """Those that are likeliest to notice a break of this file for the time they take, first; for `most` seconds.

        Likely are tests of the file, then of its room, tests that run little else, those that run lines near `line`
        that few others run, and the first of those that differ by a parameter only. A shared fixture counts once.
        """
        rare = defaultdict[int, float](float)
        for near in range(line - BEFORE, line + BEYOND) if line else ():
            run = self.lines.get(file, {}).get(near, ())
            for at in run:
                rare[at] += RARE / len(run)
        groups: dict[frozenset[str], list[tuple[float, int]]] = {}
        alike = Counter[str]()
        for at in sorted(positions, key=lambda at: self.seconds[at]):
            alike[name := self.tests[at].partition("[")[0]] += 1
            odds = self._nearness(name, file) / max(1, self._breadth[at]) ** 0.5 / alike[name] * (1 + rare[at])
            dear = frozenset(it for it in self.shared[at] if self.setup.get(it, 0.0) > START) if self.shared else ()
            groups.setdefault(frozenset(dear), []).append((odds / (self.seconds[at] + START), at))
        for group in groups.values():
            group.sort()
        found, spent, made = list[int](), 0.0, frozenset[str]()

        def worth(fixtures: frozenset[str]) -> float:
            (value, at), unmade = groups[fixtures][-1], sum(self.setup[it] for it in fixtures - made)
            return value / (1 + unmade / (self.seconds[at] + START))

        while groups and spent < most:
            best = max(groups, key=worth)
            _, at = groups[best].pop()
            found.append(at)
            spent += self.seconds[at] + START + sum(self.setup[it] for it in best - made)
            made |= best
            if not groups[best]:
                del groups[best]
        return found

    @cached_property
    def _breadth(self) -> Counter[int]:
        """How many lines each test runs."""
        return Counter(test for lines in self.lines.values() for tests in lines.values() for test in tests)

    @staticmethod
    def _nearness(test: str, file: str) -> float:
        of, module = Path(test.partition("::")[0]), Path(file)
        return (2.0 if of.parent.name in module.parts else 1.0) * (4.0 if of.stem == f"test_{module.stem}" else 1.0)


class _Recorder:
    """A plugin of pytest: the time of each test, what it shares, whether it passed, and a context of coverage."""

    def __init__(self, measured: coverage.Coverage) -> None:
        self.measured = measured
        self.seconds: dict[str, float] = {}
        self.without: set[str] = set()  # tests that failed or skipped
        self.shared: dict[str, list[str]] = {}
        self.setup: dict[str, float] = {}
        self._setups = 0.0  # of shared fixtures, in the test that runs now

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, Any, Any]:
        self.measured.switch_context(item.nodeid)
        known = getattr(item, "_fixtureinfo", None)
        fixtures = [it for found in known.name2fixturedefs.values() for it in found] if known else []
        self.shared[item.nodeid] = sorted({_name(it) for it in fixtures if it.scope != "function"})
        self._setups, begun = 0.0, time.monotonic()
        done = yield
        self.seconds[item.nodeid] = time.monotonic() - begun - self._setups
        return done

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(self, fixturedef: pytest.FixtureDef[Any]) -> Generator[None, Any, Any]:
        before, begun = self._setups, time.monotonic()
        done = yield
        took = time.monotonic() - begun
        if fixturedef.scope != "function":
            within = self._setups - before  # other fixtures, which count by themselves
            self.setup[_name(fixturedef)] = round(took - within, 3)
            self._setups = before + took
        return done

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.outcome != "passed":
            self.without.add(report.nodeid)


def _name(fixture: pytest.FixtureDef[Any]) -> str:
    return f"{fixture.baseid}::{fixture.argname}"


def record(root: Path, sources: Sequence[str], tests: str, kept: Path) -> None:
    """Run these tests in this process and write the `Covering` of the sources (folders under root) to `kept`."""
    data = kept.with_suffix(".coverage")
    measured = coverage.Coverage(data_file=str(data), config_file=False, include=[f"{root / it}/*" for it in sources])
    recorder = _Recorder(measured)
    measured.start()
    pytest.main(["-q", "-m", "not e2e and not slow", "-p", "no:cacheprovider", str(root / tests)], plugins=[recorder])
    measured.stop()
    measured.save()
    names = [name for name in recorder.seconds if name not in recorder.without]
    position = {name: at for at, name in enumerate(names)}
    found = measured.get_data()
    lines = {
        str(Path(file).relative_to(root)): {
            line: sorted(position[name] for name in contexts if name in position)
            for line, contexts in found.contexts_by_lineno(file).items()
        }
        for file in found.measured_files()
    }
    imported = {
        str(Path(file).relative_to(root)): {line for line, of in found.contexts_by_lineno(file).items() if "" in of}
        for file in found.measured_files()
    }
    own = [name for name, it in sys.modules.items() if _is_under(getattr(it, "__file__", None), root)]
    libraries = sorted(set(sys.modules) - set(own) - {"__main__"})
    seconds, shared = [round(recorder.seconds[it], 3) for it in names], [recorder.shared[it] for it in names]
    covering = Covering(names, seconds, lines, libraries, shared, recorder.setup, imported)
    kept.write_bytes(msgspec.json.encode(covering))
    data.unlink(missing_ok=True)


def _is_under(file: str | None, root: Path) -> bool:
    return file is None or (Path(file).is_relative_to(root) and not Path(file).is_relative_to(sys.prefix))


def merged(folder: Path, root: Path, sources: Sequence[str], tests: Sequence[str], workers: int) -> Covering:
    """The `Covering` of all these folders of tests; those that are not kept in `folder` yet are run."""
    folder.mkdir(parents=True, exist_ok=True)

    def covering(of: str) -> Covering:
        kept = folder / f"{of.replace('/', '-')}.json"
        if not kept.exists():
            print(f"acmehub: running {of} with coverage, to see which tests run which lines", flush=True)
            command = [sys.executable, "-m", "scripts.mutants.covering", str(root), of, str(kept), *sources]
            with kept.with_suffix(".log").open("w") as log:
                subprocess.run(
                    command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True, check=True
                )
        return msgspec.json.decode(kept.read_bytes(), type=Covering)

    whole = Covering([], [], {})
    with ThreadPoolExecutor(workers) as pool:
        for part in pool.map(covering, tests):
            before = len(whole.tests)
            whole.tests += part.tests
            whole.seconds += part.seconds
            whole.shared += part.shared
            whole.setup |= part.setup
            for file, there in part.imported.items():
                whole.imported[file] = whole.imported.get(file, set()) | there
            whole.libraries += [name for name in part.libraries if name not in whole.libraries]
            for file, lines in part.lines.items():
                of_file = whole.lines.setdefault(file, {})
                for line, found in lines.items():
                    of_file.setdefault(line, []).extend(at + before for at in found)
    return whole


if __name__ == "__main__":
    record(Path(sys.argv[1]), sys.argv[4:], sys.argv[2], Path(sys.argv[3]))
