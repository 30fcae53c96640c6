"""`serve`, `worker` and the other verbs while PostgreSQL is away: who waits, what clients are told meanwhile."""

import http.client
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from acmehub.testing.hub_process import HubProcess
from tests.cli.conftest import Cli
from tests.journal import Journal
from tests.servers.postgres import Postgres

pytestmark = pytest.mark.slow


def config(dsn: str) -> str:
    storage = f'plugin = "storage_postgres"\nsettings = {{ dsn = "{dsn}" }}'
    return f'plugins = ["storage_postgres"]\n[storage]\n{storage}\n[tls]\nmode = "off"\n'


def get(hub: HubProcess, path: str) -> tuple[int, str | None]:
    """Status and Retry-After; (0, None) when there is no answer."""
    connection = http.client.HTTPConnection("127.0.0.1", hub.port, timeout=5)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        answer.read()
        return answer.status, answer.headers["retry-after"]
    except OSError:
        return 0, None
    finally:
        connection.close()


def lines_of(text: str) -> list[str]:
    """What was said, without that this machine is too busy to import a plugin quickly."""
    return [line for line in text.splitlines() if " s to import: " not in line]


def eventually(holds: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_serve_waits_and_clients_are_told_to_come_back(server: Postgres, tmp_path: Path, journal: Journal) -> None:
    hub = HubProcess(tmp_path, config=config(server.new_database()), log=journal.new_log("hub"))
    server.stop()
    hub.launch()
    try:
        eventually(lambda: get(hub, "/healthz")[0] == 200)
        assert get(hub, "/readyz")[0] == 503
        assert get(hub, "/acme/renewal-info/AAAA.AAAA") == (503, "10")
        assert get(hub, "/acme/new-nonce") == (503, "10")  # the storage knows which key nonces have
        server.start()
        hub.wait_until_ready()
        assert get(hub, "/acme/directory")[0] == 200
        assert get(hub, "/acme/new-nonce")[0] == 204
        assert "Traceback" not in hub.log.read_text()
        text = hub.log.read_text()
        assert text.count("the storage is away, and the start waits for it") == 1
        assert text.count("the storage answers, after ") == 1
        assert server.password not in text
        hub.stop()
    finally:
        if hub.exit_status is None:
            hub.kill()


def test_a_signal_ends_the_wait_at_once(server: Postgres, tmp_path: Path, journal: Journal) -> None:
    dsn = server.dsn("postgres").replace(f":{server.port}/", ":1/")
    hub = HubProcess(tmp_path, config=config(dsn), command="worker", log=journal.new_log("hub"))
    hub.launch()
    eventually(lambda: "the start waits for it" in hub.log.read_text())
    began = time.monotonic()
    hub.stop()
    assert time.monotonic() - began < 3
    assert hub.exit_status == 0


def test_a_wrong_password_ends_the_start(server: Postgres, tmp_path: Path, journal: Journal) -> None:
    dsn = server.dsn("postgres").replace(server.password, "wrong")
    hub = HubProcess(tmp_path, config=config(dsn), log=journal.new_log("hub"))
    hub.launch()
    assert hub.ended(30)
    assert hub.exit_status == 5
    (line,) = lines_of(hub.log.read_text())
    assert f"127.0.0.1:{server.port}/postgres" in line


def test_other_verbs_do_not_wait(server: Postgres, tmp_path: Path) -> None:
    dsn = server.dsn("postgres").replace(f":{server.port}/", ":1/")
    HubProcess(tmp_path, config=config(dsn)).configure()
    done = Cli(tmp_path)("order", "list")
    assert done.returncode == 5
    (line,) = lines_of(done.stderr)
    assert "cannot be reached" in line
