"""`acmehub attention`."""

import asyncio
from datetime import UTC, datetime, timedelta

from msgspec.structs import replace

from acmehub.models import Pause
from acmehub.storage_api import SqliteDriver, SqlStore
from tests.cli.conftest import Terminal


def paused(terminal: Terminal, since: datetime) -> None:
    async def pause() -> None:
        store = SqlStore(SqliteDriver(terminal.folder / "data" / "acmehub.db"))
        await store.open()
        (row,) = await store.authorities.list()
        await store.authorities.replace(replace(row, pauses=(Pause(since, "visit \x1b[31mthe portal"),)))
        await store.close()

    asyncio.run(pause())


def test_attention_is_silent_and_succeeds_where_nothing_is_wrong(terminal: Terminal) -> None:
    assert terminal.ok("attention") == "nothing needs you\n"
    assert terminal.json("attention") == []


def test_what_is_urgent_is_told_with_what_to_do_and_has_a_status_of_its_own(terminal: Terminal) -> None:
    since = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=3)
    paused(terminal, since)
    status, said, _ = terminal("attention")
    assert status == 7
    assert said.startswith("PAGE  authority ")
    assert f"since  {since:%Y-%m-%d %H:%M}Z" in said
    assert "acmehub authority clear-pause" in said
    assert "\x1b" not in said
    (item,) = terminal.json("attention", status=7)
    assert (item["severity"], item["kind"], item["words"]) == ("page", "authority", "visit \x1b[31mthe portal")
