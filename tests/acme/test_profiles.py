"""Profiles (draft-ietf-acme-profiles): advertised, asked for, held to, and the way to the authority."""

from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from msgspec.structs import replace

from acmehub import Candidate, OrderRequest, Selection, hookimpl
from acmehub.acme.server.rendering import timestamp
from acmehub.admin.resources.profiles import NewProfile, ProfilePatch
from acmehub.config import Acme
from acmehub.models import Principal
from acmehub.rules.orders import OrderBundle
from acmehub.rules.permissions import Acting
from acmehub.testing.acme_client import AcmeClient
from acmehub.testing.acme_keys import PrivateKey, b64, make_csr
from tests.acme.lab import DIRECTORY, Lab, laboratory

ROOT = Acting.machine("test")
NAMES = ["a.corp.test"]


async def profile(lab: Lab, name: str = "short", **fields: Any) -> None:
    await lab.hub.admin.profiles.add(NewProfile(name=name, **{"description": f"About {name}", **fields}), ROOT)


async def limit(lab: Lab, principal: Principal, *profiles: str) -> None:
    row = await lab.hub.store.principals.get(principal.id)
    assert row is not None
    await lab.hub.store.principals.replace(replace(row, profiles=profiles))


async def meta(lab: Lab) -> Any:
    answer = await lab.http.get(DIRECTORY)
    assert answer.headers["cache-control"] == "public, max-age=0, no-cache"
    return answer.json()["meta"]


# ---------------------------------------------------------------------------------------------------- advertised


async def test_the_directory_has_profiles_when_there_are_any(lab: Lab) -> None:
    assert "profiles" not in await meta(lab)
    await profile(lab)
    await profile(lab, "hidden", enabled=False)
    assert (await meta(lab))["profiles"] == {"short": "About short"}
    await lab.hub.admin.profiles.set("short", ProfilePatch(description="Changed"), ROOT)
    assert (await meta(lab))["profiles"] == {"short": "Changed"}
    await lab.hub.admin.profiles.remove("short", ROOT)
    assert "profiles" not in await meta(lab)


# ----------------------------------------------------------------------------------------------------- asked for


async def test_an_order_shows_the_profile_that_its_client_named(lab: Lab, client: AcmeClient) -> None:
    await profile(lab)
    placed = await client.new_order(NAMES, profile="short")
    assert placed.json["profile"] == "short"
    assert (await client.order(placed.location)).json["profile"] == "short"
    assert "profile" not in (await client.new_order(NAMES)).json


async def test_a_profile_leads_to_its_authority_with_that_authoritys_profile(lab: Lab, client: AcmeClient) -> None:
    other = await lab.authority(default=False, name="other")
    await profile(lab, authority="other", upstream_profile="shortlived")
    order = (await lab.stored((await client.new_order(NAMES, profile="short")).location)).order
    assert (order.authority_id, order.client_profile, order.profile) == (other.id, "short", "shortlived")
    without = (await lab.stored((await client.new_order(NAMES)).location)).order
    assert (without.client_profile, without.profile) == (None, None)
    assert without.authority_id != other.id
    first = (await lab.hub.store.records.timeline(order.id))[0]
    assert first.detail.startswith("the client named short; ")


async def test_the_certificates_record_has_the_profile_and_the_principal(folder: Path) -> None:
    async with laboratory(folder, Acme(), worker=True) as lab:
        await profile(lab, authority="local")
        owner = await lab.principal("device 7")
        client = await lab.client(principal=owner, names="*.corp.test")
        await client.issue(NAMES, profile="short")
        found = (await lab.hub.store.certificates.list())[0]
        assert (found.profile, found.principal_id) == ("short", owner.id)


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ("no such", "the profile 'no such' is not offered to this account; there are: open, short"),
        ("closed", "there are: open, short"),
        ("", "the profile '' is not offered"),
        ("\u00fc", "the profile '\\\\xfc' is not offered"),
    ],
)
async def test_a_profile_that_is_not_offered_is_refused_with_those_that_are(
    lab: Lab, client: AcmeClient, asked: str, words: str
) -> None:
    await profile(lab, "open")
    await profile(lab, "closed", enabled=False)
    await profile(lab, "short")
    refused = await client.new_order(NAMES, status=400, profile=asked)
    assert refused.problem == "invalidProfile"
    assert words in refused.body.decode()


async def test_without_profiles_leaving_it_out_is_the_advice(client: AcmeClient) -> None:
    refused = await client.new_order(NAMES, status=400, profile="short")
    assert refused.problem == "invalidProfile"
    assert "leave 'profile' out" in refused.json["detail"]


async def test_a_profile_that_is_no_text_is_malformed(client: AcmeClient) -> None:
    assert (await client.new_order(NAMES, status=400, profile=7)).problem == "malformed"


async def test_a_principal_has_only_the_profiles_that_it_is_limited_to(lab: Lab) -> None:
    for name in ("open", "short"):
        await profile(lab, name)
    owner = await lab.principal("limited")
    client = await lab.client(principal=owner)
    await client.new_order(NAMES, profile="open")
    await limit(lab, owner, "short")
    refused = await client.new_order(NAMES, status=400, profile="open")
    assert refused.problem == "invalidProfile"
    assert refused.json["detail"].endswith("; there are: short")
    assert (await client.new_order(NAMES, profile="short")).json["profile"] == "short"
    assert (await client.new_order(NAMES)).json["status"] == "ready"


# ------------------------------------------------------------------------------------------- the authority behind


async def test_an_authority_that_is_disabled_or_gone_is_503_for_its_profile_alone(
    lab: Lab, client: AcmeClient, caplog: pytest.LogCaptureFixture
) -> None:
    other = await lab.authority(default=False, name="other")
    await profile(lab, authority="other")
    await lab.hub.store.authorities.replace(replace(other, enabled=False))
    refused = await client.new_order(NAMES, status=503, profile="short")
    assert (refused.problem, refused.retry_after) == ("serverInternal", 60)
    assert "authority 'other' is disabled" in str([vars(record) for record in caplog.records])
    await client.new_order(NAMES)
    row = await lab.hub.store.authorities.get(other.id)
    assert row is not None
    await lab.hub.store.authorities.remove(row)
    await client.new_order(NAMES, status=503, profile="short")


class Watching:
    """A policy that sees what it is asked."""

    def __init__(self, choose: Callable[[], Selection | None]) -> None:
        self.seen: list[tuple[str | None, dict[str, tuple[str, ...]]]] = []
        self._choose = choose

    @hookimpl
    def select_authority(self, request: OrderRequest, candidates: list[Candidate]) -> Selection | None:
        self.seen.append((request.profile, {item.name: item.profiles for item in candidates}))
        return self._choose()


async def test_a_profile_without_an_authority_leaves_the_choice_to_the_policy(lab: Lab, client: AcmeClient) -> None:
    other = await lab.authority(default=False, name="other")
    await profile(lab, "there", authority="other")
    await profile(lab, "also", authority="other")
    await profile(lab, "any", upstream_profile="tls")
    policy = Watching(lambda: None)
    lab.hub.registry.add("watching", policy)
    order = (await lab.stored((await client.new_order(NAMES, profile="any")).location)).order
    assert (order.client_profile, order.profile) == ("any", "tls")
    assert order.authority_id != other.id
    await client.new_order(NAMES, profile="there")
    assert policy.seen == [("any", {"ca_stand_in": (), "other": ("there", "also")})]


async def test_what_a_policy_asks_upstream_holds_where_the_profile_says_nothing(lab: Lab, client: AcmeClient) -> None:
    other = await lab.authority(default=False, name="other")
    await profile(lab, "any")
    lab.hub.registry.add("choosing", Watching(lambda: Selection(other.id, "mine", "its own")))
    order = (await lab.stored((await client.new_order(NAMES, profile="any")).location)).order
    assert (order.authority_id, order.profile) == (other.id, "its own")


async def test_the_hooks_see_the_profile(lab: Lab, client: AcmeClient) -> None:
    seen: list[str | None] = []

    class Listening:
        @hookimpl
        def authorize_order(self, request: OrderRequest) -> None:
            seen.append(request.profile)

    lab.hub.registry.add("listening", Listening())
    await profile(lab)
    await client.new_order(NAMES, profile="short")
    await client.new_order(NAMES)
    assert seen == ["short", None]


# --------------------------------------------------------------------------------------------------------- rules


KEYS: dict[str, Callable[[], PrivateKey]] = {
    "P-256": lambda: ec.generate_private_key(ec.SECP256R1()),
    "P-384": lambda: ec.generate_private_key(ec.SECP384R1()),
    "RSA": lambda: rsa.generate_private_key(65537, 2048),
}


async def finalize(client: AcmeClient, kind: str, status: int, **members: Any) -> str:
    placed = await client.new_order(NAMES, **members)
    csr, _ = make_csr(NAMES, key=KEYS[kind]())
    reply = await client.post(placed.json["finalize"], {"csr": b64(csr)}, status=status)
    return str(reply.json["detail"]) if status == 400 else placed.location


async def test_a_key_of_a_kind_that_the_profile_does_not_take_is_a_bad_csr(lab: Lab, client: AcmeClient) -> None:
    await profile(lab, key_types=("P-384", "RSA-3072"))
    said = await finalize(client, "P-256", 400, profile="short")
    assert said == ("the CSR is not accepted: its key is P-256, and the profile short takes P-384 or RSA-3072 only")
    assert "its key is RSA-2048" in await finalize(client, "RSA", 400, profile="short")
    await finalize(client, "P-384", 200, profile="short")
    await finalize(client, "P-256", 200)


async def test_rsa_alone_takes_every_size(lab: Lab, client: AcmeClient) -> None:
    await profile(lab, key_types=("RSA",))
    await finalize(client, "RSA", 200, profile="short")
    assert "takes RSA only" in await finalize(client, "P-256", 400, profile="short")


async def test_a_finalize_that_was_taken_is_taken_again_whatever_the_profile_says_now(
    lab: Lab, client: AcmeClient
) -> None:
    await profile(lab)
    placed = await client.new_order(NAMES, profile="short")
    csr, _ = make_csr(NAMES)
    await client.post(placed.json["finalize"], {"csr": b64(csr)}, status=200)
    await lab.hub.admin.profiles.set("short", ProfilePatch(key_types=("P-384",)), ROOT)
    await client.post(placed.json["finalize"], {"csr": b64(csr)}, status=200)


async def test_an_order_outlives_its_profile(lab: Lab, client: AcmeClient) -> None:
    await profile(lab, key_types=("P-384",))
    placed = await client.new_order(NAMES, profile="short")
    await lab.hub.admin.profiles.remove("short", ROOT)
    csr, _ = make_csr(NAMES)
    await client.post(placed.json["finalize"], {"csr": b64(csr)}, status=200)


@pytest.fixture
async def private(folder: Path) -> AsyncIterator[tuple[Lab, AcmeClient]]:
    """A working hub with its private CA, a profile of six days, and a client."""
    async with laboratory(folder, Acme(), worker=True) as lab:
        await profile(lab, authority="local", lifetime_days=6)
        yield lab, await lab.client(names="*.corp.test")


async def issued(lab: Lab, client: AcmeClient, **members: Any) -> tuple[timedelta, OrderBundle]:
    await client.issue(NAMES, **members)
    found = (await lab.hub.store.certificates.list())[0]
    bundle = await lab.hub.store.orders.get(found.order_id)
    assert bundle is not None
    return found.not_after - found.created, bundle


async def test_a_lifetime_is_what_the_private_ca_signs_for(private: tuple[Lab, AcmeClient]) -> None:
    lifetime, _ = await issued(*private, profile="short")
    assert timedelta(days=6) - timedelta(minutes=2) < lifetime <= timedelta(days=6)
    lifetime, _ = await issued(*private)
    assert lifetime > timedelta(days=80)


async def test_a_client_may_ask_for_less_than_the_lifetime_but_not_for_more(private: tuple[Lab, AcmeClient]) -> None:
    lab, client = private
    now = datetime.now(UTC)
    lifetime, bundle = await issued(lab, client, profile="short", notAfter=timestamp(now + timedelta(days=2)))
    assert lifetime < timedelta(days=2)
    assert bundle.order.client_profile == "short"
    beyond = timestamp(now + timedelta(days=6, minutes=5))
    refused = await client.new_order(NAMES, status=400, profile="short", notAfter=beyond)
    assert refused.problem == "invalidProfile"
    assert refused.json["detail"] == "'notAfter' is later than the 6 days that the profile short grants"


async def test_a_lifetime_that_the_authority_grants_no_more_is_503(private: tuple[Lab, AcmeClient]) -> None:
    lab, client = private
    relay = await lab.authority(default=False)
    row = (await lab.hub.store.profiles.named("short"))[0]
    await lab.hub.store.profiles.replace(replace(row, authority_id=relay.id))
    await lab.managed_challenge()
    refused = await client.new_order(NAMES, status=503, profile="short")
    assert "its authority sets lifetimes itself" in refused.json["detail"]
