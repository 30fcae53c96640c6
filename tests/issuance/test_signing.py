"""Authorities that sign by themselves: the shortest way, and the one whose speed is measured."""

import asyncio
from collections.abc import Callable

import pytest
from msgspec.structs import replace

from acmehub.models import AuthorizationMode, OrderStatus, Stage
from acmehub.models.problems import URN, ProblemDocument
from acmehub.ports.authority import UpstreamRefused, UpstreamUnavailable
from acmehub.rules.orders import Change
from acmehub.testing.fakes import make_csr
from tests.issuance.rig import Rig


async def test_an_order_is_finished_by_the_process_that_took_its_csr_without_another_claim(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    order_id = await rig.open(signing=True)
    bundle = await rig.finalize(order_id, rig.main)

    async def no_claim(*_args: object) -> None:
        raise AssertionError

    for noun, verb in (("orders", "claim"), ("orders", "get"), ("principals", "get"), ("txt_records", "of_order")):
        monkeypatch.setattr(getattr(rig.store, noun), verb, no_claim)
    rig.registry._manager.unregister(name="fake")  # nobody listens to news
    rig.main.adopt(bundle)
    await rig.main.orders.wait_until_idle()
    monkeypatch.undo()
    await rig.assert_valid(order_id)
    order = await rig.order(order_id)
    assert (order.stage, order.fence) == (Stage.DONE, 1)
    assert await rig.whats(order_id) == ["finalize requested", "certificate issued"]


async def test_without_a_worker_beside_it_the_order_is_claimed(rig: Rig) -> None:
    order_id = await rig.open(signing=True)
    await rig.finalize(order_id)
    await rig.go()
    await rig.assert_valid(order_id)


async def test_an_order_without_a_csr_is_not_touched(rig: Rig) -> None:
    order_id = await rig.open(signing=True)
    await rig.go()
    assert (await rig.order(order_id)).status is OrderStatus.READY
    assert len(rig.signer.ca.issued) == 0


async def test_adopting_twice_signs_once(rig: Rig) -> None:
    order_id = await rig.open(signing=True)
    bundle = await rig.finalize(order_id, rig.main)
    rig.main.adopt(bundle)
    rig.main.adopt(bundle)
    await rig.main.orders.wait_until_idle()
    await rig.assert_valid(order_id)
    assert len(rig.signer.ca.issued) == 1


async def test_an_order_that_another_process_owns_is_not_adopted(rig: Rig) -> None:
    order_id = await rig.open(signing=True)
    other = rig.worker(owner="other")
    bundle = await rig.finalize(order_id, other)
    rig.main.adopt(bundle)
    await rig.main.orders.wait_until_idle()
    assert (await rig.order(order_id)).status is OrderStatus.PROCESSING
    other.adopt(bundle)
    await other.orders.wait_until_idle()
    await rig.assert_valid(order_id)


async def test_a_refusal_of_the_signer_is_the_clients_problem_document(rig: Rig) -> None:
    rig.signer.errors.append(UpstreamRefused(ProblemDocument(f"{URN}badCSR", "no such key type", 400)))
    order_id = await rig.open(signing=True, mode=AuthorizationMode.PREAPPROVED)
    await rig.finalize(order_id)
    await rig.go()
    order = await rig.order(order_id)
    assert order.error is not None
    assert order.error.detail == "no such key type"


async def test_a_signer_that_fails_for_now_is_asked_again(rig: Rig) -> None:
    rig.signer.errors += [UpstreamUnavailable("key store is locked"), KeyError("x")]
    order_id = await rig.open(signing=True)
    await rig.finalize(order_id)
    await rig.go()
    await rig.assert_valid(order_id)


def another_key(rig: Rig) -> Callable[[str], str]:
    other = rig.signer.ca.chains(make_csr(["www.corp.test"]), ["www.corp.test"], rig.clock.now())[0]
    return lambda _chain: other


async def test_a_wrong_certificate_of_the_signer_is_refused_as_well(rig: Rig) -> None:
    """It is asked again ever less often: the order ends with time, which begins when its client finalizes."""
    right, rig.signer.substitute = rig.signer.substitute, another_key(rig)
    order_id = await rig.open(signing=True)
    late = await rig.open("b.corp.test", signing=True)
    rig.clock.advance(2 * 86_400)
    await rig.finalize(order_id)
    await rig.finalize(late)
    await rig.go(86_000)
    order = await rig.order(order_id)
    assert order.status is OrderStatus.PROCESSING
    assert 20 < (await rig.whats(order_id)).count("wrong certificate refused") < 40
    rig.signer.substitute = right
    await rig.store.orders.apply(late, lambda current: Change(order=replace(current.order, run_at=rig.clock.now())))
    await rig.main.work_off()
    assert (await rig.order(late)).status is OrderStatus.VALID
    rig.signer.substitute = another_key(rig)
    await rig.go(86_400)
    order = await rig.order(order_id)
    assert order.status is OrderStatus.INVALID
    assert order.error is not None
    assert "another key" in order.error.detail


async def test_many_are_adopted_at_once(rig: Rig) -> None:
    ids = [await rig.open(f"n{number}.corp.test", signing=True) for number in range(40)]
    worker = rig.worker(concurrency=64)
    bundles = await asyncio.gather(*(rig.finalize(order_id, worker) for order_id in ids))
    for bundle in bundles:
        worker.adopt(bundle)
    await worker.orders.wait_until_idle()
    await rig.assert_valid(*ids)
