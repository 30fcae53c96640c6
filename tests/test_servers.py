"""Servers of the tests: found where systems have them; a test skips, and says why, where one is missing."""

from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from tests.servers import bind, postgres
from tests.servers.pebble import PebbleOptions, running_pebble
from tests.servers.programs import program


def a_program(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch(0o755)
    return path


@pytest.mark.parametrize(
    ("folders", "newest"),
    [
        (["usr/lib/postgresql/15/bin"], "usr/lib/postgresql/15/bin"),
        (["usr/lib/postgresql/17/bin", "usr/lib/postgresql/9.6/bin"], "usr/lib/postgresql/17/bin"),
        (["usr/pgsql-16/bin"], "usr/pgsql-16/bin"),
        (["usr/local/pgsql/bin"], "usr/local/pgsql/bin"),
    ],
)
def test_postgresql_is_found_whatever_its_major_version(tmp_path: Path, folders: list[str], newest: str) -> None:
    for folder in folders:
        a_program(tmp_path / folder / "initdb")
    a_program(tmp_path / "usr/lib/postgresql/18/bin/psql")  # the client alone
    assert postgres.programs(tmp_path) == tmp_path / newest


def test_postgresql_is_found_in_path_or_where_the_environment_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(a_program(tmp_path / "bin" / "initdb").parent))
    assert postgres.programs(tmp_path) == tmp_path / "bin"
    monkeypatch.setenv("TEST_POSTGRES", "/opt/postgresql/bin")
    assert postgres.programs(tmp_path) == Path("/opt/postgresql/bin")


def test_a_program_is_found_in_path_in_sbin_or_where_the_environment_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(a_program(tmp_path / "pebble").parent))
    assert program("pebble") == str(tmp_path / "pebble")
    assert program("pebble-of-nobody") == "pebble-of-nobody"
    monkeypatch.setenv("TEST_PEBBLE", "/opt/pebble")
    assert program("pebble", "TEST_PEBBLE") == "/opt/pebble"


def test_a_missing_server_skips_the_test_and_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bind, "NAMED", "/nowhere/named")
    monkeypatch.setattr(postgres, "BIN", Path("/nowhere"))
    servers: list[tuple[AbstractContextManager[object], str]] = [
        (running_pebble(tmp_path, PebbleOptions(program="/nowhere/pebble")), "/nowhere/pebble"),
        (bind.Bind(tmp_path, [bind.Zone("corp.test")]), "/nowhere/named"),
        (postgres.running_postgres(log=tmp_path / "log"), "/nowhere/initdb, /nowhere/postgres, /nowhere/psql"),
    ]
    for server, named in servers:
        with pytest.raises(pytest.skip.Exception, match=f"not installed: {named}; `make test` installs"), server:
            pass
