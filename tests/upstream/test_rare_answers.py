"""Accounts that are gone, keys that are none, a CA that is slow in each way: which error comes of it."""

import ssl
from itertools import count
from typing import Any

import msgspec
import pytest
import requests
from acmehub.upstream.connections import WatchedAdapter
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519
from urllib3.connection import HTTPSConnection
from urllib3.exceptions import ConnectTimeoutError, NewConnectionError

from acmehub import UpstreamAccountLost, UpstreamRefused, UpstreamUnavailable
from acmehub.upstream import exchange
from acmehub.upstream.keys import UpstreamAccountKey
from tests.upstream.scripted_ca import KEY, URN, ScriptedCa

UNAUTHORIZED = (403, {"type": f"{URN}unauthorized", "detail": "not yours"}, {"Replay-Nonce": "bm9uY2U"})
NO_ACCOUNT = (400, {"type": f"{URN}accountDoesNotExist", "detail": "no account"}, {"Replay-Nonce": "bm9uY2U"})


@pytest.fixture
def ca() -> ScriptedCa:
    return ScriptedCa()


# --------------------------------------------------------------------------------------------------- accounts


@pytest.mark.parametrize("status", ["deactivated", "revoked"])
def test_an_account_that_is_not_alive_is_lost(ca: ScriptedCa, status: str) -> None:
    ca.document["account"]["status"] = status
    with pytest.raises(UpstreamAccountLost, match="has deactivated the account of this key"):
        ca.run("register")


@pytest.mark.parametrize("status", ["deactivated", "revoked"])
def test_unauthorized_of_an_account_that_is_not_alive_means_the_account(ca: ScriptedCa, status: str) -> None:
    ca.document["account"]["status"] = status
    ca.refusals.append(UNAUTHORIZED)
    with pytest.raises(UpstreamAccountLost, match="not yours"):
        ca.run("order")


def test_unauthorized_of_an_account_that_is_alive_means_the_object(ca: ScriptedCa) -> None:
    ca.refusals.append(UNAUTHORIZED)
    with pytest.raises(UpstreamRefused, match="not yours"):
        ca.run("order")


@pytest.mark.parametrize(("second", "lost"), [(UNAUTHORIZED, True), (NO_ACCOUNT, False)])
def test_of_a_key_that_newaccount_refuses_only_another_refusal_means_that_its_account_is_lost(
    ca: ScriptedCa, second: Any, *, lost: bool
) -> None:
    ca.refusals += [UNAUTHORIZED, second]
    with pytest.raises(UpstreamAccountLost if lost else UpstreamRefused, match="not yours"):
        ca.run("register")


@pytest.mark.parametrize("refusal", [UNAUTHORIZED, NO_ACCOUNT])
def test_a_refused_question_for_renewal_information_says_nothing_of_the_account(ca: ScriptedCa, refusal: Any) -> None:
    status, members, _ = refusal
    status = 403  # 400 means that there is nothing
    answer = ca._answer
    ca._answer = lambda path, request: (  # type: ignore[method-assign]
        (status, msgspec.json.encode(members)) if path.startswith("/renewal") else answer(path, request)
    )
    with pytest.raises(UpstreamUnavailable, match=str(members["detail"])):
        ca.run("renewal_info")


# ------------------------------------------------------------------------------------------------------- keys


def test_a_key_that_is_neither_rsa_nor_elliptic_curve_is_refused() -> None:
    pem = ed25519.Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    with pytest.raises(TypeError, match="must be RSA or elliptic curve, not Ed25519PrivateKey"):
        UpstreamAccountKey(pem)


def test_a_token_that_is_not_base64url_has_no_record() -> None:
    with pytest.raises(ValueError, match="a challenge token must be base64url"):
        UpstreamAccountKey(KEY).dns01_value("a")


# ------------------------------------------------------------------------------------------------------- time


@pytest.mark.parametrize(
    ("failure", "words"),
    [
        (requests.ConnectTimeout("x"), "no connection in time"),
        (requests.ReadTimeout("x"), "no answer in time"),
        (requests.ConnectionError(ssl.SSLError("certificate has expired")), "certificate has expired"),
    ],
)
def test_what_failed_is_told_in_one_sentence(
    ca: ScriptedCa, monkeypatch: pytest.MonkeyPatch, failure: Exception, words: str
) -> None:
    def fails(*_arguments: object, **_options: object) -> None:
        raise failure

    monkeypatch.setattr(ca, "send", fails)
    with pytest.raises(UpstreamUnavailable) as caught:
        ca.run("register")
    assert caught.value.detail.startswith("GET https://ca.test/dir: ")
    assert words in caught.value.detail


def test_a_body_that_does_not_end_in_time_is_cut_off(ca: ScriptedCa, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = count(step=4.0)  # a look at the clock takes four seconds, an exchange at most ten
    monkeypatch.setattr("acmehub.upstream.exchange.time.monotonic", lambda: next(clock))
    monkeypatch.setattr(exchange, "_OCTETS_AT_ONCE", 8)
    with pytest.raises(UpstreamUnavailable, match="took more than 10 s to answer"):
        ca.run("register")


def test_a_url_that_is_not_https_is_not_asked(ca: ScriptedCa) -> None:
    calls = len(ca.calls)
    with pytest.raises(UpstreamUnavailable, match=r"not https: http://ca\.test/order"):
        ca.steps.order(ca.account, "http://ca.test/order")
    assert not [call for call in ca.calls[calls:] if "order" in call]


@pytest.mark.parametrize(
    ("failure", "kind"), [(TimeoutError(), ConnectTimeoutError), (ConnectionRefusedError(), NewConnectionError)]
)
def test_a_connection_that_times_out_is_told_apart_from_one_that_is_refused(
    monkeypatch: pytest.MonkeyPatch, failure: OSError, kind: type[Exception]
) -> None:
    adapter = WatchedAdapter(pool_connections=1, pool_maxsize=1)
    pool = adapter.poolmanager.connection_from_url("https://127.0.0.1:9/")
    connection = pool._new_conn()
    assert isinstance(connection, HTTPSConnection)

    def fails(_watch: object, new: Any, _address: object) -> None:
        new.close()
        raise failure

    monkeypatch.setattr(connection, "_connected", fails)
    with pytest.raises(kind):
        connection._new_conn()
