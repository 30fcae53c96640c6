"""The matrix of clients from Debian and PyPI: at once, and the first way of each in front of an upstream that takes a
minute. `make matrix` runs all ways of all clients at all speeds."""

from collections.abc import Iterator

import pytest

from tests.e2e.stack import eventually
from tests.journal import Journal
from tests.matrix.cases import Case, Outcome, Result, cases_of, run_batch
from tests.matrix.contract import Speed
from tests.matrix.registry import FROM_DEBIAN_AND_PYPI, clients
from tests.matrix.world import running_world

pytestmark = pytest.mark.e2e

CLIENTS = clients(FROM_DEBIAN_AND_PYPI)
LEFT_OUT = ("http webroot", "dns hook")  # which most clients do as they do their first way, as far as a hub can see
CASES = [
    *(
        case
        for case in cases_of(CLIENTS, [Speed.FAST])
        if case.way.name not in LEFT_OUT or case.way is case.client.ways[0] or case.client.name.startswith("lego")
    ),
    *(Case(client, client.ways[0], Speed.SLOW_60) for client in CLIENTS),
]
WAITING = len(CLIENTS)
BUSY = 3


@pytest.fixture(scope="module")
def results(journal: Journal, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Result]]:
    missing = [f"{client.name} ({client.missing()})" for client in CLIENTS if client.missing()]
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)}; `make test` installs them as root")
    with running_world(tmp_path_factory.mktemp("matrix") / "world", journal.folder) as world:
        for what, value in world.secrets.items():
            journal.keep_secret(f"{what} of the matrix", value)
        found = {
            f"{result.client} · {result.way} · {result.speed}": result
            for result in run_batch(world, CASES, WAITING + BUSY)
        }
        eventually(lambda: world.bind.txt() == {}, lambda: f"TXT records are left: {world.bind.txt()}")
        yield found


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_client_gets_its_certificates(case: Case, results: dict[str, Result]) -> None:
    result = results[f"{case.client.name} · {case.way.name} · {case.speed.typed}"]
    assert result.outcome is Outcome.PASSED, result.words
    if case.speed is Speed.SLOW_60:
        assert result.seconds > 60
