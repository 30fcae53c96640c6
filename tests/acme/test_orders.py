"""newOrder, orders, finalize (RFC 8555 section 7.4; docs/client-rules.md rules 1-7, 14, 17-19, 28)."""

import asyncio
import re
from datetime import timedelta

import pytest
from msgspec.structs import replace

from acmehub.models import AuthorizationMode, ChallengeType, OrderStatus
from acmehub.models.problems import Problem, ProblemDocument, ProblemType
from acmehub.ports.store import Missing
from acmehub.rules.orders import Change, OrderBundle
from acmehub.testing.acme_client import TIMESTAMP, AcmeClient
from acmehub.testing.acme_keys import b64, compact, make_csr
from tests.acme.lab import BASE, CHAIN, Lab

THREE = ["a.corp.test", "b.corp.test", "*.corp.test"]


async def test_rules_11_14_19_a_new_order_is_201_with_location_expires_and_all_members(client: AcmeClient) -> None:
    reply = await client.new_order(THREE)
    order = reply.json
    assert reply.location.startswith(f"{BASE}/acme/order/")
    assert order["status"] == "ready"
    assert TIMESTAMP.fullmatch(order["expires"])
    assert order["finalize"] == reply.location + "/finalize"
    assert order["identifiers"] == [{"type": "dns", "value": name} for name in THREE]
    assert len(set(order["authorizations"])) == 3


async def test_rule_14_an_order_read_again_is_the_same_and_says_where_it_is(client: AcmeClient) -> None:
    placed = await client.new_order(THREE)
    read = await client.order(placed.location)
    assert read.json == placed.json


async def test_object_ids_are_random(client: AcmeClient) -> None:
    placed = await client.new_order(["a.corp.test"])
    for url in (placed.location, *placed.json["authorizations"]):
        assert re.fullmatch(r"[0-9a-f]{44}", url.rpartition("/")[2])


@pytest.mark.parametrize(
    ("mode", "user_agent", "status"),
    [
        (AuthorizationMode.PREAPPROVED, "x", ("ready", "valid")),
        (AuthorizationMode.ACCEPT, "x", ("pending", "pending")),
        (AuthorizationMode.VERIFY, "x", ("pending", "pending")),
        (AuthorizationMode.AUTO, "CertbotACMEClient/5.8 (certbot)", ("ready", "valid")),
        (AuthorizationMode.AUTO, "xenolf-acme/4.9.1 (release; linux; amd64)", ("pending", "pending")),
    ],
)
async def test_rule_2_order_and_authorizations_are_ready_together_or_pending_together(
    lab: Lab, mode: AuthorizationMode, user_agent: str, status: tuple[str, str]
) -> None:
    client = await lab.client(user_agent, authorization=mode)
    placed = await client.new_order(["a.corp.test", "*.corp.test"])
    assert placed.json["status"] == status[0]
    for url in placed.json["authorizations"]:
        assert (await client.authorization(url)).json["status"] == status[1]


async def test_rule_2_no_one_ever_sees_a_valid_authorization_of_a_pending_order(lab: Lab) -> None:
    client = await lab.client("xenolf-acme/4", authorization=AuthorizationMode.ACCEPT)
    placed = await client.new_order(["a.corp.test"])
    url = placed.json["authorizations"][0]
    read = await client.authorization(url)
    watching = asyncio.create_task(_watch(lab, placed.location))
    await client.respond(read.json["challenges"][0]["url"])
    await lab.upstream_validates(placed.location)
    assert (await client.authorization(url)).json["status"] == "valid"
    assert (await client.order(placed.location)).json["status"] == "ready"
    assert await watching <= {("pending", "pending"), ("ready", "valid")}


async def _watch(lab: Lab, url: str) -> set[tuple[str, str]]:
    seen = set()
    while True:
        bundle = await lab.stored(url)
        seen.add((bundle.order.status.value, bundle.authorizations[0].status.value))
        if bundle.order.status is OrderStatus.READY:
            return seen
        await asyncio.sleep(0)


async def test_rule_3_an_order_is_not_processing_before_finalize_and_never_ready_after_it(
    lab: Lab, client: AcmeClient
) -> None:
    placed = await client.new_order(["a.corp.test"])
    assert (await client.order(placed.location)).json["status"] == "ready"
    csr, _ = make_csr(["a.corp.test"])
    assert (await client.finalize(placed.json, csr)).json["status"] == "processing"
    await lab.upstream_validates(placed.location)
    assert (await client.order(placed.location)).json["status"] == "processing"
    await lab.upstream_issues(placed.location)
    assert (await client.order(placed.location)).json["status"] == "valid"


async def test_rule_6_a_refusal_of_the_ca_is_an_invalid_order_with_its_words_and_http_200(
    lab: Lab, client: AcmeClient
) -> None:
    placed = await client.new_order(["a.corp.test"])
    await client.finalize(placed.json, make_csr(["a.corp.test"])[0])
    await lab.upstream_refuses(placed.location, "CAA „nein“ # forbids it")
    reply = await client.order(placed.location)
    assert reply.json["status"] == "invalid"
    assert reply.json["error"]["type"] == ProblemType.CAA.urn
    assert reply.json["error"]["detail"] == "CAA „nein“ # forbids it"
    authorization = await client.authorization(placed.json["authorizations"][0])
    assert authorization.json["status"] == "valid"


async def test_rule_7_duplicates_are_removed_in_both_lists_together(client: AcmeClient) -> None:
    reply = await client.new_order(["a.corp.test", "b.corp.test", "a.corp.test"])
    assert [item["value"] for item in reply.json["identifiers"]] == ["a.corp.test", "b.corp.test"]
    assert len(reply.json["authorizations"]) == 2


async def test_rule_7_names_are_echoed_byte_for_byte_and_case_makes_no_second_name(client: AcmeClient) -> None:
    asked = [{"type": "dns", "value": name} for name in ("A.Corp.test", "a.corp.TEST")]
    reply = await client.post(client.directory["newOrder"], {"identifiers": asked})
    assert reply.json["identifiers"] == asked[:1]
    csr, _ = make_csr(["a.corp.test"])
    assert (await client.finalize(reply.json, csr)).json["status"] == "processing"


async def test_rule_16_unknown_members_of_a_payload_are_ignored(client: AcmeClient) -> None:
    assert (await client.new_order(["a.corp.test"], surprise={"a": [1]})).status == 201


async def test_an_empty_object_reads_an_order_as_post_as_get_does(client: AcmeClient) -> None:
    placed = await client.new_order(["a.corp.test"])
    assert (await client.post(placed.location, {})).json == placed.json
    assert (await client.post(placed.location, [], status=400)).problem == "malformed"


# --------------------------------------------------------------------------------------------------- refusals


async def test_each_name_outside_the_scope_is_a_subproblem_that_says_which_rule_is_needed(client: AcmeClient) -> None:
    reply = await client.new_order(["a.corp.test", "x.other.test", "evilcorp.test"], status=403)
    assert reply.problem == "rejectedIdentifier"
    parts = reply.json["subproblems"]
    assert [part["identifier"]["value"] for part in parts] == ["x.other.test", "evilcorp.test"]
    assert "*.other.test" in parts[0]["detail"]


async def test_the_tokens_names_narrow_what_it_may_order(lab: Lab) -> None:
    client = await lab.client(names="a.corp.test")
    assert (await client.new_order(["a.corp.test"])).status == 201
    for names in (["b.corp.test"], ["*.corp.test"], ["a.corp.test", "b.corp.test"]):
        assert (await client.new_order(names, status=403)).problem == "rejectedIdentifier"


@pytest.mark.parametrize(
    ("identifier", "problem"),
    [
        ({"type": "ip", "value": "192.0.2.1"}, "unsupportedIdentifier"),
        ({"type": "dns", "value": "192.0.2.1"}, None),
        ({"type": "dns", "value": "a_b.corp.test"}, None),
        ({"type": "dns", "value": "*.*.corp.test"}, None),
        ({"type": "dns", "value": "a.*.corp.test"}, None),
        ({"type": "dns", "value": "a.corp.test."}, None),
        ({"type": "dns", "value": "ä.corp.test"}, None),
        ({"type": "dns", "value": ""}, None),
        ({"type": "dns", "value": "a" * 64 + ".corp.test"}, None),
    ],
)
async def test_what_is_no_dns_name_cannot_be_ordered(
    client: AcmeClient, identifier: dict[str, str], problem: str | None
) -> None:
    body = await client.sign(client.directory["newOrder"], compact({"identifiers": [identifier]}))
    reply = await client.send(client.directory["newOrder"], body)
    assert 400 <= reply.status < 500
    assert reply.problem == problem if problem else reply.problem in ("malformed", "rejectedIdentifier")


async def test_no_more_than_a_hundred_names_in_one_order(client: AcmeClient) -> None:
    names = [f"n{number}.corp.test" for number in range(101)]
    assert (await client.new_order(names, status=400)).problem == "malformed"
    assert (await client.new_order(names[:100])).status == 201


async def test_a_profile_is_refused_and_not_dropped_silently(client: AcmeClient) -> None:
    assert (await client.new_order(["a.corp.test"], profile="shortlived", status=400)).problem == "invalidProfile"


async def test_dates_are_refused_where_the_authority_sets_them(lab: Lab, client: AcmeClient) -> None:
    for member in ("notBefore", "notAfter"):
        reply = await client.new_order(["a.corp.test"], status=400, **{member: "2026-12-01T00:00:00Z"})
        assert member in reply.json["detail"]
    await lab.no_authority()
    await lab.authority("ca_local", name="signs")
    until = (lab.now + timedelta(days=2)).strftime("%Y-%m-%dT%H:%M:%SZ")
    reply = await client.new_order(["a.corp.test"], notAfter=until)
    assert reply.json["notAfter"] == until
    for nonsense in ("tomorrow", "2026-12-01T00:00:00", "", 5):
        await client.new_order(["a.corp.test"], status=400, notAfter=nonsense)


async def test_dates_that_cannot_be_had_are_refused_before_there_is_an_order(lab: Lab) -> None:
    await lab.no_authority()
    await lab.authority("ca_local", name="signs")
    client = await lab.client()
    moments = [(lab.now + timedelta(days=days)).strftime("%Y-%m-%dT%H:%M:%SZ") for days in (-1, 1, 2, 36500)]
    past, soon, later, far = moments
    for dates in ({"notAfter": past}, {"notBefore": later, "notAfter": soon}, {"notAfter": far}):
        refused = await client.new_order(["a.corp.test"], status=400, **dates)
        assert "notAfter" in refused.json["detail"]
    assert (await client.new_order(["a.corp.test"], notBefore=soon, notAfter=later)).json["notBefore"] == soon


async def test_dates_at_the_ends_of_time_are_refused_whatever_their_offset(lab: Lab) -> None:
    await lab.no_authority()
    await lab.authority("ca_local", name="signs")
    client = await lab.client()
    for offset in ("Z", "+23:59", "-23:59"):
        for dates in (
            {"notBefore": f"9999-12-31T23:59:59{offset}"},
            {"notAfter": f"0001-01-01T00:00:00{offset}"},
            {"notAfter": f"9999-12-31T23:59:59.999999{offset}"},
            {"notBefore": f"0001-01-01T00:00:00{offset}", "notAfter": f"9999-12-31T23:59:59{offset}"},
        ):
            assert (await client.new_order(["a.corp.test"], status=400, **dates)).problem == "malformed"
    assert (await client.new_order(["a.corp.test"], notBefore=f"0001-01-01T00:00:00{offset}")).status == 201


async def test_rule_29_replaces_that_is_unknown_or_nonsense_is_ignored(client: AcmeClient) -> None:
    assert "replaces" not in (await client.new_order(["a.corp.test"], replaces="AbC-_1.Zz")).json
    assert "replaces" not in (await client.new_order(["b.corp.test"], replaces="?")).json


async def test_a_policys_objection_is_the_answer(lab: Lab, client: AcmeClient) -> None:
    lab.plugin.objection = Problem(ProblemType.RATE_LIMITED, "ten orders a day", retry_after=60)
    reply = await client.new_order(["a.corp.test"], status=429)
    assert (reply.problem, reply.json["detail"], reply.retry_after) == ("rateLimited", "ten orders a day", 60)


async def test_without_an_authority_the_order_is_refused_with_the_cure(lab: Lab, client: AcmeClient) -> None:
    for row in await lab.hub.store.authorities.list():
        await lab.hub.store.authorities.replace(replace(row, enabled=False))
    reply = await client.new_order(["a.corp.test"], status=403)
    assert "authority" in reply.json["detail"]


async def test_an_authority_whose_plugin_is_missing_is_503_and_says_no_more_than_that(
    lab: Lab, client: AcmeClient
) -> None:
    (row,) = await lab.hub.store.authorities.list()
    await lab.hub.store.authorities.replace(replace(row, plugin="ca_nowhere"))
    reply = await client.new_order(["a.corp.test"], status=503)
    assert reply.retry_after == 60
    assert "ca_nowhere" not in reply.json["detail"]


async def test_no_managed_challenge_is_needed_where_the_authority_signs_by_itself(lab: Lab) -> None:
    await lab.no_authority()
    await lab.authority("ca_local", name="signs")
    client = await lab.client(names="*.elsewhere.test")
    assert (await client.new_order(["a.elsewhere.test"])).json["status"] == "ready"
    assert (await client.new_order(["a.corp.test"], status=403)).problem == "rejectedIdentifier"


async def test_the_choice_of_the_authority_opens_the_timeline(lab: Lab, client: AcmeClient) -> None:
    placed = await client.new_order(["a.corp.test"])
    first = (await lab.hub.store.records.timeline(placed.location.rpartition("/")[2]))[0]
    assert first.kind == "order opened"
    assert "ca_stand_in is the default authority" in first.detail
    assert "preapproved" in first.detail


# -------------------------------------------------------------------------------------------------- ownership


async def test_objects_of_another_account_are_answered_as_if_they_were_not_there(lab: Lab, client: AcmeClient) -> None:
    placed = await client.new_order(["a.corp.test"])
    csr, _ = make_csr(["a.corp.test"])
    await client.finalize(placed.json, csr)
    await lab.upstream_validates(placed.location)
    await lab.upstream_issues(placed.location)
    certificate = (await client.order(placed.location)).json["certificate"]
    authorization = placed.json["authorizations"][0]
    challenge = (await client.authorization(authorization)).json["challenges"][0]["url"]
    other = await lab.client()
    missing = await other.post(f"{BASE}/acme/order/{'0' * 32}", status=404)
    for url, payload in (
        (placed.location, None),
        (placed.location, {}),
        (placed.json["finalize"], {"csr": b64(csr)}),
        (authorization, None),
        (authorization, {"status": "deactivated"}),
        (challenge, None),
        (challenge, {}),
        (certificate, None),
        (certificate + "/1", None),
    ):
        reply = await other.post(url, payload, status=404)
        assert reply.json == missing.json, url
    assert (await client.authorization(authorization)).json["status"] == "valid"
    assert await client.certificate(certificate) == CHAIN


async def test_the_service_itself_looks_at_whose_an_authorization_is(lab: Lab, client: AcmeClient) -> None:
    stored = await lab.stored((await client.new_order(["a.corp.test"])).location)
    stranger = await lab.hub.store.accounts.actor((await lab.client()).kid.rpartition("/")[2])
    assert stranger is not None
    (authorization,) = stored.authorizations
    with pytest.raises(Problem) as refused:
        await lab.hub.orders.answer(stranger, authorization, ChallengeType.DNS_01)
    assert refused.value.status == 404
    with pytest.raises(Problem) as refused:
        await lab.hub.orders.deactivate(stranger, authorization)
    assert refused.value.status == 404


async def test_an_order_that_is_pruned_while_it_is_changed_is_not_there(
    lab: Lab, client: AcmeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def gone(*_: object, **__: object) -> None:
        raise Missing("no order")

    placed = await client.new_order(["a.corp.test"])
    monkeypatch.setattr(lab.hub.store.orders, "apply", gone)
    csr, _ = make_csr(["a.corp.test"])
    assert (await client.finalize(placed.json, csr, status=404)).problem == "malformed"


async def test_no_certificate_is_fetched_before_the_order_is_valid(lab: Lab, client: AcmeClient) -> None:
    placed = await client.new_order(["a.corp.test"])
    await client.finalize(placed.json, make_csr(["a.corp.test"])[0])
    assert "certificate" not in (await client.order(placed.location)).json
    order_id = placed.location.rpartition("/")[2]
    assert (await client.post(f"{BASE}/acme/cert/{order_id}", status=404)).problem == "malformed"


async def test_the_page_that_the_ca_wants_visited_stands_in_the_order_and_its_link(
    lab: Lab, client: AcmeClient
) -> None:
    page = "https://ca.test/terms/2"
    placed = await client.new_order(["a.corp.test"])
    assert placed.links("terms-of-service") == []
    for type, links in (("userActionRequired", [page]), ("badCSR", [])):
        error = ProblemDocument(f"urn:ietf:params:acme:error:{type}", f"agree (see {page})", 403, instance=page)

        def rule(current: OrderBundle, error: ProblemDocument = error) -> Change:
            return Change(order=replace(current.order, status=OrderStatus.INVALID, error=error))

        await lab.hub.store.orders.apply(placed.location.rpartition("/")[2], rule)
        read = await client.order(placed.location)
        assert read.json["error"]["instance"] == page
        assert read.links("terms-of-service") == links
