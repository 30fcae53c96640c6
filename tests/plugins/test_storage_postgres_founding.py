"""A database without a hub: reading verbs make no table in it, and a worker waits until it is founded."""

import time
from pathlib import Path

import pytest

from acmehub.cli.root import run
from acmehub.cli.shared.exit_status import Exit
from acmehub.runtime.vault import encode_key
from acmehub.testing.hub_process import HubProcess
from tests.journal import Journal
from tests.plugins.conftest import name_of
from tests.servers.postgres import Postgres

CONFIG = """
plugins = ["storage_postgres"]
master_keys = ["{key}"]
[storage]
plugin = "storage_postgres"
settings = {{ dsn = "{dsn}" }}
"""
TABLES = "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'"


def config_of(dsn: str) -> str:
    return CONFIG.format(key=encode_key(bytes(32)), dsn=dsn)


@pytest.mark.parametrize("verb", ["order list", "export", "db upgrade", "db reseal"])
def test_no_verb_makes_tables(
    verb: str, postgres: Postgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    dsn = postgres.new_database()
    file = tmp_path / "acmehub.toml"
    file.touch(0o600)
    file.write_text(config_of(dsn))
    monkeypatch.setattr("acmehub.cli.shared.session.set_up_logs", lambda config: None)
    assert run([*verb.split(), "--config", str(file)]) == Exit.NO_HUB
    said = capsys.readouterr().err
    assert said.startswith(f"acmehub: no hub in PostgreSQL at 127.0.0.1:{postgres.port}/{name_of(dsn)}: ")
    assert postgres.sql(TABLES, name_of(dsn)) == "0"
    assert [path.name for path in tmp_path.iterdir()] == ["acmehub.toml"]


def test_a_worker_waits_until_the_hub_is_founded(postgres: Postgres, tmp_path: Path, journal: Journal) -> None:
    dsn = postgres.new_database()
    log = journal.new_log("worker")
    worker = HubProcess(tmp_path / "worker", config=config_of(dsn), command="worker", log=log)
    worker.launch()
    try:
        _wait_for("yet: waiting until `acmehub serve` (or `acmehub init --hub`) has founded it", worker)
        assert postgres.sql(TABLES, name_of(dsn)) == "0"
        HubProcess(tmp_path / "serve", config=config_of(dsn)).found()
        _wait_for("acmehub worker is ready", worker)
    finally:
        worker.stop()
    assert worker.exit_status == 0
    assert log.read_text().count("waiting until") == 1
    waiting = HubProcess(tmp_path / "other", config=config_of(postgres.new_database()), command="worker", log=log)
    waiting.launch()
    _wait_for("waiting until", waiting, count=2)
    waiting.stop()
    assert waiting.exit_status == 0


def _wait_for(what: str, hub: HubProcess, count: int = 1) -> None:
    deadline = time.monotonic() + 30
    while hub.log.read_text().count(what) < count:
        assert time.monotonic() < deadline, hub.last_words()
        time.sleep(0.05)
