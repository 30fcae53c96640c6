"""Answers of a CA that are rare and right, or rare and wrong: a certificate is neither lost nor ordered twice."""

import itertools
from datetime import datetime, timedelta

import pytest
from msgspec.structs import replace

from acmehub.issuance.retry_policy import MOST_NOT_READY, SURE_OF_LOSS_AFTER_CSR
from acmehub.models import OrderStatus, Stage
from acmehub.models.identifiers import Identifier
from acmehub.models.problems import URN, ProblemDocument
from acmehub.ports.authority import (
    IssueRequest,
    UpstreamAccount,
    UpstreamObjectLost,
    UpstreamOrder,
    UpstreamRefused,
    UpstreamUnavailable,
)
from acmehub.rules.orders import Change
from acmehub.testing.fake_relay import FakeAuthorization
from tests.issuance.rig import Rig


async def test_two_names_that_fail_for_one_reason_fail_the_order_for_it(rig: Rig) -> None:
    for problem_type in (f"{URN}caa", "urn:example:sanctioned"):
        problem = ProblemDocument(problem_type, "not for you", 403)
        rig.relay.refused = {"a.corp.test": problem, "b.corp.test": problem}
        order_id = await rig.open("a.corp.test", "b.corp.test", "c.corp.test")
        await rig.go()
        error = (await rig.order(order_id)).error
        assert error is not None
        assert (error.type, error.detail) == (problem_type, "the CA could not validate a.corp.test, b.corp.test")
        assert [part.type for part in error.subproblems] == [problem_type] * 2


async def test_a_csr_that_the_ca_calls_bad_ends_the_order_at_once(rig: Rig) -> None:
    bad = ProblemDocument(f"{URN}badCSR", "this key is known to be compromised", 400)
    rig.relay.fail("finalize", UpstreamRefused(bad, server="ca.test"), times=9)
    order_id = await rig.open(finalize=True)
    await rig.go()
    order = await rig.order(order_id)
    assert (order.status, order.error) == (OrderStatus.INVALID, bad)
    assert rig.relay.calls.count("finalize") == 1
    refused = next(event for event in await rig.timeline(order_id) if event.kind == "CA refused")
    assert (refused.detail, refused.server) == (bad.detail, "ca.test")


async def test_a_ca_that_is_never_ready_for_the_csr_is_given_up_after_some_tries(rig: Rig) -> None:
    not_ready = ProblemDocument(f"{URN}orderNotReady", "not yet", 403)
    rig.relay.fail("finalize", UpstreamRefused(not_ready), times=1000)
    order_id = await rig.open(finalize=True)
    begun = rig.clock.now()
    await rig.go(7200)
    order = await rig.order(order_id)
    assert (order.status, order.error) == (OrderStatus.INVALID, not_ready)
    assert rig.relay.calls.count("finalize") == MOST_NOT_READY
    assert timedelta(minutes=4) < rig.clock.now() - begun < timedelta(minutes=8)


async def test_an_answer_to_the_csr_that_says_ready_still_is_waited_for_and_the_csr_not_sent_again(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Servers of a CA that share a database may lag behind each other."""
    finalize = rig.relay.finalize

    async def lagging(account: UpstreamAccount, url: str, order_url: str, csr: bytes) -> UpstreamOrder:
        return replace(await finalize(account, url, order_url, csr), status="ready", certificate=None)

    monkeypatch.setattr(rig.relay, "finalize", lagging)
    order_id = await rig.open(finalize=True)
    await rig.go()
    await rig.assert_valid(order_id)
    assert rig.relay.calls.count("finalize") == 1
    assert "order is ready" in [event.detail for event in await rig.timeline(order_id)]


async def test_404s_after_the_answer_to_the_csr_was_lost_do_not_cost_the_certificate(rig: Rig) -> None:
    """It may be issued by now: one 404 fewer than what proves a loss, and it is fetched."""
    rig.relay.processing_looks = 2
    rig.relay.fail("finalize", UpstreamUnavailable("cut"), when="after")
    order_id = await rig.open(finalize=True)
    await rig.go(until=lambda: "finalize" in rig.relay.calls)
    assert (await rig.order(order_id)).stage is Stage.FINALIZING
    rig.relay.fail("order", UpstreamObjectLost("404"), times=SURE_OF_LOSS_AFTER_CSR - 1)
    await rig.go()
    await rig.assert_valid(order_id)
    assert rig.relay.calls.count("new_order") == 1
    assert rig.relay.issued_for("www.corp.test") == 1


async def test_a_ca_that_loses_every_order_is_asked_for_another_one_ever_more_rarely(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    times: list[datetime] = []
    new_order = rig.relay.new_order

    async def forgotten(account: UpstreamAccount, request: IssueRequest) -> UpstreamOrder:
        times.append(rig.clock.now())
        made = await new_order(account, request)
        rig.relay.orders.clear()
        return made

    monkeypatch.setattr(rig.relay, "new_order", forgotten)
    await rig.open(issuance_timeout=timedelta(hours=2))
    await rig.go(3600)
    pauses = [(after - before).total_seconds() for before, after in itertools.pairwise(times)]
    assert min(pauses) >= 2.0 + 4.0 + 8.0
    assert len(times) < 20
    assert pauses[-1] > 300.0


async def test_a_valid_authorization_for_a_parent_name_asks_for_nothing_more(rig: Rig) -> None:
    """As for a domain that the account has validated with its subdomains (RFC 9444)."""
    order_id = await rig.open("www.corp.test", "b.corp.test", finalize=True)
    begin = rig.relay._authorization

    def parent(identifier: Identifier) -> FakeAuthorization:
        if identifier.value != "www.corp.test":
            return begin(identifier)
        made = begin(Identifier("dns", "corp.test"))
        made.status = made.challenge = "valid"
        return made

    rig.relay._authorization = parent  # type: ignore[method-assign]
    await rig.go()
    await rig.assert_valid(order_id)
    assert rig.relay.calls.count("answer") == 1


@pytest.mark.parametrize("signing", [False, True])
async def test_an_order_that_is_due_without_a_csr_waits_for_it(rig: Rig, signing: bool) -> None:
    """As when an operator has it tried again."""
    order_id = await rig.open(signing=signing)
    await rig.go()
    order = await rig.order(order_id)
    assert (order.stage, order.run_at) == (Stage.AUTHORIZED, None)
    now = rig.clock.now()
    await rig.store.orders.apply(order_id, lambda stored: Change(order=replace(stored.order, run_at=now)))
    assert await rig.main.work_off() == 1
    order = await rig.order(order_id)
    assert (order.stage, order.run_at, order.lease_owner) == (Stage.AUTHORIZED, None, None)
    await rig.finalize(order_id)
    await rig.go()
    await rig.assert_valid(order_id)
