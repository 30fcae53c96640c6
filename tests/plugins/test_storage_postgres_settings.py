"""The PostgreSQL storage without a server: its settings, and what errors mean."""

from typing import Any

import asyncpg
import pytest

from acmehub import Secret, SettingsError, StoreUnavailable, read_settings
from acmehub_storage_postgres import Settings, register_storages
from acmehub_storage_postgres.errors import translated


@pytest.mark.parametrize(
    ("error", "cure"),
    [
        (asyncpg.DiskFullError("could not extend file"), "disk is full"),
        (asyncpg.TooManyConnectionsError("too many clients"), "max_connections"),
        (asyncpg.CannotConnectNowError("starting up"), "wait for it"),
        (asyncpg.AdminShutdownError("terminating connection"), "wait for it"),
        (asyncpg.QueryCanceledError("statement timeout"), "statement_timeout"),
        (asyncpg.ConnectionDoesNotExistError("connection was closed"), "connection was lost"),
        (asyncpg.DeadlockDetectedError("deadlock"), "contention"),
        (TimeoutError(), "did not answer in time"),
        (ConnectionRefusedError("refused"), "cannot be reached"),
        (asyncpg.InterfaceError("connection is closed"), "cannot be reached"),
        (asyncpg.InternalClientError("cannot switch to state 15"), "cannot be reached"),
    ],
)
def test_each_failure_names_a_cure(error: Exception, cure: str) -> None:
    known = translated(error, "db:5432/hub")
    assert isinstance(known, StoreUnavailable)
    assert cure in str(known)
    assert "db:5432/hub" in str(known)
    doubtful = translated(error, "db:5432/hub", committing=True)
    assert "not known" in str(doubtful)


def test_a_defect_of_ours_is_not_dressed_up() -> None:
    assert translated(asyncpg.PostgresSyntaxError("syntax error"), "db") is None
    assert translated(asyncpg.exceptions._base.DataError("invalid input"), "db") is None


@pytest.mark.parametrize(
    ("raw", "field"),
    [
        ({"dsn": "mysql://db/hub"}, "dsn"),
        ({"dsn": "postgresql://db/hub", "host": "db"}, "dsn and host"),
        ({"host": "db", "connections": 0}, "connections"),
        ({"host": "db", "timeout": 0}, "timeout"),
        ({"host": "db", "pool": 3}, "pool"),
    ],
)
def test_settings_that_do_not_fit_name_the_field(raw: dict[str, Any], field: str) -> None:
    with pytest.raises(SettingsError, match=field):
        read_settings(raw, Settings)


def test_settings_show_the_place_and_never_the_password() -> None:
    for settings in (
        read_settings({"dsn": "postgresql://hub:hidden-word@db1:5432,db2:5433/hub?sslmode=require"}, Settings),
        read_settings({"host": "db1", "database": "hub", "user": "hub", "password": "hidden-word"}, Settings),
    ):
        assert "db1:5432" in settings.place
        assert "hidden-word" not in settings.place + repr(settings)
    assert Settings(dsn=Secret("postgresql:///hub?host=/run/postgresql")).place == "/run/postgresql/hub"


def test_it_is_registered_under_its_name() -> None:
    registered: list[str] = []
    register_storages(lambda name, *_: registered.append(name))
    assert registered == ["storage_postgres"]
