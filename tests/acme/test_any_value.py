"""No JSON value in any member of a signed request, and no byte in a URL, ends in a 500."""

from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.acme.lab import BASE
from tests.acme.values import HARDEST, Server, Target, check_any_value, places


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    made = Server(tmp_path_factory.mktemp("values"))
    yield made
    made.close()


@given(data=st.data())
@settings(max_examples=150, derandomize=True, deadline=None)
def test_any_value_in_any_member_is_no_500(server: Server, data: st.DataObject) -> None:
    check_any_value(server, data)


@pytest.mark.parametrize("text", HARDEST, ids=lambda text: ascii(text[:30]))
def test_a_hard_text_in_any_member_is_no_500(server: Server, text: str) -> None:
    for target in server.dated, server.targets[0]:
        for place in places(target):
            if place[0] not in ("body", "header") or place[1] in ("kid", "url", "nonce"):
                assert server.run(server.send(target, place, text)) < 500, (target.url, place)


@pytest.mark.parametrize("text", ["%00", "%ed%a0%80", "%FF", "..", "0" * 44, "0" * 43 + "%00", "x" * 3000])
def test_an_odd_id_in_any_url_is_no_500(server: Server, text: str) -> None:
    for path in (
        "acct/{}",
        "acct/{}/orders",
        "order/{}",
        "order/{}/finalize",
        "authz/{}",
        "chall/{}/dns-01",
        "cert/{}",
    ):
        url = f"{BASE}/acme/{path.format(text)}"
        for target in (Target(url, {}), Target(url, {}, by_key=True)):
            assert 400 <= server.run(server.send(target, ("payload", "more"), None)) < 500, url
    orders = Target(f"{server.client.kid}/orders/{text}", {})
    assert server.run(server.send(orders, ("payload", "more"), None)) < 500
    for path in (f"renewal-info/{text}", f"{text}/directory", f"acct/{text}"):
        assert server.run(server.lab.http.get(f"{BASE}/acme/{path}")).status_code < 500
