"""What PostgreSQL's and asyncpg's errors mean to a caller."""

import ssl

import asyncpg

from acmehub import Conflict, StoreAway, StoreError, StoreUnavailable

_POOLED = (
    "its pooler gives each transaction another connection (pgbouncer: pool_mode = transaction or statement), but"
    " LISTEN, prepared statements and session settings need one that stays: use session mode, or connect directly"
)


class PoolerRefused(Exception):
    """A pooler stands before the database, and the hub cannot work with how it pools."""

    def __init__(self, text: str = _POOLED) -> None:
        super().__init__(text)


_Gone = (asyncpg.InterfaceError, asyncpg.InternalClientError, OSError)
# InternalClientError ("cannot switch to state …") is what a connection answers whose server has said goodbye meanwhile

Errors = (asyncpg.PostgresError, TimeoutError, PoolerRefused, *_Gone)
"""Everything that comes from the database or from the way to it."""

AGAIN = {"40001", "40P01"}
"""Serialization failure, deadlock: the transaction may simply be run again."""

_HINTS = {
    "08P01": "it, or a pooler, refuses how the hub connects: take parameters out of dsn (ALTER ROLE … SET them), and"
    " use session mode in a pooler",
    "25006": "it accepts no writes (a standby, or set read-only): point the settings at the primary",
    "26000": _POOLED,
    "28": "it refuses the user or the password: check the settings, and pg_hba.conf there",
    "3D000": "the database does not exist: create it (README of storage_postgres)",
    "42501": "the user may not do this: give it CREATE and USAGE on the schema (README of storage_postgres)",
    "42P05": _POOLED,
    "42P01": "a table is missing: run `acmehub db upgrade`",
    "42703": "a column is missing: run `acmehub db upgrade`",
    "53100": "its disk is full: make room there",
    "53300": "it takes no more connections: lower `connections` here or raise max_connections there",
    "53": "it is out of resources: see its log",
    "55P03": "a lock was held for too long: see pg_stat_activity there",
    "57014": "it cancelled the statement: see statement_timeout there",
    "57P": "it is shutting down or starting up: wait for it",
    "08": "the connection was lost: check that it runs and can be reached",
    "58": "its disk reports an error: see its log",
    "XX": "it reports an internal error: see its log",
}


def is_lost(error: BaseException) -> bool:
    """Whether the connection is of no more use: gone, silent, or to a server that is not the one to talk to.

    An `InterfaceError` that is a `ValueError` is about a value that the hub passed.
    """
    if isinstance(error, asyncpg.PostgresError):
        state = error.sqlstate or ""
        return state[:2] == "08" or state[:3] == "57P" or state == "25006"
    return isinstance(error, (TimeoutError, *_Gone)) and not isinstance(error, ValueError)


def is_passing(error: BaseException) -> bool:
    """Whether a connection could not be made, or was lost, for what may pass by itself: not a wrong password."""
    if isinstance(error, asyncpg.PostgresError):
        state = error.sqlstate or ""
        return (state[:2] == "08" and state != "08P01") or state[:3] == "57P"
    return isinstance(error, (TimeoutError, *_Gone)) and not isinstance(error, (ValueError, ssl.SSLError))


def may_run_again(error: BaseException) -> bool:
    """Whether a unit of work that had not come to its COMMIT may be run again on the same connection."""
    return isinstance(error, asyncpg.PostgresError) and error.sqlstate in AGAIN


def translated(error: BaseException, place: str, *, committing: bool = False) -> StoreError | None:
    """The `StoreError` for an error; None for a defect of the hub (a wrong statement, a wrong value)."""
    doubt = "; whether the change was made is not known" if committing else ""
    if isinstance(error, asyncpg.UniqueViolationError):
        field = _field(error)
        return Conflict(field, f"another {error.table_name} has this {field}")
    if isinstance(error, asyncpg.ForeignKeyViolationError):
        return Conflict("references", "something else refers to this, or what this refers to is not there")
    if isinstance(error, asyncpg.PostgresError):
        state = error.sqlstate or ""
        hint = next((_HINTS[state[:length]] for length in (5, 3, 2) if state[:length] in _HINTS), None)
        if hint is None and state not in AGAIN:
            return None
        kind = StoreAway if is_passing(error) else StoreUnavailable
        return kind(f"PostgreSQL at {place}: {hint or 'too much contention: try again'}{doubt} ({error})")
    if isinstance(error, PoolerRefused):
        return StoreUnavailable(f"PostgreSQL at {place}: {error}")
    if isinstance(error, ssl.SSLError):
        return StoreUnavailable(f"PostgreSQL at {place}: no TLS: check sslmode and sslrootcert in dsn ({error})")
    if isinstance(error, TimeoutError):
        return StoreAway(f"PostgreSQL at {place} did not answer in time: check that it runs and is idle{doubt}")
    if isinstance(error, _Gone) and not isinstance(error, ValueError):
        reason = str(error) or type(error).__name__
        return StoreAway(
            f"PostgreSQL at {place} cannot be reached: check that it runs and accepts connections{doubt} ({reason})"
        )
    return None


def _field(error: asyncpg.UniqueViolationError) -> str:
    """The field of a unique index by its name: `<table>_<field>_unique`, or `<table>_pkey`."""
    name = (error.constraint_name or "").removeprefix(f"{error.table_name}_")
    return "id" if name == "pkey" else name.removesuffix("_unique")
