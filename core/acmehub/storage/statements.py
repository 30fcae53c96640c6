"""The words between verbs and drivers: statements, rows, units of work.

A unit of work is a generator that yields a `Statement` and is sent its rows, and that may yield a `Changed` to say
which orders its transaction changes. It awaits nothing and touches nothing outside, so a driver may run it in any
thread, and run it again from the start when the database asks for that (serialization, deadlock).
"""

import enum
import re
from collections.abc import Generator, Sequence
from typing import Any, TypeVar

import msgspec

_PLACEHOLDER = re.compile(r"\$(\d+)")

T = TypeVar("T")


class Dialect(enum.Enum):
    """The two kinds of SQL that every statement is written for; the value is Piccolo's name for it."""

    SQLITE = "sqlite"
    POSTGRES = "postgres"


class Sql:
    """A statement's text for both dialects.

    Written with `$1`, `$2` …; `{name}` is replaced by that part, `{lock}` and `{skip}` are the row locks where the
    engine has such: wait for the row, or pass it over.
    """

    __slots__ = ("postgres", "sqlite")

    def __init__(self, text: str, /, **parts: str) -> None:
        self.postgres = text.format(lock="FOR UPDATE", skip="FOR UPDATE SKIP LOCKED", **parts)
        self.sqlite = _PLACEHOLDER.sub(r"?\1", text.format(lock="", skip="", **parts)).rstrip()

    @classmethod
    def of(cls, *, sqlite: str, postgres: str) -> "Sql":
        """A text of its own for each dialect."""
        sql = cls.__new__(cls)
        sql.sqlite, sql.postgres = sqlite, postgres
        return sql

    @classmethod
    def of_postgres(cls, text: str, /, **parts: str) -> "Sql":
        """A text that SQLite has no use for; written as the others."""
        return cls.of(sqlite="", postgres=cls(text, **parts).postgres)

    @classmethod
    def ready(cls, text: str) -> "Sql":
        """A text that is in its dialect's own words already."""
        sql = cls.__new__(cls)
        sql.postgres = sql.sqlite = text
        return sql

    def __call__(self, *values: Any) -> "Statement":
        """The statement with its values, already in the dialect's form (see `codec`)."""
        return Statement(self, values)

    def many(self, rows: Sequence[Sequence[Any]]) -> "Statement":
        """The statement once for each row of values; gives no rows back."""
        return Statement(self, rows, True) if len(rows) != 1 else Statement(self, rows[0])


class Statement(msgspec.Struct, frozen=True, gc=False):
    """A text with its values; with `many`, `values` is a sequence of such."""

    sql: Sql
    values: Sequence[Any]
    many: bool = False

    def singly(self) -> "tuple[Statement, ...]":
        """The statement as one for each of its rows of values."""
        return tuple(Statement(self.sql, values) for values in self.values) if self.many else (self,)


class Batch(msgspec.Struct, frozen=True, gc=False):
    """Statements of which none needs what another one does; gives the rows of the last.

    An engine behind a network may send them as one. With `autocommit` they are all that the unit does, so that they
    may be a transaction by themselves. With `guarded`, too, the first one is a guard, an UPDATE that gives rows back:
    where it gives none, nothing is done. The batch gives its rows. The others are INSERT … VALUES, or UPDATE … WHERE,
    and none has `many`.
    """

    statements: tuple[Statement, ...]
    autocommit: bool = False
    guarded: bool = False


class Changed(msgspec.Struct, frozen=True):
    """The orders that this transaction changes, each as (id, new version): published after the commit."""

    orders: tuple[tuple[str, int], ...]


Rows = Sequence[Any]
"""Rows as the driver has them: each can be indexed and unpacked by position."""

Step = Statement | Batch | Changed
"""What a unit of work may yield."""

Unit = Generator[Step, Rows, T]
"""A unit of work with result `T`."""
