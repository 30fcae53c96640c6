"""The inner JWS of a key change, whatever comes (RFC 8555 section 7.3.5); how it must agree with the outer one is
tested over HTTP."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from acmehub.models.problems import Problem
from acmehub.rules.jws import canonical_jwk, thumbprint
from acmehub.rules.key_change import check_key_change
from tests.rules.samples import ec_key, public_jwk, signed

URL = "https://hub.test/acme/key-change"
ACCOUNT = "https://hub.test/acme/acct/1"
OLD = canonical_jwk(public_jwk(ec_key()))
NEW = ec_key("ES256", 1)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


def inner(payload: object, **header: Any) -> bytes:
    members = {"alg": "ES256", "jwk": public_jwk(NEW), "url": URL, **header}
    return signed(members, json.dumps(payload).encode(), key=NEW)


def check(body: bytes) -> None:
    new = check_key_change(body, url=URL, account_url=ACCOUNT, account_jwk=OLD)
    assert (new.jwk, new.thumbprint) == (canonical_jwk(public_jwk(NEW)), thumbprint(new.jwk))


def only_a_problem(body: bytes) -> None:
    with pytest.raises(Problem) as caught:
        check(body)
    assert caught.value.status < 500
    assert caught.value.detail.startswith("key change, inner JWS: ")
    assert caught.value.detail.isascii()


def test_the_right_one_is_taken_also_with_an_old_key_in_other_words() -> None:
    check(inner({"account": ACCOUNT, "oldKey": public_jwk(ec_key())}))
    check(inner({"oldKey": dict(public_jwk(ec_key()), use="sig"), "account": ACCOUNT, "more": [1]}))


@given(st.binary(max_size=200))
def test_any_bytes_are_a_problem_and_nothing_else(body: bytes) -> None:
    only_a_problem(body)


@settings(max_examples=60)
@given(st.fixed_dictionaries({}, optional={"account": JSON, "oldKey": JSON, "x": JSON}))
def test_any_payload_is_a_problem_and_nothing_else(payload: dict[str, Any]) -> None:
    only_a_problem(inner(payload))


@pytest.mark.parametrize("key", ['{"kty":"EC","kty":"EC"}', "[" * 5000, "1e999", '"\\ud800"', "{"])
def test_an_old_key_that_cannot_be_read_is_a_problem(key: str) -> None:
    members = {"alg": "ES256", "jwk": public_jwk(NEW), "url": URL}
    only_a_problem(signed(members, f'{{"account":"{ACCOUNT}","oldKey":{key}}}'.encode(), key=NEW))
