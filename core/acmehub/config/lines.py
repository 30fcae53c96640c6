"""Where in a TOML text a value stands: `tomllib` does not keep lines."""

import re
from collections.abc import Sequence

_HEADER = re.compile(r"\s*(\[{1,2})\s*([^\]]+?)\s*\]")
_PART = re.compile(r"[A-Za-z0-9_-]+|\"[^\"]*\"|'[^']*'")
_KEY = re.compile(rf"\s*((?:{_PART.pattern})(?:\s*\.\s*(?:{_PART.pattern}))*)\s*=")

Path = Sequence[str | int]
"""Keys from the outside in, with the place in a list of tables: `("token", 2, "names")`."""


def line_of(text: str, path: Path) -> int:
    """The line of a key, or else of the nearest table or key around it; the first when there is none."""
    wanted = tuple(path)
    found, depth = 1, 0
    counts: dict[tuple[str | int, ...], int] = {}
    table: tuple[str | int, ...] = ()
    for number, line in enumerate(text.splitlines(), 1):
        if header := _HEADER.match(line):
            table = _table(_keys(header[2]), header[1] == "[[", counts)
            at = table
        elif key := _KEY.match(line):
            at = (*table, *_keys(key[1]))
        else:
            continue
        shared = min(len(at), len(wanted))
        if shared > depth and at[:shared] == wanted[:shared]:
            found, depth = number, shared
    return found


def path_of(place: str) -> tuple[str | int, ...]:
    """`("notifier", 0, "plugin")` for `notifier[0].plugin`, as messages write it."""
    parts = [part for part in re.split(r"[.\[\]]+", place) if part]
    return tuple(int(part) if part.isdigit() else part for part in parts)


def _table(keys: Sequence[str], one_of_many: bool, counts: dict[tuple[str | int, ...], int]) -> tuple[str | int, ...]:
    """The path of a header: each list of tables on the way is meant with its latest entry."""
    path: tuple[str | int, ...] = ()
    for position, key in enumerate(keys, 1):
        path = (*path, key)
        if one_of_many and position == len(keys):
            counts[path] = counts.get(path, -1) + 1
        if path in counts:
            path = (*path, counts[path])
    return path


def _keys(text: str) -> list[str]:
    return [part.strip("\"'") for part in _PART.findall(text)]
