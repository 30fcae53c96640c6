"""`make matrix`: run the client matrix.

Installing what is missing takes root for Debian's packages (tests/matrix/apt-packages.txt); the rest goes to
.run/matrix.
"""

import argparse
import dataclasses
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.matrix import page
from tests.matrix.cases import Outcome, Result, cases_of, not_run, run_cases
from tests.matrix.clients_sources import VARIABLE as SOURCES
from tests.matrix.contract import Client, Speed
from tests.matrix.device import ClientFailed
from tests.matrix.registry import FROM_SOURCE, clients
from tests.matrix.world import running_world

ROOT = Path(__file__).resolve().parent.parent.parent
KEPT = ROOT / ".run" / "matrix.json"
MARKS = {Outcome.PASSED: "passed    ", Outcome.FAILED: "FAILED    ", Outcome.IMPOSSIBLE: "impossible"}
EPILOG = """
examples:
  python -m tests.matrix                                  all clients at all speeds (about half an hour)
  python -m tests.matrix --speed fast                     at once only (about 3 minutes)
  python -m tests.matrix --client certbot --speed 60      clients whose name begins so
  python -m tests.matrix --client uacme --way EAB --keep  one way, and say where the devices' folders are
  python -m tests.matrix --table                          write docs/clients.md from .run/matrix.json
With MATRIX_SOURCES=DIR in the environment, clients from checkouts in DIR are run as well (clients_sources.py).
"""


def arguments(given: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.matrix",
        description="Run real ACME clients against one hub, at three upstream speeds. A whole run writes its figures "
        "to docs/clients.md; every run adds them to .run/matrix.json.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--speed", action="append", choices=[speed.typed for speed in Speed], help="only this speed")
    parser.add_argument("--client", action="append", metavar="NAME", help="only clients whose name begins so")
    parser.add_argument("--way", action="append", metavar="NAME", help="only ways whose name begins so")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results of this run there, too")
    parser.add_argument("--keep", action="store_true", help="keep the folders of servers and devices")
    parser.add_argument("--table", action="store_true", help="run nothing; write docs/clients.md")
    parser.add_argument("--list", action="store_true", help="run nothing; say which clients there are")
    return parser.parse_args(given)


def main(given: Sequence[str] | None = None) -> int:
    """Run what is asked for; 1 when a case failed or a client is missing."""
    asked = arguments(given)
    everything = clients()
    from_source = clients(FROM_SOURCE)
    offered = [*everything, *from_source] if os.environ.get(SOURCES) else everything
    chosen = [_narrowed(item, asked.way) for item in offered if _begins(item.name, asked.client)]
    if asked.list:
        print("\n".join(f"{item.name:24} {item.source:10} {_state(item)}" for item in chosen))
        return 0
    if asked.table:
        _write_page(_kept(), everything, from_source)
        return 0
    speeds = [speed for speed in Speed if not asked.speed or speed.typed in asked.speed]
    unfit = [item for item in chosen if item.unfit()]
    fit = [item for item in chosen if item not in unfit]
    ready = [item for item in fit if _prepared(item)]
    cases = cases_of(ready, speeds)
    folder = Path(tempfile.mkdtemp(prefix="acmehub-matrix-"))
    done = 0

    def report(result: Result) -> None:
        nonlocal done
        done += 1
        with_setting = f"; {result.cured:.0f} s with {result.setting}" if result.setting else ""
        upstream = result.speed if result.speed == "fast" else f"{result.speed} s"
        what = f"{result.client} {result.version} · {result.way} · {upstream}"
        print(
            f"{done:3}/{len(cases)} {MARKS[result.outcome]} {result.seconds:5.0f} s  {what}{with_setting}", flush=True
        )
        if result.outcome is Outcome.FAILED:
            print("".join(f"        | {line}\n" for line in result.words.splitlines()), end="", flush=True)

    place = ("https://localhost", 443) if any(item.only_443 for item in ready) else ("", None)
    try:
        with running_world(folder, None, *place) as world:
            results = run_cases(world, cases, report)
    finally:
        if asked.keep:
            print(f"folders are in {folder}")
        else:
            shutil.rmtree(folder)
    for item in unfit:
        print(f"{item.name} is not run: {item.unfit()}")
        results += not_run(item, speeds)
    if asked.json:
        asked.json.write_text(_text(results))
    together = [*_others(_kept(), results), *results]
    KEPT.parent.mkdir(exist_ok=True)
    KEPT.write_text(_text(together))
    failed = sum(result.outcome is Outcome.FAILED for result in results)
    missing = len(fit) - len(ready)
    if not (asked.speed or asked.client or asked.way or missing):
        _write_page(together, everything, from_source)
    print(f"{len({item.client for item in results})} clients, {len(results) - failed} passed, {failed} failed", end="")
    print(f", {missing} clients not installed" if missing else "")
    return 1 if failed or missing or not results else 0


def _write_page(results: Sequence[Result], everything: Sequence[Client], from_source: Sequence[Client]) -> None:
    """The page; what it says of clients from source stays where none of them has been run here."""
    page.write_snippets()
    page.write_results(_ordered(results, everything))
    if found := _ordered(results, from_source):
        page.write_results(found, "sources")


def _begins(name: str, wanted: Sequence[str] | None) -> bool:
    return not wanted or any(name.lower().startswith(item.lower()) for item in wanted)


def _narrowed(client: Client, ways: Sequence[str] | None) -> Client:
    return dataclasses.replace(client, ways=[way for way in client.ways if _begins(way.name, ways)])


def _state(client: Client) -> str:
    missing = client.missing()
    ways = ", ".join(way.name for way in client.ways)
    return f"not installed: {missing}" if missing else f"{client.version():8} {ways}"


def _prepared(client: Client) -> bool:
    """Whether it can be run; it is built if that helps."""
    if client.missing() and client.build is not None:
        print(f"building {client.name}: {client.missing()}", flush=True)
        try:
            client.build()
        except ClientFailed as failure:
            print(f"{client.name} cannot be built: {failure}", file=sys.stderr)
    if missing := client.missing():
        print(f"{client.name} is not installed: {missing}", file=sys.stderr)
    return not missing


def _kept() -> list[Result]:
    if not KEPT.exists():
        return []
    return [Result(**{**item, "outcome": Outcome(item["outcome"])}) for item in json.loads(KEPT.read_text())]


def _others(kept: Sequence[Result], results: Sequence[Result]) -> list[Result]:
    new = {(item.client, item.way, item.speed) for item in results}
    return [item for item in kept if (item.client, item.way, item.speed) not in new]


def _ordered(results: Sequence[Result], everything: Sequence[Client]) -> list[Result]:
    """In the registry's order; what it has no longer is left out."""
    places = {
        (item.client.name, item.way.name, item.speed.typed): n for n, item in enumerate(cases_of(everything, [*Speed]))
    }
    known = [item for item in results if (item.client, item.way, item.speed) in places]
    return sorted(known, key=lambda item: places[item.client, item.way, item.speed])


def _text(results: Sequence[Result]) -> str:
    return json.dumps([dataclasses.asdict(item) for item in results], indent=1) + "\n"


if __name__ == "__main__":
    sys.exit(main())
