"""renewalInfo (RFC 9773 section 4) and `replaces` in newOrder (section 5)."""

from datetime import timedelta

import httpx
import pytest
from msgspec.structs import replace

from acmehub.models import Campaign, Certificate, Stage, new_id
from acmehub.rules import orders
from acmehub.rules.finalizing import finalize
from acmehub.rules.orders import Change, OrderBundle
from acmehub.rules.renewal import cert_id, cert_id_in
from acmehub.testing.acme_client import AcmeClient
from acmehub.testing.fake_ca import FakeCa, make_csr
from tests.acme.lab import BASE, CHAIN, Lab

DAY = timedelta(days=1)
HOUR = timedelta(hours=1)


async def issue(lab: Lab, client: AcmeClient, *names: str, serial: int = 0x87654321) -> Certificate:
    """A certificate of 90 days that was issued an hour ago."""
    url = (await client.new_order(list(names) or ["www.corp.test"])).location
    bundle = await lab.stored(url)
    began = lab.now - HOUR
    certificate = Certificate(
        order_id=bundle.order.id,
        account_id=bundle.order.account_id,
        authority_id=bundle.order.authority_id,
        principal_id=bundle.order.principal_id,
        names=tuple(item.value for item in bundle.order.identifiers),
        serial=f"{serial:08x}",
        issuer="CN=test",
        spki_sha256="00",
        not_before=began,
        not_after=began + 90 * DAY,
        chain=CHAIN,
        created=began,
        cert_id=cert_id(b"issuer", serial),
    )

    def rule(current: OrderBundle) -> Change:
        order = finalize(current, b"csr", lab.now).order
        return orders.issued(replace(order, stage=Stage.DOWNLOADING), certificate, lab.now)

    await lab.hub.store.orders.apply(bundle.order.id, rule)
    return certificate


async def ask(lab: Lab, text: str) -> httpx.Response:
    return await lab.http.get(f"/acme/renewal-info/{text}")


async def change(lab: Lab, certificate: Certificate, **fields: object) -> None:
    row = await lab.hub.store.certificates.get(certificate.id)
    assert row is not None
    await lab.hub.store.certificates.replace(replace(row, **fields))


async def begin(lab: Lab, **fields: object) -> Campaign:
    usual: dict[str, object] = {"name": new_id(), "starts": lab.now, "renew_by": lab.now + 2 * DAY, "created": lab.now}
    campaign = Campaign(**{**usual, **fields})  # type: ignore[arg-type]
    await lab.hub.store.campaigns.add(campaign)
    return campaign


# ------------------------------------------------------------------------------------------------- the resource


async def test_the_directory_names_it_without_a_trailing_slash(lab: Lab, client: AcmeClient) -> None:
    assert (await lab.http.get("/acme/directory")).json()["renewalInfo"] == f"{BASE}/acme/renewal-info"


async def test_anybody_is_told_the_last_third_of_the_life(lab: Lab, client: AcmeClient) -> None:
    certificate = await issue(lab, client)
    answer = await ask(lab, certificate.cert_id)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["retry-after"] == "21600"
    assert answer.headers["cache-control"] == "public, max-age=300"
    assert "replay-nonce" not in answer.headers
    start = (certificate.not_before + 60 * DAY).strftime("%Y-%m-%dT%H:%M:%SZ")
    assert answer.json() == {"suggestedWindow": {"start": start, "end": answer.json()["suggestedWindow"]["end"]}}
    assert (await lab.http.head(f"/acme/renewal-info/{certificate.cert_id}")).status_code == 200


async def test_a_certificate_of_before_identifiers_were_stored_is_found_by_what_is_in_it(
    lab: Lab, client: AcmeClient
) -> None:
    ca = FakeCa(lab.now)
    chain = ca.chains(make_csr(["www.corp.test"]), ["www.corp.test"], lab.now)[0]
    certificate = await issue(lab, client, serial=ca.issued[0].serial_number)
    await change(lab, certificate, cert_id="", chain=chain, serial=f"{ca.issued[0].serial_number:x}".zfill(40))
    assert (await ask(lab, cert_id_in(chain))).status_code == 200


async def test_the_answer_of_the_upstream_is_passed_on(lab: Lab, client: AcmeClient) -> None:
    certificate = await issue(lab, client)
    start = lab.now.replace(microsecond=0)
    await change(
        lab,
        certificate,
        window_start=start,
        window_end=start + DAY,
        window_until=lab.now + HOUR / 2,
        explanation_url="https://ca.test/why#x",
    )
    answer = await ask(lab, certificate.cert_id)
    assert answer.json() == {
        "suggestedWindow": {
            "start": start.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "end": (start + DAY).strftime("%Y-%m-%dT%H:%M:%SZ"),
        },
        "explanationURL": "https://ca.test/why#x",
    }
    assert 1700 < int(answer.headers["retry-after"]) <= 1800


async def test_a_revoked_certificate_is_to_be_renewed_at_once(lab: Lab, client: AcmeClient) -> None:
    certificate = await issue(lab, client)
    await change(lab, certificate, revoked=lab.now)
    window = (await ask(lab, certificate.cert_id)).json()["suggestedWindow"]
    assert window["start"] < window["end"] < lab.now.strftime("%Y-%m-%dT%H:%M:%SZ")


async def test_a_campaign_is_told_at_once_and_its_end_too(lab: Lab, client: AcmeClient) -> None:
    certificate = await issue(lab, client)
    before = (await ask(lab, certificate.cert_id)).json()
    campaign = await begin(lab, explanation_url="https://status.test/42")
    answer = await ask(lab, certificate.cert_id)
    assert answer.headers["retry-after"] == "3600"
    assert answer.json()["explanationURL"] == "https://status.test/42"
    assert answer.json()["suggestedWindow"]["end"] <= campaign.renew_by.strftime("%Y-%m-%dT%H:%M:%SZ")
    await lab.hub.store.campaigns.replace(replace(campaign, ended=lab.now))
    assert (await ask(lab, certificate.cert_id)).json() == before


async def test_a_certificate_that_is_not_ours_is_404(lab: Lab, client: AcmeClient) -> None:
    await issue(lab, client)
    for unknown in (cert_id(b"another", 0x87654321), cert_id(b"issuer", 0x87654322)):
        answer = await ask(lab, unknown)
        assert answer.status_code == 404
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["type"] == "urn:ietf:params:acme:error:malformed"


@pytest.mark.parametrize("text", ["x", "x.", ".x", "a.b.c", "YWJj.gA", "%00.%00", "YWJj.YWJj%3D", "YWJj.AIdlQyF"])
async def test_what_is_no_identifier_is_400(lab: Lab, text: str) -> None:
    answer = await lab.http.get(f"/acme/renewal-info/{text}")
    assert answer.status_code == 400
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["type"] == "urn:ietf:params:acme:error:malformed"
    assert "detail" in answer.json()


async def test_it_takes_no_post(lab: Lab) -> None:
    answer = await lab.http.post(f"/acme/renewal-info/{cert_id(b'issuer', 1)}", content=b"{}")
    assert answer.status_code == 405
    assert answer.headers["allow"] == "GET, HEAD"


# -------------------------------------------------------------------------------------------------- `replaces`


async def test_an_order_says_which_certificate_it_replaces_and_that_one_knows_it_when_it_is_valid(
    lab: Lab, client: AcmeClient
) -> None:
    old = await issue(lab, client)
    answer = await client.new_order(["www.corp.test", "new.corp.test"], replaces=old.cert_id)
    assert answer.status == 201
    assert answer.json["replaces"] == old.cert_id
    assert (await client.order(answer.location)).json["replaces"] == old.cert_id
    order_id = (await lab.stored(answer.location)).order.id
    assert await replaced_by(lab, old) is None
    await client.finalize(answer.json, make_csr(["www.corp.test", "new.corp.test"]))
    await lab.upstream_issues(answer.location)
    assert await replaced_by(lab, old) == order_id


async def test_another_account_of_the_same_principal_may_renew(lab: Lab) -> None:
    principal = await lab.principal("shared")
    _, external = await lab.token(principal)
    first, second = await lab.stranger(), await lab.stranger()
    for one in (first, second):
        await one.register(external, status=201)
    old = await issue(lab, first)
    assert (await second.new_order(["www.corp.test"], replaces=old.cert_id)).json["replaces"] == old.cert_id


@pytest.mark.parametrize(
    ("case", "why"),
    [
        ("nonsense", "it is not an identifier of a certificate (RFC 9773 section 4.1)"),
        ("unknown", "this hub has no such certificate"),
        ("foreign", "is another principal's"),
        ("other names", "has none of the names"),
        ("replaced", "was replaced by order"),
    ],
)
async def test_what_does_not_hold_is_left_out_with_a_word_and_never_costs_the_renewal(
    lab: Lab, client: AcmeClient, case: str, why: str
) -> None:
    owner = await lab.client() if case == "foreign" else client
    old = await issue(lab, owner)
    if case == "replaced":
        await change(lab, old, replaced_by="order 7")
    replaces = {"nonsense": "?", "unknown": cert_id(b"issuer", 5)}.get(case, old.cert_id)
    names = ["other.corp.test"] if case == "other names" else ["www.corp.test"]
    answer = await client.new_order(names, replaces=replaces)
    assert answer.status == 201
    assert "replaces" not in answer.json
    order = (await lab.stored(answer.location)).order
    assert order.replaces is None
    [event] = [item for item in await lab.hub.store.records.timeline(order.id) if item.kind == "`replaces` ignored"]
    assert why in event.detail


async def replaced_by(lab: Lab, certificate: Certificate) -> str | None:
    row = await lab.hub.store.certificates.get(certificate.id)
    assert row is not None
    return row.replaced_by
