"""All rows out of one database and into another one: nothing is lost, and nothing is there by halves."""

import asyncio
import contextlib
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from acmehub.models import AuditEntry
from acmehub.ports.copying import HasRows, OtherSchema, TableColumn, TablePage
from acmehub.rules.orders import Lease
from acmehub.storage import migrations, transfer
from acmehub.storage.migrating import migrate
from acmehub.storage.sqlite.driver import SqliteDriver
from acmehub.storage.store import SqlStore
from acmehub.storage.tables import TABLES
from acmehub.testing.store_samples import NOW, at, sow
from tests.storage.every_column import ROWS, copied, everything, exported, fill

ENTRY = AuditEntry(at=NOW, actor="cli:root", action="backup.restore", object="file hub.backup")


@pytest.fixture
async def source(tmp_path: Path) -> SqliteDriver:
    driver = SqliteDriver(tmp_path / "source.db")
    await migrate(driver)
    return driver


@pytest.fixture
def target(tmp_path: Path) -> SqliteDriver:
    return SqliteDriver(tmp_path / "target.db")


async def move(source: SqliteDriver, target: SqliteDriver, audit: Sequence[AuditEntry] = ()) -> None:
    async with copied(source) as (schema, pages):
        await transfer.import_rows(target, schema, pages, audit)


async def test_every_value_of_every_column_of_every_table_goes_over(source: SqliteDriver, target: SqliteDriver) -> None:
    await fill(source)
    await move(source, target)
    before, after = await everything(source), await everything(target)
    assert {len(rows) for rows in before.values()} == {ROWS}
    assert after.pop("used_nonce") == after.pop("rate_limit") == after.pop("zone_lease") == []
    assert after.pop("idempotency") == []
    assert [row for row in after.pop("revision") if row["name"] != "copied"] == before["revision"]
    for table in ("orders", "txt_record", "certificate"):
        for row in before[table]:
            row.update({name: None for name in ("lease_owner", "lease_until") if name in row})
    assert after == {name: rows for name, rows in before.items() if name in after}


async def test_every_table_is_copied_or_is_named_as_left_out_with_a_reason(source: SqliteDriver) -> None:
    left = {table._meta.tablename for table in transfer.LEFT_OUT}
    assert left == {"used_nonce", "rate_limit", "zone_lease", "idempotency"}
    assert all(len(reason) > 20 for reason in transfer.LEFT_OUT.values())
    async with copied(source) as (_, pages):
        taken = {page.table async for page in pages}
    with contextlib.closing(sqlite3.connect(source.place)) as connection:
        made = {row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    assert made - {"migration", "sqlite_sequence"} == taken | left
    assert not taken & left


async def test_pages_join_whatever_their_length(
    source: SqliteDriver, target: SqliteDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    await fill(source, rows=7)
    whole = await exported(source)
    for length in (1, 6, 7, 8):
        monkeypatch.setattr(transfer, "PAGE", length)
        assert await exported(source) == whole
    assert len(whole) == 7 * (len(TABLES) - len(transfer.LEFT_OUT))


async def test_a_snapshot_does_not_see_what_is_written_meanwhile(source: SqliteDriver) -> None:
    store = SqlStore(source)
    await store.open()
    await sow(store)
    async with store.snapshot() as found:
        before = 0
        async for page in found.pages():
            if page.table == "principal":
                await store.records.audit([ENTRY] * 3)  # a table that comes later
            before += len(page.rows) if page.table == "audit" else 0
    assert before == 0
    assert len(await store.records.audited()) == 3
    await store.close()


async def test_a_job_whose_process_stayed_behind_is_claimed_at_once(source: SqliteDriver, target: SqliteDriver) -> None:
    store, new = SqlStore(source), SqlStore(target)
    await store.open()
    seed = await sow(store)
    await store.orders.add(seed.order("a.corp.test"))
    (claimed,) = await store.orders.claim(Lease("there", at(3600)), NOW, 5)
    await move(source, target)
    await store.close()
    await new.open()
    (again,) = await new.orders.claim(Lease("here", at(30)), at(1), 5)
    assert again.order.id == claimed.order.id
    assert again.order.fence == claimed.order.fence + 1
    await new.close()


async def test_entries_and_events_are_numbered_on(source: SqliteDriver, target: SqliteDriver) -> None:
    await fill(source)
    await move(source, target, [ENTRY])
    last = (await everything(target))["audit"][-1]
    assert (last["action"], last["id"]) == ("backup.restore", (await everything(source))["audit"][-1]["id"] + 1)


# ----------------------------------------------------------------------------------------------------- what is refused


async def test_one_row_anywhere_is_too_much(source: SqliteDriver, tmp_path: Path) -> None:
    await migrate(SqliteDriver(tmp_path / "empty.db"))
    await fill(source, rows=1)
    for name, (row,) in (await everything(source)).items():
        target = SqliteDriver(tmp_path / f"{name}.db")
        shutil.copyfile(tmp_path / "empty.db", tmp_path / f"{name}.db")
        async with target.schema() as session:
            await session.insert(name, list(row), [list(row.values())])
        before = await everything(target)
        asked: list[TablePage] = []
        async with copied(source) as (schema, pages):
            with pytest.raises(HasRows, match=name):
                await transfer.import_rows(target, schema, _noted(pages, asked), ())
        assert asked == []
        assert await everything(target) == before


async def _noted(pages: AsyncIterator[TablePage], asked: list[TablePage]) -> AsyncIterator[TablePage]:
    async for page in pages:
        asked.append(page)
        yield page


class Power(BaseException):
    """The power is cut."""


async def test_a_crash_half_way_leaves_nothing_and_a_second_try_works(
    source: SqliteDriver, target: SqliteDriver, tmp_path: Path
) -> None:
    await fill(source)

    async def cut(pages: AsyncIterator[TablePage]) -> AsyncIterator[TablePage]:
        async for page in pages:
            if page.table == "certificate":
                raise Power
            yield page

    async with copied(source) as (schema, pages):
        with pytest.raises(Power):
            await transfer.import_rows(target, schema, cut(pages), ())
    with sqlite3.connect(tmp_path / "target.db") as connection:
        assert connection.execute("SELECT count(*) FROM sqlite_master").fetchone() == (0,)
    await move(source, target)
    assert len((await everything(target))["certificate"]) == ROWS


async def test_rows_that_refer_to_nothing_are_refused(source: SqliteDriver, target: SqliteDriver) -> None:
    await fill(source)

    async def without_tokens(pages: AsyncIterator[TablePage]) -> AsyncIterator[TablePage]:
        async for page in pages:
            if page.table != "token":
                yield page

    async with copied(source) as (schema, pages):
        with pytest.raises(sqlite3.IntegrityError, match="refer to no token"):
            await transfer.import_rows(target, schema, without_tokens(pages), ())


@pytest.mark.parametrize(
    ("table", "columns"),
    [
        ("principal", ("id",)),
        ('principal" (id) VALUES (1); DROP TABLE token; --', ("id",)),
        ("migration", ("name",)),
        ("used_nonce", ("nonce", "expires")),
    ],
)
async def test_tables_and_columns_of_others_do_not_reach_a_statement(
    source: SqliteDriver, target: SqliteDriver, table: str, columns: Sequence[str]
) -> None:
    async def pages() -> AsyncIterator[TablePage]:
        yield TablePage(table, tuple(TableColumn(name, "text") for name in columns), [["1"] * len(columns)])

    async with copied(source) as (schema, _):
        with pytest.raises(OtherSchema, match="other columns"):
            await transfer.import_rows(target, schema, pages(), ())


# ---------------------------------------------------------------------------------------------------- other schemas

LATER = """
from piccolo.apps.migrations.auto.migration_manager import MigrationManager
from piccolo.columns import Text
from piccolo.table import Table
from acmehub.storage.piccolo_engine import DB

ID = "2099-01-01T00:00:01"

class Audit(Table, tablename="audit", db=DB):
    later = Text(default="as it was")

async def forwards():
    manager = MigrationManager(migration_id=ID, app_name="acmehub", description="later")

    async def add():
        await Audit.alter().add_column("later", Audit.later)
        await Audit.raw("UPDATE audit SET detail = 'changed by a later release'")

    manager.add_raw(add)
    return manager
"""


@pytest.fixture
def next_release(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Call it to have one more migration, which adds a column and changes what the rows say."""

    def upgrade() -> None:
        folder = tmp_path / "later"
        folder.mkdir()
        (folder / "m2099_01_01_01_later.py").write_text(LATER)
        monkeypatch.setattr(migrations, "__path__", [*migrations.__path__, str(folder)])

    yield upgrade
    sys.modules.pop(f"{migrations.__name__}.m2099_01_01_01_later", None)


async def test_rows_of_an_earlier_release_are_changed_by_its_later_migrations(
    source: SqliteDriver, target: SqliteDriver, next_release: Any
) -> None:
    await fill(source)
    async with copied(source) as (schema, pages):
        next_release()
        await transfer.import_rows(target, schema, pages, ())
    rows = (await everything(target))["audit"]
    assert {(row["detail"], row["later"]) for row in rows} == {("changed by a later release", "as it was")}


async def test_rows_of_a_later_release_are_refused(source: SqliteDriver, target: SqliteDriver, tmp_path: Path) -> None:
    async with copied(source) as (schema, pages):
        for wrong in ((*schema, "2099-01-01T00:00:01"), ()):
            with pytest.raises(OtherSchema, match="newer schema"):
                await transfer.import_rows(target, wrong, pages, ())
    with sqlite3.connect(tmp_path / "target.db") as connection:
        assert connection.execute("SELECT count(*) FROM sqlite_master").fetchone() == (0,)


async def test_an_earlier_releases_rows_do_not_go_into_tables_that_were_changed_since(
    source: SqliteDriver, target: SqliteDriver, next_release: Any
) -> None:
    async with copied(source) as (schema, pages):
        next_release()
        await migrate(target)
        with pytest.raises(OtherSchema, match="empty database"):
            await transfer.import_rows(target, schema, pages, ())


# ------------------------------------------------------------------------------------------------- who else is there


async def test_an_import_chooses_a_number(source: SqliteDriver, target: SqliteDriver, tmp_path: Path) -> None:
    found: list[int] = []
    for driver in (source, target, SqliteDriver(tmp_path / "third.db")):
        if found:
            await move(source if len(found) == 1 else target, driver)
        store = SqlStore(driver)
        await store.open()
        await store.revisions()
        found.append(await store.copy_number())
        await store.close()
    assert found[0] == 0
    assert 0 not in found[1:]
    assert found[1] != found[2]


async def test_another_process_is_seen_though_it_is_idle(source: SqliteDriver, tmp_path: Path) -> None:
    assert not await source.used_elsewhere()
    assert not await SqliteDriver(tmp_path / "none.db").used_elsewhere()
    assert not (tmp_path / "none.db").exists()
    script = (
        "import asyncio, sys\nfrom pathlib import Path\nfrom acmehub.storage_api import SqliteDriver\n"
        "async def idle():\n"
        "    driver = SqliteDriver(Path(sys.argv[1])); await driver.open(serve=False); print('idle', flush=True)\n"
        "    await asyncio.to_thread(sys.stdin.read); await driver.close()\n"
        "asyncio.run(idle())"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "source.db")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert await asyncio.to_thread(process.stdout.readline) == b"idle\n"
        assert await source.used_elsewhere()
        process.communicate()
    assert not await source.used_elsewhere()
