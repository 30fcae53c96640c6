"""What a zone of somebody else can make the hub ask: the queries that are sent are counted."""

import asyncio
from collections.abc import AsyncIterator

import dns.rrset
import pytest
import pytest_asyncio

from acmehub.config import Dns
from acmehub.dns01 import DnsUnclear, DnsWrong, View
from acmehub.dns01.propagation import view_authoritative
from acmehub.dns01.resolver import Resolver
from acmehub.dns01.zones import find_place
from acmehub.testing.dns_server import DnsServer, FaultKind
from acmehub.testing.dns_server.zones import dns_name
from tests.dns01.drip import dripping_server
from tests.dns01.sink import Sink, sink

NAME = "_acme-challenge.corp.test"


@pytest_asyncio.fixture
async def recursor() -> AsyncIterator[DnsServer]:
    """What the resolver answers from."""
    async with DnsServer(["corp.test", "far.test"], addresses=["127.0.72.1"]) as server:
        yield server


def resolver_of(recursor: DnsServer, port: int, timeout: float = 2.0) -> Resolver:
    return Resolver(Dns(resolvers=(f"127.0.72.1:{recursor.port}",), port=port, timeout=timeout))


def crowd(recursor: DnsServer, servers: int, addresses: int) -> None:
    """Give corp.test this many name servers with as many addresses each, and six IPv6 ones."""
    records: list[tuple[str, str, list[str]]] = []
    for number in range(servers):
        four = [f"127.{number + 10}.1.{host + 1}" for host in range(addresses)]
        six = [f"::ffff:127.{number + 10}.2.{host}" for host in range(6)]
        records += [(f"n{number}.far.test", "A", four), (f"n{number}.far.test", "AAAA", six)]
    recursor.zones.add("corp.test", "NS", *(f"n{number}.far.test." for number in range(servers)))
    far = recursor.zones.zone_of(dns_name("far.test"))
    far.change([dns.rrset.from_text(dns_name(name), 60, "IN", kind, *values) for name, kind, values in records])


async def looked(resolver: Resolver, silent: Sink) -> View:
    """A look at servers that keep silent, of a third of a second once they are known."""
    await resolver.servers("corp.test")
    until = asyncio.get_running_loop().time() + 0.3
    view = await view_authoritative(resolver, "corp.test", NAME, ("v",), (), silent.port, until=until)
    silent.read()
    return view


async def test_of_200_name_servers_with_50_addresses_20_are_asked_once_each(recursor: DnsServer) -> None:
    crowd(recursor, 200, 50)
    with sink() as silent:
        resolver = resolver_of(recursor, silent.port)
        view = await looked(resolver, silent)
    servers = await resolver.servers("corp.test")
    assert len(servers) == 13
    assert {(len([at for at in item.addresses if ":" in at.host]), len(item.addresses)) for item in servers} == {(2, 4)}
    assert view.blind
    assert len(view.silent) == 20
    assert 13 <= len(silent.seen) <= 20
    assert len(set(silent.seen)) == len(silent.seen)
    assert len(recursor.seen) <= 2 + 13 * 2  # NS over UDP and TCP, A and AAAA of 13 servers


async def test_each_name_server_is_asked_before_one_is_asked_at_a_second_address(recursor: DnsServer) -> None:
    crowd(recursor, 12, 2)
    with sink() as silent:
        resolver = resolver_of(recursor, silent.port)
        await looked(resolver, silent)
    assert {f"127.{number + 10}.1.1" for number in range(12)} < set(silent.seen)


async def test_an_address_that_many_name_servers_share_is_asked_once(recursor: DnsServer) -> None:
    recursor.zones.add("corp.test", "NS", *(f"n{number}.far.test." for number in range(12)))
    for number in range(12):
        recursor.zones.add(f"n{number}.far.test", "A", "127.0.72.9")
    with sink() as silent:
        resolver = resolver_of(recursor, silent.port)
        await looked(resolver, silent)
    assert silent.seen.count("127.0.72.9") == 1


async def test_name_servers_that_delegate_to_each_other_end_the_look(recursor: DnsServer) -> None:
    for zone, other in (("corp.test", "far.test"), ("far.test", "corp.test")):
        recursor.zones.remove(f"ns1.{zone}", "A")
        recursor.zones.add(zone, "NS", f"a.{other}.", f"b.{other}.")
    resolver = resolver_of(recursor, recursor.port)
    view = await view_authoritative(resolver, "corp.test", NAME, ("v",), (), recursor.port)
    assert view.blind
    assert view.silent == ("a.far.test (no address)", "b.far.test (no address)", "ns1.corp.test (no address)")
    assert len(recursor.seen) == 7


async def test_a_server_that_drips_over_tcp_does_not_outlast_the_look(recursor: DnsServer) -> None:
    async with dripping_server("127.0.72.9") as drip:
        recursor.zones.add("ns1.corp.test", "A", "127.0.72.9")
        recursor.zones.remove("ns1.corp.test", "A", "127.0.72.1")
        resolver = resolver_of(recursor, drip.port, timeout=5.0)
        until = asyncio.get_running_loop().time() + 1.5
        view = await view_authoritative(resolver, "corp.test", NAME, ("v",), (), drip.port, until=until)
        assert asyncio.get_running_loop().time() - until < 3.0  # the timeout of a question is 5 s
        assert drip.connections == 1
    assert view.silent == (f"ns1.corp.test (127.0.72.9:{drip.port}): no answer from DNS in time: the TXT records",)


async def test_resolvers_that_keep_silent_end_the_look(recursor: DnsServer) -> None:
    resolver = resolver_of(recursor, recursor.port, timeout=5.0)
    until = asyncio.get_running_loop().time() + 0.2
    with recursor.fault(FaultKind.DROP), pytest.raises(DnsUnclear, match=r"the name servers of corp\.test"):
        await view_authoritative(resolver, "corp.test", NAME, ("v",), (), recursor.port, until=until)


async def test_a_deep_name_without_any_soa_record_does_not_cost_a_query_per_label(recursor: DnsServer) -> None:
    deep = ".".join("a" for _ in range(100)) + ".corp.test"
    with recursor.fault(FaultKind.EMPTY), pytest.raises(DnsWrong, match="no zone"):
        await find_place(resolver_of(recursor, recursor.port), deep, ())
    assert len(recursor.seen) == 2 + 16


async def test_name_servers_whose_addresses_were_not_learnt_are_looked_up_again(recursor: DnsServer) -> None:
    resolver = resolver_of(recursor, recursor.port)
    with recursor.fault(FaultKind.SERVFAIL, rdtype="A"):
        assert [item.addresses for item in await resolver.servers("corp.test")] == [()]
    assert [len(item.addresses) for item in await resolver.servers("corp.test")] == [1]


async def test_lame_servers_are_told_as_such(recursor: DnsServer) -> None:
    resolver = resolver_of(recursor, recursor.port)
    with recursor.fault(FaultKind.REFUSED, rdtype="TXT"):
        view = await view_authoritative(resolver, "corp.test", NAME, ("v",), (), recursor.port)
    assert view.silent == (f"ns1.corp.test (127.0.72.1:{recursor.port}): answers REFUSED",)


async def test_the_way_of_a_proxied_order_costs_a_fixed_number_of_queries(recursor: DnsServer) -> None:
    """Place: SOA; first look: NS, A, AAAA and one TXT per server; further looks: TXT alone."""
    resolver = resolver_of(recursor, recursor.port)
    place = await find_place(resolver, "www.corp.test", ())
    for _ in range(3):
        await view_authoritative(resolver, place.zone, place.name, ("v",), (), recursor.port)
    assert [item.rdtype for item in recursor.seen] == ["SOA", "NS", "A", "AAAA", "TXT", "TXT", "TXT"]


async def test_control_characters_out_of_dns_are_escaped(recursor: DnsServer) -> None:
    recursor.zones.add("corp.test", "CAA", '0 issue "a\\027[2J\\226\\128\\174b"')
    recursor.zones.add(NAME, "TXT", '"\\027[31m\\194\\155"')
    resolver = resolver_of(recursor, recursor.port)
    (caa,) = await resolver.caa("corp.test")
    assert caa.value == r"a\x1b[2J\u202eb"
    view = await view_authoritative(resolver, "corp.test", NAME, ("v",), (), recursor.port)
    assert view.found == (r"\x1b[31m\x9b",)
    assert DnsUnclear("a\x1b[2J\u2028b").detail == r"a\x1b[2J\u2028b"
    assert str(DnsWrong("\x9b")) == r"\x9b"
