"""`AcmeRelay`: its requests, the settings that it needs, and secrets that it does not show."""

import json
import logging
import secrets
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

from acmehub import (
    AcmeRelay,
    Identifier,
    IssueRequest,
    RelaySettings,
    SettingsError,
    UpstreamAccount,
    UpstreamAccountLost,
    UpstreamRefused,
    UpstreamUnavailable,
)
from acmehub.ports.authority import POLL_FIRST, allows_leaf_only, poll_first
from acmehub.ports.settings import Secret, public_settings, read_settings
from acmehub.testing.authority_contract import request_for
from acmehub.testing.fault_proxy import FaultProxy, ProxyReply
from acmehub.testing.upstream_faults import changed
from acmehub.upstream.keys import UpstreamAccountKey, new_account_key
from acmehub.upstream.settings import hmac_key
from tests.servers.pebble import Pebble, PebbleOptions, running_pebble
from tests.servers.pebble_lab import USER_AGENT, context, settings_for
from tests.upstream.conftest import PLAIN, MakeRelay, closed_later
from tests.upstream.orders import fresh_name, patiently, valid_order

EAB_KEYS = {"kid-1": secrets.token_urlsafe(32), "kid-2": secrets.token_urlsafe(48)}
ALL_NONCES_BAD_BUT_HALF = PebbleOptions(always_valid=True, nonce_reject=50)


@pytest.fixture(scope="module")
def eab_pebble(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pebble]:
    """It requires External Account Binding and offers three chains."""
    options = PebbleOptions(always_valid=True, eab_keys=EAB_KEYS, alternate_roots=2, chain_length=2)
    with running_pebble(tmp_path_factory.mktemp("pebble"), options) as running:
        yield running


def relay_at(pebble: Pebble, **settings: object) -> AcmeRelay:
    return closed_later(AcmeRelay(settings_for(pebble, **settings), context(pebble.ca_file.parent)))


# ------------------------------------------------------------------------------------------------ the account


async def test_terms_of_service_that_the_operator_has_not_agreed_to_are_a_refusal_that_names_the_setting(
    make_relay: MakeRelay, proxy: FaultProxy
) -> None:
    relay = make_relay(terms_of_service_agreed=False)
    with pytest.raises(UpstreamRefused, match="set terms_of_service_agreed") as caught:
        await relay.register(relay.new_account_key())
    assert caught.value.problem.type.endswith(":userActionRequired")
    assert [call.path for call in proxy.calls] == ["/dir"], "nothing was sent in the operator's name"


async def test_a_ca_is_tried_without_making_anything_there(make_relay: MakeRelay, proxy: FaultProxy) -> None:
    relay = make_relay()
    assert "directory can be read" in await relay.probe(None)
    assert [call.path for call in proxy.calls] == ["/dir"]
    account = await relay.register(relay.new_account_key())
    assert await relay.probe(account) == f"its directory can be read; it has the account {account.url}"
    stranger = UpstreamAccount(account.url, relay.new_account_key())
    for _ in range(2):  # the first has made none
        with pytest.raises(UpstreamAccountLost):
            await relay.probe(stranger)
    proxy.calls.clear()
    await relay.probe(None)
    assert [call.path for call in proxy.calls] == ["/dir"]  # not from the cache
    with pytest.raises(UpstreamRefused, match="set terms_of_service_agreed"):
        await make_relay(terms_of_service_agreed=False).probe(None)


@pytest.mark.parametrize(
    ("said", "ca_file", "allows"),
    [(None, "", False), (None, "ca.pem", True), (True, "", True), (False, "ca.pem", False)],
)
def test_a_leaf_alone_is_allowed_unsaid_only_to_a_private_ca(said: bool | None, ca_file: str, allows: bool) -> None:
    settings = RelaySettings(directory="https://ca.test", ca_file=ca_file, allow_leaf_only=said)
    assert settings.allows_leaf_only is allows


async def test_a_relay_says_whether_its_chain_may_be_the_leaf_alone(make_relay: MakeRelay) -> None:
    assert allows_leaf_only(make_relay())
    assert not allows_leaf_only(make_relay(allow_leaf_only=False))


async def test_how_soon_the_ca_is_asked_again_is_a_setting(make_relay: MakeRelay) -> None:
    assert poll_first(make_relay()) == POLL_FIRST
    assert poll_first(make_relay(poll_first=0.5)) == 0.5


@pytest.mark.parametrize(
    ("said", "ca_file", "agrees"),
    [(None, "ca.pem", True), (None, "", False), (False, "ca.pem", False), (True, "", True)],
)
def test_terms_are_agreed_to_unsaid_only_for_a_private_ca(said: bool | None, ca_file: str, agrees: bool) -> None:
    settings = RelaySettings(directory="https://ca.test", ca_file=ca_file, terms_of_service_agreed=said)
    assert settings.agrees is agrees


async def test_a_ca_that_wants_a_binding_and_gets_none_is_a_refusal_that_names_the_settings(
    eab_pebble: Pebble,
) -> None:
    relay = relay_at(eab_pebble)
    with pytest.raises(UpstreamRefused, match="set eab_kid and eab_hmac_key") as caught:
        await relay.register(relay.new_account_key())
    assert caught.value.problem.type.endswith(":externalAccountRequired")


@pytest.mark.parametrize("kid", EAB_KEYS)
@pytest.mark.parametrize("spelling", ["as it is", "padded", "standard alphabet"])
async def test_a_binding_is_made_with_the_key_however_the_ca_spells_it(
    eab_pebble: Pebble, kid: str, spelling: str
) -> None:
    key = EAB_KEYS[kid]
    if spelling == "padded":
        key += "=" * (-len(key) % 4)
    elif spelling == "standard alphabet":
        key = key.replace("-", "+").replace("_", "/")
    relay = relay_at(eab_pebble, eab_kid=kid, eab_hmac_key=Secret(key))
    assert (await relay.register(relay.new_account_key())).url


def test_an_hmac_key_is_brought_to_base64url_without_padding() -> None:
    assert hmac_key(Secret(" +/8= ")) == "-_8"
    with pytest.raises(ValueError, match="base64url"):
        hmac_key(Secret("="))


async def test_a_wrong_binding_is_a_refusal_and_no_lost_account(eab_pebble: Pebble) -> None:
    for kid, key in (("kid-1", EAB_KEYS["kid-2"]), ("kid-3", EAB_KEYS["kid-1"])):
        relay = relay_at(eab_pebble, eab_kid=kid, eab_hmac_key=Secret(key))
        with pytest.raises(UpstreamRefused):
            await relay.register(relay.new_account_key())


@pytest.mark.parametrize("kind", ["ec256", "ec384", "rsa2048"])
async def test_accounts_can_have_keys_of_several_types(make_relay: MakeRelay, kind: str) -> None:
    relay = make_relay(account_key_type=kind)
    key = relay.new_account_key()
    loaded = serialization.load_pem_private_key(key, password=None)
    if kind == "rsa2048":
        assert isinstance(loaded, rsa.RSAPrivateKey)
        assert loaded.key_size == 2048
    else:
        assert isinstance(loaded, ec.EllipticCurvePrivateKey)
        assert loaded.curve.key_size == int(kind.removeprefix("ec"))
    account = await relay.register(key)
    assert (await relay.new_order(account, request_for(fresh_name()))).status == "pending"


async def test_the_contact_and_the_agreement_are_sent(make_relay: MakeRelay, proxy: FaultProxy) -> None:
    relay = make_relay(email="ops@example.test")
    await relay.register(relay.new_account_key())
    assert proxy.calls[-1].payload() == {"termsOfServiceAgreed": True, "contact": ["mailto:ops@example.test"]}


# -------------------------------------------------------------------------------------------------- the order


async def test_an_order_is_sent_as_the_client_asked_for_it(
    account: UpstreamAccount, make_relay: MakeRelay, proxy: FaultProxy
) -> None:
    proxy.play(changed(PLAIN), path="/dir", times=None)
    start = datetime(2026, 12, 1, 12, tzinfo=UTC)
    identifiers = (Identifier("dns", "WWW.Corp.test"), Identifier("dns", "*.corp.test"))
    request = IssueRequest(identifiers, not_before=start, not_after=start + timedelta(days=3), replaces="aki.serial")
    await make_relay().new_order(account, request)
    assert proxy.calls[-1].payload() == {
        "identifiers": [{"type": "dns", "value": "WWW.Corp.test"}, {"type": "dns", "value": "*.corp.test"}],
        "notBefore": "2026-12-01T12:00:00Z",
        "notAfter": "2026-12-04T12:00:00Z",
    }


def takes_every_order(proxy: FaultProxy) -> None:
    """newOrder is answered before it reaches the CA, which may know neither the profile nor what is replaced."""
    links = {"authorizations": [f"{proxy.url}/authz/1"], "finalize": f"{proxy.url}/finalize/1"}
    order = {"status": "pending", "identifiers": [{"type": "dns", "value": "www.corp.test"}], **links}
    headers = (("Content-Type", "application/json"), ("Location", f"{proxy.url}/order/1"))
    reply = ProxyReply(status=201, headers=headers, body=json.dumps(order).encode())
    proxy.play(lambda _call, _forward: reply, path="/order-plz", times=None)


async def test_replaces_and_the_profile_reach_a_ca_that_knows_them(
    account: UpstreamAccount, make_relay: MakeRelay, proxy: FaultProxy
) -> None:
    meta = {"termsOfService": "https://ca.test/terms", "profiles": {"short": "six days", "classic": "90 days"}}
    more = {"renewalInfo": f"{proxy.url}/renewal-info", "meta": meta}
    proxy.play(changed(more), path="/dir", times=None)
    takes_every_order(proxy)
    name = (Identifier("dns", fresh_name()),)
    await make_relay(profile="classic").new_order(account, IssueRequest(name, replaces="aki.serial"))
    assert proxy.calls[-1].payload()["replaces"] == "aki.serial"
    assert proxy.calls[-1].payload()["profile"] == "classic"
    await make_relay(profile="classic").new_order(account, IssueRequest(name, profile="short"))
    assert proxy.calls[-1].payload()["profile"] == "short"
    later = make_relay()
    proxy.heal()
    proxy.play(changed(PLAIN), path="/dir")
    await later.order(account, (await later.new_order(account, IssueRequest(name))).url)
    proxy.play(changed(more), path="/dir", times=None)
    takes_every_order(proxy)
    await later.new_order(account, IssueRequest(name, profile="short"))
    assert proxy.calls[-1].payload()["profile"] == "short", "a profile that is newer than the directory we have kept"
    with pytest.raises(UpstreamRefused, match="offers: classic, short") as caught:
        await make_relay().new_order(account, IssueRequest(name, profile="long"))
    assert caught.value.problem.type.endswith(":invalidProfile")


async def test_a_profile_is_not_dropped_at_a_ca_without_profiles(
    account: UpstreamAccount, make_relay: MakeRelay, proxy: FaultProxy
) -> None:
    proxy.play(changed(PLAIN), path="/dir", times=None)
    with pytest.raises(UpstreamRefused, match="offers: none"):
        await make_relay().new_order(account, IssueRequest((Identifier("dns", fresh_name()),), profile="short"))


async def test_each_verb_is_one_exchange_that_names_the_hub(
    relay: AcmeRelay, account: UpstreamAccount, proxy: FaultProxy
) -> None:
    proxy.calls.clear()
    order = await relay.new_order(account, request_for(fresh_name()))
    await relay.order(account, order.url)
    await relay.authorization(account, order.authorizations[0])
    assert [call.method for call in proxy.calls] == ["POST"] * 3
    assert {call.headers["User-Agent"] for call in proxy.calls} == {USER_AGENT}


async def test_the_directory_is_read_again_after_an_hour(
    relay: AcmeRelay, account: UpstreamAccount, proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    order = await relay.new_order(account, request_for(fresh_name()))
    proxy.calls.clear()
    await relay.order(account, order.url)
    directories = relay._steps._directories
    later = directories._monotonic() + 3601
    monkeypatch.setattr(directories, "_monotonic", lambda: later)
    await relay.order(account, order.url)
    await relay.order(account, order.url)
    assert [call.path for call in proxy.calls].count("/dir") == 1


async def test_a_ca_that_rejects_every_second_nonce_is_coped_with(tmp_path: Path) -> None:
    with running_pebble(tmp_path, ALL_NONCES_BAD_BUT_HALF) as pebble:
        relay = relay_at(pebble)
        key = relay.new_account_key()
        account = await patiently(lambda: relay.register(key))
        for _ in range(5):
            order = await patiently(lambda: relay.new_order(account, request_for(fresh_name())))
            assert (await patiently(partial(relay.order, account, order.url))).status == "pending"


# -------------------------------------------------------------------------------------------------- the chain


async def test_alternates_are_offered_and_the_preferred_one_is_chosen(eab_pebble: Pebble) -> None:
    wanted = x509.load_pem_x509_certificate(eab_pebble.root(2).encode()).subject
    common_name = str(wanted.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value)
    relay = relay_at(eab_pebble, eab_kid="kid-1", eab_hmac_key=Secret(EAB_KEYS["kid-1"]), preferred_chain=common_name)
    account = await relay.register(relay.new_account_key())
    done = await valid_order(relay, account)
    assert done.certificate is not None
    issued = await relay.certificate(account, done.certificate)
    assert len(issued.alternates) == 2
    chains = (issued.chain, *[(await relay.certificate(account, url)).chain for url in issued.alternates])
    assert len(set(chains)) == 3
    chosen = x509.load_pem_x509_certificates(chains[relay.choose(chains)].encode())
    assert len(chosen) == 3
    assert chosen[-1].issuer == wanted
    default = relay_at(eab_pebble)
    assert default.choose(chains) == 0


async def test_a_preferred_chain_that_nobody_offers_leaves_the_first_and_says_so(
    relay: AcmeRelay, account: UpstreamAccount, make_relay: MakeRelay, caplog: pytest.LogCaptureFixture
) -> None:
    done = await valid_order(relay, account)
    assert done.certificate is not None
    chain = (await relay.certificate(account, done.certificate)).chain
    for _ in range(3):
        assert make_relay(preferred_chain="No Such Root").choose((chain,)) == 0
    assert caplog.text.count("No Such Root") == 1
    assert "Pebble Root CA" in caplog.text


# ------------------------------------------------------------------------------------------- around the exchange


async def test_nothing_secret_and_nothing_signed_reaches_a_log(
    eab_pebble: Pebble, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    relay = relay_at(eab_pebble, eab_kid="kid-1", eab_hmac_key=Secret(EAB_KEYS["kid-1"]))
    key = relay.new_account_key()
    account = await relay.register(key)
    await valid_order(relay, account)
    for secret in (EAB_KEYS["kid-1"], key.decode().splitlines()[1], '"protected"', '"payload"', "signature"):
        assert secret not in caplog.text
    assert [record.name for record in caplog.records if record.name.startswith(("acme.", "josepy"))] == []


def test_a_loaded_account_key_does_not_show_itself() -> None:
    assert repr(UpstreamAccountKey(new_account_key("ec256"))) == "UpstreamAccountKey(…)"


async def test_settings_hide_the_hmac_key() -> None:
    settings = RelaySettings(directory="https://ca.test/dir", eab_kid="kid", eab_hmac_key=Secret("c2VjcmV0LWtleQ"))
    shown = repr(settings) + json.dumps(public_settings(settings))
    assert "c2VjcmV0LWtleQ" not in shown
    assert public_settings(settings)["eab_hmac_key"] is None


async def test_a_certificate_that_the_ca_file_does_not_vouch_for_is_not_accepted(
    make_relay: MakeRelay, pebble: Pebble, proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(proxy.ca_file))
    relay = make_relay(ca_file=str(pebble.ca_file))  # the proxy's certificate is its own
    with pytest.raises(UpstreamUnavailable, match="certificate verify failed"):
        await relay.register(relay.new_account_key())
    assert proxy.calls == []


async def test_without_a_ca_file_the_environment_says_whom_to_trust(
    make_relay: MakeRelay, proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UpstreamUnavailable, match="certificate verify failed"):
        await make_relay(ca_file="").register(make_relay().new_account_key())
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(proxy.ca_file))
    relay = make_relay(ca_file="")
    assert (await relay.register(relay.new_account_key())).url


async def test_the_environments_proxy_is_used_except_for_whom_it_excepts(
    make_relay: MakeRelay, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
    relay = make_relay()
    with pytest.raises(UpstreamUnavailable, match="refused"):
        await relay.register(relay.new_account_key())
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    relay = make_relay()
    assert (await relay.register(relay.new_account_key())).url


def test_a_ca_file_may_lie_in_the_data_directory_and_must_be_somewhere(pebble: Pebble) -> None:
    folder = pebble.ca_file.parent
    AcmeRelay(settings_for(pebble, ca_file=pebble.ca_file.name), context(folder))
    with pytest.raises(SettingsError, match=r"there is no missing\.pem and no .*/missing\.pem - `\$\.ca_file`"):
        AcmeRelay(settings_for(pebble, ca_file="missing.pem"), context(folder))


@pytest.mark.parametrize(
    ("raw", "field"),
    [
        ({}, "directory"),
        ({"directory": "ca.test"}, r"\$\.directory"),
        ({"directory": "http://ca.test/dir"}, r"\$\.directory"),
        ({"directory": "https://ca.test", "email": "a b@c.test"}, r"\$\.email"),
        ({"directory": "https://ca.test", "eab_kid": "kid"}, r"\$\.eab_kid"),
        ({"directory": "https://ca.test", "eab_kid": "kid", "eab_hmac_key": "?"}, r"\$\.eab_hmac_key"),
        ({"directory": "https://ca.test", "account_key_type": "rsa1024"}, r"\$\.account_key_type"),
        ({"directory": "https://ca.test", "timeout": 0.1}, r"\$\.timeout"),
        ({"directory": "https://ca.test", "terms_of_service_agreed": "yes"}, r"\$\.terms_of_service_agreed"),
    ],
)
def test_settings_that_do_not_fit_are_named(raw: dict[str, object], field: str) -> None:
    with pytest.raises(SettingsError, match=field):
        read_settings(raw, RelaySettings)
