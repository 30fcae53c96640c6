"""Clients, crashes, faults and clocks in any order: whatever the seed, the promises hold.

docs/reliability.md sections 1, 7.
"""

import random
from datetime import timedelta

import pytest

from acmehub.models import AuthorizationMode, OrderStatus
from acmehub.models.problems import Problem
from acmehub.ports.authority import UpstreamAccountLost, UpstreamObjectLost, UpstreamRateLimited, UpstreamUnavailable
from acmehub.ports.dns import DnsProviderRefused, DnsProviderUnavailable
from acmehub.runtime.crash_points import CrashPoint
from acmehub.testing.fake_relay import When
from tests.issuance.rig import Crash, RaisingCrashPoints, Rig

NAME_SETS = (("www.corp.test",), ("corp.test", "*.corp.test"), ("a.corp.test", "b.other.test"))
VERBS = ("register", "new_order", "order", "authorization", "answer", "finalize", "certificate")
POINTS = tuple(point for point in CrashPoint if point is not CrashPoint.AFTER_NEW_ORDER_STORED)


class Chaos:
    """One run, decided by its seed alone."""

    def __init__(self, rig: Rig, seed: int) -> None:
        self.rig = rig
        self.rng = random.Random(seed)
        self.ids: list[str] = []
        self.crashes = 0

    async def act(self) -> None:
        """One thing happens."""
        acts = (self.open, self.finalize, self.finalize, self.answer, self.give_up, self.work, self.work, self.crash)
        await self.rng.choice((*acts, self.upstream_fault, self.provider_fault, self.time))()

    async def open(self) -> None:
        if len(self.ids) < 12:
            mode = self.rng.choice((AuthorizationMode.PREAPPROVED, AuthorizationMode.ACCEPT))
            self.ids.append(await self.rig.open(*self.rng.choice(NAME_SETS), mode=mode))

    async def finalize(self) -> None:
        if self.ids:
            try:
                await self.rig.finalize(self.rng.choice(self.ids))
            except Problem:
                return  # not ready, or ended

    async def answer(self) -> None:
        if self.ids:
            await self.rig.answer(self.rng.choice(self.ids), 0)

    async def give_up(self) -> None:
        if self.ids and self.rng.random() < 0.3:
            try:
                await self.rig.deactivate(self.rng.choice(self.ids))
            except Problem:
                return

    async def work(self) -> None:
        await self.rig.go(self.rng.choice((0.1, 3.0, 40.0)))

    async def crash(self) -> None:
        self.crashes += 1
        points = RaisingCrashPoints(self.rng.choice(POINTS), self.rng.randint(1, 2))
        try:
            await self.rig.go(20.0, worker=self.rig.worker(points, owner=f"dies {self.crashes}"))
        except Crash:
            self.rig.clock.advance(self.rng.choice((0.0, 31.0)))

    async def upstream_fault(self) -> None:
        error = self.rng.choice(
            (
                UpstreamUnavailable("503"),
                UpstreamUnavailable("429 without words", retry_after=7.0),
                UpstreamRateLimited("too many", retry_after=60.0),
                UpstreamAccountLost("unknown account"),
                UpstreamObjectLost("404"),
                KeyError("defect"),
            )
        )
        when: When = "before" if self.rng.random() < 0.5 else "after"
        verb = self.rng.choice(VERBS)
        if isinstance(error, UpstreamAccountLost) and verb == "register":
            return  # an account that is really gone takes its orders, and what they cost, with it
        self.rig.relay.fail(verb, error, times=self.rng.randint(1, 3), when=when)

    async def provider_fault(self) -> None:
        error = self.rng.choice((DnsProviderUnavailable("timeout"), DnsProviderRefused("401")))
        self.rig.provider.fail(self.rng.choice(("add_txt", "remove_txt")), error, times=self.rng.randint(1, 3))

    async def time(self) -> None:
        self.rig.clock.advance(self.rng.choice((1.0, 30.0, 300.0)))
        if self.rng.random() < 0.2:
            self.rig.clock.jump(self.rng.choice((-3600.0, 3600.0)))


@pytest.mark.parametrize("seed", range(12))
async def test_every_order_ends_rightly_with_one_certificate_and_no_record(rig: Rig, seed: int) -> None:
    chaos = Chaos(rig, seed)
    rig.relay.validation_looks = chaos.rng.randint(0, 2)
    rig.relay.processing_looks = chaos.rng.randint(0, 2)
    rig.relay.reuse_orders = bool(seed % 2)
    for _ in range(60):
        await chaos.act()
    rig.relay._script.clear()
    rig.provider._script.clear()
    rig.clock.advance(3700.0)  # leases are over, the clock has caught up
    for order_id in chaos.ids:
        await rig.answer(order_id, 0)
    await rig.go(3600)
    for order_id in chaos.ids:
        if (await rig.order(order_id)).status is OrderStatus.READY:
            await rig.finalize(order_id)
    await rig.go(timedelta(days=3).total_seconds())
    for order_id in chaos.ids:
        order = await rig.order(order_id)
        said = "\n".join(f"{item.kind}: {item.detail}" for item in await rig.timeline(order_id))
        minted = [item for item in rig.relay.orders.values() if item.chains and item.csr == rig.csrs.get(order_id)]
        if order.csr is not None:
            assert order.status in (OrderStatus.VALID, OrderStatus.INVALID), said
            assert len(minted) <= 1, said
        assert (order.status is OrderStatus.VALID) == (len(minted) == 1), said
        if order.status is OrderStatus.INVALID:
            assert order.error is not None
            assert "deactivated" in order.error.detail, said  # nothing else was for good
        assert order.lease_owner is None, said
    await rig.assert_clean()
