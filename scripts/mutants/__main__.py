"""`make mutants`: breaks the code in many places, one at a time, and says which breaks no test notices.

The sample is drawn by the first eight hex digits of the commit, spread over the rooms by their number of lines. Results
are written to `.run/mutants/` as they come; a second run goes on where the first one was ended. Exit status: 0 when
enough are noticed, 1 when not, 2 when nothing can be said: the sources differ from the commit, or some mutants are left
to the next run. Controls run tests while nothing is broken, at the beginning those that are asked first and at the end
those that noticed something; a test that fails there is named, is not asked, and what it noticed is tried again.
"""

import argparse
import ast
import os
import random
import re
import signal
import subprocess
import sys
import tomllib
from collections import Counter
from collections.abc import Callable, Sequence
from functools import cached_property, partial
from pathlib import Path

import msgspec
import pytest

from scripts.mutants.covering import Covering, merged
from scripts.mutants.places import FUNCTIONS, Mutant, control, described, places
from scripts.mutants.processes import end_with_parent
from scripts.mutants.trials import Todo, Trial, Trials

ROOMS = ("issuance", "upstream", "dns01", "acme", "admin")
TESTS = ("acme", "admin", "app", "cli", "dns01", "issuance", "plugins", "runtime", "upstream")
ENOUGH = 0.95
ROUNDS = 3  # what a test noticed that turns out to fail by itself is tried again without this test
UNRELIABLE = "unreliable"
SHOWN = 160  # characters of a line


class Project:
    """Where the code and its tests are: folders of code that are broken, folders of tests, paths from the top."""

    def __init__(self, root: Path, rooms: Sequence[str], tests: Sequence[str]) -> None:
        self.root = root
        self.rooms = rooms
        self.tests = tests
        self.kept = root / ".run" / "mutants"

    @cached_property
    def sources(self) -> dict[str, str]:
        """The text of each module, by its path from the top."""
        found = [path for room in self.rooms for path in sorted((self.root / room).rglob("*.py"))]
        return {str(path.relative_to(self.root)): path.read_text() for path in found}

    def room_of(self, file: str) -> str:
        """The name of the room that a module is in."""
        return next(room for room in self.rooms if file.startswith(f"{room}/")).rpartition("/")[2]

    def may_live(self) -> dict[tuple[str, ...], str]:
        """Why a break may live, by module, scope, and the statement's text before and after."""
        path = self.root / "tests" / "mutants-that-may-live.toml"
        rows = tomllib.loads(path.read_text()).get("mutant", []) if path.exists() else []
        return {(it["module"], it["in"], it["line"], it["broken"]): it["why"] for it in rows}

    def git(self, *arguments: str) -> str:
        """What git prints."""
        command = ["git", "-C", str(self.root), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    def mutant(self, name: str) -> Mutant:
        """The mutant with this `id`."""
        file, at, way = name.split(":")
        return described(file, self.sources[file], int(at), int(way))

    def sample(self, seed: int, count: int) -> list[Mutant]:
        """As many mutants of each room as its share of the lines, at least `count`; the same for the same seed."""
        chance = random.Random(seed)
        lines, found = Counter[str](), dict[str, list[tuple[str, int, int]]]()
        for file, text in self.sources.items():
            lines[self.room_of(file)] += text.count("\n")
            found.setdefault(self.room_of(file), []).extend((file, at, way) for at, way in places(text))
        chosen = []
        for room, of_room in found.items():
            wanted = -(-count * lines[room] // lines.total())
            chosen += chance.sample(of_room, min(wanted, len(of_room)))
        return [described(file, self.sources[file], at, way) for file, at, way in chosen]

    def seen_at(self, mutant: Mutant, covering: Covering) -> Mutant:
        """With names, when it is in a function that runs while modules are imported only, as that of a decorator."""
        runs = covering.imported.get(mutant.file, set()).intersection(*mutant.lines[:1])
        if mutant.names or not runs or self.covered_by(mutant, covering):
            return mutant
        return msgspec.structs.replace(mutant, names=tuple(reversed(mutant.scope.split("."))))

    def covered_by(self, mutant: Mutant, covering: Covering) -> set[int]:
        """The tests that run the broken line; for what runs at import only, those that run a line which names it."""
        for name in filter(None, mutant.names):
            word, users = re.compile(rf"\b{re.escape(name)}\b"), set[int]()
            for file, text in self.sources.items():
                naming = [line for line, it in enumerate(text.splitlines(), 1) if word.search(it)]
                users |= covering.of(file, [line for line in naming if (file, line) != (mutant.file, mutant.line)])
            if users:
                return users
        groups = [*mutant.lines, range(len(self.sources[mutant.file]))] if mutant.names else mutant.lines
        return next(filter(None, (covering.of(mutant.file, lines) for lines in groups)), set())

    def naming(self, mutant: Mutant, covering: Covering) -> list[str]:
        """The tests that name a constant: one that compares its value runs no line that does."""
        words = [re.compile(rf"\b{name}\b") for name in mutant.names if name.isupper()]
        *_, room, stem = Path(mutant.file).with_suffix("").parts
        words += [re.compile(rf"\b{room if stem == '__init__' else stem}\b")] if words else []
        found = []
        for path in [path for folder in self.tests for path in sorted((self.root / folder).rglob("test_*.py"))]:
            lines = path.read_text().splitlines()
            if words and all(word.search("\n".join(lines)) for word in words):
                functions = [it for it in ast.parse("\n".join(lines)).body if isinstance(it, FUNCTIONS)]
                for it in functions:
                    begin = min([it.lineno, *(decorator.lineno for decorator in it.decorator_list)])
                    if it.name.startswith("test_") and words[0].search("\n".join(lines[begin - 1 : it.end_lineno])):
                        name = f"{path.relative_to(self.root)}::{it.name}"
                        found += [known for known in covering.tests if known.partition("[")[0] == name] or [name]
        return found


def main(argv: Sequence[str], project: Project) -> int:
    """Sample, try, report; the exit status."""
    options = _parser().parse_args(argv)
    commit = project.git("rev-parse", "HEAD")[:12]
    if not options.dirty and project.git("status", "--porcelain", "--", "core", "plugins", "tests"):
        print("acmehub: core, plugins or tests differ from the commit: commit first, or say --dirty", file=sys.stderr)
        return 2
    kept = options.covering or project.kept / commit
    covering = merged(kept, project.root, project.rooms, project.tests, options.workers)
    if options.mutant:
        drawn, results = [project.mutant(name) for name in options.mutant], project.kept / "single.jsonl"
        results.unlink(missing_ok=True)
    else:
        seed = (options.seed or commit)[:8]
        drawn, results = project.sample(int(seed, 16), options.count), project.kept / f"{commit}-{seed}.jsonl"
        print(f"acmehub: {len(drawn)} mutants, picked by {seed}; results are kept in {results}", flush=True)
    if options.room:
        drawn = [mutant for mutant in drawn if project.room_of(mutant.file) in options.room]
    for _ in range(ROUNDS):
        if _left(drawn, results):
            status = _in_a_process_of_its_own(partial(_try, project, drawn, covering, options, results))
            if status not in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED):
                break
    share = report(project, _read(results))
    if left := _left(drawn, results):
        print(f"{len(left)} have no result, as the run was interrupted; the next one tries them")
    return 2 if left else int(share < ENOUGH)


def _left(drawn: Sequence[Mutant], results: Path) -> list[Mutant]:
    known = {trial.mutant.id for trial in proven(_read(results))}
    return [mutant for mutant in drawn if mutant.id not in known]


def _in_a_process_of_its_own(work: Callable[[], int]) -> int:
    """Its exit status. It imports the product, and Ctrl-C ends it while this process goes on."""
    child = os.fork()
    if not child:
        end_with_parent()
        os._exit(work())
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    _, status = os.waitpid(child, 0)
    signal.signal(signal.SIGINT, before)
    return os.waitstatus_to_exitcode(status)


def _try(
    project: Project, drawn: Sequence[Mutant], covering: Covering, options: argparse.Namespace, results: Path
) -> int:
    """Try those that have no result; results are added to the file as they come. The exit status of pytest."""
    mutants = _left(drawn, results)
    left, unreliable = len(mutants), {trial.by for trial in _read(results) if trial.outcome == UNRELIABLE}

    def done(trial: Trial) -> None:
        nonlocal left
        if trial.outcome == "held":
            print(f"{trial.tests} tests hold", flush=True)
            return
        left -= trial.outcome != UNRELIABLE
        with results.open("ab") as file:
            file.write(msgspec.json.encode(trial) + b"\n")
        by = f"{trial.by} (no end)" if trial.hangs else trial.by
        print(f"{left:4} left, {trial.outcome:9} {trial.seconds:5.1f} s {trial.mutant.id} {by}"[:SHOWN], flush=True)

    todos = []
    for drawn_one in mutants:
        mutant = project.seen_at(drawn_one, covering)
        most = options.most if not mutant.names else options.most / 3  # imports take long
        found = covering.chosen(project.covered_by(mutant, covering), mutant.file, most, mutant.line)
        asked = [*project.naming(drawn_one, covering), *(covering.tests[it] for it in found)]
        tests = [name for name in asked if name not in unreliable]
        todos.append(Todo(mutant, options.tests or tests))
        if not todos[-1].tests:
            done(Trial(todos.pop().mutant, "uncovered"))
    first: dict[str, set[str]] = {}  # by room, the tests that are asked first
    for todo in todos:
        first.setdefault(project.room_of(todo.mutant.file), set()).update(todo.tests[:2])
    controls = [Todo(control(room), sorted(tests)) for room, tests in first.items()]
    plugin = Trials(project.root, covering, controls, todos, options.workers, options.margin, done)
    arguments = ["-qq", "-x", "-s", "-p", "no:cacheprovider", "--no-summary", str(project.root / "tests")]
    return pytest.main(arguments, plugins=[plugin])


def proven(trials: Sequence[Trial]) -> list[Trial]:
    """Without controls, and without what was noticed by a test that also fails while nothing is broken."""
    unreliable = {trial.by for trial in trials if trial.outcome == UNRELIABLE}
    return [trial for trial in trials if trial.outcome != UNRELIABLE and trial.by not in unreliable]


def report(project: Project, trials: Sequence[Trial]) -> float:
    """Print the survivors and the figures of each room; the share that was noticed."""
    words, unreliable = project.may_live(), {trial.by: trial for trial in trials if trial.outcome == UNRELIABLE}
    trials = proven(trials)
    figures = {room.rpartition("/")[2]: Counter[str]() for room in project.rooms}
    for trial in sorted(trials, key=lambda it: (it.mutant.file, it.mutant.line)):
        mutant = trial.mutant
        figures[project.room_of(mutant.file)][trial.outcome] += 1
        if trial.outcome != "noticed":
            why = words.get((mutant.file, mutant.scope, mutant.before, mutant.after), "")
            print(
                f"\n{trial.outcome}: {mutant.file}:{mutant.line} in {mutant.scope} ({trial.tests} tests, {mutant.id})"
            )
            print(f"  - {mutant.before}\n  + {mutant.after}\n  {'may live: ' + why if why else 'NO WORD YET'}")
    total = sum(figures.values(), Counter[str]())
    print(f"\n{'room':10} {'noticed':>8} {'survived':>8} {'uncovered':>9}")
    for room, of_room in [*figures.items(), ("all", total)]:
        print(f"{room:10} {of_room['noticed']:8} {of_room['survived']:8} {of_room['uncovered']:9}")
    for test in sorted(unreliable):
        print(f"not asked, as it fails although nothing is broken: {test}")
    share = total["noticed"] / max(1, total.total())
    took = sum(trial.seconds for trial in trials) / max(1, len(trials))
    print(f"{share:.1%} of {total.total()} noticed; {took:.1f} s each")
    return share


def _read(results: Path) -> list[Trial]:
    lines = results.read_bytes().splitlines() if results.exists() else []
    return [msgspec.json.decode(line, type=Trial) for line in lines]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("make mutants", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--count", type=int, default=400, help="at least this many mutants (%(default)s)")
    parser.add_argument("--room", action="append", help="only those of this room, as issuance; several times")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="mutants at once (%(default)s)")
    parser.add_argument("--margin", type=float, default=10, help="seconds after which a test hangs (%(default)s)")
    parser.add_argument("--seed", help="eight hex digits in place of the commit's first")
    parser.add_argument("--most", type=float, default=120, help="seconds of tests for one mutant (%(default)s)")
    parser.add_argument("--dirty", action="store_true", help="also with changes that are not committed")
    parser.add_argument("--covering", type=Path, help="the folder with what another commit's tests run")
    parser.add_argument("--mutant", action="append", help="only this one, as FILE:NODE:WAY of a report; several times")
    parser.add_argument("tests", nargs="*", help="these tests for each, as tests/acme/test_orders.py::test_…")
    return parser


if __name__ == "__main__":
    rooms, tests = [f"core/acmehub/{room}" for room in ROOMS], [f"tests/{folder}" for folder in TESTS]
    sys.exit(main(sys.argv[1:], Project(Path(__file__).resolve().parents[2], rooms, tests)))
