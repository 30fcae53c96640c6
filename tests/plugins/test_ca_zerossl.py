"""`ca_zerossl`: EAB credentials fetched from a fake of ZeroSSL's API, and used at a Pebble that requires them."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from acmehub import (
    CompletesSettings,
    RelayAuthority,
    Secret,
    SettingsError,
    UpstreamRateLimited,
    UpstreamRefused,
    UpstreamUnavailable,
)
from acmehub.ports.settings import dump_settings, public_settings, read_settings
from acmehub.runtime.plugins import build_registry
from acmehub.testing.authority_contract import RelayAuthorityContract
from acmehub_ca_zerossl import ZeroSslSettings
from acmehub_ca_zerossl.authority import ZeroSsl
from acmehub_ca_zerossl.credentials import Credentials, fetch_credentials
from tests.plugins.fake_zerossl import API_KEY, FakeZeroSsl, running_zerossl
from tests.servers.dripping import dripping, no_body_until_close
from tests.servers.pebble import Pebble, PebbleOptions, running_pebble
from tests.servers.pebble_lab import USER_AGENT, PebbleLab, context, pebble_lab


@pytest.fixture(scope="module")
def zerossl() -> Iterator[FakeZeroSsl]:
    with running_zerossl() as fake:
        yield fake


@pytest.fixture
def fake() -> Iterator[FakeZeroSsl]:
    with running_zerossl() as running:
        yield running


@pytest.fixture(scope="module")
def dns_port(free_port: Callable[[], int]) -> int:
    return free_port()


@pytest.fixture(scope="module")
def pebble(tmp_path_factory: pytest.TempPathFactory, zerossl: FakeZeroSsl, dns_port: int) -> Iterator[Pebble]:
    options = PebbleOptions(dns_server=f"127.0.0.1:{dns_port}", eab_keys=zerossl.credentials)
    with running_pebble(tmp_path_factory.mktemp("pebble"), options) as running:
        yield running


@pytest.fixture(scope="module")
def completed(zerossl: FakeZeroSsl, pebble: Pebble) -> ZeroSslSettings:
    """Settings as an operator gives them, completed once."""
    settings = ZeroSslSettings(
        directory=pebble.directory,
        ca_file=str(pebble.ca_file),
        email="ops@example.test",
        api_key=Secret(API_KEY),
        api_url=zerossl.url,
        terms_of_service_agreed=True,
    ).validate()
    done = asyncio.run(ZeroSsl(settings, context(pebble.ca_file.parent)).complete())
    assert done is not None
    return done


class TestContractWithFetchedCredentials(RelayAuthorityContract):
    @pytest.fixture
    async def lab(
        self, pebble: Pebble, completed: ZeroSslSettings, dns_port: int, free_port: Callable[[], int]
    ) -> AsyncIterator[PebbleLab]:
        def make(directory: str) -> RelayAuthority:
            settings = msgspec.structs.replace(completed, directory=directory)
            return ZeroSsl(settings, context(pebble.ca_file.parent))

        async with pebble_lab(pebble, dns_port, free_port(), make) as lab:
            yield lab


async def test_the_plugin_is_found_and_its_authority_completes_its_settings(tmp_path: Path) -> None:
    registration = build_registry().authorities["ca_zerossl"]
    assert registration.settings is ZeroSslSettings
    made = registration.factory(ZeroSslSettings(email="ops@example.test"), context(tmp_path))
    assert isinstance(made, RelayAuthority)
    assert isinstance(made, CompletesSettings)
    assert made.server == "https://acme.zerossl.com/v2/DV90"


async def test_credentials_are_fetched_once_and_survive_being_stored(fake: FakeZeroSsl, tmp_path: Path) -> None:
    settings = ZeroSslSettings(api_key=Secret(API_KEY), api_url=fake.url)
    done = await ZeroSsl(settings, context(tmp_path)).complete()
    assert done is not None
    assert fake.credentials[done.eab_kid] == done.eab_hmac_key.reveal()
    stored = read_settings(json.loads(dump_settings(done)), ZeroSslSettings)
    assert await ZeroSsl(stored, context(tmp_path)).complete() is None
    assert len(fake.requests) == 1


async def test_an_api_key_goes_into_the_query_of_a_post(fake: FakeZeroSsl) -> None:
    await fetch_credentials(ZeroSslSettings(api_key=Secret(API_KEY), email="a@b.test", api_url=fake.url), USER_AGENT)
    assert fake.requests == [("POST", "/acme/eab-credentials", {"access_key": [API_KEY]})]


async def test_an_address_alone_goes_into_a_form(fake: FakeZeroSsl) -> None:
    found = await fetch_credentials(ZeroSslSettings(email="a+b@c.test", api_url=fake.url), USER_AGENT)
    assert found.kid in fake.credentials
    assert fake.requests == [("POST", "/acme/eab-credentials-email", {"email": ["a+b@c.test"]})]


async def test_a_wrong_api_key_is_a_refusal_in_the_words_of_zerossl(fake: FakeZeroSsl) -> None:
    with pytest.raises(UpstreamRefused, match="invalid_access_key") as caught:
        await fetch_credentials(ZeroSslSettings(api_key=Secret("f" * 32), api_url=fake.url), USER_AGENT)
    assert caught.value.server == fake.url
    assert "f" * 32 not in caught.value.detail


@pytest.mark.parametrize(
    ("status", "headers", "body", "error", "retry_after"),
    [
        (429, {"Retry-After": "30"}, b"{}", UpstreamRateLimited, 30),
        (429, {}, b"<html>", UpstreamRateLimited, None),
        (500, {}, b'{"success": false, "error": {"code": 1, "type": "oops"}}', UpstreamUnavailable, None),
        (502, {}, b"<html>bad gateway</html>", UpstreamUnavailable, None),
        (200, {}, b"<html>login</html>", UpstreamUnavailable, None),
        (200, {}, b'{"success": 1}', UpstreamUnavailable, None),
        (200, {}, b"[]", UpstreamUnavailable, None),
        (302, {"Location": "http://127.0.0.1:1/"}, b"", UpstreamUnavailable, None),
        (200, {}, b" " * 100_000, UpstreamUnavailable, None),
        (200, {}, b"[" * 50_000, UpstreamUnavailable, None),
        (200, {}, b'{"success": 1, "eab_kid": null, "eab_hmac_key": 7, "error": null}', UpstreamUnavailable, None),
        (200, {}, b'{"success": null, "error": {"code": null, "type": "invalid"}}', UpstreamRefused, None),
        (200, {}, b'{"success": false, "error": {"code": "7", "type": ["x"]}}', UpstreamUnavailable, None),
        (429, {"Retry-After": "9" * 400}, b"{}", UpstreamRateLimited, 3600),
        (429, {"Retry-After": "Mon, 01 Jan 99999 00:00:00 GMT"}, b"{}", UpstreamRateLimited, None),
    ],
)
async def test_other_answers_are_named_for_what_they_are(
    fake: FakeZeroSsl, status: int, headers: dict[str, str], body: bytes, error: type[Any], retry_after: float | None
) -> None:
    fake.failures.append((status, headers, body))
    with pytest.raises(error) as caught:
        await fetch_credentials(ZeroSslSettings(email="a@b.test", api_url=fake.url), USER_AGENT)
    assert getattr(caught.value, "retry_after", None) == retry_after


async def test_control_characters_of_the_api_are_escaped(fake: FakeZeroSsl) -> None:
    fake.failures.append((200, {}, b'{"success": false, "error": {"code": 1, "type": "a\\u001b[2Jb\\nforged"}}'))
    with pytest.raises(UpstreamRefused) as caught:
        await fetch_credentials(ZeroSslSettings(email="a@b.test", api_url=fake.url), USER_AGENT)
    assert "a\\x1b[2Jb\\x0aforged (1)" in caught.value.detail


async def test_credentials_that_are_none_are_not_stored(fake: FakeZeroSsl, tmp_path: Path) -> None:
    fake.failures.append((200, {}, b'{"success": 1, "eab_kid": "k", "eab_hmac_key": "%%%"}'))
    with pytest.raises(UpstreamUnavailable, match="eab_hmac_key"):
        await ZeroSsl(ZeroSslSettings(email="a@b.test", api_url=fake.url), context(tmp_path)).complete()


async def test_an_api_that_drips_has_a_deadline() -> None:
    with dripping(no_body_until_close) as port:
        settings = ZeroSslSettings(email="a@b.test", api_url=f"http://127.0.0.1:{port}", timeout=1)
        with pytest.raises(UpstreamUnavailable, match="more than 2 s"):
            await fetch_credentials(settings, USER_AGENT)


async def test_an_api_that_cannot_be_reached_is_unavailable(free_port: Callable[[], int]) -> None:
    settings = ZeroSslSettings(api_key=Secret(API_KEY), api_url=f"http://127.0.0.1:{free_port()}")
    with pytest.raises(UpstreamUnavailable) as caught:
        await fetch_credentials(settings, USER_AGENT)
    assert API_KEY not in str(caught.value)
    assert caught.value.__cause__ is None


async def test_no_secret_is_shown_or_logged(fake: FakeZeroSsl, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    caplog.set_level(logging.DEBUG, logger="httpx")  # whatever `serving.logs` made of it in this process
    settings = ZeroSslSettings(api_key=Secret(API_KEY), api_url=fake.url)
    found = await fetch_credentials(settings, USER_AGENT)
    assert fake.requests
    shown = caplog.text + repr(found) + repr(settings) + json.dumps(public_settings(settings))
    for secret in (API_KEY, found.hmac_key):
        assert secret not in shown
    logging.getLogger("httpx").info("an innocent line about %s", API_KEY)
    assert API_KEY in caplog.text, "the filter is gone when the request is done"
    assert found == Credentials(found.kid, found.hmac_key)


@pytest.mark.parametrize(
    ("raw", "field"),
    [
        ({}, r"\$\.api_key"),
        ({"email": "a@b.test", "eab_kid": "x"}, r"\$\.eab_kid"),
        ({"email": "a@b.test", "api_url": "http://elsewhere.test"}, r"\$\.api_url"),
        ({"email": "a@b.test", "api_url": "http://127.elsewhere.test"}, r"\$\.api_url"),
        ({"email": "two@addresses.test,b@c.test"}, r"\$\.email"),
        ({"email": "a@b.test", "poll_first": 0}, r"\$\.poll_first"),
        ({"email": "a@b.test", "eab_kid": "x", "eab_hmac_key": "%%%"}, r"\$\.eab_hmac_key"),
    ],
)
def test_settings_that_do_not_fit_are_named(raw: dict[str, object], field: str) -> None:
    with pytest.raises(SettingsError, match=field):
        read_settings(raw, ZeroSslSettings)
