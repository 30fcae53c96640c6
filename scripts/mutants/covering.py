"""Which tests run a line: one run of the quick tests, with coverage by test, kept by commit in `.run/mutants/`."""

import subprocess
import sys
import time
from collections.abc import Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import coverage
import msgspec
import pytest


class Covering(msgspec.Struct):
    """The tests that passed (node id, seconds each took), and by file and line the positions of those that run it."""

    tests: list[str]
    seconds: list[float]
    lines: dict[str, dict[int, list[int]]]
    libraries: list[str] = []  # the modules that the tests import, without those of the product and the tests

    def of(self, file: str, lines: Sequence[int]) -> set[int]:
        """The positions of the tests that run one of these lines."""
        known = self.lines.get(file, {})
        return {test for line in lines for test in known.get(line, ())}

    def chosen(self, positions: set[int], most: int) -> list[int]:
        """At most this many: the fastest of each file, then the second of each, and so on; folder by folder."""
        by_file: dict[str, list[int]] = {}
        for position in sorted(positions, key=lambda at: self.seconds[at]):
            by_file.setdefault(self.tests[position].partition("::")[0], []).append(position)
        turns = [(turn, self.seconds[at], at) for of_file in by_file.values() for turn, at in enumerate(of_file)]
        found = sorted(turns)[:most]
        first: dict[str, float] = {}
        for _, seconds, at in found:  # a folder's fixtures, as servers are, are made once
            first.setdefault(self._folder(at), seconds)
        return [at for _, _, at in sorted(found, key=lambda it: (first[self._folder(it[2])], self._folder(it[2]), it))]

    def _folder(self, position: int) -> str:
        return self.tests[position].partition("::")[0].rpartition("/")[0]


class _Recorder:
    """A plugin of pytest: the time of each test, whether it passed, and a context of coverage for each."""

    def __init__(self, measured: coverage.Coverage) -> None:
        self.measured = measured
        self.seconds: dict[str, float] = {}
        self.without: set[str] = set()  # tests that failed or skipped

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, Any, Any]:
        self.measured.switch_context(item.nodeid)
        begun = time.monotonic()
        done = yield
        self.seconds[item.nodeid] = time.monotonic() - begun
        return done

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.outcome != "passed":
            self.without.add(report.nodeid)


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
    own = [name for name, it in sys.modules.items() if _is_under(getattr(it, "__file__", None), root)]
    libraries = sorted(set(sys.modules) - set(own) - {"__main__"})
    covering = Covering(names, [round(recorder.seconds[name], 3) for name in names], lines, libraries)
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
            whole.libraries += [name for name in part.libraries if name not in whole.libraries]
            for file, lines in part.lines.items():
                of_file = whole.lines.setdefault(file, {})
                for line, found in lines.items():
                    of_file.setdefault(line, []).extend(at + before for at in found)
    return whole


if __name__ == "__main__":
    record(Path(sys.argv[1]), sys.argv[4:], sys.argv[2], Path(sys.argv[3]))
