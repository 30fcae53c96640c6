"""What lies on the hub's own side is waited for, and goes on at once when an operator has mended it."""

from datetime import timedelta

import pytest
from msgspec.structs import replace

from acmehub.admin.access.errors import Refused
from acmehub.admin.operations.orders import OrdersAdmin
from acmehub.admin.resources.authorities import AuthorityPatch, AuthorityService
from acmehub.admin.resources.managed_challenges import ManagedChallengePatch, ManagedChallengeService
from acmehub.models import Order, OrderStatus, Stage
from acmehub.models.events import MENDED_AT_START
from acmehub.models.problems import URN, ProblemDocument
from acmehub.ports.authority import (
    UpstreamAccountLost,
    UpstreamObjectLost,
    UpstreamRateLimited,
    UpstreamRefused,
    UpstreamUnavailable,
)
from acmehub.ports.dns import DnsProviderRefused
from acmehub.rules.permissions import Acting
from tests.issuance.rig import Rig

OLGA = Acting.machine("olga")
DAY = 86_400
FOREVER = 100_000
FORBIDDEN = UpstreamRefused(ProblemDocument(f"{URN}unauthorized", "pending", 403), server="ca.test")


def operator(rig: Rig) -> OrdersAdmin:
    return OrdersAdmin(rig.store, rig.clock, timedelta(hours=24))


def authorities(rig: Rig) -> AuthorityService:
    return AuthorityService(rig.store, rig.vault, rig.registry, rig.clock)


async def waiting(rig: Rig, order_id: str) -> Order:
    """The order, which waits for more than a minute."""
    order = await rig.order(order_id)
    assert order.run_at is not None
    assert order.run_at - rig.clock.now() > timedelta(minutes=1), await rig.timeline(order_id)
    return order


# ------------------------------------------------------------------------------------- a certificate that exists


@pytest.mark.parametrize(
    "error",
    [
        FORBIDDEN,
        UpstreamObjectLost("404"),
        UpstreamUnavailable("502"),
        UpstreamRateLimited("too many", retry_after=2.0 * DAY),
        UpstreamRateLimited("paused", paused=True),
        UpstreamAccountLost("no such account"),
        KeyError("a defect"),
    ],
)
async def test_whatever_the_download_is_answered_the_certificate_is_fetched_in_the_end(
    rig: Rig, error: Exception
) -> None:
    rig.relay.fail("certificate", error, times=4)
    order_id = await rig.open(finalize=True)
    await rig.go(DAY)
    await rig.assert_valid(order_id)
    assert rig.relay.calls.count("certificate") == 5
    assert rig.relay.calls.count("new_order") == 1


@pytest.mark.parametrize("verb", ["order", "finalize"])
async def test_only_a_refusal_of_the_csr_ends_an_order_once_that_is_there(rig: Rig, verb: str) -> None:
    rig.relay.processing_looks = 4
    order_id = await rig.open()
    await rig.go()
    await rig.finalize(order_id)
    rig.relay.fail(verb, FORBIDDEN, times=3)
    await rig.go(DAY)
    order = await rig.order(order_id)
    assert order.status is (OrderStatus.VALID if verb == "order" else OrderStatus.INVALID)
    assert rig.relay.calls.count("finalize") == 1


async def test_a_certificate_that_cannot_be_fetched_is_named_and_fetched_when_an_operator_asks(rig: Rig) -> None:
    rig.main = rig.worker(hours=1.0)
    rig.relay.fail("certificate", FORBIDDEN, times=10_000)
    order_id = await rig.open(finalize=True, issuance_timeout=timedelta(hours=1))
    await rig.go(FOREVER)
    order = await rig.order(order_id)
    (upstream,) = rig.relay.orders
    words = f"{upstream}/certificate/0: CA refused: pending"
    assert order.error is not None
    assert order.error.detail == f"the certificate could not be fetched from {words}"
    assert [item.detail for item in await rig.timeline(order_id) if "fetched" in item.kind] == [words]
    rig.relay.mend()
    rig.clock.advance(30 * DAY)
    await operator(rig).retry(order_id, OLGA)
    again = await rig.order(order_id)
    assert (again.status, again.stage, again.error) == (OrderStatus.PROCESSING, Stage.DOWNLOADING, None)
    await rig.go()
    await rig.assert_valid(order_id)
    assert rig.relay.calls.count("new_order") == 1
    assert rig.relay.issued_for("www.corp.test") == 1


async def test_a_certificate_whose_url_is_never_told_is_asked_for_ever_less_often_and_fetched_later(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig.main = rig.worker(hours=1.0)
    shown = rig.relay._shown
    monkeypatch.setattr(rig.relay, "_shown", lambda order: replace(shown(order), certificate=None))
    order_id = await rig.open(finalize=True, issuance_timeout=timedelta(hours=1))
    await rig.go(FOREVER)
    order = await rig.order(order_id)
    assert order.error is not None
    assert str(order.upstream_url) in order.error.detail
    assert 10 < (await rig.whats(order_id)).count("certificate has no URL yet") < 30
    monkeypatch.undo()
    await operator(rig).retry(order_id, OLGA)
    await rig.go()
    await rig.assert_valid(order_id)


@pytest.mark.parametrize("verb", ["order", "certificate"])
async def test_a_hub_that_was_down_past_the_deadline_asks_once_more_for_what_may_exist(rig: Rig, verb: str) -> None:
    rig.relay.processing_looks = 2
    order_id = await rig.open(finalize=True)
    await rig.go(until=lambda: "finalize" in rig.relay.calls)
    rig.relay.fail(verb, UpstreamUnavailable("cut"))
    await rig.go(60, until=lambda: rig.relay.calls[-1] == verb)
    (upstream,) = rig.relay.orders.values()
    upstream.looks = 5
    rig.clock.advance(9 * DAY)
    await rig.go()
    await rig.assert_valid(order_id)


async def test_after_the_deadline_what_is_not_issued_is_not_waited_for(rig: Rig) -> None:
    rig.relay.processing_looks = 10_000
    order_id = await rig.open(finalize=True)
    await rig.go(60)
    rig.clock.advance(9 * DAY)
    await rig.go()
    order = await rig.order(order_id)
    assert order.error is not None
    assert order.error.detail == "given up at stage issuing"
    with pytest.raises(Refused, match="final"):
        await operator(rig).retry(order_id, OLGA)


# ------------------------------------------------------------------------------------------------ the hub's side


async def test_an_account_that_the_ca_refuses_is_waited_for_until_an_operator_changes_the_settings(rig: Rig) -> None:
    refusal = ProblemDocument(f"{URN}externalAccountRequired", "unknown key id", 403)
    rig.relay.fail("register", UpstreamRefused(refusal), times=10_000)
    order_id = await rig.open(finalize=True)
    await rig.go(6 * 3600)
    assert (await waiting(rig, order_id)).status is OrderStatus.PROCESSING
    last = (await rig.timeline(order_id))[-1]
    assert (last.kind, last.detail) == ("needs an operator", "the CA refuses the hub's account: unknown key id")
    rig.relay.mend()
    await authorities(rig).set(rig.relay_row.id, AuthorityPatch(tags=("mended",)), OLGA)
    await rig.main.work_off()
    assert rig.relay.calls.count("new_order") == 1


async def test_credentials_that_an_operator_mends_are_used_at_once(rig: Rig) -> None:
    rig.provider.fail("add_txt", DnsProviderRefused("401"), times=10_000)
    order_id = await rig.open(finalize=True)
    foreign = await rig.managed_challenge("far.test, *.far.test")
    await rig.go(6 * 3600)
    await waiting(rig, order_id)
    challenges = ManagedChallengeService(rig.store, rig.vault, rig.registry, rig.clock)
    await challenges.set(foreign.id, ManagedChallengePatch(tags=("x",)), OLGA)
    await waiting(rig, order_id)  # that one has nothing to do with it
    rig.provider.mend()
    await challenges.set(rig.challenge.id, ManagedChallengePatch(tags=("mended",)), OLGA)
    begun = rig.clock.now()
    await rig.go(60)
    await rig.assert_valid(order_id)
    assert rig.clock.now() - begun < timedelta(seconds=60)


async def test_an_order_that_waits_is_retried_whatever_it_waits_for(rig: Rig) -> None:
    rig.provider.fail("add_txt", DnsProviderRefused("401"), times=10_000)
    order_id = await rig.open()
    await rig.go(12 * 3600)
    deadline = (await rig.order(order_id)).deadline
    rig.provider.mend()
    await operator(rig).retry(order_id, OLGA)
    again = await rig.order(order_id)
    assert (again.attempts, again.run_at) == (0, rig.clock.now())
    assert again.deadline > deadline
    await rig.go(60)
    await rig.finalize(order_id)
    await rig.go(60)
    await rig.assert_valid(order_id)


async def test_a_start_wakes_what_waits_for_a_plugin_or_a_release_and_nothing_else(rig: Rig) -> None:
    rig.relay.fail("new_order", KeyError("a defect"), times=8)
    defect = await rig.open("a.corp.test")
    await rig.go(400)
    rig.relay.mend()
    rig.relay.fail("new_order", UpstreamUnavailable("503"), times=8)
    away = await rig.open("b.corp.test")
    await rig.go(100)
    before = await rig.order(away)
    assert await rig.store.orders.wake(MENDED_AT_START) == 1
    assert (await rig.order(defect)).run_at == rig.clock.now()
    assert await rig.order(away) == before


async def test_a_change_of_the_authority_does_not_hurry_a_rate_limit(rig: Rig) -> None:
    rig.relay.fail("new_order", UpstreamRateLimited("too many", retry_after=7200.0))
    order_id = await rig.open()
    await rig.go(60)
    before = await waiting(rig, order_id)
    await authorities(rig).set(rig.relay_row.id, AuthorityPatch(tags=("x",)), OLGA)
    assert await rig.order(order_id) == before


# --------------------------------------------------------------------------------------------------------- pauses


@pytest.mark.parametrize("named", [False, True])
async def test_a_pause_ends_the_order_and_is_kept_until_an_operator_clears_it(rig: Rig, named: bool) -> None:
    what = "www.corp.test" if named else "this account"
    words = f"orders for {what} are paused: https://ca.test/unpause"
    rig.relay.fail("new_order", UpstreamRateLimited(words, paused=True))
    order_id = await rig.open(finalize=True)
    await rig.go()
    order = await rig.order(order_id)
    assert order.error is not None
    assert (order.error.type, order.error.detail) == (f"{URN}rateLimited", words)
    assert "CA has paused the account or a name" in await rig.whats(order_id)
    elsewhere = rig.worker(owner="another process, after a restart")
    again = await rig.open("www.corp.test", "more.corp.test")
    other = await rig.open("other.corp.test", finalize=True)
    await rig.go(worker=elsewhere)
    assert (await rig.order(again)).status is OrderStatus.INVALID
    assert (await rig.order(other)).status is (OrderStatus.VALID if named else OrderStatus.INVALID)
    assert rig.relay.calls.count("new_order") == 1 + named
    (pause,) = (await authorities(rig).show(rig.relay_row.id, OLGA)).pauses
    assert (pause.detail, pause.names) == (words, ("www.corp.test",) if named else ())
    cleared = await authorities(rig).clear_pause(rig.relay_row.id, OLGA)
    assert cleared.pauses == ()
    assert (await rig.store.records.audited(1))[0].action == "authority.clear_pause"
    later = await rig.open(finalize=True)
    await rig.go(worker=elsewhere)
    await rig.assert_valid(later)
