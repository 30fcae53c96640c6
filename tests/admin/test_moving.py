"""A backup and a copy: what they leave in the audit, what they refuse, and what is in the file."""

import os
import sqlite3
import stat
import zipfile
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest

from acmehub.admin.access.errors import NotFound, Refused, Taken
from acmehub.admin.operations import backup_file
from acmehub.admin.operations.backup_file import open_backup
from acmehub.admin.operations.moving import BackupContent, MovingService, check, restore
from acmehub.admin.resources.authorities import NewAuthority
from acmehub.admin.resources.managed_challenges import NewManagedChallenge
from acmehub.admin.resources.principals import NewPrincipal
from acmehub.admin.resources.tokens import NewToken
from acmehub.models import Role, RoleAssignment
from acmehub.ports.clock import SystemClock
from acmehub.ports.copying import TablePage
from acmehub.runtime.vault import Vault, encode_key
from acmehub.storage_api import SqliteDriver, SqlStore
from tests.admin.conftest import ROOT, House

KEY = bytes(32)
OTHER = bytes([1]) * 32
CONTENT = BackupContent(
    keys=[encode_key(KEY)],
    files={"ca.pem": b"root", "acmehub.toml": b"# mine"},
    version="0.1.0",
    storage="storage_sqlite",
    public_url="https://hub.test",
)
SECRETS = {"token": "tokens", "managed_challenge": "managed_challenges", "authority": "authorities"}


@pytest.fixture
async def furnished(house: House) -> House:
    consumer = (RoleAssignment(Role.MANAGED_ACME_CONSUMER),)
    await house.principals.add(NewPrincipal(name="app", roles=consumer), ROOT)
    await house.tokens.add(NewToken(title="EAB", principal="app", secret_directory=True), ROOT)
    settings = {"server": "s", "key_secret": "k"}
    zone = NewManagedChallenge(name="zone", plugin="dns_fake", match="b.test", settings=settings)
    await house.managed_challenges.add(zone, ROOT)
    await house.authorities.add(NewAuthority(name="ca", plugin="ca_local"), ROOT)
    return house


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "hub.backup"


def another(house: House, name: str = "other.db") -> SqlStore:
    return SqlStore(SqliteDriver(house.folder / name))


def moving_with(house: House, store: Any, *keys: bytes) -> MovingService:
    return MovingService(store, Vault(keys or [KEY]), SystemClock())


def rewritten(source: Path, target: Path, **changed: Any) -> Path:
    """A copy of a backup in which members have another content, or (None) are missing."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for name in old.namelist():
            content = changed.get(name.partition(".")[0].replace("/", "_"), old.read(name))
            if content is not None:
                new.writestr(name, content)
    return target


# ----------------------------------------------------------------------------------------------------------- backup


async def test_a_backup_is_complete_and_says_so(furnished: House, file: Path) -> None:
    seen: list[int] = []
    made = await furnished.admin.moving.backup(file, CONTENT, ROOT, progress=seen.append)
    with open_backup(file) as found:
        assert found.manifest == made
        assert found.keys == tuple(CONTENT.keys)
        assert {name: found.file(name) for name in CONTENT.files} == CONTENT.files
        assert found.file("tls.pem") is None
        rows = {page.table: len(page.rows) async for page in found.pages() if page.rows}
    assert rows == {name: count for name, count in made.rows.items() if count}
    assert rows["token"] == 1
    assert seen[-1] == sum(rows.values())
    entry = (await furnished.audited())[0]
    assert (entry.actor, entry.action, entry.object, entry.allowed) == (
        ROOT.name,
        "backup.create",
        f"file {file}",
        True,
    )


async def test_its_file_is_for_its_owner_alone_from_its_first_byte(
    furnished: House, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    modes: list[tuple[str, int]] = []
    write = backup_file.BackupWriter.page

    def look(writer: backup_file.BackupWriter, page: TablePage) -> None:
        modes.extend((path.name, stat.S_IMODE(path.stat().st_mode)) for path in file.parent.glob("*.backup*"))
        modes.extend((path.name, stat.S_IMODE(path.stat().st_mode)) for path in file.parent.glob(".hub.backup*"))
        write(writer, page)

    monkeypatch.setattr(backup_file.BackupWriter, "page", look)
    before = os.umask(0)
    try:
        await furnished.admin.moving.backup(file, CONTENT, ROOT)
    finally:
        os.umask(before)
    assert {mode for _, mode in modes} == {0o600}
    assert file.name not in {name for name, _ in modes}  # it has its name when it is whole
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [path.name for path in file.parent.glob(".hub.backup*")] == []


async def test_a_file_that_is_there_stays_unless_forced(furnished: House, file: Path) -> None:
    file.write_text("mine")
    with pytest.raises(Taken, match="--force"):
        await furnished.admin.moving.backup(file, CONTENT, ROOT)
    assert file.read_text() == "mine"
    assert [(item.allowed, item.action) for item in (await furnished.audited())[:2]] == [
        (False, "backup.create"),
        (True, "authority.add"),
    ]
    await furnished.admin.moving.backup(file, CONTENT, ROOT, force=True)
    assert zipfile.is_zipfile(file)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


async def test_a_file_that_comes_meanwhile_stays(furnished: House, file: Path) -> None:
    with pytest.raises(Taken, match="--force"):
        await furnished.admin.moving.backup(file, CONTENT, ROOT, progress=lambda _rows: file.touch())
    assert file.read_bytes() == b""
    assert list(file.parent.glob(".hub*")) == []


async def test_where_nothing_can_be_written_one_line_says_so(furnished: House, tmp_path: Path) -> None:
    with pytest.raises(Refused, match="cannot be written: No such file or directory"):
        await furnished.admin.moving.backup(tmp_path / "nowhere" / "hub.backup", CONTENT, ROOT)


@pytest.mark.parametrize("kind", SECRETS)
async def test_a_backup_whose_secrets_its_keys_do_not_open_is_refused(furnished: House, file: Path, kind: str) -> None:
    other = Vault([OTHER])
    rows = getattr(furnished.store, SECRETS[kind])
    row = (await rows.list())[0]
    field, purpose = {
        "token": ("sealed_directory_key", "token.directory"),
        "managed_challenge": ("sealed_settings", "managed_challenge.settings"),
        "authority": ("sealed_settings", "authority.settings"),
    }[kind]
    await rows.replace(msgspec.structs.replace(row, **{field: other.seal(purpose, row.id, b"{}")}))
    with pytest.raises(Refused, match=r"sealed under master key \w+, which is not in master_keys"):
        await furnished.admin.moving.backup(file, CONTENT, ROOT)
    assert list(file.parent.glob("*.backup*")) + list(file.parent.glob(".hub*")) == []
    assert [entry.allowed for entry in (await furnished.audited())[:1]] == [False]
    both = msgspec.structs.replace(CONTENT, keys=[encode_key(KEY), encode_key(OTHER)])
    await furnished.admin.moving.backup(file, both, ROOT)


async def test_without_an_entry_in_the_audit_nothing_leaves(furnished: House, file: Path) -> None:
    with closing(sqlite3.connect(furnished.folder / "acmehub.db")) as connection:
        connection.execute("CREATE TRIGGER t AFTER INSERT ON audit BEGIN INSERT INTO nowhere VALUES (1); END")
    with pytest.raises(sqlite3.OperationalError):
        await furnished.admin.moving.backup(file, CONTENT, ROOT)
    with pytest.raises(sqlite3.OperationalError):
        await furnished.admin.moving.copy(another(furnished), "storage_sqlite", ROOT)
    assert not file.exists()
    assert not (furnished.folder / "other.db").exists()


async def test_a_storage_that_offers_no_copies_is_refused_in_words(furnished: House, file: Path) -> None:
    class Plain:
        """A storage of a plugin that leaves `CopiesRows` out."""

        def __init__(self, store: SqlStore) -> None:
            self.records = store.records
            self.principals = store.principals

    assert isinstance(furnished.store, SqlStore)
    service = moving_with(furnished, Plain(furnished.store))
    with pytest.raises(Refused, match="Plain offers no copies of its rows"):
        await service.backup(file, CONTENT, ROOT)
    with pytest.raises(Refused, match="Plain offers no copies of its rows"):
        await service.copy(another(furnished), "storage_sqlite", ROOT)


# ---------------------------------------------------------------------------------------------------------- restore


async def test_a_restored_storage_has_it_all_and_an_entry_that_says_so(furnished: House, file: Path) -> None:
    await furnished.admin.moving.backup(file, CONTENT, ROOT)
    target = another(furnished)
    with open_backup(file) as found:
        await check(found, Vault([KEY]))
        await restore(found, target, "storage_sqlite", ROOT, SystemClock(), put_files=lambda: None)
    await target.open()
    for name in ("principals", "tokens", "managed_challenges", "authorities"):
        assert await getattr(target, name).list() == await getattr(furnished.store, name).list()
    latest, created = (await target.records.audited())[:2]
    assert (latest.actor, latest.action) == (ROOT.name, "backup.restore")
    assert created.action == "backup.create"
    await target.close()


async def test_files_are_put_when_the_storage_takes_the_rows_and_before_it_has_them(
    furnished: House, file: Path
) -> None:
    await furnished.admin.moving.backup(file, CONTENT, ROOT)
    put: list[str] = []
    with open_backup(file) as found:
        with pytest.raises(Taken, match="it has rows already"):
            await restore(found, another(furnished, "acmehub.db"), "storage_sqlite", ROOT, SystemClock(),
                          put_files=lambda: put.append("used"))  # fmt: skip
        assert put == []

        def fail() -> None:
            raise OSError(28, "No space left on device")

        target = another(furnished)
        with pytest.raises(OSError, match="No space"):
            await restore(found, target, "storage_sqlite", ROOT, SystemClock(), put_files=fail)
        await restore(found, target, "storage_sqlite", ROOT, SystemClock(), put_files=lambda: put.append("new"))
    assert put == ["new"]


async def test_a_wrong_key_is_told_before_anything_is_written(furnished: House, file: Path) -> None:
    await furnished.admin.moving.backup(file, CONTENT, ROOT)
    with open_backup(file) as found, pytest.raises(Refused, match="without the right master key"):
        await check(found, Vault([OTHER]))


async def refusal(path: Path) -> str:
    """What is said of a file that is not taken."""
    with pytest.raises(Refused) as refused, open_backup(path) as found:
        await check(found, Vault([KEY]))
    text = str(refused.value)
    assert text.startswith(f"{path}: ")
    assert "\n" not in text
    return text


async def test_a_file_that_was_cut_off_anywhere_is_refused(furnished: House, file: Path, tmp_path: Path) -> None:
    await furnished.admin.moving.backup(file, CONTENT, ROOT)
    whole = file.read_bytes()
    cut = tmp_path / "cut"
    for length in (0, 1, 100, len(whole) // 2, len(whole) - 30, len(whole) - 1):
        cut.write_bytes(whole[:length])
        await refusal(cut)


async def test_a_bit_that_fell_over_is_found(furnished: House, file: Path, tmp_path: Path) -> None:
    await furnished.admin.moving.backup(file, CONTENT, ROOT)
    whole = bytearray(file.read_bytes())
    with zipfile.ZipFile(file) as archive:
        start = archive.getinfo("rows/audit.jsonl").header_offset
    whole[start + 120] ^= 4
    bad = tmp_path / "bad"
    bad.write_bytes(whole)
    assert "rows/audit.jsonl in it is damaged" in await refusal(bad)


async def test_foreign_files_and_other_formats_are_refused(furnished: House, file: Path, tmp_path: Path) -> None:
    await furnished.admin.moving.backup(file, CONTENT, ROOT)
    bad = tmp_path / "bad"
    manifest = msgspec.json.decode(zipfile.ZipFile(file).read("manifest.json"))

    def told(**changes: Any) -> bytes:
        return msgspec.json.encode({**manifest, **changes})

    bad.write_text("no archive")
    assert "no backup of acmehub" in await refusal(bad)
    assert "cannot be read" in await refusal(tmp_path / "nowhere")
    assert "no backup" in await refusal(rewritten(file, bad, manifest=b'{"product": "other"}'))
    assert "no manifest.json" in await refusal(rewritten(file, bad, manifest=None))
    newer = msgspec.json.encode({"product": "acmehub backup", "format": 2, "rows": "in another way"})
    assert "it has format 2, and this acmehub reads 1" in await refusal(rewritten(file, bad, manifest=newer))
    assert "no keys.json" in await refusal(rewritten(file, bad, keys=None))
    assert "no master key" in await refusal(rewritten(file, bad, keys=b"[]"))
    assert "no rows/token.jsonl" in await refusal(rewritten(file, bad, rows_token=None))
    fewer = told(rows={**manifest["rows"], "token": 2})
    assert "1 rows of token instead of 2" in await refusal(rewritten(file, bad, manifest=fewer))
    assert "rows/event.jsonl in it is damaged" in await refusal(rewritten(file, bad, rows_event=b"not JSON\n"))
    odd = b'[{"name":"id","kind":"integer"}]\n["one"]\n'
    assert "rows/event.jsonl in it is damaged" in await refusal(rewritten(file, bad, rows_event=odd))


async def test_a_member_that_unpacks_without_end_is_refused(
    furnished: House, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await furnished.admin.moving.backup(file, CONTENT, ROOT)
    monkeypatch.setattr(backup_file, "_LONGEST", 5000)
    bad = rewritten(file, tmp_path / "bad", rows_event=b'[{"name":"kind","kind":"text"}]\n["' + b"x" * 9000 + b'"]\n')
    assert "rows/event.jsonl in it is damaged" in await refusal(bad)
    large = rewritten(file, tmp_path / "large", files_ca=b"x" * 9000)
    with open_backup(large) as found, pytest.raises(Refused, match=r"files/ca\.pem in it is too large"):
        found.file("ca.pem")


async def test_names_in_a_file_lead_nowhere(furnished: House, file: Path, tmp_path: Path) -> None:
    await furnished.admin.moving.backup(file, CONTENT, ROOT)
    bad = tmp_path / "bad"
    bad.write_bytes(file.read_bytes())
    with zipfile.ZipFile(bad, "a") as archive:
        archive.writestr("../evil", "evil")
        archive.writestr("/tmp/evil", "evil")
        link = zipfile.ZipInfo("files/url")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(link, "/etc/passwd")
    with open_backup(bad) as found:
        await check(found, Vault([KEY]))
        assert found.file("url") is None
        assert found.file("../evil") is None


# ------------------------------------------------------------------------------------------------------------- copy


async def test_a_copy_is_complete_and_in_the_audit_of_both(furnished: House) -> None:
    target = another(furnished)
    seen: list[int] = []
    count = await furnished.admin.moving.copy(target, "storage_sqlite", ROOT, progress=seen.append)
    assert seen[-1] == count > 5
    await target.open()
    assert await target.tokens.list() == await furnished.store.tokens.list()
    assert await target.records.audited() == await furnished.audited()
    assert (await target.records.audited())[0].action == "storage.copy"
    await target.close()


async def test_what_a_copy_refuses_is_in_the_audit(furnished: House) -> None:
    service = furnished.admin.moving
    with pytest.raises(Taken, match="it has rows already"):
        await service.copy(another(furnished, "acmehub.db"), "storage_sqlite", ROOT)
    with pytest.raises(Refused, match="another process uses the storage"):
        await service.copy(another(furnished), "storage_sqlite", ROOT, in_use=True)
    assert [entry.allowed for entry in (await furnished.audited())[:3]] == [False, False, True]


async def test_a_copy_whose_secrets_do_not_open_leaves_nothing(furnished: House) -> None:
    service = moving_with(furnished, furnished.store, OTHER)
    with pytest.raises(Refused, match="not in master_keys"):
        await service.copy(another(furnished), "storage_sqlite", ROOT)
    with closing(sqlite3.connect(furnished.folder / "other.db")) as connection:
        assert connection.execute("SELECT count(*) FROM sqlite_master").fetchone() == (0,)


async def test_where_there_is_no_hub_nothing_is_copied(furnished: House) -> None:
    empty = another(furnished, "empty.db")
    await empty.migrate()
    await empty.open()
    with pytest.raises(NotFound, match="there is no hub"):
        await moving_with(furnished, empty).copy(another(furnished), "storage_sqlite", ROOT)
    await empty.close()
    assert not (furnished.folder / "other.db").exists()
