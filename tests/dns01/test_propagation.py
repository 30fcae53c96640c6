"""Whether a value is to be seen: every authoritative server that can be asked must show it."""

import pytest

from acmehub.dns01 import Sight, Verdict, View, judge
from acmehub.dns01.propagation import fair_polls, next_poll_in, view_authoritative, view_resolved
from acmehub.dns01.resolver import Resolver
from acmehub.models import Propagation, PropagationMode
from acmehub.testing.dns_server import DnsServer, FaultKind
from tests.dns01.conftest import ADDRESSES

NAME = "_acme-challenge.corp.test"


async def look(resolver: Resolver, dns: DnsServer, *values: str, servers: tuple[str, ...] = ()) -> View:
    return await view_authoritative(resolver, "corp.test", NAME, values or ("v",), servers, dns.port)


def label(dns: DnsServer, number: int) -> str:
    return f"ns{number}.corp.test ({ADDRESSES[number - 1]}:{dns.port})"


async def test_a_value_on_all_servers_is_seen(resolver: Resolver, dns: DnsServer) -> None:
    assert not (await look(resolver, dns)).complete
    dns.zones.add(NAME, "TXT", '"v"', '"w"')
    view = await look(resolver, dns, "v", "w")
    assert view.complete
    assert view.showing == tuple(label(dns, number) for number in (1, 2, 3))
    assert view.found == ("v", "w")


async def test_one_of_three_servers_that_lags_is_named(resolver: Resolver, dns: DnsServer) -> None:
    dns.lag(ADDRESSES[1])
    dns.zones.add(NAME, "TXT", '"v"')
    view = await look(resolver, dns)
    assert not view.complete
    assert view.lacking == (label(dns, 2),)
    dns.lag(ADDRESSES[1], 0)
    assert (await look(resolver, dns)).complete


async def test_of_two_values_one_that_is_missing_counts(resolver: Resolver, dns: DnsServer) -> None:
    dns.zones.add(NAME, "TXT", '"v"')
    assert not (await look(resolver, dns, "v", "w")).complete


@pytest.mark.parametrize("fault", [FaultKind.DROP, FaultKind.SERVFAIL, FaultKind.REFUSED])
async def test_a_server_that_cannot_be_asked_does_not_count(
    resolver: Resolver, dns: DnsServer, fault: FaultKind
) -> None:
    dns.zones.add(NAME, "TXT", '"v"')
    with dns.fault(fault, address=ADDRESSES[2], rdtype="TXT"):
        view = await look(resolver, dns)
    assert view.complete
    assert view.silent[0].startswith(label(dns, 3))


async def test_a_server_that_is_switched_off_does_not_count(resolver: Resolver, dns: DnsServer) -> None:
    dns.zones.add(NAME, "TXT", '"v"')
    await dns.close(ADDRESSES[2])
    view = await look(resolver, dns)
    assert (view.complete, len(view.silent)) == (True, 1)


async def test_a_server_that_lies_is_one_that_lacks_the_value(resolver: Resolver, dns: DnsServer) -> None:
    dns.zones.add(NAME, "TXT", '"v"')
    with dns.fault(FaultKind.WRONG, address=ADDRESSES[0]):
        view = await look(resolver, dns)
    assert view.lacking == (label(dns, 1),)
    assert "not what you seek" in view.found


async def test_an_answer_that_is_too_long_for_a_datagram_is_fetched_over_tcp(
    resolver: Resolver, dns: DnsServer
) -> None:
    values = [f"{number}{'x' * 200}" for number in range(12)]
    dns.zones.add(NAME, "TXT", *(f'"{value}"' for value in values), '"v"')
    assert (await look(resolver, dns)).complete
    asked = {(item.address, item.transport) for item in dns.seen if item.rdtype == "TXT"}
    assert asked >= {(address, "tcp") for address in ADDRESSES}


async def test_a_value_in_several_pieces_is_one_value(resolver: Resolver, dns: DnsServer) -> None:
    dns.zones.add(NAME, "TXT", '"ab" "cd"')
    assert (await look(resolver, dns, "abcd")).complete


async def test_authoritative_servers_are_asked_without_recursion_and_nobody_else(
    resolver: Resolver, dns: DnsServer
) -> None:
    dns.zones.add(NAME, "TXT", '"v"')
    await look(resolver, dns)
    assert sorted(item.address for item in dns.seen if item.rdtype == "TXT") == list(ADDRESSES)


async def test_a_server_that_is_not_authoritative_proves_nothing(resolver: Resolver, dns: DnsServer) -> None:
    dns.zones.add("below.corp.test", "NS", "ns1.far.test.")
    view = await view_authoritative(
        resolver, "corp.test", "_acme-challenge.below.corp.test", ("v",), (f"{ADDRESSES[0]}:{dns.port}",), dns.port
    )
    assert view.blind
    assert "not authoritative" in view.silent[0]


async def test_named_servers_are_asked_instead_of_the_zones_own(resolver: Resolver, dns: DnsServer) -> None:
    dns.lag(ADDRESSES[0])
    dns.zones.add(NAME, "TXT", '"v"')
    view = await look(resolver, dns, servers=(f"{ADDRESSES[1]}:{dns.port}", "ns3.corp.test"))
    assert view.showing == tuple(f"{address}:{dns.port}" for address in ADDRESSES[1:])


async def test_resolvers_can_be_asked_instead(resolver: Resolver, dns: DnsServer) -> None:
    dns.zones.add("_acme-challenge.www.corp.test", "CNAME", "www.corp.test.")
    dns.zones.add("www.corp.test", "TXT", '"v"')
    view = await view_resolved(resolver, "_acme-challenge.www.corp.test", ("v",), ())
    assert view.showing == (f"{ADDRESSES[0]}:{dns.port}",)
    view = await view_resolved(resolver, NAME, ("v",), (f"{ADDRESSES[1]}:{dns.port}",))
    assert view.lacking == (f"{ADDRESSES[1]}:{dns.port}",)


# ------------------------------------------------------------------------------------------------- judgement


def sight(view: View, **settings: object) -> Sight:
    return Sight(NAME, Propagation(**settings), view)  # type: ignore[arg-type]


SEEN = View(showing=("ns1",))
PARTLY = View(showing=("ns1",), lacking=("ns2",))
BLIND = View(silent=("ns1: no answer",))


@pytest.mark.parametrize(
    ("view", "elapsed", "looks", "verdict"),
    [
        (SEEN, 0.0, 1, Verdict.GO),
        (PARTLY, 0.0, 1, Verdict.WAIT),
        (PARTLY, 119.9, 99, Verdict.WAIT),
        (PARTLY, 120.0, 30, Verdict.FAIL),
        (PARTLY, 120.0, 2, Verdict.WAIT),  # the clock has jumped
        (BLIND, 0.0, 1, Verdict.WAIT),
        (BLIND, 29.0, 9, Verdict.WAIT),
        (BLIND, 30.0, 2, Verdict.GO),
        (BLIND, 4000.0, 1, Verdict.WAIT),
    ],
)
def test_what_follows_from_a_view(view: View, elapsed: float, looks: int, verdict: Verdict) -> None:
    assert judge(sight(view), elapsed, looks).verdict is verdict


def test_the_words_name_the_server_that_lacks_the_value_and_those_out_of_reach() -> None:
    failed = judge(sight(PARTLY, limit=7.0), 8.0, 9)
    assert failed.message == f"ns2 without the TXT record of {NAME} after 7 s"
    seen = judge(sight(View(showing=("ns1",), silent=("ns2: no answer",))), 0.0, 1)
    assert seen.message == f"{NAME} seen on ns1; not reachable: ns2: no answer"


def test_other_modes_do_not_ask() -> None:
    assert judge(sight(View(), mode=PropagationMode.NONE), 0.0, 1).verdict is Verdict.GO
    assert judge(sight(View(), mode=PropagationMode.DELAY, delay=5.0), 4.0, 1).verdict is Verdict.WAIT
    assert judge(sight(View(), mode=PropagationMode.DELAY, delay=5.0), 5.0, 1).verdict is Verdict.GO


def test_looks_come_quickly_at_first_and_there_are_enough_of_them_within_the_limit() -> None:
    at, looks = 0.0, 0
    while at < 120.0:
        looks += 1
        at += next_poll_in(looks)
    assert next_poll_in(1) < 1.0
    assert next_poll_in(1000) == 5.0
    assert looks >= fair_polls(120.0)
