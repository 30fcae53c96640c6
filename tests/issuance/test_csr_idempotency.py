"""What becomes of an order's upstream work when its CSR has a certificate already: nothing is left, nobody waits."""

import asyncio

import pytest

from acmehub.models import Certificate, OrderStatus, Stage
from acmehub.rules.order_reuse import reuse_certificate
from tests.issuance.rig import Rig


async def issued(rig: Rig) -> tuple[Certificate, bytes]:
    order_id = await rig.open(finalize=True)
    await rig.go()
    order = await rig.order(order_id)
    certificate = await rig.store.certificates.get(order.certificate_id or "")
    assert certificate is not None
    return certificate, rig.csrs[order_id]


async def reuse(rig: Rig, order_id: str, certificate: Certificate, csr: bytes) -> None:
    now = rig.clock.now()
    await rig.store.orders.apply(order_id, lambda current: reuse_certificate(current, csr, certificate, now))


@pytest.mark.parametrize(
    "stage", [Stage.ORDERING, Stage.PUBLISHING, Stage.PROPAGATING, Stage.VALIDATING, Stage.AUTHORIZED]
)
async def test_at_every_stage_records_and_lock_are_released_and_the_next_order_goes_on(rig: Rig, stage: Stage) -> None:
    certificate, csr = await issued(rig)
    rig.relay.reuse_orders = True
    rig.relay.reuse_authorizations = False
    rig.relay.validation_looks = 3 if stage is Stage.VALIDATING else 0
    order_id = await rig.open()
    if stage is not Stage.ORDERING:
        await _work_until(rig, order_id, stage)
    other = await rig.open(actor=await rig.account(), finalize=True)
    await reuse(rig, order_id, certificate, csr)
    order = await rig.order(order_id)
    assert (order.status, order.stage, order.lock_key) == (OrderStatus.VALID, Stage.DONE, None)
    await rig.go()
    await rig.assert_valid(order_id, other)
    assert rig.relay.issued_for("www.corp.test") == 2  # the first one, and that of the other account
    assert (await rig.order(order_id)).certificate_id == certificate.id


async def _work_until(rig: Rig, order_id: str, stage: Stage) -> None:
    """Take steps until the order is at `stage`, at rest or not."""
    running = asyncio.create_task(rig.main.run())
    try:
        async with asyncio.timeout(10):
            while (await rig.order(order_id)).stage is not stage:
                await asyncio.sleep(0)
                rig.clock.advance(0.01)
    finally:
        running.cancel()
        await asyncio.wait([running])


async def test_a_step_under_way_is_fenced_off(rig: Rig) -> None:
    certificate, csr = await issued(rig)
    entered, leave = asyncio.Event(), asyncio.Event()
    read = rig.relay.new_order

    async def slow(account, request):  # type: ignore[no-untyped-def]
        entered.set()
        await leave.wait()
        return await read(account, request)

    rig.relay.new_order = slow  # type: ignore[method-assign]
    order_id = await rig.open()
    working = asyncio.create_task(rig.main.work_off())
    async with asyncio.timeout(10):
        await entered.wait()
    await reuse(rig, order_id, certificate, csr)
    leave.set()
    await working
    order = await rig.order(order_id)
    assert (order.status, order.stage, order.upstream_url) == (OrderStatus.VALID, Stage.DONE, None)
    await rig.assert_valid(order_id)
