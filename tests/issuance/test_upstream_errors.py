"""What goes wrong at the CA: waited for where that helps, handed to the client in the CA's words where it does not."""

import itertools
from datetime import timedelta

import msgspec
import pytest

from acmehub.models import AuthorizationMode, AuthorizationStatus, OrderStatus, Stage
from acmehub.models.identifiers import Identifier
from acmehub.models.problems import URN, ProblemDocument, Subproblem
from acmehub.ports.authority import (
    IssueRequest,
    UpstreamAccount,
    UpstreamAccountLost,
    UpstreamObjectLost,
    UpstreamOrder,
    UpstreamRateLimited,
    UpstreamRefused,
    UpstreamUnavailable,
)
from acmehub.testing.fake_relay import FakeAuthorization
from tests.issuance.rig import Rig

CAA = ProblemDocument(f"{URN}caa", "CAA record for www.corp.test prevents issuance", 403)


async def test_an_unavailable_ca_is_asked_again_until_it_answers_and_the_timeline_shows_each(rig: Rig) -> None:
    rig.relay.fail("new_order", UpstreamUnavailable("503 from https://ca.test", server="ca.test"), times=4)
    order_id = await rig.open(finalize=True)
    begun = rig.clock.now()
    await rig.go()
    await rig.assert_valid(order_id)
    seen = [event for event in await rig.timeline(order_id) if event.kind == "CA unavailable"]
    assert [(event.detail, event.server) for event in seen] == [("503 from https://ca.test", "ca.test")] * 4
    assert seen[0].seconds is not None
    gaps = [(after.at - before.at).total_seconds() for before, after in itertools.pairwise(seen)]
    assert gaps == sorted(gaps)
    assert gaps[0] >= 2.0
    assert rig.clock.now() - begun < timedelta(minutes=2)


async def test_an_unavailable_ca_is_given_up_at_the_deadline(rig: Rig) -> None:
    rig.relay.fail("new_order", UpstreamUnavailable("connection refused"), times=1000)
    order_id = await rig.open(issuance_timeout=timedelta(hours=2))
    await rig.go(86400)
    order = await rig.order(order_id)
    assert order.status is OrderStatus.INVALID
    assert order.error is not None
    assert order.error.detail == "given up at stage ordering: CA unavailable: connection refused"
    assert rig.relay.calls.count("new_order") < 60  # no hammering
    await rig.assert_clean()


async def test_a_rate_limit_within_the_deadline_is_waited_for(rig: Rig) -> None:
    rig.relay.fail("new_order", UpstreamRateLimited("too many new orders", retry_after=7200.0))
    order_id = await rig.open(finalize=True)
    begun = rig.clock.now()
    await rig.go(86400)
    await rig.assert_valid(order_id)
    assert rig.clock.now() - begun > timedelta(hours=2)
    assert rig.relay.calls.count("new_order") == 2


async def test_a_rate_limit_beyond_the_deadline_reaches_the_client_in_the_words_of_the_ca(rig: Rig) -> None:
    rig.relay.fail("new_order", UpstreamRateLimited("too many certificates (5) already issued", retry_after=200_000.0))
    order_id = await rig.open()
    await rig.go(86400)
    order = await rig.order(order_id)
    assert order.status is OrderStatus.INVALID
    assert order.error is not None
    assert order.error.type == f"{URN}rateLimited"
    assert order.error.detail == "too many certificates (5) already issued"


async def test_a_known_rate_limit_is_answered_from_memory(rig: Rig) -> None:
    rig.relay.fail("new_order", UpstreamRateLimited("too many certificates", retry_after=200_000.0))
    await rig.open()
    await rig.go()
    again = await rig.open()
    await rig.go()
    order = await rig.order(again)
    assert order.error is not None
    assert order.error.detail == "too many certificates"
    assert rig.relay.calls.count("new_order") == 1
    rig.clock.advance(200_001.0)
    later = await rig.open(finalize=True)
    await rig.go()
    await rig.assert_valid(later)


async def test_a_lost_account_is_registered_again_and_the_order_restarted(rig: Rig) -> None:
    order_id = await rig.open()
    await rig.go(until=lambda: "new_order" in rig.relay.calls)
    rig.relay.accounts.clear()
    await rig.finalize(order_id)
    await rig.go()
    await rig.assert_valid(order_id)
    whats = await rig.whats(order_id)
    assert "upstream account lost" in whats
    assert "upstream account changed" in whats
    assert rig.relay.issued_for("www.corp.test") == 1


async def test_a_renewal_whose_replaces_the_ca_refuses_is_ordered_without_it(rig: Rig) -> None:
    old = await rig.open(finalize=True)
    await rig.go()
    certificate = await rig.store.certificates.get((await rig.order(old)).certificate_id or "")
    assert certificate is not None
    unknown = UpstreamRefused(ProblemDocument(f"{URN}malformed", "no such certificate", 404))
    rig.relay.fail("new_order", unknown)
    order_id = await rig.open(finalize=True, replaces=certificate.cert_id)
    await rig.go()
    await rig.assert_valid(order_id)
    assert (await rig.order(order_id)).replaces is None
    assert "CA refused `replaces`" in await rig.whats(order_id)
    rig.relay.fail("new_order", UpstreamRefused(CAA), times=2)
    refused = await rig.open(replaces=certificate.cert_id)
    await rig.go()
    assert (await rig.order(refused)).error == CAA


async def test_a_renewal_that_did_not_tell_the_ca_of_it_is_refused_at_once(rig: Rig) -> None:
    rig.relay.fail("new_order", UpstreamRefused(CAA))
    order_id = await rig.open(replaces="aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE")  # of no certificate that is kept
    await rig.go()
    assert (await rig.order(order_id)).error == CAA
    assert rig.relay.calls.count("new_order") == 1


async def test_an_account_that_stays_lost_is_not_registered_in_a_frenzy(rig: Rig) -> None:
    rig.relay.fail("new_order", UpstreamAccountLost("account is deactivated"), times=10_000)
    await rig.open(issuance_timeout=timedelta(hours=1))
    await rig.go(7200)
    assert rig.relay.calls.count("register") < 30


@pytest.mark.parametrize("stage", ["pending", "processing"])
async def test_an_upstream_order_that_is_gone_for_sure_is_restarted(rig: Rig, stage: str) -> None:
    rig.relay.validation_looks = 3
    rig.relay.processing_looks = 3
    order_id = await rig.open(finalize=True)
    await rig.go(until=lambda: any(item.status == stage for item in rig.relay.orders.values()))
    if stage == "processing":
        await rig.go(until=lambda: "finalize" in rig.relay.calls)
    rig.relay.orders.clear()
    await rig.go()
    await rig.assert_valid(order_id)
    whats = await rig.whats(order_id)
    assert "upstream order lost" in whats
    assert whats.count("CA does not know the resource") == (2 if stage == "pending" else 5)  # one 404 may be a slip


async def test_a_single_404_does_not_cost_the_upstream_order(rig: Rig) -> None:
    rig.relay.processing_looks = 4
    rig.relay.fail("order", UpstreamObjectLost("404"), times=2)
    order_id = await rig.open(finalize=True)
    await rig.go()
    await rig.assert_valid(order_id)
    assert rig.relay.calls.count("new_order") == 1


async def test_a_certificate_that_cannot_be_found_is_never_ordered_a_second_time(rig: Rig) -> None:
    rig.main = rig.worker(hours=1.0)
    rig.relay.fail("certificate", UpstreamObjectLost("404"), times=10_000)
    order_id = await rig.open(finalize=True, issuance_timeout=timedelta(hours=1))
    await rig.go(100_000)
    order = await rig.order(order_id)
    assert order.status is OrderStatus.INVALID
    assert order.error is not None
    assert order.error.detail == (
        f"the certificate could not be fetched from {order.upstream_certificate}: CA does not know the resource: 404"
    )
    assert rig.relay.issued_for("www.corp.test") == 1
    assert rig.relay.calls.count("new_order") == 1


async def test_a_refusal_reaches_the_client_with_its_subproblems(rig: Rig) -> None:
    part = Subproblem(f"{URN}rejectedIdentifier", "blocked by policy", Identifier("dns", "b.corp.test"))
    document = ProblemDocument(f"{URN}rejectedIdentifier", "one name is blocked", 403, (part,))
    rig.relay.fail("new_order", UpstreamRefused(document, server="ca.test"))
    order_id = await rig.open("a.corp.test", "b.corp.test", mode=AuthorizationMode.ACCEPT)
    await rig.go()
    bundle = await rig.bundle(order_id)
    assert bundle.order.status is OrderStatus.INVALID
    assert bundle.order.error == document
    assert {item.status for item in bundle.authorizations} == {AuthorizationStatus.INVALID}
    refused = next(event for event in await rig.timeline(order_id) if event.kind == "CA refused")
    assert (refused.detail, refused.server) == ("one name is blocked", "ca.test")
    assert rig.plugin.finished[0].error == "one name is blocked"


async def test_an_authorization_that_fails_for_one_of_three_names_fails_the_order_with_its_error(rig: Rig) -> None:
    rig.relay.refused["b.corp.test"] = CAA
    order_id = await rig.open("a.corp.test", "b.corp.test", "c.corp.test", finalize=True)
    await rig.go()
    order = await rig.order(order_id)
    assert order.status is OrderStatus.INVALID
    assert order.error is not None
    assert (order.error.type, order.error.detail) == (CAA.type, CAA.detail)
    assert [part.identifier for part in order.error.subproblems] == [Identifier("dns", "b.corp.test")]
    await rig.assert_clean()


async def test_several_failed_authorizations_are_all_named(rig: Rig) -> None:
    rig.relay.refused["a.corp.test"] = CAA
    rig.relay.refused["b.corp.test"] = ProblemDocument(f"{URN}dns", "SERVFAIL for b.corp.test", 400)
    order_id = await rig.open("a.corp.test", "b.corp.test")
    await rig.go()
    order = await rig.order(order_id)
    assert order.error is not None
    assert {(part.type, part.detail) for part in order.error.subproblems} == {
        (f"{URN}caa", CAA.detail),
        (f"{URN}dns", "SERVFAIL for b.corp.test"),
    }


async def test_an_upstream_order_that_turns_invalid_after_the_csr_gives_its_error(rig: Rig) -> None:
    rig.relay.processing_looks = 100
    order_id = await rig.open(finalize=True)
    await rig.go(until=lambda: "finalize" in rig.relay.calls)
    (upstream,) = rig.relay.orders.values()
    upstream.status, upstream.error = "invalid", CAA
    await rig.go()
    order = await rig.order(order_id)
    assert (order.status, order.error) == (OrderStatus.INVALID, CAA)
    await rig.assert_clean()


async def test_processing_for_ten_minutes_is_waited_for_as_often_as_the_ca_asks(rig: Rig) -> None:
    rig.relay.processing_looks = 20
    rig.relay.retry_after = 30.0
    order_id = await rig.open(finalize=True)
    begun = rig.clock.now()
    await rig.go(1200)
    await rig.assert_valid(order_id)
    assert timedelta(minutes=9) < rig.clock.now() - begun < timedelta(minutes=15)
    assert rig.relay.calls.count("finalize") == 1


async def test_a_finalize_whose_answer_was_lost_is_not_sent_a_second_time_while_the_ca_works(rig: Rig) -> None:
    rig.relay.processing_looks = 5
    rig.relay.fail("finalize", UpstreamUnavailable("cut"), when="after")
    order_id = await rig.open(finalize=True)
    await rig.go()
    await rig.assert_valid(order_id)
    assert rig.relay.calls.count("finalize") == 1


async def test_a_finalize_that_never_arrived_is_sent_again_with_the_same_csr(rig: Rig) -> None:
    rig.relay.fail("finalize", UpstreamUnavailable("cut"), when="before")
    order_id = await rig.open(finalize=True)
    await rig.go()
    await rig.assert_valid(order_id)
    (upstream,) = rig.relay.orders.values()
    assert upstream.csr == rig.csrs[order_id]


async def test_a_ca_that_says_ready_but_is_not_is_asked_again(rig: Rig) -> None:
    not_ready = UpstreamRefused(ProblemDocument(f"{URN}orderNotReady", "not yet", 403))
    rig.relay.fail("finalize", not_ready, times=2)
    order_id = await rig.open(finalize=True)
    await rig.go()
    await rig.assert_valid(order_id)


async def test_a_ca_that_stays_ready_after_the_csr_is_not_asked_in_a_frenzy(rig: Rig) -> None:
    order_id = await rig.open(finalize=True, issuance_timeout=timedelta(hours=1))
    await rig.go(until=lambda: any(item.status == "ready" for item in rig.relay.orders.values()))
    (upstream,) = rig.relay.orders.values()
    for _ in range(20):
        await rig.go(60, until=lambda: upstream.status == "valid")
        upstream.status, upstream.chains = "ready", ()
    assert rig.relay.calls.count("finalize") < 60
    assert (await rig.order(order_id)).stage in (Stage.FINALIZING, Stage.ISSUING, Stage.DOWNLOADING, Stage.DONE)


async def test_authorizations_that_are_valid_upstream_need_no_record_and_no_answer(rig: Rig) -> None:
    first = await rig.open(finalize=True)
    await rig.go()
    await rig.assert_valid(first)
    rig.provider.calls.clear()
    rig.relay.calls.clear()
    second = await rig.open(finalize=True)
    await rig.go()
    await rig.assert_valid(second)
    assert rig.provider.calls == []
    assert "answer" not in rig.relay.calls


async def test_a_challenge_that_is_not_pending_any_more_is_not_answered(rig: Rig) -> None:
    order_id = await rig.open("a.corp.test", "b.corp.test", finalize=True)
    await rig.go(until=lambda: len(rig.provider.records) == 2)
    (upstream,) = rig.relay.orders.values()
    upstream.authorizations[0].challenge = "processing"
    await rig.go()
    await rig.assert_valid(order_id)


async def test_a_ca_that_wants_another_name_proven_is_refused(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    parent_of = rig.relay._authorization
    monkeypatch.setattr(rig.relay, "_authorization", lambda _name: parent_of(Identifier("dns", "corp.test")))
    order_id = await rig.open("a.corp.test")
    await rig.go()
    order = await rig.order(order_id)
    assert order.error is not None
    assert order.error.detail == "the CA wants control of corp.test proven as well"


async def test_an_operator_sees_an_authority_whose_plugin_is_missing_and_the_order_waits(
    rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    row = await rig.store.authorities.replace(msgspec.structs.replace(rig.relay_row, plugin="ca_nowhere"))
    order_id = await rig.open(finalize=True)
    await rig.go(7200)
    last = (await rig.timeline(order_id))[-1]
    assert last.kind == "needs an operator"
    assert "ca_nowhere" in last.detail
    assert "failed in an unexpected way" not in caplog.text  # it is no defect
    await rig.store.authorities.replace(msgspec.structs.replace(row, plugin="fake.relay"))
    await rig.go(3600)
    await rig.assert_valid(order_id)


@pytest.mark.parametrize("verb", ["order", "finalize", "certificate"])
async def test_an_account_that_only_seemed_lost_costs_no_second_certificate(rig: Rig, verb: str) -> None:
    rig.relay.fail(verb, UpstreamAccountLost("unknown account"), when="after")
    order_id = await rig.open(finalize=True)
    await rig.go()
    await rig.assert_valid(order_id)
    assert rig.relay.calls.count("register") == 2
    assert rig.relay.issued_for("www.corp.test") == 1
    assert rig.relay.calls.count("new_order") == 1


async def test_404s_among_other_failures_do_not_make_an_order_dead(rig: Rig) -> None:
    rig.relay.processing_looks = 2
    order_id = await rig.open(finalize=True)
    await rig.go(until=lambda: "finalize" in rig.relay.calls)
    for _ in range(4):
        rig.relay.fail("order", UpstreamUnavailable("503"), times=2)
        rig.relay.fail("order", UpstreamObjectLost("404"))
    await rig.go(7200)
    await rig.assert_valid(order_id)
    assert rig.relay.calls.count("new_order") == 1


async def test_an_order_that_a_dead_one_has_left_invalid_is_restarted(rig: Rig) -> None:
    rig.relay.reuse_orders = True
    first = await rig.open(mode=AuthorizationMode.ACCEPT)
    rig.relay.validation_looks = 1000
    await rig.go(5)
    await rig.deactivate(first)
    await rig.go(5)  # its record is gone, its challenge still stands
    rig.relay.validation_looks = 0
    second = await rig.open(finalize=True)
    await rig.go()
    await rig.assert_valid(second)
    assert "upstream order invalid at first sight" in await rig.whats(second)


async def test_a_ca_whose_orders_are_always_dead_is_given_up_soon(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    make = rig.relay._authorization

    def invalid(identifier: Identifier) -> FakeAuthorization:
        made = make(identifier)
        made.status, made.error = "invalid", CAA
        return made

    monkeypatch.setattr(rig.relay, "_authorization", invalid)
    order_id = await rig.open()
    await rig.go()
    order = await rig.order(order_id)
    assert order.error is not None
    assert order.error.type == CAA.type
    assert rig.relay.calls.count("new_order") == 4


@pytest.mark.parametrize("status", ["processing", "valid"])
async def test_an_upstream_order_that_another_has_used_up_is_restarted(
    rig: Rig, status: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = rig.relay.new_order

    async def used_up(account: UpstreamAccount, request: IssueRequest) -> UpstreamOrder:
        made = await original(account, request)
        if rig.relay.calls.count("new_order") <= 2:
            rig.relay.orders[made.url].status = status
        return made

    monkeypatch.setattr(rig.relay, "new_order", used_up)
    order_id = await rig.open()
    await rig.go()
    await rig.finalize(order_id)
    await rig.go()
    await rig.assert_valid(order_id)
    assert (await rig.whats(order_id)).count("upstream order used up") == 2
