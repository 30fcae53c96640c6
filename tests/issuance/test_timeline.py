"""What the timeline and the stored certificate say, member by member."""

import hashlib
from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from acmehub.issuance import job
from acmehub.models import EventKind, OrderStatus
from acmehub.models.problems import ProblemType
from acmehub.ports.authority import UpstreamUnavailable
from acmehub.ports.store import StoreUnavailable
from acmehub.rules.rights import RightTaken
from tests.issuance.rig import Rig

CA = "https://ca.test/directory"
Line = tuple[str, str, str, bool]


async def lines(rig: Rig, order_id: str) -> list[Line]:
    """Kind, words, server, and whether there is a duration, of each line."""
    return [(item.kind, item.detail, item.server, item.seconds is not None) for item in await rig.timeline(order_id)]


async def test_each_line_of_an_ordinary_order_names_the_server_it_was_spoken_with(rig: Rig) -> None:
    order_id = await rig.open("a.corp.test", "b.corp.test", finalize=True)
    await rig.go()
    (upstream,), (certificate,) = rig.relay.orders.values(), await rig.store.certificates.list()
    server = f"ns1.corp.test (127.0.0.1:{rig.dns.port})"
    found = await lines(rig, order_id)
    of_records = (EventKind.TXT_CREATED, EventKind.TXT_VISIBLE, EventKind.TXT_REMOVED)
    assert [item for item in found if item[0] not in of_records] == [
        (EventKind.FINALIZE_REQUESTED, "", "", False),
        (EventKind.UPSTREAM_ORDER_CREATED, upstream.url, CA, True),
        (EventKind.AUTHORIZATIONS_READ, "a.corp.test pending, b.corp.test pending", CA, True),
        (EventKind.CHALLENGE_RESPONDED, "a.corp.test", CA, True),
        (EventKind.CHALLENGE_RESPONDED, "b.corp.test", CA, True),
        (EventKind.UPSTREAM_ORDER_READY, "ready", CA, True),
        (EventKind.CSR_SENT, "order is valid", CA, True),
        (EventKind.CHAIN_DOWNLOADED, "", CA, True),
        (EventKind.CERTIFICATE_ISSUED, f"serial {certificate.serial}", "", False),
    ]
    (visible,) = [item for item in found if item[0] == EventKind.TXT_VISIBLE]
    assert sorted(visible[1].split("; ")) == [f"_acme-challenge.{name}.corp.test seen on {server}" for name in "ab"]
    assert visible[2:] == (server, True)
    for kind in (EventKind.TXT_CREATED, EventKind.TXT_REMOVED):
        there = {item[1:] for item in found if item[0] == kind}
        assert there == {(f"_acme-challenge.{name}.corp.test", "corp.test", True) for name in "ab"}


async def test_a_line_that_is_not_about_an_exchange_names_no_server(rig: Rig) -> None:
    first = await rig.open()
    await rig.go()
    second = await rig.open(finalize=True)
    await rig.go()
    await rig.assert_valid(second)
    third = await rig.open(finalize=True, replaces="AAAA.AQ")
    await rig.go()
    found = await lines(rig, second) + await lines(rig, third)
    for kind in (EventKind.UPSTREAM_ORDER_TAKEN, EventKind.REPLACES_NOT_SENT):
        assert {item[2:] for item in found if item[0] == kind} == {("", False)}, kind
    assert (EventKind.UPSTREAM_ORDER_READY, "ready from the beginning", "", False) in found
    assert (await rig.order(first)).status is OrderStatus.READY


async def test_a_line_about_waiting_for_another_order_names_no_server(rig: Rig) -> None:
    rig.relay.validation_looks = 2
    first, second = [await rig.open(finalize=True) for _ in range(2)]
    await rig.go()
    await rig.assert_valid(first, second)
    waits = [item for item in await lines(rig, second) if item[0] == EventKind.WAITS_FOR_LOCK]
    assert waits == [(EventKind.WAITS_FOR_LOCK, f"order {first}", "", False)]


async def test_a_certificate_is_stored_with_what_stands_in_it(rig: Rig) -> None:
    order_id = await rig.open("b.corp.test", "a.corp.test", finalize=True)
    await rig.go()
    order = await rig.order(order_id)
    (stored,) = await rig.store.certificates.list()
    leaf = x509.load_pem_x509_certificate(stored.chain.encode())
    key = leaf.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    assert (stored.order_id, stored.account_id, stored.authority_id) == (order_id, order.account_id, rig.relay_row.id)
    assert sorted(stored.names) == ["a.corp.test", "b.corp.test"]
    assert int(stored.serial, 16) == leaf.serial_number
    assert stored.issuer == leaf.issuer.rfc4514_string()
    assert stored.spki_sha256 == hashlib.sha256(key).hexdigest()
    assert (stored.not_before, stored.not_after) == (leaf.not_valid_before_utc, leaf.not_valid_after_utc)
    assert (stored.alternates, stored.account_url) == ((), next(iter(rig.relay.accounts.values())))
    assert (stored.principal_id, stored.profile, stored.name_set) == (rig.principal.id, None, order.name_set)
    assert stored.created <= rig.clock.now()


async def test_a_finalize_that_is_lost_is_told_and_so_is_that_the_ca_was_away(rig: Rig) -> None:
    order_id = await rig.open()
    await rig.go()
    rig.relay.fail("finalize", UpstreamUnavailable("cut", server=CA))
    await rig.finalize(order_id)
    await rig.go()
    await rig.assert_valid(order_id)
    found = await lines(rig, order_id)
    lost = found.index((EventKind.CSR_SENT, "it is not known whether it arrived", CA, True))
    assert found[lost + 1] == (EventKind.CA_UNAVAILABLE, "cut", CA, True)


async def test_only_authorizations_that_are_not_decided_are_read_again(rig: Rig) -> None:
    rig.relay.validation_looks = 9
    rig.relay.sees = lambda _name, _value: True
    order_id = await rig.open("a.corp.test", "b.corp.test")
    await rig.go(until=lambda: "answer" in rig.relay.calls)
    (upstream,) = rig.relay.orders.values()
    upstream.authorizations[0].status = upstream.authorizations[0].challenge = "valid"
    asked: list[str] = []
    read = rig.relay.authorization

    async def counted(account: object, url: str) -> object:
        asked.append(url)
        return await read(account, url)  # type: ignore[arg-type]

    rig.relay.authorization = counted  # type: ignore[method-assign, assignment]
    await rig.go()
    assert (await rig.order(order_id)).status is OrderStatus.READY
    first, second = (item.url for item in upstream.authorizations)
    assert asked.count(first) == 1
    assert asked.count(second) > 1


@pytest.mark.parametrize("failures", [5, 6])
async def test_a_result_is_written_in_six_tries(rig: Rig, monkeypatch: pytest.MonkeyPatch, failures: int) -> None:
    apply = rig.store.orders.apply
    failed: list[int] = []

    async def failing(order_id: str, rule, *, fence=None):  # type: ignore[no-untyped-def]
        if "new_order" in rig.relay.calls and len(failed) < failures:
            failed.append(1)
            raise StoreUnavailable("database is locked")
        return await apply(order_id, rule, fence=fence)

    async def at_once(_seconds: float) -> None:
        return None

    monkeypatch.setattr(rig.store.orders, "apply", failing)
    monkeypatch.setattr("acmehub.issuance.job.asyncio.sleep", at_once)
    await rig.open(finalize=True)
    await rig.main.work_off()
    assert len(failed) == failures
    assert bool([item for item in await rig.store.orders.list() if item.upstream_url]) is (failures == 5)


async def test_the_lease_counts_from_the_last_step(rig: Rig) -> None:
    await rig.open()
    (bundle,) = await rig.store.orders.claim(rig.main._context.new_lease(), rig.clock.now(), 1)
    step = job.Job(rig.main._context, bundle)
    begun = step.renewed
    rig.clock.advance(20.0)
    await step.reschedule(0.0)
    assert step.renewed == begun + 20.0


async def test_orders_that_wait_for_their_clients_are_looked_at_by_turns(rig: Rig) -> None:
    ready = [await rig.open(f"n{number}.corp.test") for number in range(3)]
    await rig.go()
    idle = rig.main.idle_orders
    seen = []
    for _ in range(6):
        seen.append([item.id for item in await idle.claim(2)])
        assert not await idle.claim(2)  # once an interval
        rig.clock.advance(61.0)
    assert sorted(seen[0] + seen[1]) == sorted(ready)
    assert seen[2] == []  # none is pending
    assert seen[3] + seen[4] == seen[0] + seen[1]

    async def taken(_order: object) -> None:
        raise RightTaken(ProblemType.UNAUTHORIZED, "the account is deactivated")

    idle._rights.require_step = taken  # type: ignore[method-assign, assignment]
    rig.clock.advance(61.0)
    await idle.work_off()
    rig.clock.advance(61.0)
    await idle.work_off()
    assert {(await rig.order(item)).status for item in ready} == {OrderStatus.INVALID}
    assert rig.clock.now() - (await rig.order(ready[0])).created > timedelta(minutes=6)
