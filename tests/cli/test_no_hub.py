"""Where no hub is: only `serve` and `init --hub` make one; every other verb says so and leaves the place as it was."""

import os
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from acmehub.cli.shared import finding
from acmehub.cli.shared.exit_status import Exit
from tests.cli.conftest import Terminal
from tests.cli.test_commands import LEAVES

pytestmark = pytest.mark.on_machine

FOUNDS = {"serve", "init"}
ASKS_NONE = {"key new", "plugin list", "plugin show", "restore"}
VALUES = {"FILE": "resources.toml", "DATE": "2030-01-01", "ENTRY": "1", "PLUGIN": "storage_sqlite"}


def arguments_of(command: click.Command) -> Iterator[str]:
    """What a verb must be given to get as far as looking for its hub."""
    for parameter in command.params:
        if not parameter.required:
            continue
        option = [parameter.opts[0]] if isinstance(parameter, click.Option) else []
        value = parameter.type.choices[0] if isinstance(parameter.type, click.Choice) else ""
        yield from (*option, value or VALUES.get(str(parameter.metavar or parameter.name).upper(), "2030-01-01"))


def tree(folder: Path) -> dict[str, tuple[int, int, int, bytes]]:
    """Everything in a folder and the folder itself: mode, owner, time of change, content."""
    found = {}
    for path in (folder, *sorted(folder.rglob("*"))):
        state = path.lstat()
        content = path.read_bytes() if path.is_file() else b""
        found[str(path.relative_to(folder))] = (state.st_mode, state.st_uid, state.st_mtime_ns, content)
    return found


def foreign(folder: Path) -> Path:
    """A folder of another program, with files whose names are those of a hub's."""
    folder.mkdir()
    folder.chmod(0o755)
    (folder / "notes.txt").write_text("mine")
    (folder / "data").mkdir()
    with sqlite3.connect(folder / "acmehub.db") as other:
        other.execute("CREATE TABLE migration (id INTEGER, name TEXT)")
    other.close()
    (folder / "acmehub.db").chmod(0o644)
    return folder


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Folders without a hub by what they are."""
    above = tmp_path_factory.mktemp("places")
    empty = above / "empty"
    empty.mkdir()
    empty.chmod(0o755)
    untouched = above / "untouched.db"
    untouched.mkdir()
    (untouched / "acmehub.db").touch()
    return {
        "empty": empty,
        "foreign": foreign(above / "foreign"),
        "missing": above / "no" / "such",
        "touched": untouched,
    }


@pytest.mark.parametrize(("name", "command"), [item for item in LEAVES if item[0] not in FOUNDS | ASKS_NONE], ids=str)
def test_no_other_verb_makes_or_changes_anything(
    name: str,
    command: click.Command,
    places: dict[str, Path],
    empty_terminal: Terminal,
) -> None:
    (empty_terminal.folder / "resources.toml").touch()
    above = places["empty"].parent
    before = tree(above)
    for place in places.values():
        said = empty_terminal.refused(Exit.NO_HUB, *name.split(), *arguments_of(command), "--data-dir", str(place))
        assert said.startswith(f"acmehub: no hub in {place}: ")
        assert "\n" not in said
    assert tree(above) == before
    assert os.listdir(empty_terminal.folder) == ["resources.toml"]  # noqa: PTH208


def test_without_any_option_nothing_is_made_either(empty_terminal: Terminal) -> None:
    assert empty_terminal.refused(Exit.NO_HUB, "order", "list") == (
        "acmehub: no hub in data: nothing has been founded there; `acmehub serve` or `acmehub init --hub` makes one"
    )
    assert list(empty_terminal.folder.iterdir()) == []


def test_a_file_instead_of_the_folder_and_one_that_is_no_database_are_told(empty_terminal: Terminal) -> None:
    (empty_terminal.folder / "file").touch()
    assert "no hub in file: " in empty_terminal.refused(Exit.NO_HUB, "order", "list", "--data-dir", "file")
    (empty_terminal.folder / "junk").mkdir()
    (empty_terminal.folder / "junk" / "acmehub.db").write_text("no database" * 100)
    said = empty_terminal.refused(Exit.UNAVAILABLE, "order", "list", "--data-dir", "junk")
    assert "is not an SQLite database" in said


def test_a_hub_of_this_clone_is_named_from_any_folder_in_it(
    empty_terminal: Terminal, founded: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub = empty_terminal.folder / ".run" / "hub"
    hub.mkdir(parents=True)
    (hub / "acmehub.toml").write_text('data_dir = "data"\n')
    shutil.copytree(founded, hub / "data")
    deep = empty_terminal.folder / "docs" / "adr"
    deep.mkdir(parents=True)
    for folder in (empty_terminal.folder, deep):
        monkeypatch.chdir(folder)
        said = empty_terminal.refused(Exit.NO_HUB, "order", "list")
        assert said.endswith(f"did you mean --config {hub / 'acmehub.toml'}?")
    options = said.rpartition("did you mean ")[2].rstrip("?").split()
    assert empty_terminal.ok("order", "list", *options) == "no orders\n"


def test_hubs_of_the_environment_of_this_folder_and_as_packaged_are_named(
    empty_terminal: Terminal, founded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packaged = tmp_path / "var lib"
    shutil.copytree(founded, packaged)
    monkeypatch.setattr(finding, "PACKAGED", (tmp_path / "acmehub.toml", packaged))
    said = empty_terminal.refused(Exit.NO_HUB, "order", "list", "--data-dir", "elsewhere")
    assert said.endswith(f"did you mean --data-dir '{packaged}'?")
    shutil.copytree(founded, tmp_path / "data")
    monkeypatch.setenv("ACMEHUB_DATA_DIR", str(packaged))
    said = empty_terminal.refused(Exit.NO_HUB, "order", "list", "--data-dir", "elsewhere")
    assert said.endswith(f"did you mean --data-dir '{packaged}' or --data-dir {tmp_path / 'data'}?")


def test_init_founds_without_serving_and_a_second_time_changes_nothing(empty_terminal: Terminal) -> None:
    assert empty_terminal.ok("init", "--hub") == "there is a hub in data\n"
    data = empty_terminal.folder / "data"
    assert data.stat().st_mode & 0o777 == 0o700
    assert [item["name"] for item in empty_terminal.json("authority", "list")] == ["local"]
    key = (data / "master.key").read_bytes()
    empty_terminal.ok("init", "--hub")
    assert (data / "master.key").read_bytes() == key
    assert [item["name"] for item in empty_terminal.json("principal", "list")] == ["administrator"]
    assert not (empty_terminal.folder / "acmehub.toml").exists()
    for wrong in (["--hub", "a.toml"], ["--hub", "--force"], ["--data-dir", "x"]):
        empty_terminal.refused(Exit.USAGE, "init", *wrong)


def test_a_directory_that_is_there_keeps_its_mode_and_others_in_it_are_told(
    empty_terminal: Terminal, caplog: pytest.LogCaptureFixture
) -> None:
    data = empty_terminal.folder / "data"
    data.mkdir()
    data.chmod(0o755)
    empty_terminal.ok("init", "--hub")
    assert data.stat().st_mode & 0o777 == 0o755
    assert f"others may enter the data directory data (mode 0755): chmod 700 {data.name}" in caplog.text
    assert all(path.stat().st_mode & 0o077 == 0 for path in data.iterdir())


def test_where_everybody_may_write_nothing_is_founded(empty_terminal: Terminal) -> None:
    data = empty_terminal.folder / "data"
    data.mkdir()
    data.chmod(0o1777)
    said = empty_terminal.refused(Exit.USAGE, "init", "--hub")
    assert said.startswith("acmehub: data directory data: everybody may write to it (mode 1777), ")
    assert list(data.iterdir()) == []


def test_a_schema_of_an_earlier_version_is_left_alone_and_its_cure_named(terminal: Terminal) -> None:
    with sqlite3.connect(terminal.folder / "data" / "acmehub.db") as database:
        (last,) = database.execute("SELECT name FROM migration ORDER BY name DESC LIMIT 1").fetchone()
        database.execute("DELETE FROM migration WHERE name = ?", (last,))
    database.close()
    said = terminal.refused(Exit.UNAVAILABLE, "order", "list")
    assert "is older than this program (1 steps): run `acmehub db upgrade`" in said
    with sqlite3.connect(terminal.folder / "data" / "acmehub.db") as database:
        assert database.execute("SELECT count(*) FROM migration WHERE name = ?", (last,)).fetchone() == (0,)
        database.execute("INSERT INTO migration (name, app_name) VALUES ('2999-01-01T00:00:01', 'acmehub')")
        database.execute("INSERT INTO migration (name, app_name) VALUES (?, 'acmehub')", (last,))
    database.close()
    assert terminal.ok("order", "list") == "no orders\n"  # a later version has been here: it may run beside this one
    assert terminal.ok("db", "upgrade") == "the schema is up to date\n"
