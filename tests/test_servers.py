"""Servers of the tests: found where systems have them; a test skips, and says why, where one is missing."""

import socket
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from acmehub.testing import hub_process
from acmehub.testing.hub_process import free_port
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


def test_a_free_port_is_another_one_each_time_and_none_that_an_outgoing_connection_gets() -> None:
    """A server that is stopped and started again finds its port free, and who tries meanwhile does not get itself."""
    first_outgoing = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    if first_outgoing < 11_000:
        pytest.skip("this system gives nearly all ports to outgoing connections")
    ports = [free_port() for _ in range(20)]
    assert len(set(ports)) == 20
    assert max(ports) < first_outgoing


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM])
def test_a_free_port_is_free_at_every_address_for_tcp_and_udp(
    kind: socket.SocketKind, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken, free = free_port("127.0.0.1", "127.0.0.9"), free_port("127.0.0.1", "127.0.0.9")
    monkeypatch.setattr(hub_process, "_candidates", iter((taken, free)))
    with socket.socket(type=kind) as other:
        other.bind(("127.0.0.9", taken))
        assert free_port("127.0.0.1", "127.0.0.9") == free
