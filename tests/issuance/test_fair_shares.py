"""One silent CA, one tenant, one mode does not keep the orders of others waiting."""

import asyncio
import time

import pytest

from acmehub import hookimpl
from acmehub.issuance import IssuanceWorker
from acmehub.issuance.worker import groups_of
from acmehub.models import AuthorizationMode, EventKind, OrderStatus
from acmehub.ports.authority import UpstreamUnavailable
from acmehub.ports.clock import SystemClock
from acmehub.ports.plugins import Register
from acmehub.runtime.places import FEW
from acmehub.testing.fakes import FakeRelay
from tests.issuance.rig import Nothing, Rig
from tests.issuance.test_worker import finished, running, until

PLACES = 64
CROWD = 200


class SilentRelay(FakeRelay):
    """A CA whose newOrder is not answered; `under_way` of them at present."""

    under_way = 0
    most = 0

    async def new_order(self, *_arguments: object) -> object:  # type: ignore[override]
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        try:
            return await asyncio.Future[object]()
        finally:
            self.under_way -= 1


class SilentPlugin:
    """Offers the silent CA."""

    def __init__(self, relay: SilentRelay) -> None:
        self.relay = relay

    @hookimpl
    def register_authorities(self, register: Register) -> None:
        register("silent.relay", lambda _settings, _context: self.relay, Nothing)


@pytest.fixture
async def silent(rig: Rig) -> SilentRelay:
    """The rig with the machine's clock, and `CROWD` orders at a silent CA, all of them due."""
    rig.clock = SystemClock()  # type: ignore[assignment]
    rig.relay._clock = rig.clock
    relay = SilentRelay(rig.clock)
    rig.registry.add("silent", SilentPlugin(relay))
    healthy, rig.relay_row = rig.relay_row, await rig.authority("silent.relay")
    for number in range(CROWD):
        await rig.open(f"n{number}.corp.test")
    await rig.plugin_objects.account(rig.relay_row.id)
    rig.relay_row = healthy
    return relay


def a_worker(rig: Rig) -> IssuanceWorker:
    """A worker that ends without waiting for what never ends."""
    worker = rig.worker(concurrency=PLACES)
    worker.orders.grace = 0.1
    return worker


async def slowest(rig: Rig) -> float:
    """The longest time that five orders at the healthy CA take, one after the other."""
    longest = 0.0
    for number in range(5):
        begun = time.monotonic()
        order_id = await rig.open(f"h{number}.corp.test", finalize=True)
        await until(finished(rig, order_id))
        longest = max(longest, time.monotonic() - begun)
        assert (await rig.order(order_id)).status is OrderStatus.VALID
    return longest


async def test_two_hundred_orders_at_a_silent_ca_leave_places_to_a_healthy_one(rig: Rig, silent: SilentRelay) -> None:
    async with running(a_worker(rig)):
        async with asyncio.timeout(10.0):
            while silent.under_way < 20:
                await asyncio.sleep(0.01)
        assert await slowest(rig) < 20.0
        assert silent.most <= PLACES


async def test_an_authority_that_does_not_answer_gets_few_places_until_it_does(
    rig: Rig, silent: SilentRelay, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = a_worker(rig)
    worker.orders.places.answers((await rig.store.authorities.list())[-1].id, yes=False)
    async with running(worker):
        assert await slowest(rig) < 20.0
        assert silent.most == FEW


@pytest.mark.parametrize("error", [UpstreamUnavailable("no"), None])
async def test_whether_an_authority_answers_is_learned_from_its_last_exchange(
    rig: Rig, error: Exception | None
) -> None:
    worker = rig.worker(concurrency=PLACES)
    worker.orders.places.answers(rig.relay_row.id, yes=error is not None)
    if error is not None:
        rig.relay.fail("new_order", error)
    order_id = await rig.open()
    await rig.go(worker=worker, until=lambda: True)
    assert (EventKind.CA_UNAVAILABLE in await rig.whats(order_id)) is (error is not None)
    await assert_silent(rig, worker, order_id, expected=error is not None)


async def test_a_dns_server_that_is_silent_says_nothing_of_the_authority(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = rig.worker(concurrency=PLACES)
    worker.orders.places.answers(rig.relay_row.id, yes=False)

    async def seen(*_arguments: object) -> object:
        raise UpstreamUnavailable("never raised by a DNS server")

    monkeypatch.setattr(rig.solver, "propagated", seen)
    order_id = await rig.open(mode=AuthorizationMode.ACCEPT)
    await worker.work_off()
    assert EventKind.CA_UNAVAILABLE in await rig.whats(order_id)
    await assert_silent(rig, worker, order_id, expected=False)


async def assert_silent(rig: Rig, worker: IssuanceWorker, order_id: str, *, expected: bool) -> None:
    """Whether the authority of an order gets few places."""
    for number in range(FEW):
        worker.orders.places.take(f"{number}", groups_of(await rig.order(order_id)))
    assert (rig.relay_row.id in worker.orders.places.full()) is expected


async def test_a_finalize_is_claimed_at_once_only_where_a_place_is_left(rig: Rig) -> None:
    worker: IssuanceWorker = rig.worker(concurrency=2)
    order = await rig.order(await rig.open())
    assert worker.orders.has_place(groups_of(order))
    for number in range(2):
        worker.orders.places.take(f"{number}", groups_of(order))
    assert not worker.orders.has_place(groups_of(order))
