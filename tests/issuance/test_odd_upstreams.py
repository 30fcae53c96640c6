"""Upstream orders that go where they should not: back, sideways, or without the URL of their certificate."""

import asyncio

import msgspec
import pytest

from acmehub.issuance import issuing
from acmehub.models import AuthorizationMode, OrderStatus, Stage
from acmehub.models.problems import ProblemDocument
from acmehub.ports.authority import (
    IssuedChain,
    IssueRequest,
    UpstreamAccount,
    UpstreamAccountLost,
    UpstreamAuthorization,
    UpstreamObjectLost,
    UpstreamOrder,
    UpstreamRateLimited,
    UpstreamRefused,
    UpstreamUnavailable,
)
from acmehub.rules.orders import Change, OrderBundle, with_stage
from acmehub.testing.fake_relay import FakeOrder
from tests.issuance.rig import Rig


def set_back(upstream: FakeOrder) -> None:
    """The CA wants the proofs once more."""
    upstream.status = "pending"
    for item in upstream.authorizations:
        item.status = item.challenge = "pending"


async def authorized(rig: Rig) -> tuple[str, FakeOrder]:
    order_id = await rig.open("a.corp.test", "b.corp.test")
    await rig.go()
    (upstream,) = rig.relay.orders.values()
    return order_id, upstream


async def test_an_order_that_is_pending_again_is_validated_again_and_not_restarted(rig: Rig) -> None:
    order_id, upstream = await authorized(rig)
    set_back(upstream)
    await rig.finalize(order_id)
    await rig.go()
    await rig.assert_valid(order_id)
    assert "upstream order pending again" in await rig.whats(order_id)
    assert rig.relay.calls.count("new_order") == 1
    assert rig.relay.calls.count("answer") == 4


async def back_at_ordering(rig: Rig) -> tuple[str, FakeOrder]:
    """An order with its CSR, sent back to look at its upstream order from the beginning."""
    order_id, upstream = await authorized(rig)
    bundle = await rig.finalize(order_id)

    def rule(current: OrderBundle) -> Change:
        return Change(order=with_stage(current.order, Stage.ORDERING))

    await rig.store.orders.apply(order_id, rule)
    assert bundle.order.csr is not None
    account = await rig.plugin_objects.account(rig.relay_row.id)
    await rig.relay.finalize(account, f"{upstream.url}/finalize", upstream.url, bundle.order.csr)
    return order_id, upstream


@pytest.mark.parametrize("looks", [0, 2])
async def test_an_order_that_is_found_finalized_with_our_csr_is_only_waited_for_and_fetched(
    rig: Rig, looks: int
) -> None:
    rig.relay.processing_looks = looks
    order_id, _ = await back_at_ordering(rig)
    await rig.go()
    await rig.assert_valid(order_id)
    assert rig.relay.calls.count("finalize") == 1
    assert rig.relay.calls.count("new_order") == 1


async def test_an_order_that_is_found_invalid_is_restarted(rig: Rig) -> None:
    rig.relay.processing_looks = 100
    order_id, upstream = await back_at_ordering(rig)
    upstream.status = "invalid"
    await rig.go()
    rig.relay.processing_looks = 0
    await rig.go()
    await rig.assert_valid(order_id)
    assert rig.relay.calls.count("new_order") == 2


async def test_an_order_that_falls_back_to_ready_gets_the_same_csr_once_more(rig: Rig) -> None:
    rig.relay.processing_looks = 3
    order_id, upstream = await authorized(rig)
    await rig.finalize(order_id)
    await rig.go(until=lambda: upstream.csr is not None)
    upstream.status, upstream.csr = "ready", None
    await rig.go()
    await rig.assert_valid(order_id)
    assert rig.relay.orders[upstream.url].csr == rig.csrs[order_id]
    assert rig.relay.calls.count("finalize") == 2


async def test_a_certificate_without_a_url_is_waited_for(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = rig.relay._shown
    hidden: list[int] = []

    def hiding(order: FakeOrder) -> UpstreamOrder:
        if order.chains and len(hidden) < 3:
            hidden.append(1)
            return msgspec.structs.replace(shown(order), certificate=None)
        return shown(order)

    monkeypatch.setattr(rig.relay, "_shown", hiding)
    order_id, _ = await authorized(rig)
    await rig.finalize(order_id)
    await rig.go()
    await rig.assert_valid(order_id)
    assert "certificate has no URL yet" in await rig.whats(order_id)


@pytest.mark.parametrize("csr", [False, True])
async def test_an_order_of_a_ca_is_not_signed_by_an_authority_that_signs_by_itself_now(rig: Rig, csr: bool) -> None:
    order_id = await rig.open("a.corp.test", finalize=csr)
    if csr:
        rig.relay.fail("certificate", UpstreamUnavailable("503"))
        await rig.go(5, until=lambda: "certificate" in rig.relay.calls)
    row = await rig.store.authorities.get(rig.relay_row.id)
    assert row is not None
    row = await rig.store.authorities.replace(msgspec.structs.replace(row, plugin="fake.signer"))
    await rig.go(3600)
    order = await rig.order(order_id)
    assert order.status in (OrderStatus.READY, OrderStatus.PROCESSING)
    assert "signs by itself now" in (await rig.timeline(order_id))[-1].detail
    assert rig.signer.ca.issued == []
    await rig.store.authorities.replace(msgspec.structs.replace(row, plugin="fake.relay"))
    if not csr:
        await rig.finalize(order_id)
    await rig.go(3600)
    await rig.assert_valid(order_id)
    assert rig.relay.calls.count("new_order") == 1


async def test_a_status_that_is_none_decides_nothing_once_the_csr_was_sent(rig: Rig) -> None:
    rig.relay.processing_looks = 3
    order_id, upstream = await authorized(rig)
    await rig.finalize(order_id)
    await rig.go(until=lambda: upstream.csr is not None)
    upstream.status = "Processing"
    await rig.go(60)
    upstream.status = "processing"
    await rig.go(3600)
    await rig.assert_valid(order_id)


@pytest.mark.parametrize("names", [("*.corp.test",), ("corp.test", "*.corp.test"), ("*.corp.test", "corp.test")])
@pytest.mark.parametrize("said", [False, True])
async def test_a_wildcard_need_not_be_marked_as_one(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, names: tuple[str, ...], said: bool
) -> None:
    """All of them or none are marked: what is still open of the name is meant."""
    shown = rig.relay.authorization

    async def unmarked(account: UpstreamAccount, url: str) -> UpstreamAuthorization:
        return msgspec.structs.replace(await shown(account, url), wildcard=said)

    monkeypatch.setattr(rig.relay, "authorization", unmarked)
    order_id = await rig.open(*names, mode=AuthorizationMode.ACCEPT)
    for position in range(len(names)):
        await rig.answer(order_id, position)
    await rig.go()
    assert (await rig.order(order_id)).status is OrderStatus.READY, await rig.timeline(order_id)
    assert [item.upstream_status for item in (await rig.bundle(order_id)).authorizations] == ["valid"] * len(names)
    await rig.finalize(order_id)
    await rig.go()
    await rig.assert_valid(order_id)
    assert {call[2] for call in rig.provider.calls} == {"_acme-challenge.corp.test"}


@pytest.mark.parametrize(
    "error",
    [
        UpstreamUnavailable("gone"),
        UpstreamRateLimited("slow down", retry_after=60),
        UpstreamAccountLost("who?"),
        UpstreamObjectLost("no such certificate"),
        UpstreamRefused(ProblemDocument("urn:ietf:params:acme:error:unauthorized", "pending", 403)),
    ],
)
async def test_an_alternate_chain_that_cannot_be_had_is_left_out(rig: Rig, error: Exception) -> None:
    rig.relay.alternates = True
    order_id = await rig.open(finalize=True)
    download, looks = rig.relay.certificate, []

    async def certificate(account: UpstreamAccount, url: str) -> IssuedChain:
        looks.append(url)
        if not url.endswith("/0"):
            raise error
        return await download(account, url)

    rig.relay.certificate = certificate  # type: ignore[method-assign]
    await rig.go()
    await rig.assert_valid(order_id)
    assert len(looks) == 2, "the main chain is not asked for again"
    (line,) = [item for item in await rig.store.records.timeline(order_id) if "alternate left out" in item.detail]
    assert str(error) in line.detail


async def test_an_alternate_that_does_not_come_does_not_hold_up_the_certificate(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(issuing, "ALTERNATES_SECONDS", 0.05)
    rig.relay.alternates = True
    order_id = await rig.open(finalize=True)
    download = rig.relay.certificate

    async def certificate(account: UpstreamAccount, url: str) -> IssuedChain:
        if not url.endswith("/0"):
            await asyncio.sleep(60)
        return await download(account, url)

    rig.relay.certificate = certificate  # type: ignore[method-assign]
    async with asyncio.timeout(10):
        await rig.go()
    await rig.assert_valid(order_id)
    assert any("no answer in time" in item.detail for item in await rig.store.records.timeline(order_id))


async def test_an_order_with_more_authorizations_than_names_is_not_read(rig: Rig) -> None:
    order_id = await rig.open("a.corp.test")
    read = rig.relay.order

    async def order(account: UpstreamAccount, url: str) -> UpstreamOrder:
        found = await read(account, url)
        return msgspec.structs.replace(found, authorizations=found.authorizations * 100)

    make = rig.relay.new_order

    async def new_order(account: UpstreamAccount, request: IssueRequest) -> UpstreamOrder:
        found = await make(account, request)
        return msgspec.structs.replace(found, authorizations=found.authorizations * 100)

    rig.relay.order, rig.relay.new_order = order, new_order  # type: ignore[method-assign]
    await rig.go(until=lambda: "order" in rig.relay.calls)
    assert rig.relay.calls.count("authorization") == 0
    assert any("100 authorizations for 1 names" in item.detail for item in await rig.store.records.timeline(order_id))
