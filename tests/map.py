"""The map of the core: `python -m tests.map` prints its rooms, floors, arrows, arrows back and circles of files.

A *room* is a package with modules of its own (besides `__init__`); `testing` and `migrations` are no rooms. An *arrow*
is an ordered pair of rooms, the first of which has at least one import of the second; imports under `if TYPE_CHECKING`
do not count, those inside functions do, and a name that is imported from a package itself counts as an import of that
room. *Floors* are the rooms on the longest chain of arrows. An arrow *back* goes against the layers that
`[tool.importlinter]` declares, up or to an independent sibling. A *circle* is a set of files that all import each
other, directly or through others.
"""

import functools
import graphlib
import importlib.util
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import grimp
import msgspec

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = "acmehub"
APART = {"testing", "migrations"}

Arrow = tuple[str, str]


class Layers(msgspec.Struct, frozen=True):
    """One contract of import-linter: rows of packages from top to bottom, and which rows have independent siblings."""

    rows: tuple[tuple[str, ...], ...]
    independent: tuple[bool, ...]

    def place(self, room: str) -> tuple[int, str] | None:
        """The row that a room stands in, and by which of its packages: the longest name that it is, or is below."""
        inside = [(i, name) for i, row in enumerate(self.rows) for name in row if f"{room}.".startswith(f"{name}.")]
        return max(inside, key=lambda place: len(place[1]), default=None)

    def forbid(self, arrow: Arrow) -> bool:
        """Whether an arrow points up, or to an independent sibling."""
        start, end = (self.place(room) for room in arrow)
        if start is None or end is None or start == end:
            return False
        return end[0] < start[0] or (end[0] == start[0] and self.independent[end[0]])


class Map(msgspec.Struct, frozen=True):
    """What there is: modules by room, imports (importer, imported) by arrow."""

    rooms: Mapping[str, tuple[str, ...]]
    arrows: Mapping[Arrow, tuple[Arrow, ...]]
    circles: tuple[tuple[str, ...], ...]
    layers: tuple[Layers, ...]

    @property
    def back(self) -> tuple[Arrow, ...]:
        """Arrows against the declared layers."""
        return tuple(sorted(arrow for arrow in self.arrows if any(layers.forbid(arrow) for layers in self.layers)))

    @property
    def unplaced(self) -> tuple[str, ...]:
        """Rooms that no contract has a place for."""
        return tuple(room for room in self.rooms if not any(layers.place(room) for layers in self.layers))

    @property
    def floors(self) -> tuple[str, ...]:
        """The rooms of one longest chain of arrows, the lowest first; empty when rooms import each other."""
        below = {room: sorted(end for start, end in self.arrows if start == room) for room in self.rooms}
        chains: dict[str, tuple[str, ...]] = {}
        try:
            for room in graphlib.TopologicalSorter(below).static_order():
                chains[room] = (*max((chains[end] for end in below[room]), key=len, default=()), room)
        except graphlib.CycleError:
            return ()
        return max(chains.values(), key=len, default=())


def draw(package: str, layers: Iterable[Layers]) -> Map:
    """The map of an importable package."""
    graph = grimp.build_graph(package, exclude_type_checking_imports=True, cache_dir=None)
    packages = packages_of(package)
    own = {name: tuple(sorted(graph.find_children(name) - packages)) for name in sorted(packages)}
    rooms = {name: modules for name, modules in own.items() if modules and APART.isdisjoint(name.split("."))}

    def room_of(module: str) -> str:
        return module if module in packages else module.rpartition(".")[0]

    arrows: dict[Arrow, tuple[Arrow, ...]] = {}
    for module in sorted(graph.modules):
        for imported in sorted(graph.find_modules_directly_imported_by(module)):
            arrow = (room_of(module), room_of(imported))
            if arrow[0] != arrow[1] and arrow[0] in rooms and arrow[1] in rooms:
                arrows[arrow] = (*arrows.get(arrow, ()), (module, imported))
    return Map(rooms, arrows, tuple(circles_in(graph)), tuple(layers))


def packages_of(name: str) -> set[str]:
    """The names of a package and of all packages below it."""
    spec = importlib.util.find_spec(name)
    assert spec is not None
    assert spec.origin is not None
    top = Path(spec.origin).parent
    return {".".join((name, *path.parent.relative_to(top).parts)) for path in top.rglob("__init__.py")}


def circles_in(graph: grimp.ImportGraph) -> Iterator[tuple[str, ...]]:
    """Sets of modules of which each is reached from each."""
    seen: set[str] = set()
    for module in sorted(graph.modules):
        if module not in seen:
            circle = {module} | (graph.find_upstream_modules(module) & graph.find_downstream_modules(module))
            seen |= circle
            if len(circle) > 1:
                yield tuple(sorted(circle))


def declared(pyproject: Path) -> tuple[Layers, ...]:
    """The contracts of type `layers` in `[tool.importlinter]`."""
    contracts = tomllib.loads(pyproject.read_text())["tool"]["importlinter"]["contracts"]
    return tuple(layers for contract in contracts if contract["type"] == "layers" for layers in rows_of(contract))


def rows_of(contract: Mapping[str, Any]) -> Iterator[Layers]:
    """The layers of a contract, for each of its containers; `|` separates independent siblings, `:` others."""
    split = [tuple(re.findall(r"[\w.]+", row)) for row in contract["layers"]]
    independent = tuple("|" in row for row in contract["layers"])
    for container in contract.get("containers", [""]):
        prefix = f"{container}." if container else ""
        yield Layers(tuple(tuple(f"{prefix}{name}" for name in row) for row in split), independent)


@functools.cache
def core() -> Map:
    """The map of the core as it is now."""
    return draw(PACKAGE, declared(ROOT / "pyproject.toml"))


def lines(found: Map) -> Iterator[str]:
    """The map for people: figures first, then what they are made of."""
    short = functools.partial(re.sub, rf"^{PACKAGE}\.", "")
    yield f"rooms         {len(found.rooms)}"
    yield f"floors        {len(found.floors) or 'none: rooms import each other'}"
    yield f"arrows        {len(found.arrows)}"
    yield f"arrows back   {len(found.back)}"
    yield f"circles       {len(found.circles)}"
    biggest = max(found.rooms, key=lambda room: len(found.rooms[room]))
    yield f"biggest room  {short(biggest)}, {len(found.rooms[biggest])} modules"
    yield f"one longest chain: {' ← '.join(map(short, found.floors))}"
    for room, modules in found.rooms.items():
        ends = [short(end) for start, end in sorted(found.arrows) if start == room]
        yield f"  {short(room):20} {len(modules):3} modules → {', '.join(ends) or 'nothing'}"
    for arrow in found.back:
        yield f"arrow back: {' → '.join(map(short, arrow))}"
        yield from (f"  {importer} imports {imported}" for importer, imported in found.arrows[arrow])
    for circle in found.circles:
        yield f"circle: {', '.join(circle)}"
    if found.unplaced:
        yield f"in no layer of [tool.importlinter]: {', '.join(map(short, found.unplaced))}"


def main() -> None:
    """Print the map of the core."""
    print("\n".join(lines(core())))


if __name__ == "__main__":
    main()
