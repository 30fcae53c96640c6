"""What goes wrong in DNS and at its providers (docs/reliability.md, F29 to F33)."""

import asyncio
from collections.abc import Sequence
from datetime import timedelta

import pytest
from msgspec.structs import replace

from acmehub.dns01 import Sight
from acmehub.issuance.publishing import WRITE_AGAIN_EVERY
from acmehub.models import EventKind, OrderStatus, Propagation, PropagationMode, TxtRecord
from acmehub.models.problems import URN
from acmehub.ports.dns import DnsProviderRefused, DnsProviderUnavailable
from acmehub.testing.dns_server import FaultKind
from tests.issuance.rig import Rig


async def test_wrong_credentials_keep_the_order_open_to_its_deadline_and_are_then_told(rig: Rig) -> None:
    rig.provider.fail("add_txt", DnsProviderRefused("401: token is invalid", server="api.dns.test"), times=1000)
    order_id = await rig.open(issuance_timeout=timedelta(hours=6))
    begun = rig.clock.now()
    await rig.go(3600)
    assert (await rig.order(order_id)).status is OrderStatus.READY
    await rig.go(86_400)
    order = await rig.order(order_id)
    assert order.status is OrderStatus.INVALID
    assert order.error is not None
    assert order.error.type == f"{URN}dns"
    assert order.error.detail.endswith(f"managed challenge '{rig.challenge.name}': 401: token is invalid")
    failed = next(event for event in await rig.timeline(order_id) if event.kind == "order failed")
    assert timedelta(hours=6) <= failed.at - begun < timedelta(hours=6, minutes=7)
    assert "api.dns.test" in {event.server for event in await rig.timeline(order_id)}
    assert "answer" not in rig.relay.calls
    assert len(rig.provider.calls) < 100
    await rig.assert_clean()


async def test_credentials_that_are_put_right_in_time_cost_nothing_but_time(rig: Rig) -> None:
    rig.provider.fail("add_txt", DnsProviderRefused("401"), times=6)
    order_id = await rig.open(finalize=True)
    await rig.go(3600)
    await rig.assert_valid(order_id)


async def test_a_provider_that_is_away_is_asked_again_not_before_it_said(rig: Rig) -> None:
    rig.provider.fail("add_txt", DnsProviderUnavailable("429", server="api", retry_after=120.0))
    order_id = await rig.open(finalize=True)
    begun = rig.clock.now()
    await rig.go(3600)
    await rig.assert_valid(order_id)
    assert rig.clock.now() - begun > timedelta(seconds=120)


async def test_a_provider_that_says_yes_and_does_nothing_costs_no_quota_of_the_ca(rig: Rig) -> None:
    rig.provider.without_effect = True
    order_id = await rig.open()
    begun = rig.clock.now()
    await rig.go(3600)
    order = await rig.order(order_id)
    assert order.status is OrderStatus.INVALID
    assert order.error is not None
    assert order.error.type == f"{URN}dns"
    assert "ns1.corp.test (127.0.0.1" in order.error.detail
    assert "without the TXT record of _acme-challenge.www.corp.test after 120 s" in order.error.detail
    assert "answer" not in rig.relay.calls
    failed = next(event for event in await rig.timeline(order_id) if event.kind == "order failed")
    assert timedelta(seconds=120) < failed.at - begun < timedelta(seconds=150)


async def test_a_record_is_not_written_again_once_its_name_is_not_allowed_any_more(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig.provider.without_effect = True
    looks = 0
    look = rig.solver.propagated

    async def slow(records: Sequence[TxtRecord]) -> Sequence[Sight]:
        nonlocal looks
        looks += 1
        if looks == WRITE_AGAIN_EVERY:
            await rig.store.tokens.replace(replace(rig.token, names="elsewhere.test"))
            rig.clock.advance(1.0)
        return await look(records)

    monkeypatch.setattr(rig.solver, "propagated", slow)
    order_id = await rig.open()
    await rig.go(3600)
    assert [verb for verb, *_ in rig.provider.calls if verb == "add_txt"] == ["add_txt"]
    assert looks == WRITE_AGAIN_EVERY
    assert EventKind.RIGHT_TAKEN in await rig.whats(order_id)


async def test_a_record_that_somebody_takes_away_is_made_once_more(rig: Rig) -> None:
    order_id = await rig.open(finalize=True)
    add = rig.provider.on_add
    rig.provider.on_add = lambda _name, _value: None
    await rig.go(3)
    rig.provider.on_add = add
    await rig.go(120)
    await rig.assert_valid(order_id)
    assert len([call for call in rig.provider.calls if call[0] == "add_txt"]) == 2


async def test_the_records_of_others_are_left_alone(rig: Rig) -> None:
    rig.dns.zones.add("_acme-challenge.www.corp.test", "TXT", '"of somebody else"')
    order_id = await rig.open(finalize=True)
    await rig.go()
    assert (await rig.order(order_id)).status is OrderStatus.VALID
    assert rig.dns.zones.txt() == {"_acme-challenge.www.corp.test": ["of somebody else"]}


async def test_a_jump_of_the_wall_clock_does_not_end_the_waiting_for_a_record(rig: Rig) -> None:
    add = rig.provider.on_add
    rig.provider.on_add = lambda _name, _value: None
    order_id = await rig.open(finalize=True)
    await rig.go(1)
    rig.clock.jump(3600)
    await rig.go(1)
    rig.provider.on_add = add
    for (_zone, name), values in rig.provider.records.items():
        for value in values:
            add(name, value)
    await rig.go(60)
    await rig.assert_valid(order_id)


async def test_where_no_name_server_can_be_asked_it_goes_on_after_the_delay_and_says_so(rig: Rig) -> None:
    await rig.set_propagation(Propagation(delay=20.0, servers=("127.0.0.1:9",)))
    order_id = await rig.open(finalize=True)
    begun = rig.clock.now()
    await rig.go()
    await rig.assert_valid(order_id)
    assert timedelta(seconds=20) < rig.clock.now() - begun < timedelta(seconds=60)
    seen = next(event for event in await rig.timeline(order_id) if event.kind is EventKind.TXT_NOT_CHECKED)
    assert "no server can be asked from here" in seen.detail
    assert "goes on after 20 s" in seen.detail


@pytest.mark.parametrize(
    ("mode", "seconds"), [(PropagationMode.NONE, 0), (PropagationMode.DELAY, 25), (PropagationMode.RESOLVERS, 0)]
)
async def test_other_ways_to_wait(rig: Rig, mode: PropagationMode, seconds: int) -> None:
    await rig.set_propagation(Propagation(mode=mode, delay=25.0))
    order_id = await rig.open(finalize=True)
    begun = rig.clock.now()
    await rig.go()
    await rig.assert_valid(order_id)
    assert timedelta(seconds=seconds) <= rig.clock.now() - begun < timedelta(seconds=seconds + 10)


async def test_a_resolver_that_says_servfail_is_asked_again(rig: Rig) -> None:
    with rig.dns.fault(FaultKind.SERVFAIL, rdtype="SOA", times=4):
        order_id = await rig.open(finalize=True)
        await rig.go()
    await rig.assert_valid(order_id)
    assert "DNS gives no answer" in await rig.whats(order_id)


async def test_a_cname_loop_is_refused_with_the_loop_in_words(rig: Rig) -> None:
    rig.dns.zones.add("_acme-challenge.www.corp.test", "CNAME", "a.corp.test.")
    rig.dns.zones.add("a.corp.test", "CNAME", "_acme-challenge.www.corp.test.")
    order_id = await rig.open()
    await rig.go()
    order = await rig.order(order_id)
    assert order.error is not None
    assert order.error.detail == (
        "CNAME loop: _acme-challenge.www.corp.test -> a.corp.test -> _acme-challenge.www.corp.test"
    )


async def test_a_cname_into_a_foreign_zone_is_refused_and_one_into_an_allowed_zone_followed(rig: Rig) -> None:
    rig.dns.zones.add("_acme-challenge.www.corp.test", "CNAME", "www.far.test.")
    order_id = await rig.open()
    await rig.go()
    order = await rig.order(order_id)
    assert order.error is not None
    assert "leads into zone far.test, which the managed challenge does not allow" in order.error.detail
    assert rig.provider.calls == []
    await rig.managed_challenge("www.corp.test", cname_zones=("far.test",))
    rig.relay.sees = lambda _name, value: rig.provider.has("www.far.test", value)
    order_id = await rig.open(finalize=True)
    await rig.go()
    assert (await rig.order(order_id)).status is OrderStatus.VALID
    assert rig.provider.calls[0][1:3] == ("far.test", "www.far.test")


async def test_a_name_without_a_managed_challenge_is_refused_with_the_rule_it_would_need(rig: Rig) -> None:
    order_id = await rig.open("www.far.test")
    await rig.go()
    order = await rig.order(order_id)
    assert order.error is not None
    assert order.error.type == f"{URN}unauthorized"
    assert "a rule with www.far.test or *.far.test would be needed" in order.error.detail


async def test_a_record_that_cannot_be_removed_is_tried_again_and_again_and_said_aloud(
    rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    rig.provider.fail("remove_txt", DnsProviderUnavailable("timeout"), times=10)
    order_id = await rig.open(finalize=True)
    await rig.go(86400)
    await rig.assert_valid(order_id)
    timeline = await rig.timeline(order_id)
    told = [event.detail.partition(":")[0] for event in timeline if event.kind is EventKind.TXT_NOT_REMOVED]
    assert told == ["5 attempts", "10 attempts"]
    assert timeline[-1].kind is EventKind.TXT_REMOVED
    assert [record.message for record in caplog.records if "TXT" in record.message] == [
        "TXT record cannot be removed",
        "TXT record removed after all",
    ]


async def test_the_cleanup_leaves_a_value_that_another_order_still_needs(rig: Rig) -> None:
    """The CA gives a second order the same challenge: the row of the first must not take its record away."""
    rig.relay.reuse_orders = True
    rig.relay.validation_looks = 1000
    first = await rig.open()
    await rig.go(5)
    (row,) = await rig.store.txt_records.list()
    await rig.deactivate(first)
    second = await rig.open(finalize=True)
    await rig.main.work_off()  # the second has planned and made the same value before the cleanup runs
    assert {item.value for item in await rig.store.txt_records.list()} == {row.value}
    assert len(await rig.store.txt_records.list()) == 2
    await rig.main.txt_cleanup.work_off()
    assert rig.provider.records
    rig.relay.validation_looks = 0
    await rig.go()
    await rig.assert_valid(second)


async def test_events_of_dns_name_the_dns_server_and_never_the_ca(rig: Rig) -> None:
    """A resolver that fails while the worker plans, between two exchanges with the CA; then what servers show."""
    resolver = f"127.0.0.1:{rig.dns.port}"
    order_id = await rig.open(finalize=True)
    with rig.dns.fault(FaultKind.SERVFAIL, times=5):
        await rig.go()
    await rig.assert_valid(order_id)
    servers = {event.kind: event.server for event in await rig.timeline(order_id)}
    assert servers[EventKind.DNS_UNCLEAR] == resolver
    assert resolver in servers[EventKind.TXT_VISIBLE]
    assert servers[EventKind.AUTHORIZATIONS_READ] == rig.relay.server


async def test_events_name_the_servers_that_lack_a_record(rig: Rig) -> None:
    rig.provider.without_effect = True
    order_id = await rig.open()
    await rig.go()
    events = {event.kind: event for event in await rig.timeline(order_id)}
    for kind in (EventKind.WAITS_FOR_TXT, EventKind.TXT_NOT_VISIBLE):
        assert f"127.0.0.1:{rig.dns.port}" in events[kind].server
        assert events[kind].server in events[kind].detail


async def test_a_provider_that_names_no_server_is_not_taken_for_the_ca(rig: Rig) -> None:
    rig.provider.fail("add_txt", DnsProviderUnavailable("cut"))
    order_id = await rig.open(finalize=True)
    await rig.go()
    failed = next(e for e in await rig.timeline(order_id) if e.kind is EventKind.DNS_PROVIDER_UNAVAILABLE)
    assert (failed.server, failed.seconds) == ("", None)


async def test_dns_that_takes_too_long_is_no_failure_of_the_ca(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("acmehub.issuance.job.EXCHANGE_SECONDS", 0.6)
    monkeypatch.setattr(rig.solver, "propagated", lambda _rows: asyncio.sleep(9.0))
    order_id = await rig.open()
    await rig.main.work_off()
    assert (await rig.whats(order_id))[-2:] == [EventKind.TXT_CREATED, EventKind.DNS_UNCLEAR]
