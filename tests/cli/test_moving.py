"""`backup`, `restore`, `db copy` as an operator types them: one line for each refusal, nothing left behind."""

import json
import shutil
import stat
import subprocess
import sys
import zipfile
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from acmehub.cli import moving
from acmehub.cli.root import run
from acmehub.cli.shared.progress import CountLine
from acmehub.runtime.vault import decode_key, encode_key
from acmehub.storage.sqlite.files import connect
from tests.cli.conftest import Terminal

pytestmark = pytest.mark.on_machine

WRONG = encode_key(bytes([9]) * 32)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a hub that has a token, and a backup of it: `hub.backup`."""
    folder = tmp_path_factory.mktemp("made")
    with pytest.MonkeyPatch.context() as patched:
        patched.chdir(folder)
        patched.setattr("acmehub.cli.shared.session.set_up_logs", lambda config: None)
        assert run(["init", "--hub"]) == 0
        assert run(["token", "add", "Firewall", "--names", "*.corp.test"]) == 0
        assert run(["backup", "hub.backup"]) == 0
    return folder


@pytest.fixture
def hub(made: Path, terminal: Terminal) -> Terminal:
    """A copy of it."""
    shutil.copytree(made, terminal.folder, dirs_exist_ok=True)
    return terminal


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def config(folder: Path, text: str) -> Path:
    path = folder / "acmehub.toml"
    path.touch(0o600)
    path.write_text(text)
    return path


def test_what_is_backed_up_is_restored_elsewhere(hub: Terminal) -> None:
    said = hub.ok("restore", "hub.backup", "--data-dir", "new/data")
    assert "must not run any more" in said
    for verb in (("token", "list"), ("authority", "list"), ("principal", "list")):
        assert hub.json(*verb, "--data-dir", "new/data") == hub.json(*verb)
    assert hub.json("token", "eab", "Firewall", "--data-dir", "new/data") == hub.json("token", "eab", "Firewall")
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (hub.folder / "new" / "data").iterdir()}
    assert set(modes.values()) == {0o600}
    assert stat.S_IMODE((hub.folder / "new" / "data").stat().st_mode) == 0o700


def test_the_result_is_json_for_programs(hub: Terminal) -> None:
    made = hub.json("backup", "again.backup")
    assert made["rows"]["token"] == 1
    assert made["file"] == "again.backup"
    assert hub.json("restore", "again.backup", "--data-dir", "new")["files"] == ["new/master.key"]
    assert hub.json("db", "copy", "--to", "storage_sqlite", "--set", "path=other.db")["storage"] == "storage_sqlite"
    assert "key" not in json.dumps([made["files"], made["storage"]])


def test_each_file_that_a_hub_keeps_goes_along_and_others_are_named(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = config(terminal.folder, 'data_dir = "data"\n')
    terminal.ok("token", "list")
    data = terminal.folder / "data"
    kept = {"tls.pem": "own", "ca.pem": "root", "url": "https://hub.test\n"}
    for name, text in kept.items():
        (data / name).write_text(text)
    (data / "corp-ca.pem").write_text("an authority's ca_file")
    said = terminal.ok("backup", "hub.backup")
    assert "not in it: " in said
    assert "corp-ca.pem" in said
    assert "acmehub.db" not in said
    path.unlink()
    said = terminal.ok("restore", "hub.backup", "--data-dir", "new")
    assert "https://hub.test" in said
    assert "acmehub.toml.restored" in said
    found = {name: (terminal.folder / "new" / name).read_text() for name in (*kept, "acmehub.toml.restored")}
    assert found == {**kept, "acmehub.toml.restored": 'data_dir = "data"\n'}


# ---------------------------------------------------------------------------------------------------- in one line


def one_line(text: str) -> str:
    assert len(text.splitlines()) == 1, text
    assert text.startswith("acmehub: ")
    return text


def test_a_backup_without_the_key_is_refused(hub: Terminal) -> None:
    (hub.folder / "data" / "master.key").unlink()
    status, _, said = hub("backup", "other.backup")
    assert status != 0
    assert "master" in one_line(said)
    assert not (hub.folder / "other.backup").exists()


def test_a_backup_under_another_key_is_refused(hub: Terminal) -> None:
    config(hub.folder, f'master_keys = ["{WRONG}"]\n')
    assert "not in master_keys" in one_line(hub.refused(1, "backup", "other.backup"))
    assert not (hub.folder / "other.backup").exists()


def test_a_used_folder_is_refused(hub: Terminal) -> None:
    before = files_of(hub.folder / "data")
    assert "it has rows already" in one_line(hub.refused(4, "restore", "hub.backup"))
    hub.ok("init", "--hub", "--data-dir", "other")
    others = files_of(hub.folder / "other")
    assert "is of another hub" in one_line(hub.refused(4, "restore", "hub.backup", "--data-dir", "other"))
    assert files_of(hub.folder / "data") == before
    assert files_of(hub.folder / "other") == others


def test_a_wrong_key_is_refused_and_leaves_nothing(hub: Terminal) -> None:
    path = config(hub.folder, f'data_dir = "new"\nmaster_keys = ["{WRONG}"]\n')
    said = one_line(hub.refused(1, "restore", "hub.backup", "--config", str(path)))
    assert "without the right master key" in said
    assert not (hub.folder / "new").exists()


def test_a_file_that_was_cut_off_leaves_nothing(hub: Terminal) -> None:
    whole = (hub.folder / "hub.backup").read_bytes()
    for length in (0, 1000, len(whole) - 1):
        (hub.folder / "cut").write_bytes(whole[:length])
        assert "cut off" in one_line(hub.refused(1, "restore", "cut", "--data-dir", "new"))
    (hub.folder / "cut").unlink()
    assert "No such file" in one_line(hub.refused(1, "restore", "cut", "--data-dir", "new"))
    assert not (hub.folder / "new").exists()


def test_a_storage_that_is_not_there_is_told_as_such(hub: Terminal) -> None:
    assert "no_such" in one_line(hub.refused(3, "db", "copy", "--to", "storage_no_such"))
    one_line(hub.refused(2, "db", "copy", "--to", "storage_sqlite", "--set", "pth=other.db"))
    assert "HUB_DSN" in one_line(hub.refused(2, "db", "copy", "--to", "storage_sqlite", "--set", "path=env:HUB_DSN"))


# ------------------------------------------------------------------------------------------------------- keys, crashes


def test_configured_keys_open_a_backup_and_are_not_written_down(hub: Terminal) -> None:
    key = (hub.folder / "data" / "master.key").read_text().strip()
    path = config(hub.folder, f'data_dir = "new"\nmaster_keys = ["{WRONG}", "{key}"]\n')
    hub.ok("restore", "hub.backup", "--config", str(path))
    assert not (hub.folder / "new" / "master.key").exists()
    assert hub.json("token", "list")[0]["title"] == "Firewall"


def test_a_ring_of_keys_goes_along(hub: Terminal) -> None:
    old = (hub.folder / "data" / "master.key").read_text().strip()
    path = config(hub.folder, f'master_keys = ["{WRONG}", "{old}"]\n')
    hub.ok("token", "add", "Newer")
    hub.ok("backup", "ring.backup")
    path.unlink()
    said = hub.ok("restore", "ring.backup", "--data-dir", "new")
    ring = next(line for line in said.splitlines() if "master_keys = [" in line)
    new = hub.folder / "new"
    assert ring.startswith(f'in acmehub.toml: master_keys = ["file:{new}/master.key", "file:{new}/master.key.2"]')
    assert decode_key((new / "master.key").read_text()) == decode_key(WRONG)
    config(hub.folder, f'data_dir = "new"\n{ring.removeprefix("in acmehub.toml: ").partition(";")[0]}\n')
    for title in ("Firewall", "Newer"):
        assert hub.json("token", "eab", title)["hmac_key"]


CRASH = """
import os, sys

from acmehub.admin.operations import backup_file, moving
from acmehub.cli import moving as verbs, main

pages = backup_file.BackupReader.pages
seen = []

async def dying(reader):
    async for page in pages(reader):
        seen.append(page.table)
        if seen.count("revision") == 2:  # the last table; the first time it is only checked
            os._exit(9)
        yield page

backup_file.BackupReader.pages = dying
main(sys.argv[1:])
"""


def test_after_a_crash_in_the_middle_a_second_restore_works(hub: Terminal) -> None:
    command = [sys.executable, "-c", CRASH, "restore", "hub.backup", "--data-dir", "new"]
    done = subprocess.run(command, cwd=hub.folder, capture_output=True, check=False)
    assert done.returncode == 9, done.stderr
    assert (hub.folder / "new" / "master.key").exists()
    hub.ok("restore", "hub.backup", "--data-dir", "new")
    assert hub.json("token", "list", "--data-dir", "new")[0]["title"] == "Firewall"


def test_a_hub_whose_database_is_lost_is_restored_in_its_place(hub: Terminal) -> None:
    before = hub.json("token", "list")
    for path in (hub.folder / "data").glob("acmehub.db*"):
        path.unlink()
    hub.ok("restore", "hub.backup")
    assert hub.json("token", "list") == before


# ------------------------------------------------------------------------------------------------------------- copy


def test_a_copy_says_what_to_change_and_shows_no_secret(hub: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HUB_DB", "other.db")
    said = hub.ok("db", "copy", "--to", "storage_sqlite", "--set", "path=env:HUB_DB")
    assert '  plugin = "storage_sqlite"\n  settings = { path = "env:HUB_DB" }\n' in said
    assert moving._next("p", {"dsn": "postgresql://u:pw@h/d", "port": 5433}, {"dsn"})[3] == (
        "  settings = { dsn = …, port = 5433 }"
    )
    config(hub.folder, '[storage]\nsettings = { path = "env:HUB_DB" }\n')
    assert hub.json("token", "list")[0]["title"] == "Firewall"


def test_progress_is_shown_on_a_terminal_only(
    hub: Terminal, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert hub("backup", "quiet.backup")[2] == ""
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    progress = CountLine("rows")
    progress(12)
    progress(13)  # too soon
    progress.end()
    assert capsys.readouterr().err == "\r12 rows\r" + " " * 24 + "\r"


def test_a_backup_opens_with_other_tools(hub: Terminal) -> None:
    with zipfile.ZipFile(hub.folder / "hub.backup") as archive:
        assert archive.testzip() is None
        manifest: Any = json.loads(archive.read("manifest.json"))
    assert manifest["product"] == "acmehub backup"


def test_a_copy_is_refused_while_another_process_has_the_storage_open(hub: Terminal) -> None:
    with closing(connect(hub.folder / "data" / "acmehub.db")):  # as an idle worker has it
        said = one_line(hub.refused(1, "db", "copy", "--to", "storage_sqlite", "--set", "path=other.db"))
    assert "stop every `acmehub serve` and `worker` first" in said
    assert not (hub.folder / "data" / "other.db").exists()
    hub.ok("db", "copy", "--to", "storage_sqlite", "--set", "path=other.db")
