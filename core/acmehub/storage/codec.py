"""Rows and models: derived once per kind of model from its table, so that the hot verbs only run through short lists.

A column has the field's name. Every string can be stored (`storable`). Enums are stored as their value, times as
timestamptz (in SQLite as text of one width, so that its order is time's), nested values as JSON. A model that does not
fit its table is refused when the store is made.
"""

import enum
import types
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from operator import attrgetter
from typing import Any, Generic, TypeVar, Union, get_args, get_origin, get_type_hints

import msgspec
from msgspec.structs import astuple
from piccolo.columns import (
    BigInt,
    BigSerial,
    Boolean,
    Bytea,
    Column,
    DoublePrecision,
    ForeignKey,
    Integer,
    Text,
    Timestamptz,
)
from piccolo.query.methods.select import Select
from piccolo.table import Table

from acmehub.storage import hot_statements
from acmehub.storage.statements import Dialect, Sql

M = TypeVar("M", bound=msgspec.Struct)

_TYPES: dict[type[Column], type] = {  # of fields whose columns are not text
    BigInt: int,
    BigSerial: int,
    Boolean: bool,
    Bytea: bytes,
    DoublePrecision: float,
    Integer: int,
    Timestamptz: datetime,
}
_enum_value = attrgetter("_value_")


def time_text(value: datetime) -> str:
    """A time as SQLite keeps it: `2026-11-24T06:12:00.000000+00:00`."""
    if value.tzinfo is not UTC:
        if value.tzinfo is None:
            raise ValueError("a time without a zone is not stored")
        value = value.astimezone(UTC)
    return value.isoformat(timespec="microseconds")


def time_value(dialect: Dialect, value: datetime) -> Any:
    """A time as the dialect's driver takes it."""
    return time_text(value) if dialect is Dialect.SQLITE else value


def read_time(dialect: Dialect, value: Any) -> datetime | None:
    """A time as it came from the driver."""
    if value is None:
        return None
    time: datetime = datetime.fromisoformat(value) if dialect is Dialect.SQLITE else value
    return time


def storable(text: str) -> str:
    """Words from outside without what no engine's text can hold: lone surrogates, and (PostgreSQL) U+0000."""
    if text.isascii() and "\0" not in text:
        return text
    return text.replace("\0", "\ufffd").encode("utf-8", "replace").decode()


def _json_text(value: Any) -> str:
    try:
        return msgspec.json.encode(value).decode()
    except UnicodeEncodeError:  # a lone surrogate
        return msgspec.json.encode(_storable_parts(msgspec.to_builtins(value))).decode()


def _storable_parts(value: Any) -> Any:
    """What is nested, with every text as `storable` has it."""
    if isinstance(value, str):
        return storable(value)
    if isinstance(value, dict):
        return {storable(name): _storable_parts(item) for name, item in value.items()}
    return [_storable_parts(item) for item in value] if isinstance(value, list | tuple) else value


def _parts(hint: Any) -> tuple[Any, bool]:
    """`X` and whether it may be None, for `X` or `X | None`."""
    if get_origin(hint) in (Union, types.UnionType):
        rest = [item for item in get_args(hint) if item is not type(None)]
        return (rest[0] if len(rest) == 1 else hint), len(rest) < len(get_args(hint))
    return hint, False


class Codec(Generic[M]):
    """How one kind of model is written to, and read from, one table."""

    def __init__(self, model: type[M], table: type[Table], dialect: Dialect) -> None:
        self.model = model
        self.table: str = table._meta.tablename
        self.fields: tuple[str, ...] = model.__struct_fields__
        self._rows = table
        columns = {
            column._meta.name: column
            for column in table._meta.columns
            if not isinstance(column, BigSerial) or column._meta.name in self.fields
        }
        if columns.keys() != set(self.fields):
            odd = ", ".join(sorted(columns.keys() ^ set(self.fields)))
            raise TypeError(f"table {self.table} and {model.__name__} differ in {odd}: add the column, or the field")
        self._columns = columns
        self._encoders: list[tuple[int, Callable[[Any], Any]]] = []
        self._texts: list[int] = []  # fields with words from outside: looked at together
        self._decoders: list[tuple[int, Callable[[Any], Any]]] = []
        hints = get_type_hints(model)
        for index, name in enumerate(self.fields):
            hint, optional = _parts(hints[name])
            column = columns[name]
            if column._meta.null is not optional or not _fits(hint, column):
                kind = f"{type(column).__name__}(null={column._meta.null})"
                raise TypeError(f"{self.table}.{name}: the column {kind} does not fit the field's type {hints[name]}")
            encode, decode = _coders(hint, column, dialect)
            if encode is storable:
                self._texts.append(index)
            elif encode is not None:
                self._encoders.append((index, encode))
            if decode is not None:
                self._decoders.append((index, decode))
        self._encode_field = {self.fields[index]: encode for index, encode in self._encoders}
        self._encode_field.update({self.fields[index]: storable for index in self._texts})
        self._updates: dict[tuple[bool, tuple[str, ...]], Sql] = {}
        self.columns = ", ".join(f'"{name}"' for name in self.fields)
        self.insert = hot_statements.insert(self.table, self.fields)

    @property
    def columns_of_table(self) -> list[Column]:
        """The columns that `read` takes, in its order."""
        return [self._columns[name] for name in self.fields]

    def column(self, name: str) -> Column:
        """A column, for conditions."""
        return self._columns[name]

    def select(self) -> Select[Any]:
        """A query for rows that `read` takes."""
        return self._rows.select(*self.columns_of_table)

    def prefixed(self, alias: str) -> str:
        """The columns for a SELECT from a table with an alias."""
        return ", ".join(f'{alias}."{name}"' for name in self.fields)

    def row(self, item: M) -> list[Any]:
        """The values of `item` in the order of `columns`."""
        values = list(astuple(item))
        for index, encode in self._encoders:
            value = values[index]
            if value is not None:
                values[index] = encode(value)
        words = "".join([values[index] or "" for index in self._texts])
        if not words.isascii() or "\0" in words:
            for index in self._texts:
                values[index] = values[index] and storable(values[index])
        return values

    def read(self, row: Sequence[Any]) -> M:
        """The model in a row whose values are in the order of `columns`."""
        values = list(row)
        for index, decode in self._decoders:
            value = values[index]
            if value is not None:
                values[index] = decode(value)
        return self.model(**dict(zip(self.fields, values, strict=True)))

    def value(self, field: str, value: Any) -> Any:
        """One field's value as it is stored."""
        encode = self._encode_field.get(field)
        return value if encode is None or value is None else encode(value)

    def changed(self, old: M, new: M) -> tuple[str, ...]:
        """The names of the fields in which two models differ."""
        return tuple(
            [
                name
                for name, before, after in zip(self.fields, astuple(old), astuple(new), strict=True)
                if before is not after and before != after
            ]
        )

    def update(self, names: tuple[str, ...], *, locked: bool = False) -> Sql:
        """UPDATE of these columns with version + 1, see `hot_statements.update`."""
        sql = self._updates.get((locked, names))
        if sql is None:
            sql = self._updates[locked, names] = hot_statements.update(self.table, names, locked=locked)
        return sql

    def values(self, names: tuple[str, ...], item: M) -> list[Any]:
        """The stored values of these fields of `item`."""
        return [self.value(name, getattr(item, name)) for name in names]


def _fits(hint: Any, column: Column) -> bool:
    """Whether a column holds the values of a field of this type; text holds strings, enums and what is nested."""
    if isinstance(column, Text | ForeignKey):
        return hint not in _TYPES.values()
    return _TYPES.get(type(column)) is hint


def _coders(
    hint: Any, column: Column, dialect: Dialect
) -> tuple[Callable[[Any], Any] | None, Callable[[Any], Any] | None]:
    """How a value of this type is written and read; None where the driver takes and gives it as it is."""
    sqlite = dialect is Dialect.SQLITE
    if isinstance(column, Boolean):
        return None, bool if sqlite else None
    if isinstance(column, Timestamptz):
        return (time_text, datetime.fromisoformat) if sqlite else (None, None)
    if not isinstance(column, Text | ForeignKey):
        return None, None
    if hint is str:  # the hub's own ids have nothing odd
        return None if isinstance(column, ForeignKey) or column._meta.primary_key else storable, None
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        return _enum_value, {item.value: item for item in hint}.__getitem__
    return _json_text, msgspec.json.Decoder(hint).decode
