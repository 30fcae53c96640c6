"""`make mutants`: breaks the code in many places, one at a time, and says which breaks no test notices.

The sample is drawn by the first eight hex digits of the commit, spread over the rooms by their number of lines. Results
are written to `.run/mutants/` as they come; a second run goes on where the first one was ended. Exit status: 0 when
enough are noticed, 1 when not, 2 when nothing can be said: the sources differ from the commit, a test fails although
nothing is broken, or some mutants are left to the next run.
"""

import argparse
import os
import random
import re
import subprocess
import sys
import tomllib
from collections import Counter
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import msgspec
import pytest

from scripts.mutants.covering import Covering, merged
from scripts.mutants.places import Mutant, control, described, places
from scripts.mutants.trials import Trial, Trials

ROOMS = ("issuance", "upstream", "dns01", "acme", "admin")
TESTS = ("acme", "admin", "app", "cli", "dns01", "issuance", "plugins", "runtime", "upstream")
ENOUGH = 0.95
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
    known = {trial.mutant.id for trial in _read(results)}
    sound = _try(project, [mutant for mutant in drawn if mutant.id not in known], covering, options, results)
    share = report(project, _read(results))
    if left := {mutant.id for mutant in drawn} - {trial.mutant.id for trial in _read(results)}:
        print(f"{len(left)} have no result, as the run was interrupted; the next one tries them")
    return 2 if left or not sound else int(share < ENOUGH)


def _try(
    project: Project, mutants: Sequence[Mutant], covering: Covering, options: argparse.Namespace, results: Path
) -> bool:
    """Try them; results are added to the file as they come. False when tests fail although nothing is broken."""
    left, sound = len(mutants), True

    def done(trial: Trial) -> None:
        nonlocal left, sound
        if trial.mutant.way < 0:
            sound = sound and not trial.by
            print(
                f"{trial.by} fails although nothing is broken" if trial.by else f"{trial.tests} tests hold", flush=True
            )
            return
        left -= 1
        with results.open("ab") as file:
            file.write(msgspec.json.encode(trial) + b"\n")
        print(
            f"{left:4} left, {trial.outcome:9} {trial.seconds:5.1f} s {trial.mutant.id} {trial.by}"[:SHOWN], flush=True
        )

    todo = []
    of_room: dict[str, set[int]] = {}
    for file, lines in covering.lines.items():
        of_room.setdefault(project.room_of(file), set()).update(covering.of(file, list(lines)))
    for room, file in {project.room_of(mutant.file): mutant.file for mutant in mutants}.items():
        todo.append((control(file), covering.chosen(of_room.get(room, set()), options.most_tests)))
    for mutant in mutants:
        found = project.covered_by(mutant, covering)
        if found or options.tests:
            most = options.most_tests if not mutant.names else -(-options.most_tests // 3)  # imports take long
            todo.append((mutant, covering.chosen(found, most)))
        else:
            done(Trial(mutant, "uncovered"))
    plugin = Trials(project.root, covering, todo, options.workers, options.margin, options.tests, done)
    arguments = ["-qq", "-x", "-s", "-p", "no:cacheprovider", "--no-summary", str(project.root / "tests")]
    status = pytest.main(arguments, plugins=[plugin])
    if plugin.is_child:
        os._exit(status)
    return sound


def report(project: Project, trials: Sequence[Trial]) -> float:
    """Print the survivors and the figures of each room; the share that was noticed."""
    words = project.may_live()
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
    parser.add_argument("--margin", type=float, default=20, help="seconds after which a test hangs (%(default)s)")
    parser.add_argument("--seed", help="eight hex digits in place of the commit's first")
    parser.add_argument("--most-tests", type=int, default=100, help="tests for one mutant (%(default)s)")
    parser.add_argument("--dirty", action="store_true", help="also with changes that are not committed")
    parser.add_argument("--covering", type=Path, help="the folder with what another commit's tests run")
    parser.add_argument("--mutant", action="append", help="only this one, as FILE:NODE:WAY of a report; several times")
    parser.add_argument("tests", nargs="*", help="these tests for each, as tests/acme/test_orders.py::test_…")
    return parser


if __name__ == "__main__":
    rooms, tests = [f"core/acmehub/{room}" for room in ROOMS], [f"tests/{folder}" for folder in TESTS]
    sys.exit(main(sys.argv[1:], Project(Path(__file__).resolve().parents[2], rooms, tests)))
