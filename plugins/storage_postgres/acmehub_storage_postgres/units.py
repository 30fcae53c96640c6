"""Running one unit of work on a connection: its statements, and the ends of transactions."""

import asyncio
import logging
import re
from collections.abc import Sequence
from typing import Any

import asyncpg

from acmehub.storage_api import Batch, Statement, Step, Unit
from acmehub_storage_postgres.errors import Errors

log = logging.getLogger(__name__)

_PLACEHOLDER = re.compile(r"\$(\d+)")
_INSERT = re.compile(r"(INSERT INTO \w+ \([^()]*\)) VALUES \(([$\d, ]*)\)")


class Failure(Exception):
    """The database, or the way to it, failed with `error`; `committing` when the outcome may be a commit."""

    def __init__(self, error: BaseException, *, committing: bool = False) -> None:
        super().__init__(str(error))
        self.error = error
        self.committing = committing


class Joined:
    """Statements that may go together, as one with data-modifying WITH parts; texts are kept, so they stay prepared."""

    def __init__(self) -> None:
        self._texts: dict[tuple[object, ...], str] = {}

    def text(self, statements: Sequence[Statement], *, guarded: bool = False) -> str:
        """One text for all of them, whose values are theirs one after the other; `guarded` is as in `Batch`."""
        key = (guarded, *[statement.sql.postgres for statement in statements])
        text = self._texts.get(key)
        if text is None:
            text = self._texts[key] = self._join(statements, guarded=guarded)
        return text

    def _join(self, statements: Sequence[Statement], *, guarded: bool) -> str:
        parts, before = [], 0
        for statement in statements:
            parts.append(_shifted(statement.sql.postgres, before))
            before += len(statement.values)
        if len(parts) == 1:
            return parts[0]
        if guarded:
            others, earlier = "", dict[str, str]()
            for number, part in enumerate(parts[1:]):
                others += f", part{number} AS ({_after_guard(part, earlier, f'part{number}')})"
            return f"WITH guard AS ({parts[0]}){others} SELECT * FROM guard"  # noqa: S608  the hub's own statements
        named = ", ".join(f"part{number} AS ({part})" for number, part in enumerate(parts[:-1]))
        return f"WITH {named} {parts[-1]}"


def _after_guard(text: str, earlier: dict[str, str], name: str) -> str:
    """A statement that does nothing where the guard gave no row. `earlier`: by table, the part that inserts before it.

    The server runs parts in any order, and numbers rows so: one that inserts asks for the one before it.
    """
    insert = _INSERT.fullmatch(text)
    if insert is not None:
        before = earlier.get(insert[1])
        earlier[insert[1]] = name
        after = f" WHERE (SELECT count(*) FROM {before}) >= 0" if before else ""  # noqa: S608  as above
        return f"{insert[1]} SELECT {insert[2]} FROM guard{after} RETURNING 1"  # noqa: S608  as above
    if not text.startswith("UPDATE ") or " WHERE " not in text or " RETURNING " in text:
        raise ValueError(f"no statement to follow a guard: {text}")
    return f"{text} AND EXISTS (SELECT 1 FROM guard)"  # noqa: S608  as above


def _shifted(text: str, by: int) -> str:
    return _PLACEHOLDER.sub(lambda match: f"${int(match[1]) + by}", text)


class Running:
    """A unit that has been started, so that it is known whether it is one statement that needs no BEGIN and COMMIT."""

    def __init__(self, unit: Unit[Any], joined: Joined) -> None:
        self._unit = unit
        self._joined = joined
        self.changed: dict[str, int] = {}
        self.guard_held = False
        self._value: Any = None
        self._step: Step | None = self._next(None)
        while self._step is not None and not isinstance(self._step, Statement | Batch):
            self._step = self._next([])

    def _next(self, rows: list[Any] | None) -> Step | None:
        try:
            step = next(self._unit) if rows is None else self._unit.send(rows)
        except StopIteration as stop:
            self._value = stop.value
            return None
        if not isinstance(step, Statement | Batch):
            self.changed.update(step.orders)
        return step

    @property
    def is_guarded(self) -> bool:
        """Whether it is one statement that, run twice, changes something once."""
        return isinstance(self._step, Batch) and self._step.guarded

    @property
    def is_autocommit(self) -> bool:
        """Whether one statement is all that it does."""
        step = self._step
        return isinstance(step, Batch) and step.autocommit and not any(item.many for item in step.statements)

    async def to_end(self, connection: "asyncpg.Connection[Any]", *, committing: bool = False) -> Any:
        """Run it; gives its result. Raises `Failure`, or what it raises itself."""
        step = self._step
        while step is not None:
            try:
                rows = await self._rows(step, connection)
            except Errors as error:
                raise Failure(error, committing=committing) from error
            step = self._next(rows)
        return self._value

    async def _rows(self, step: Step, connection: "asyncpg.Connection[Any]") -> list[Any]:
        rows: list[Any] = []
        if isinstance(step, Statement):
            rows = await _fetch(step, connection)
        elif isinstance(step, Batch):
            group: list[Statement] = []
            if step.guarded:
                rows = await self._fetch_batch(list(step.statements), connection, guarded=True)
                self.guard_held = bool(rows)
                return rows
            for statement in step.statements:
                if statement.many:
                    await self._fetch_batch(group, connection)
                    rows = await _fetch(statement, connection)
                    group = []
                else:
                    group.append(statement)
            if group:
                rows = await self._fetch_batch(group, connection)
        return rows

    async def _fetch_batch(
        self, group: list[Statement], connection: "asyncpg.Connection[Any]", *, guarded: bool = False
    ) -> list[Any]:
        if not group:
            return []
        values = [value for statement in group for value in statement.values]
        rows: list[Any] = await connection.fetch(self._joined.text(group, guarded=guarded), *values)
        return rows


async def _fetch(statement: Statement, connection: "asyncpg.Connection[Any]") -> list[Any]:
    if statement.many:
        await connection.executemany(statement.sql.postgres, statement.values)
        return []
    rows: list[Any] = await connection.fetch(statement.sql.postgres, *statement.values)
    return rows


async def execute(connection: "asyncpg.Connection[Any]", text: str, *, committing: bool = False) -> None:
    """Run a statement without values; raises `Failure`."""
    try:
        await connection.execute(text)
    except Errors as error:
        raise Failure(error, committing=committing) from error


async def roll_back(connection: "asyncpg.Connection[Any]") -> None:
    """End the transaction; a connection that cannot do even that is thrown away, which ends it too."""
    if connection.is_closed():
        return
    try:
        await connection.execute("ROLLBACK")
    except Errors as error:
        log.debug("rolling back: %s", error)
        await cut(connection)


async def cut(connection: "asyncpg.Connection[Any]") -> None:
    """Drop a connection without a word; its socket is closed when this returns."""
    connection.terminate()
    await asyncio.sleep(0)  # the transport closes in the loop's next round
