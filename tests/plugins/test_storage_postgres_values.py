"""On PostgreSQL, too, no JSON value in any member of a signed request ends in a 500."""

from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from acmehub.config import Storage
from tests.acme.values import HARDEST, Server, check_any_value, places
from tests.servers.postgres import Postgres


@pytest.fixture(scope="module")
def server(postgres: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    storage = Storage(plugin="storage_postgres", settings={"dsn": postgres.new_database()})
    made = Server(tmp_path_factory.mktemp("values"), storage=storage)
    yield made
    made.close()


@given(data=st.data())
@settings(max_examples=40, derandomize=True, deadline=None)
def test_any_value_in_any_member_is_no_500(server: Server, data: st.DataObject) -> None:
    check_any_value(server, data)


@pytest.mark.parametrize("text", HARDEST, ids=lambda text: ascii(text[:30]))
def test_a_hard_text_in_any_member_is_no_500(server: Server, text: str) -> None:
    for target in server.dated, server.targets[0]:
        for place in places(target):
            if place[0] in ("payload", "inside") or place == ("header", "kid"):
                assert server.run(server.send(target, place, text)) < 500, (target.url, place)
