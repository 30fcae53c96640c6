"""The tables of docs/clients.md: what the clients did, from a run's results."""

from collections.abc import Iterable, Sequence
from itertools import groupby

from tests.matrix.cases import Outcome, Result
from tests.matrix.contract import Speed

SPEEDS = tuple(speed.typed for speed in Speed)


def tables(results: Sequence[Result]) -> str:
    """Two tables: a row per client, and a row per way. Seconds until the certificate; the slower of two."""
    lines = ["| client | from | ways | at once | 60 s | 170 s | setting needed |", "|---|---|---|---|---|---|---|"]
    for (client, version, source), group in groupby(results, key=lambda item: (item.client, item.version, item.source)):
        mine = list(group)
        ways = " · ".join(dict.fromkeys(item.way for item in mine))
        cells = [_range([item for item in mine if item.speed == speed]) for speed in SPEEDS]
        settings = "<br>".join(dict.fromkeys(f"`{item.setting}`" for item in mine if item.setting)) or "none"
        lines.append(f"| {client} {version} | {source} | {ways} | {' | '.join(cells)} | {settings} |")
    lines += ["", "Each way, in seconds until the certificate (a renewal: of the slower one):", ""]
    lines += ["| client | version | way | at once | 60 s | 170 s | result |", "|---|---|---|---|---|---|---|"]
    for (client, version, way), group in groupby(results, key=lambda item: (item.client, item.version, item.way)):
        mine = list(group)
        cells = [_range([item for item in mine if item.speed == speed]) for speed in SPEEDS]
        lines.append(f"| {client} | {version} | {way} | {' | '.join(cells)} | {_verdict(mine)} |")
    return "\n".join(lines) + "\n"


def _range(results: Iterable[Result]) -> str:
    found = [item for item in results if item.outcome is not Outcome.NOT_RUN]
    if not found:
        return "–"
    if any(item.outcome is Outcome.FAILED for item in found):
        return "**failed**"
    seconds = sorted(round(item.cured or item.seconds) for item in found)
    mark = "*" if any(item.outcome is Outcome.IMPOSSIBLE for item in found) else ""
    low, high = max(1, seconds[0]), max(1, seconds[-1])
    return f"{low}{mark}" if low == high else f"{low}–{high}{mark}"


def _verdict(results: Sequence[Result]) -> str:
    if any(item.outcome is Outcome.FAILED for item in results):
        return "failed"
    for item in results:
        if item.outcome is Outcome.NOT_RUN:
            return f"not run: {item.words}"
        if item.outcome is Outcome.IMPOSSIBLE:
            return f"\\* {item.words}: gave up after {item.seconds:.0f} s; passes with `{item.setting}`"
    return "passed"
