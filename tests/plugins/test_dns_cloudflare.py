"""dns_cloudflare against a fake of Cloudflare's API that is strict about what the documentation demands."""

import logging
import re
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial
from pathlib import Path

import msgspec
import pytest

import acmehub_dns_cloudflare
from acmehub import (
    DnsProviderRefused,
    DnsProviderUnavailable,
    PluginContext,
    SettingsError,
    SystemClock,
    read_settings,
)
from acmehub.ports.settings import public_settings, secret_fields
from acmehub.testing.provider_contract import A, B, RemoteDnsProviderContract
from acmehub_dns_cloudflare.api import CloudflareApi
from acmehub_dns_cloudflare.provider import CloudflareProvider, quoted, unquoted
from acmehub_dns_cloudflare.settings import CloudflareSettings
from tests.plugins.fake_cloudflare import Canned, FakeCloudflare

NAME = "_acme-challenge.corp.test"


class CloudflareLab:
    """Gives providers for a fake; see `acmehub.testing.provider_contract.RemoteLab`."""

    zone = "corp.test"
    foreign_zone = "elsewhere.test"
    seconds = 1.0

    def __init__(self, fake: FakeCloudflare) -> None:
        self.fake = fake
        self.zone_id = fake.add_zone(self.zone)
        self.token = fake.add_token("zone:read", "dns:edit")
        self.secrets = (self.token, "x" * 40)
        self.made: list[CloudflareProvider] = []

    def provider(self, **settings: str | float) -> CloudflareProvider:
        raw = {"api_token": self.token, "base_url": self.fake.base_url, **settings}
        read = read_settings(raw, CloudflareSettings)
        self.made.append(CloudflareProvider(CloudflareApi(read, user_agent="acmehub/test"), ttl=read.ttl))
        return self.made[-1]

    def factory(self) -> Callable[[], CloudflareProvider]:
        read = read_settings({"api_token": self.token, "base_url": self.fake.base_url}, CloudflareSettings)
        return partial(acmehub_dns_cloudflare.make_provider, read, PluginContext("tests", Path(), SystemClock()))

    def provider_with_wrong_credentials(self) -> CloudflareProvider:
        return self.provider(api_token="x" * 40)

    def provider_at(self, host: str, port: int) -> CloudflareProvider:
        return self.provider(base_url=f"http://{host}:{port}", timeout=self.seconds)

    async def values(self, name: str) -> set[str]:
        return self.fake.txt(name)

    async def put(self, name: str, value: str) -> None:
        self.fake.add_record(self.zone_id, name, f'"{value}"')


@pytest.fixture
def fake() -> Iterator[FakeCloudflare]:
    with FakeCloudflare() as running:
        yield running


@pytest.fixture
async def lab(fake: FakeCloudflare) -> AsyncIterator[CloudflareLab]:
    made = CloudflareLab(fake)
    yield made
    for provider in made.made:
        await provider.aclose()


class TestContract(RemoteDnsProviderContract):
    """The suite for every provider with a server."""


async def test_of_values_that_contain_another_only_the_equal_one_is_removed(lab: CloudflareLab) -> None:
    similar = {*(f"{number}{A}" for number in range(5)), A.lower()}
    for value in (*similar, A):
        await lab.put(NAME, value)
    await lab.provider().remove_txt("corp.test", NAME, A)
    assert await lab.values(NAME) == similar


async def test_records_without_quotation_marks_are_found_too(fake: FakeCloudflare, lab: CloudflareLab) -> None:
    fake.add_record(lab.zone_id, NAME, A)
    fake.add_record(lab.zone_id, NAME, B)
    await lab.provider().remove_txt("corp.test", NAME, A)
    assert await lab.values(NAME) == {B}


@pytest.mark.parametrize("value", ["plain", 'with "marks"', "back\\slash", "\\"])
def test_quoting_and_unquoting_are_inverse(value: str) -> None:
    assert unquoted(quoted(value)) == value


async def test_of_two_zones_with_one_name_the_active_one_is_taken(fake: FakeCloudflare, lab: CloudflareLab) -> None:
    fake.add_zone("moved.test", status="moved")
    active = fake.add_zone("moved.test")
    fake.add_zone("moved.test", status="pending")
    await lab.provider().add_txt("moved.test", "_acme-challenge.moved.test", A)
    assert [record["zone_id"] for record in fake.records.values()] == [active]


async def test_a_zone_that_was_moved_is_looked_up_again(fake: FakeCloudflare, lab: CloudflareLab) -> None:
    provider = lab.provider()
    await provider.add_txt("corp.test", NAME, A)
    del fake.zones[lab.zone_id]
    fake.add_zone("corp.test")
    with pytest.raises(DnsProviderUnavailable, match="looked up again"):
        await provider.add_txt("corp.test", NAME, B)
    await provider.add_txt("corp.test", NAME, B)
    assert await lab.values(NAME) == {A, B}


async def test_a_record_that_goes_meanwhile_counts_as_removed(fake: FakeCloudflare, lab: CloudflareLab) -> None:
    provider = lab.provider()
    await provider.add_txt("corp.test", NAME, A)
    listed = fake.answer("GET", f"/client/v4/zones/{lab.zone_id}/dns_records?type=TXT", _bearer(lab), b"")
    fake.records.clear()
    fake.canned.append(listed)
    await provider.remove_txt("corp.test", NAME, A)
    assert fake.requests[-1].startswith("DELETE")


@pytest.mark.parametrize(
    ("header", "least", "most"),
    [("37", 37, 37), ("Tue, 24 Nov 2099 10:00:00 GMT", 1e9, 1e10), ("Tue, 24 Nov 2015 10:00:00 GMT", 0, 0)],
)
async def test_too_many_requests_is_unavailable_until_the_given_time(
    fake: FakeCloudflare, lab: CloudflareLab, header: str, least: float, most: float
) -> None:
    fake.canned.append(
        Canned(429, '{"success":false,"errors":[{"code":971,"message":"slow"}]}', {"Retry-After": header})
    )
    with pytest.raises(DnsProviderUnavailable, match="slow") as caught:
        await lab.provider().add_txt("corp.test", NAME, A)
    assert caught.value.retry_after is not None
    assert least <= caught.value.retry_after <= most


async def test_too_many_requests_without_a_time_or_words_is_unavailable(
    fake: FakeCloudflare, lab: CloudflareLab
) -> None:
    fake.canned.append(Canned(429, "slow down"))
    with pytest.raises(DnsProviderUnavailable, match="too many requests") as caught:
        await lab.provider().add_txt("corp.test", NAME, A)
    assert caught.value.retry_after is None


@pytest.mark.parametrize(
    "canned",
    [
        Canned(502, "<html>Bad Gateway</html>", {"Content-Type": "text/html"}),
        Canned(200, "<html>Sign in</html>", {"Content-Type": "text/html"}),
        Canned(302, "", {"Location": "http://127.0.0.1:1/"}),
        Canned(500, '{"success":false,"errors":[{"code":1,"message":"Internal"}]}'),
        Canned(200, '{"success":true,"result":{"zones":7}}'),
    ],
)
async def test_an_answer_that_says_nothing_is_unavailable(
    fake: FakeCloudflare, lab: CloudflareLab, canned: Canned
) -> None:
    fake.canned.append(canned)
    with pytest.raises(DnsProviderUnavailable) as caught:
        await lab.provider().add_txt("corp.test", NAME, A)
    assert "<html>" not in caught.value.detail
    assert len(fake.requests) == 1


async def test_a_token_without_a_permission_is_refused_with_cloudflares_words_and_the_cure(
    fake: FakeCloudflare, lab: CloudflareLab
) -> None:
    reads_only = lab.provider(api_token=fake.add_token("zone:read"))
    with pytest.raises(DnsProviderRefused, match=r"Authentication error \(10000\).*Zone:DNS:Edit"):
        await reads_only.add_txt("corp.test", NAME, A)
    with pytest.raises(DnsProviderRefused, match=r"Authentication error \(10000\).*Zone:DNS:Edit"):
        await reads_only.remove_txt("corp.test", NAME, A)
    with pytest.raises(DnsProviderRefused, match="Unauthorized to access requested resource"):
        await lab.provider(api_token=fake.add_token("dns:edit")).add_txt("corp.test", NAME, A)
    with pytest.raises(DnsProviderRefused, match=r"Invalid request headers \(6003\): Invalid format.*api_token"):
        await lab.provider(api_token="too-short").add_txt("corp.test", NAME, A)


async def test_a_deletion_that_is_refused_is_no_success(fake: FakeCloudflare, lab: CloudflareLab) -> None:
    provider = lab.provider()
    await provider.add_txt("corp.test", NAME, A)
    listed = fake.answer("GET", f"/client/v4/zones/{lab.zone_id}/dns_records?type=TXT", _bearer(lab), b"")
    refusal = Canned(403, '{"success":false,"errors":[{"code":10000,"message":"Authentication error"}]}')
    fake.canned += [listed, refusal]
    with pytest.raises(DnsProviderRefused, match="Authentication error"):
        await provider.remove_txt("corp.test", NAME, A)


async def test_a_list_without_an_end_is_given_up(
    fake: FakeCloudflare, lab: CloudflareLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("acmehub_dns_cloudflare.api.MOST_PAGES", 3)
    page = '{"success":true,"result":[{"id":"1","name":"a.test"}],"result_info":{"page":1,"total_pages":99}}'
    fake.canned += [Canned(200, page)] * 4
    with pytest.raises(DnsProviderUnavailable, match="no end"):
        await lab.provider().add_txt("a.test", NAME, A)
    assert len(fake.requests) == 3


async def test_the_connection_is_kept_and_the_zone_asked_for_once(fake: FakeCloudflare, lab: CloudflareLab) -> None:
    provider = lab.provider()
    for value in (A, B):
        await provider.add_txt("corp.test", NAME, value)
        await provider.remove_txt("corp.test", NAME, value)
    assert fake.connections == 1
    assert len([item for item in fake.requests if "/zones?" in item]) == 1


async def test_the_token_is_never_shown(
    fake: FakeCloudflare, lab: CloudflareLab, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    provider = lab.provider()
    await provider.add_txt("corp.test", NAME, A)
    fake.canned.append(Canned(403, '{"success":false,"errors":[{"code":9109,"message":"Invalid access token"}]}'))
    with pytest.raises(DnsProviderRefused) as caught:
        await provider.add_txt("corp.test", NAME, B)
    settings = read_settings({"api_token": lab.token}, CloudflareSettings)
    shown = [repr(provider), repr(settings), str(public_settings(settings)), str(caught.value), *caplog.messages]
    assert not [text for text in shown if lab.token in text]


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        ({}, "api_token"),
        ({"api_token": ""}, "api_token: expected"),
        ({"api_token": "two words"}, "api_token: expected"),
        ({"api_token": "t", "ttl": 30}, "ttl: Cloudflare takes 60 to 86400"),
        ({"api_token": "t", "ttl": 100000}, "86400"),
        ({"api_token": "t", "timeout": 0}, r"\$\.timeout"),
        ({"api_token": "t", "base_url": "http://api.cloudflare.com/client/v4"}, "never sent in clear"),
        ({"api_token": "t", "base_url": "https://user:pass@example.test/"}, "without credentials"),
        ({"api_token": "t", "email": "x"}, "email"),
    ],
)
def test_settings_that_do_not_fit_name_the_field_and_the_cure(raw: dict[str, object], words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        read_settings(raw, CloudflareSettings)


def test_the_readme_lists_the_settings_with_their_defaults() -> None:
    text = (Path(__file__).parents[2] / "plugins" / "dns_cloudflare" / "README.md").read_text()
    table = dict(re.findall(r"^\| `([a-z_]+)` \| ([^|]+) \|", text, flags=re.MULTILINE))
    fields = {field.name: field for field in msgspec.structs.fields(CloudflareSettings)}
    assert table.keys() == fields.keys()
    for name, words in table.items():
        if fields[name].default is msgspec.NODEFAULT:
            assert words.startswith("required")
        else:
            assert words.strip("`") == format(
                fields[name].default, "" if isinstance(fields[name].default, str) else "g"
            )
    assert {name for name, words in table.items() if "secret" in words} == secret_fields(CloudflareSettings)


async def test_the_plugin_registers_a_provider_made_from_its_settings(fake: FakeCloudflare, tmp_path: Path) -> None:
    offers: dict[str, tuple[object, type]] = {}

    def register(name: str, factory: object, settings: type, summary: str = "") -> None:
        offers[name] = (factory, settings)

    acmehub_dns_cloudflare.register_dns_providers(register)
    factory, kind = offers["dns_cloudflare"]
    assert kind is CloudflareSettings
    assert callable(factory)
    context = PluginContext(user_agent="acmehub/test", data_dir=tmp_path, clock=SystemClock())
    fake.add_zone("corp.test")
    settings = read_settings({"api_token": fake.add_token("zone:read", "dns:edit"), "base_url": fake.base_url}, kind)
    provider = factory(settings, context)
    await provider.add_txt("corp.test", NAME, A)
    assert fake.txt(NAME) == {A}
    await provider.aclose()


def _bearer(lab: CloudflareLab) -> dict[str, str]:
    return {"authorization": f"Bearer {lab.token}"}
