"""The core keeps to its declared layers, without circles and big rooms; `tests.map` sees what breaks that."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.map import ROOT, Layers, Map, core, declared, draw, lines

MOST_MODULES = 25


def test_no_arrow_runs_back() -> None:
    assert [(arrow, core().arrows[arrow]) for arrow in core().back] == []


def test_every_room_has_a_layer() -> None:
    assert [room for room in core().unplaced if not f"{room}.".startswith("acmehub.plugins.")] == []


def test_no_files_import_each_other_in_a_circle() -> None:
    assert core().circles == ()


def test_no_room_has_more_than_25_modules() -> None:
    assert {room: len(modules) for room, modules in core().rooms.items() if len(modules) > MOST_MODULES} == {}


def test_the_map_is_printed() -> None:
    done = subprocess.run([sys.executable, "-m", "tests.map"], cwd=ROOT, capture_output=True, text=True, check=True)
    for figure in ("rooms", "floors", "arrows", "arrows back", "circles"):
        assert f"\n{figure} " in f"\n{done.stdout}"


def test_the_layers_are_those_of_import_linter() -> None:
    assert declared(ROOT / "pyproject.toml")


# A house with every fault: `low.door` imports `top` inside a function, `left` and `right` are siblings and one knows
# the other, `low.one`, `low.two` and `low.three` import each other in a circle, and `attic` has no layer.
HOUSE = {
    "__init__.py": "",
    "top/__init__.py": "",
    "top/roof.py": "from house.left import wall\nfrom house.attic import box\n",
    "left/__init__.py": "wall = 1\n",
    "left/window.py": "from typing import TYPE_CHECKING\nfrom house.right import window\nimport house.low.one\n"
    "if TYPE_CHECKING:\n    from house.top import roof\n",
    "right/__init__.py": "",
    "right/window.py": "from house.low.one import x\n",
    "low/__init__.py": "",
    "low/door.py": "def open():\n    from house.top import roof\n    return roof\n",
    "low/one.py": "from house.low import two\nx = 1\n",
    "low/two.py": "import house.low.three\n",
    "low/three.py": "def late():\n    from house.low.one import x\n    return x\n",
    "low/migrations/__init__.py": "",
    "low/migrations/m1.py": "from house.top import roof\n",
    "empty/__init__.py": "from house.top import roof\n",
    "attic/__init__.py": "",
    "attic/box.py": "",
    "testing/__init__.py": "",
    "testing/fake.py": "from house.top import roof\n",
}
LAYERS = (
    '[tool.importlinter]\n[[tool.importlinter.contracts]]\ntype = "layers"\nlayers = ["house.top", "%s", "house.low"]\n'
)


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, text in HOUSE.items():
        (tmp_path / "house" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "house" / name).write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def map_of(house: Path, middle: str = "house.left | house.right") -> Map:
    (house / "pyproject.toml").write_text(LAYERS % middle)
    return draw("house", declared(house / "pyproject.toml"))


def test_rooms_are_packages_with_modules_of_their_own(house: Path) -> None:
    rooms = map_of(house).rooms
    assert list(rooms) == ["house.attic", "house.left", "house.low", "house.right", "house.top"]
    assert rooms["house.low"] == ("house.low.door", "house.low.one", "house.low.three", "house.low.two")


def test_arrows_count_imports_in_functions_and_not_those_for_types(house: Path) -> None:
    assert set(map_of(house).arrows) == {
        ("house.top", "house.left"),
        ("house.top", "house.attic"),
        ("house.left", "house.right"),
        ("house.left", "house.low"),
        ("house.right", "house.low"),
        ("house.low", "house.top"),
    }


def test_arrows_up_and_between_independent_siblings_run_back(house: Path) -> None:
    found = map_of(house)
    assert found.back == (("house.left", "house.right"), ("house.low", "house.top"))
    assert found.arrows["house.low", "house.top"] == (("house.low.door", "house.top.roof"),)
    assert map_of(house, "house.left : house.right").back == (("house.low", "house.top"),)


def test_circles_of_files_are_found_whole(house: Path) -> None:
    assert map_of(house).circles == (("house.low.one", "house.low.three", "house.low.two"),)


def test_a_room_without_a_layer_is_named(house: Path) -> None:
    assert map_of(house).unplaced == ("house.attic",)
    assert "in no layer of [tool.importlinter]: house.attic" in lines(map_of(house))


def test_floors_are_the_rooms_on_the_longest_chain(house: Path) -> None:
    assert map_of(house).floors == ()  # `low` and `top` import each other
    (house / "house" / "low" / "door.py").write_text("")
    assert map_of(house).floors == ("house.low", "house.right", "house.left", "house.top")


def test_layers_of_a_container_are_told_apart_from_others() -> None:
    layers = Layers((("house.acme.server",), ("house.acme.orders",)), (False, False))
    assert layers.forbid(("house.acme.orders", "house.acme.server"))
    assert not layers.forbid(("house.acme.server", "house.acme.orders"))
    assert not layers.forbid(("house.acme.ordersmith", "house.acme.server"))
