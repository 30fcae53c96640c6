"""What the resolver's verbs do when DNS has nothing, only a part, or names that cannot be."""

import dns.asyncquery
import dns.flags
import dns.message
import dns.rdatatype
import dns.resolver
import pytest

from acmehub.config import Dns
from acmehub.dns01 import DnsUnclear, DnsWrong, resolver
from acmehub.dns01.resolver import TRIES, Address, Resolver
from acmehub.testing.dns_server import DnsServer, FaultKind
from tests.dns01.conftest import ADDRESSES


async def test_a_machine_without_a_resolver_is_told_the_cure(monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing() -> None:
        raise dns.resolver.NoResolverConfiguration

    monkeypatch.setattr(dns.resolver, "Resolver", nothing)
    with pytest.raises(DnsUnclear, match=r"set `resolvers` in \[dns\]"):
        await Resolver(Dns()).resolvers()


async def test_the_machines_own_resolvers_are_asked_at_their_port(monkeypatch: pytest.MonkeyPatch) -> None:
    class System:
        nameservers = ("192.0.2.1", "2001:db8::1")
        port = 5353

    monkeypatch.setattr(dns.resolver, "Resolver", System)
    assert await Resolver(Dns()).resolvers() == (Address("192.0.2.1", 5353), Address("2001:db8::1", 5353))


async def test_a_zone_without_name_servers_is_an_error(settings: Dns, dns: DnsServer) -> None:
    with dns.fault(FaultKind.EMPTY, rdtype="NS"), pytest.raises(DnsWrong, match=r"zone corp\.test has no name servers"):
        await Resolver(settings).servers("corp.test")


async def test_name_servers_are_kept_for_half_a_minute(
    settings: Dns, dns: DnsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = Resolver(settings)
    found = await kept.servers("corp.test")
    asked = len(dns.seen)
    assert await kept.servers("corp.test") == found
    assert len(dns.seen) == asked
    ((until, _),) = kept._kept.values()
    monkeypatch.setitem(kept._kept, "corp.test", (until - 30.0, ()))
    assert await kept.servers("corp.test") == found
    assert len(dns.seen) == 2 * asked


async def test_not_more_zones_are_kept_than_the_limit(
    settings: Dns, dns: DnsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resolver, "KEPT_ZONES", 2)
    kept = Resolver(settings)
    for zone in ("corp.test", "far.test", "sub.corp.test"):
        await kept.servers(zone)
    assert list(kept._kept) == ["sub.corp.test"]
    asked = len(dns.seen)
    await kept.servers("sub.corp.test")
    assert len(dns.seen) == asked


async def test_the_addresses_of_a_host_are_those_of_both_protocols_ipv6_first(settings: Dns, dns: DnsServer) -> None:
    dns.zones.add("www.corp.test", "A", "192.0.2.1")
    dns.zones.add("www.corp.test", "AAAA", "2001:db8::1")
    asking = Resolver(settings)
    assert await asking.addresses("www.corp.test") == ("2001:db8::1", "192.0.2.1")
    assert await asking.addresses("corp.test") == ()
    with dns.fault(FaultKind.SERVFAIL, rdtype="AAAA"):
        assert await asking.addresses("www.corp.test") == ("192.0.2.1",)
        with pytest.raises(DnsUnclear, match="AAAA of corp"):
            await asking.addresses("corp.test")


async def test_a_host_that_dns_cannot_have_is_an_error_and_not_one_without_addresses(settings: Dns) -> None:
    for ask in (Resolver(settings).addresses("a..b"), Resolver(settings).located("a..b", 53)):
        with pytest.raises(DnsWrong, match="no name that DNS can have"):
            await ask


async def test_a_server_is_asked_twice_before_it_counts_as_silent(settings: Dns, dns: DnsServer) -> None:
    with dns.fault(FaultKind.DROP), pytest.raises(DnsUnclear):
        await Resolver(settings).cname("www.corp.test")
    assert [item.address for item in dns.seen] == [ADDRESSES[0]] * 2


async def test_four_of_a_zones_servers_are_asked_about_a_name_that_no_resolver_tells(settings: Dns) -> None:
    silent = Resolver(settings)
    silent._kept["corp.test"] = (
        float("inf"),
        tuple(resolver.NameServer(f"n{at}", (Address("127.0.71.9", 9),)) for at in range(6)),
    )
    asked: list[Address] = []

    async def ask(_name: str, _kind: object, server: Address, *, recursive: bool) -> None:
        assert not recursive
        asked.append(server)
        raise DnsUnclear("no answer")

    silent._ask = ask  # type: ignore[method-assign, assignment]
    with pytest.raises(DnsUnclear, match="no answer"):
        await silent.authoritative_cname("corp.test", "www.corp.test")
    assert len(asked) == 4


async def test_servers_of_a_zone_are_asked_without_recursion_and_resolvers_with(
    settings: Dns, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = list[dns.flags.Flag]()

    async def udp_with_fallback(query: dns.message.Message, *_arguments: object, **_options: object) -> None:
        asked.append(dns.flags.Flag(query.flags))
        raise OSError("unreachable")

    monkeypatch.setattr(dns.asyncquery, "udp_with_fallback", udp_with_fallback)
    for recursive in (False, True):
        with pytest.raises(DnsUnclear, match="unreachable"):
            await Resolver(settings)._ask("corp.test", dns.rdatatype.NS, Address("192.0.2.1", 53), recursive=recursive)
    assert asked == [dns.flags.Flag(0)] * TRIES + [dns.flags.RD] * TRIES


async def test_the_list_of_public_suffixes_is_read_once_and_in_a_thread(
    settings: Dns, dns: DnsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = list[str]()

    async def to_thread(function: object, *arguments: str) -> None:
        read.extend(arguments)

    monkeypatch.setattr("acmehub.dns01.resolver.asyncio.to_thread", to_thread)
    asking = Resolver(settings)
    for _ in range(2):
        await asking.zone_of("www.corp.test")
    assert read == ["test"]
