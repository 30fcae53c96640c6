"""Accounts that are gone, keys that are none, URLs that are not asked: which error comes of it."""

import asyncio
import contextlib
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519

from acmehub import UpstreamAccountLost, UpstreamRefused, UpstreamUnavailable
from acmehub.upstream.directories import DirectoryCache
from acmehub.upstream.hosts import Hosts
from acmehub.upstream.keys import UpstreamAccountKey
from acmehub.upstream.responses import UpstreamResponse
from acmehub.upstream.settings import RelaySettings
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
    ca._answer = lambda path, body: (  # type: ignore[method-assign]
        (status, msgspec.json.encode(members)) if path.startswith("/renewal") else answer(path, body)
    )
    with pytest.raises(UpstreamUnavailable, match=str(members["detail"])):
        ca.run("renewal_info")


def test_an_account_whose_url_is_gone_is_lost(ca: ScriptedCa) -> None:
    answer = ca._answer
    gone = (404, msgspec.json.encode({"type": f"{URN}malformed", "detail": "no such account"}))
    ca.refusals.append(UNAUTHORIZED)
    ca._answer = lambda path, body: gone if path == "/account" else answer(path, body)  # type: ignore[method-assign]
    with pytest.raises(UpstreamAccountLost, match="not yours"):
        ca.run("order")


def test_a_directory_is_forgotten_unless_another_one_has_replaced_it() -> None:
    url = "https://ca.test/dir"
    names, reads = ("newNonce", "newAccount", "newOrder"), list[str]()

    async def read(url: str) -> UpstreamResponse:
        reads.append(url)
        return UpstreamResponse(url, 200, (), msgspec.json.encode({name: f"https://ca.test/{name}" for name in names}))

    async def forget() -> None:
        cache = DirectoryCache(url, read, Hosts(RelaySettings(directory=url)), lambda: 0.0)
        first = await cache.current()
        assert await cache.current() is first
        second = await cache.again()
        cache.forget(first)
        assert await cache.current() is second
        cache.forget(second)
        assert await cache.current() is not second

    asyncio.run(forget())
    assert reads == [url] * 3


# ----------------------------------------------------------------------------------------------------- objects


@pytest.mark.parametrize("member", ["authorizations", "finalize", "certificate", "error"])
def test_an_order_is_known_by_any_of_its_members(ca: ScriptedCa, member: str) -> None:
    value = {"authorizations": [f"{ca.base}/authz"], "error": {"type": f"{URN}caa"}}.get(member, f"{ca.base}/x")
    ca.document["order"] = {"status": "pending", member: value}
    ca.run("order")
    ca.document["order"] = {"status": "pending"}
    with pytest.raises(UpstreamUnavailable, match="is not an order"):
        ca.run("order")


@pytest.mark.parametrize(("seconds", "good"), [(0.9, False), (1, True), (300, True), (300.5, False)])
def test_a_ca_may_be_silent_for_a_second_to_five_minutes(seconds: float, *, good: bool) -> None:
    settings = RelaySettings(directory="https://ca.test/dir", timeout=seconds)
    with contextlib.nullcontext() if good else pytest.raises(ValueError, match="1 to 300 seconds"):
        settings.validate()


@pytest.mark.parametrize(("seconds", "good"), [(0.009, False), (0.01, True), (60, True), (60.5, False)])
def test_the_first_look_comes_within_a_minute(seconds: float, *, good: bool) -> None:
    settings = RelaySettings(directory="https://ca.test/dir", poll_first=seconds)
    with contextlib.nullcontext() if good else pytest.raises(ValueError, match=r"0\.01 to 60 seconds"):
        settings.validate()


def test_the_ca_is_asked_for_json_and_for_certificates_as_pem(ca: ScriptedCa) -> None:
    ca.run("headers")
    accepted = dict(ca.accepted)
    assert accepted.pop("/cert") == "application/pem-certificate-chain"
    assert accepted["/new-order"] == "application/json"


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


def test_a_url_that_is_not_https_is_not_asked(ca: ScriptedCa) -> None:
    calls = len(ca.calls)
    with pytest.raises(UpstreamUnavailable, match=r"not https: http://ca\.test/order"):
        asyncio.run(ca.steps.order(ca.account, "http://ca.test/order"))
    assert not [call for call in ca.calls[calls:] if "order" in call]
