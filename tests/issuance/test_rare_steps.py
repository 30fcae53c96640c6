"""Steps that hardly ever come: what a CA leaves out, what another process has done meanwhile, rows that are gone."""

from datetime import timedelta

import pytest
from msgspec.structs import replace

from acmehub.issuance import known_limits
from acmehub.issuance.job import Job
from acmehub.issuance.known_limits import KnownLimits
from acmehub.issuance.renewal_windows import watched
from acmehub.issuance.retry_policy import UpstreamOrderUnusable, WrongCertificate
from acmehub.issuance.steps import take_step
from acmehub.models import AuthorizationMode, ChallengeType, EventKind, OrderStatus, Stage
from acmehub.models.identifiers import Identifier
from acmehub.models.problems import URN
from acmehub.ports.authority import (
    IssueRequest,
    UpstreamAccount,
    UpstreamAuthorization,
    UpstreamOrder,
    UpstreamRateLimited,
    UpstreamUnavailable,
)
from acmehub.ports.store import Conflict, Missing, StoreUnavailable
from acmehub.rules.orders import Change, OrderBundle, open_order
from acmehub.testing.fake_relay import FakeOrder
from acmehub.testing.fakes import ManualClock
from tests.issuance.rig import Rig
from tests.issuance.test_odd_upstreams import back_at_ordering
from tests.issuance.test_verify import opened, publish


@pytest.mark.parametrize(
    "error", [UpstreamOrderUnusable(EventKind.CERTIFICATE_WITHOUT_URL, "words"), WrongCertificate("words", b"leaf")]
)
def test_the_text_of_an_error_is_its_detail(error: Exception) -> None:
    assert str(error) == "words"


async def test_a_ca_that_cannot_be_reached_for_the_account_is_unavailable(rig: Rig) -> None:
    rig.relay.fail("register", UpstreamUnavailable("503", server="ca.test"))
    order_id = await rig.open(finalize=True)
    await rig.go()
    await rig.assert_valid(order_id)
    whats = await rig.whats(order_id)
    assert whats.count(EventKind.CA_UNAVAILABLE) == 1
    assert EventKind.UNEXPECTED_ERROR not in whats


async def test_an_upstream_order_that_fails_without_a_reason_is_told_as_such(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = rig.relay._shown

    def failed(order: FakeOrder) -> UpstreamOrder:
        found = shown(order)
        return replace(found, status="invalid") if found.status == "ready" else found

    monkeypatch.setattr(rig.relay, "_shown", failed)
    order_id = await rig.open(finalize=True)
    await rig.go()
    error = (await rig.order(order_id)).error
    assert error is not None
    assert (error.type, error.detail) == (f"{URN}unauthorized", "the CA's order is invalid and does not say why")


async def test_a_ca_that_offers_no_dns_01_ends_the_order_with_a_reason(rig: Rig) -> None:
    asked = rig.relay.authorization

    async def without(account: UpstreamAccount, url: str) -> UpstreamAuthorization:
        return replace(await asked(account, url), dns01_url=None)

    rig.relay.authorization = without  # type: ignore[method-assign]
    order_id = await rig.open()
    await rig.go()
    error = (await rig.order(order_id)).error
    assert error is not None
    assert error.detail == "the CA offers no dns-01 challenge for www.corp.test"


def test_failed_names_are_counted_for_an_hour_and_the_oldest_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(known_limits, "KEPT", 2)
    clock = ManualClock()
    limits = KnownLimits(clock)
    assert [limits.count_failed("account", ["a"]) for _ in range(2)] == [1, 2]
    clock.advance(1800.0)
    assert limits.count_failed("account", ["a"]) == 3
    assert limits.count_failed("another account", ["a"]) == 1
    clock.advance(1800.0)
    assert limits.count_failed("account", ["a"]) == 2  # an hour has passed since the first two
    assert limits.count_failed("account", ["b"]) == 1
    assert limits.count_failed("another account", ["a"]) == 1  # it was the oldest of three
    assert [limits.count_failed("account", ["c"]) for _ in range(20)][-1] == 16


def test_a_limit_of_the_ca_holds_to_its_end_and_the_oldest_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(known_limits, "KEPT", 2)
    clock = ManualClock()
    limits = KnownLimits(clock)
    for names, seconds in (("a", 10.0), ("b", 10.0), ("a", 20.0), ("c", 20.0)):
        limits.note("account", names, UpstreamRateLimited("too many", server="ca.test", retry_after=seconds))
    limits.note("account", "d", UpstreamRateLimited("too many"))  # nobody knows how long
    for names in "bd":
        limits.check("account", names)
    limits.check("another account", "a")
    clock.advance(19.5)
    for names in "ac":
        with pytest.raises(UpstreamRateLimited, match="too many") as caught:
            limits.check("account", names)
        assert (caught.value.server, caught.value.retry_after) == ("ca.test", 0.5)
    clock.advance(0.5)
    for names in "aac":
        limits.check("account", names)


async def test_the_ca_is_asked_for_what_the_client_asked_for(rig: Rig) -> None:
    bundle = await rig.bundle(await rig.open("a.corp.test", profile="short", replaces="AAAA.AQ"))
    begin = rig.clock.now()
    order = replace(bundle.order, not_before=begin, not_after=begin + timedelta(days=1))
    assert Job(rig.main._context, replace(bundle, order=order)).request == IssueRequest(
        (Identifier("dns", "a.corp.test"),), "short", begin, begin + timedelta(days=1), "AAAA.AQ"
    )


async def test_an_upstream_order_that_is_found_invalid_is_dropped_in_the_same_step(rig: Rig) -> None:
    rig.relay.processing_looks = 100
    order_id, upstream = await back_at_ordering(rig)
    upstream.status = "invalid"
    (bundle,) = await rig.store.orders.claim(rig.main._context.new_lease(), rig.clock.now(), 1)
    await take_step(Job(rig.main._context, bundle))
    order = await rig.order(order_id)
    assert (order.stage, order.upstream_url) == (Stage.ORDERING, None)


async def test_only_a_certificate_whose_ca_informs_of_renewals_is_watched(rig: Rig) -> None:
    order_id = await rig.open(finalize=True)
    await rig.go()
    (certificate,) = await rig.store.certificates.list()
    assert certificate.order_id == order_id
    now = rig.clock.now()
    bare = replace(certificate, window_until=None)
    assert watched(bare, rig.relay, now).window_until == now
    assert watched(bare, rig.signer, now) is bare
    without_id = replace(bare, cert_id="")
    assert watched(without_id, rig.relay, now) is without_id


async def test_a_finished_order_takes_no_step(rig: Rig) -> None:
    order_id = await rig.open(finalize=True)
    await rig.go()
    with pytest.raises(AssertionError, match=f"order {order_id} is done and was claimed"):
        await take_step(Job(rig.main._context, await rig.bundle(order_id)))


async def test_a_conflict_that_is_not_about_the_upstream_order_is_a_defect(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    apply, seen = rig.store.orders.apply, list[int]()

    async def conflicting(order_id: str, rule, *, fence=None):  # type: ignore[no-untyped-def]
        if "new_order" in rig.relay.calls and not seen:
            seen.append(1)
            raise Conflict("name")
        return await apply(order_id, rule, fence=fence)

    monkeypatch.setattr(rig.store.orders, "apply", conflicting)
    order_id = await rig.open(finalize=True)
    await rig.go()
    await rig.assert_valid(order_id)
    assert EventKind.UNEXPECTED_ERROR in await rig.whats(order_id)


async def test_an_order_whose_client_has_responded_to_nothing_is_not_due(rig: Rig) -> None:
    order_id, authorizations = await opened(rig, "corp.test")
    now = rig.clock.now()
    await rig.store.orders.apply(order_id, lambda current: Change(order=replace(current.order, run_at=now)))
    assert await rig.main.work_off() == 1
    order = await rig.order(order_id)
    assert (order.run_at, order.lease_owner) == (None, None)
    publish(rig, authorizations[0])
    await rig.answer(order_id)
    await rig.go()
    assert (await rig.order(order_id)).status is OrderStatus.READY


async def test_a_response_that_comes_while_the_step_finds_none_is_seen_at_once(rig: Rig) -> None:
    order_id, _ = await opened(rig, "corp.test")
    now = rig.clock.now()
    await rig.store.orders.apply(order_id, lambda current: Change(order=replace(current.order, run_at=now)))
    (before,) = await rig.store.orders.claim(rig.main._context.new_lease(), now, 1)
    await rig.answer(order_id, kind=ChallengeType.DNS_01)
    await take_step(Job(rig.main._context, before))
    order = await rig.order(order_id)
    assert order.run_at == now


async def test_an_authorization_in_advance_is_proven_and_nothing_is_ordered(rig: Rig) -> None:
    now = rig.clock.now()
    bundle = open_order(
        rig.actor,
        [replace((await rig.bundle(await rig.open("corp.test"))).order.identifiers[0])],
        mode=AuthorizationMode.VERIFY,
        authority_id=rig.relay_row.id,
        signing=False,
        now=now,
        preauthorization=True,
    )
    await rig.store.orders.add(bundle)
    publish(rig, bundle.authorizations[0])
    await rig.answer(bundle.order.id)
    await rig.main.work_off()
    order = await rig.order(bundle.order.id)
    assert (order.status, order.run_at, order.attempts) == (OrderStatus.READY, None, 0)


async def test_a_defect_in_a_step_that_came_too_late_is_left_to_the_process_that_took_over(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    other = rig.worker(owner="other")

    async def late(*_arguments: object) -> None:
        rig.clock.advance(31.0)
        assert len(await rig.store.orders.claim(other._context.new_lease(), rig.clock.now(), 1)) == 1
        raise KeyError("a defect")

    monkeypatch.setattr(rig.relay, "new_order", late)
    order_id = await rig.open(finalize=True)
    await rig.main.work_off()
    order = await rig.order(order_id)
    assert (order.lease_owner, order.stage, order.attempts) == ("other", Stage.ORDERING, 0)
    assert "its lease is left to run out" in caplog.text
    assert "failed twice" not in caplog.text


async def test_only_the_own_lease_is_given_back(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    order_id = await rig.open()
    other, context = rig.worker(owner="other"), rig.main._context
    (bundle,) = await rig.store.orders.claim(other._context.new_lease(), rig.clock.now(), 1)
    await rig.main.orders.give_back(Job(context, bundle))  # of the other process: the claim was lost with the database
    assert (await rig.order(order_id)).lease_owner == "other"
    rig.clock.advance(31.0)
    (again,) = await rig.store.orders.claim(rig.main._context.new_lease(), rig.clock.now(), 1)
    await rig.main.orders.give_back(Job(context, bundle))  # by a claim that is over
    assert (await rig.order(order_id)).lease_owner == "main"
    for error in (Missing("order"), StoreUnavailable("away")):

        async def fails(*_arguments: object, error: Exception = error, **_options: object) -> OrderBundle:
            raise error

        with monkeypatch.context() as patch:
            patch.setattr(rig.store.orders, "apply", fails)
            await rig.main.orders.give_back(Job(context, again))
    await rig.main.orders.give_back(Job(context, again))
    assert (await rig.order(order_id)).lease_owner is None


async def test_a_relay_that_must_be_asked_for_another_upstream_order_is_asked_at_once(rig: Rig) -> None:
    order_id = await rig.open()
    await rig.go()
    taken = replace((await rig.order(order_id)), upstream_url=None)
    await rig.store.orders.apply(order_id, lambda _: Change(order=taken))
    await rig.finalize(order_id)
    begun = rig.clock.now()
    await rig.main.work_off()
    assert rig.relay.calls.count("new_order") == 2
    assert rig.clock.now() - begun < timedelta(seconds=1)
