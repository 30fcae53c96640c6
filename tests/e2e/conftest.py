"""One BIND, one Pebble and one hub for all end-to-end tests that need no hub of their own."""

from collections.abc import Iterator

import pytest

from acmehub.testing.hub_process import HubProcess
from scripts.certbot import FROM_PYPI
from tests.e2e.clients import CADDY, CERTBOT_APT, LEGO
from tests.e2e.stack import BLOCKED, Stack
from tests.journal import Journal
from tests.servers.bind import Bind, TsigKey, Zone
from tests.servers.pebble import PebbleOptions, running_pebble
from tests.servers.postgres import Postgres, running_postgres
from tests.servers.programs import need

CNAMES = tuple(f"_acme-challenge.alias{number}.corp.test. CNAME alias{number}.acme.lab.test." for number in range(4))
OUTWARD = "_acme-challenge.astray.corp.test. CNAME astray.slow.test."


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory, journal: Journal) -> Iterator[Stack]:
    """BIND and Pebble: validation through BIND, 15 % of nonces rejected, half of the authorizations reused."""
    need(CERTBOT_APT, LEGO, CADDY, FROM_PYPI)
    folder = tmp_path_factory.mktemp("stack")
    zones = [
        Zone("corp.test", hosts=("*",), records=(*CNAMES, OUTWARD)),
        Zone("lab.test", hosts=("*",), key=TsigKey("lab."), guests=("acme",)),  # each managed challenge its own key
        Zone("slow.test", hosts=("*",)),
    ]
    pebble_log = journal.new_log("pebble")
    with Bind(folder / "bind", zones, log=journal.new_log("bind"), resolves=True) as bind:
        options = PebbleOptions(
            dns_server=f"{bind.primary}:{bind.port}", nonce_reject=15, authz_reuse=50, blocked_names=[BLOCKED]
        )
        with running_pebble(folder / "pebble", options, log=pebble_log) as pebble:
            yield Stack(folder, bind, pebble, pebble_log, journal)


@pytest.fixture(scope="session")
def hub(stack: Stack) -> Iterator[HubProcess]:
    """A hub on SQLite, with a token `device` that may have what the managed challenges open."""
    with stack.hub(
        "device",
        'narrow: names = "*.narrow.corp.test"',
        "disabled",
        "disabled later",
        'no zone: names = "*.corp.test, *.nowhere.test"',
    ) as hub:
        yield hub


@pytest.fixture(scope="session")
def postgres(journal: Journal) -> Iterator[Postgres]:
    """A PostgreSQL of the run's own."""
    with running_postgres(log=journal.new_log("postgres")) as server:
        journal.keep_secret("PostgreSQL password", server.password)
        yield server


@pytest.fixture
def postgres_storage(postgres: Postgres) -> str:
    """`[storage]` of a new database."""
    return f'[storage]\nplugin = "storage_postgres"\nsettings = {{ dsn = "{postgres.new_database()}" }}\n'
