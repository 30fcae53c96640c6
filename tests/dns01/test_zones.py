"""Where a record has to stand: zones by SOA, chains of CNAMEs, and where they may not lead."""

from pathlib import Path

import pytest

from acmehub.config import Dns
from acmehub.dns01 import DnsUnclear, DnsWrong
from acmehub.dns01.resolver import Address, Resolver, parse_address
from acmehub.dns01.zones import challenge_name, find_place
from acmehub.testing.dns_server import DnsServer, FaultKind

DEEP = "_acme-challenge.www.corp.test"
RESOLV_CONF = Path("/etc/resolv.conf")


@pytest.mark.parametrize(
    ("name", "zone"),
    [
        ("corp.test", "corp.test"),
        ("*.corp.test", "corp.test"),
        ("WWW.Corp.Test", "corp.test"),
        ("a.b.c.corp.test", "corp.test"),
        ("deep.sub.corp.test", "sub.corp.test"),
        ("own.corp.test", "_acme-challenge.own.corp.test"),
    ],
)
async def test_the_zone_is_the_nearest_one_above(resolver: Resolver, name: str, zone: str) -> None:
    place = await find_place(resolver, name, ())
    assert (place.name, place.zone, place.chain) == (challenge_name(name), zone, (challenge_name(name),))


async def test_a_name_whose_parents_exist_is_found_too(resolver: Resolver, dns: DnsServer) -> None:
    dns.zones.add("_acme-challenge.www.corp.test", "TXT", '"of somebody"')
    assert (await find_place(resolver, "www.corp.test", ())).zone == "corp.test"


async def test_a_parent_that_is_a_cname_does_not_lead_the_zone_astray(resolver: Resolver, dns: DnsServer) -> None:
    dns.zones.add("host.sub.corp.test", "CNAME", "www.corp.test.")
    assert await resolver.zone_of("host.sub.corp.test") == "sub.corp.test"


async def test_a_cname_within_the_zone_is_followed(resolver: Resolver, dns: DnsServer) -> None:
    dns.zones.add("_acme-challenge.www.corp.test", "CNAME", "a.corp.test.")
    dns.zones.add("a.corp.test", "CNAME", "B.corp.test.")
    place = await find_place(resolver, "www.corp.test", ())
    assert place.name == "b.corp.test"
    assert place.chain == ("_acme-challenge.www.corp.test", "a.corp.test", "b.corp.test")


@pytest.mark.parametrize("allowed", [("far.test",), ("FAR.test.",), ("*",), ("x.test", "far.test")])
async def test_a_cname_into_an_allowed_zone_is_followed(
    resolver: Resolver, dns: DnsServer, allowed: tuple[str, ...]
) -> None:
    dns.zones.add("_acme-challenge.www.corp.test", "CNAME", "www.far.test.")
    place = await find_place(resolver, "www.corp.test", allowed)
    assert (place.name, place.zone) == ("www.far.test", "far.test")


@pytest.mark.parametrize("allowed", [(), ("test",), ("other.far.test",), ("ar.test",)])
async def test_a_cname_into_a_foreign_zone_is_refused(
    resolver: Resolver, dns: DnsServer, allowed: tuple[str, ...]
) -> None:
    dns.zones.add("_acme-challenge.www.corp.test", "CNAME", "www.far.test.")
    with pytest.raises(DnsWrong, match=r"-> www\.far\.test: this CNAME leads into zone far\.test"):
        await find_place(resolver, "www.corp.test", allowed)


async def test_a_cname_into_a_zone_below_is_foreign_as_well(resolver: Resolver, dns: DnsServer) -> None:
    dns.zones.add("_acme-challenge.www.corp.test", "CNAME", "www.sub.corp.test.")
    with pytest.raises(DnsWrong, match=r"zone sub\.corp\.test"):
        await find_place(resolver, "www.corp.test", ())


async def test_a_wildcard_cname_is_not_meant_for_challenges(resolver: Resolver, dns: DnsServer) -> None:
    dns.zones.add("*.corp.test", "CNAME", "hosting.far.test.")
    assert (await find_place(resolver, "www.corp.test", ())).name == "_acme-challenge.www.corp.test"
    assert (await find_place(resolver, "corp.test", ())).name == "_acme-challenge.corp.test"


async def test_a_name_and_each_cname_on_its_way_cost_one_question(resolver: Resolver, dns: DnsServer) -> None:
    await find_place(resolver, "www.corp.test", ())
    assert [(item.name, item.rdtype) for item in dns.seen] == [(DEEP, "SOA")]
    dns.zones.add(DEEP, "CNAME", "a.corp.test.")  # what was learnt is not kept
    dns.zones.add("a.corp.test", "CNAME", "www.far.test.")
    del dns.seen[:]
    assert (await find_place(resolver, "www.corp.test", ("far.test",))).chain == (DEEP, "a.corp.test", "www.far.test")
    assert [(item.name, item.rdtype) for item in dns.seen] == [
        (DEEP, "SOA"),
        ("a.corp.test", "SOA"),
        ("www.far.test", "SOA"),
    ]


@pytest.mark.parametrize("kind", [FaultKind.EMPTY, FaultKind.SERVFAIL, FaultKind.REFUSED, FaultKind.NOTIMP])
async def test_a_cname_is_found_though_the_question_for_the_zone_tells_nothing(
    resolver: Resolver, dns: DnsServer, kind: FaultKind
) -> None:
    dns.zones.add(DEEP, "CNAME", "www.far.test.")
    with dns.fault(kind, name=DEEP, rdtype="SOA"):
        place = await find_place(resolver, "www.corp.test", ("far.test",))
    assert (place.name, place.zone) == ("www.far.test", "far.test")


async def test_a_loop_of_cnames_is_refused(resolver: Resolver, dns: DnsServer) -> None:
    dns.zones.add("_acme-challenge.www.corp.test", "CNAME", "x.far.test.")
    dns.zones.add("x.far.test", "CNAME", "_acme-challenge.www.corp.test.")
    with pytest.raises(DnsWrong, match="CNAME loop"):
        await find_place(resolver, "www.corp.test", ("*",))


async def test_a_chain_of_more_than_sixteen_is_refused(resolver: Resolver, dns: DnsServer) -> None:
    dns.zones.add("_acme-challenge.corp.test", "CNAME", "n1.corp.test.")
    for number in range(1, 16):
        dns.zones.add(f"n{number}.corp.test", "CNAME", f"n{number + 1}.corp.test.")
    assert (await find_place(resolver, "corp.test", ())).name == "n16.corp.test"
    dns.zones.add("n16.corp.test", "CNAME", "n17.corp.test.")
    with pytest.raises(DnsWrong, match="more than 16 CNAMEs"):
        await find_place(resolver, "corp.test", ())


async def test_a_server_that_fails_is_no_answer(resolver: Resolver, dns: DnsServer) -> None:
    with dns.fault(FaultKind.SERVFAIL), pytest.raises(DnsUnclear, match="answers SERVFAIL"):
        await find_place(resolver, "corp.test", ())
    with dns.fault(FaultKind.DROP), pytest.raises(DnsUnclear, match=r"no answer within 0\.4 s"):
        await find_place(resolver, "corp.test", ())


@pytest.mark.parametrize("kind", [FaultKind.SERVFAIL, FaultKind.REFUSED, FaultKind.NOTIMP])
@pytest.mark.parametrize("rdtype", ["SOA", "CNAME", None])
async def test_a_deep_name_that_servers_have_an_error_code_for_leads_on_to_its_parent(
    resolver: Resolver, dns: DnsServer, kind: FaultKind, rdtype: str | None
) -> None:
    only = {"name": DEEP, "rdtype": rdtype} if rdtype else {"name": DEEP}
    with dns.fault(kind, **only):
        place = await find_place(resolver, "www.corp.test", ())
    assert (place.name, place.zone) == (DEEP, "corp.test")


async def test_silence_about_a_deep_name_does_not_lead_on_to_its_parent(resolver: Resolver, dns: DnsServer) -> None:
    with dns.fault(FaultKind.DROP, name=DEEP, rdtype="SOA"), pytest.raises(DnsUnclear, match="no answer") as silence:
        await resolver.zone_of(DEEP)
    assert not silence.value.answered


async def test_silence_about_a_name_is_not_asked_of_the_zones_own_servers(resolver: Resolver, dns: DnsServer) -> None:
    with dns.fault(FaultKind.DROP, name=DEEP), pytest.raises(DnsUnclear, match="no resolver could answer for SOA"):
        await find_place(resolver, "www.corp.test", ())
    assert {(item.name, item.rdtype) for item in dns.seen} == {(DEEP, "SOA")}


async def test_without_resolvers_in_the_settings_those_of_the_machine_are_asked() -> None:
    lines = [line.split() for line in RESOLV_CONF.read_text().splitlines()] if RESOLV_CONF.exists() else []
    hosts = [words[1] for words in lines if words[:1] == ["nameserver"]]
    if not hosts:
        pytest.skip(f"{RESOLV_CONF} names no resolver")
    assert await Resolver(Dns()).resolvers() == tuple(Address(host, 53) for host in hosts)


async def test_a_cname_that_no_resolver_tells_is_learnt_from_the_zones_own_servers(
    settings: Dns, dns: DnsServer
) -> None:
    dns.zones.add(DEEP, "CNAME", "www.far.test.")
    dns.zones.remove("corp.test", "NS", "ns1.corp.test.")
    with dns.fault(FaultKind.SERVFAIL, name=DEEP, address="127.0.71.1"):
        assert (await find_place(Resolver(settings), "www.corp.test", ("far.test",))).name == "www.far.test"
        with dns.fault(FaultKind.DROP, name=DEEP), pytest.raises(DnsUnclear, match="answers SERVFAIL"):
            await find_place(Resolver(settings), "www.corp.test", ("far.test",))


async def test_a_delegated_name_whose_servers_fail_is_not_sought_in_the_zone_above(
    settings: Dns, dns: DnsServer
) -> None:
    dns.zones.add("below.corp.test", "NS", "ns1.nowhere.test.")
    name = "_acme-challenge.below.corp.test"
    with (
        dns.fault(FaultKind.SERVFAIL, name=name, address="127.0.71.1"),
        dns.fault(FaultKind.SERVFAIL, name="below.corp.test", address="127.0.71.1"),
        pytest.raises(DnsUnclear, match="answers SERVFAIL"),
    ):
        await find_place(Resolver(settings), "below.corp.test", ())


async def test_error_codes_all_the_way_up_are_no_proof_that_there_is_no_zone(dns: DnsServer) -> None:
    with dns.fault(FaultKind.SERVFAIL, rdtype="SOA"), pytest.raises(DnsUnclear, match="SOA of corp"):
        await Resolver(Dns(resolvers=(f"127.0.71.1:{dns.port}",), timeout=0.4)).zone_of("www.corp.test")


@pytest.mark.parametrize(
    ("zone", "name"), [("lan", "host.lan"), ("co.uk", "www.example.co.uk"), ("home.arpa", "pc.home.arpa")]
)
async def test_a_single_label_or_a_public_suffix_is_no_zone_unless_it_is_named(zone: str, name: str) -> None:
    async with DnsServer([zone]) as own:
        resolver = Resolver(Dns(resolvers=(f"127.0.0.1:{own.port}",), port=own.port, timeout=2.0))
        with pytest.raises(DnsWrong, match=rf"only that of {zone}: is the domain registered"):
            await find_place(resolver, name, ())
        assert not any(item.name == zone and item.rdtype == "SOA" for item in own.seen)
        assert (await find_place(resolver, name, (), zone=zone)).zone == zone
        assert (await find_place(resolver, name, (), own={zone})).zone == zone


async def test_a_zone_below_a_private_suffix_is_found(resolver: Resolver) -> None:
    async with DnsServer(["corp.internal", "me.github.io"]) as own:
        resolver = Resolver(Dns(resolvers=(f"127.0.0.1:{own.port}",), port=own.port, timeout=2.0))
        assert await resolver.zone_of("_acme-challenge.www.corp.internal") == "corp.internal"
        assert await resolver.zone_of("_acme-challenge.me.github.io") == "me.github.io"


async def test_a_zone_that_is_set_is_not_searched_for(resolver: Resolver, dns: DnsServer) -> None:
    place = await find_place(resolver, "deep.sub.corp.test", (), zone="corp.test")
    assert (place.name, place.zone) == ("_acme-challenge.deep.sub.corp.test", "corp.test")
    assert [item.rdtype for item in dns.seen] == ["CNAME"]


async def test_a_zone_that_is_set_leaves_names_elsewhere_to_the_search(resolver: Resolver, dns: DnsServer) -> None:
    dns.zones.add(DEEP, "CNAME", "www.far.test.")
    assert (await find_place(resolver, "www.corp.test", ("far.test",), zone="corp.test")).zone == "far.test"
    with pytest.raises(DnsWrong, match="leads into zone far"):
        await find_place(resolver, "www.corp.test", (), zone="corp.test")
    assert (await find_place(resolver, "www.corp.test", ("far.test",), zone="xfar.test")).zone == "far.test"


async def test_a_resolver_that_keeps_silent_is_asked_last_from_then_on(dns: DnsServer) -> None:
    both = Dns(resolvers=(f"127.0.71.1:{dns.port}", f"127.0.71.2:{dns.port}"), port=dns.port, timeout=0.2)
    resolver = Resolver(both)
    with dns.fault(FaultKind.DROP, address="127.0.71.1"):
        await resolver.zone_of("www.corp.test")
        await resolver.zone_of("www.corp.test")
    assert [item.address for item in dns.seen] == ["127.0.71.1", "127.0.71.1", "127.0.71.2", "127.0.71.2"]


async def test_the_next_resolver_is_asked_when_one_fails(dns: DnsServer) -> None:
    both = Dns(resolvers=(f"127.0.71.1:{dns.port}", f"127.0.71.2:{dns.port}"), port=dns.port, timeout=0.2)
    with dns.fault(FaultKind.DROP, address="127.0.71.1"):
        assert await Resolver(both).zone_of("www.corp.test") == "corp.test"


async def test_one_lost_datagram_is_no_failure(resolver: Resolver, dns: DnsServer) -> None:
    with dns.fault(FaultKind.DROP, times=1):
        assert await resolver.zone_of("www.corp.test") == "corp.test"


async def test_a_name_that_dns_cannot_have_is_refused(resolver: Resolver) -> None:
    with pytest.raises(DnsWrong, match="no name that DNS can have"):
        await find_place(resolver, f"{'a' * 60}.{'b' * 60}.{'c' * 60}.{'d' * 58}.test", ())


def test_addresses_are_read_with_and_without_a_port() -> None:
    assert parse_address("192.0.2.1", 53) == Address("192.0.2.1", 53)
    assert parse_address("192.0.2.1:5353", 53) == Address("192.0.2.1", 5353)
    assert parse_address("2001:db8::1", 53) == Address("2001:db8::1", 53)
    assert parse_address("[2001:db8::1]:5353", 53) == Address("2001:db8::1", 5353)
    assert parse_address("[2001:db8::1]", 53) == Address("2001:db8::1", 53)
    assert parse_address("ns.corp.test:54", 53) == Address("ns.corp.test", 54)
    assert str(Address("2001:db8::1", 5353)) == "[2001:db8::1]:5353"
    assert str(Address("192.0.2.1", 53)) == "192.0.2.1"


async def test_without_configured_resolvers_the_machines_own_are_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("acmehub.dns01.resolver._system_resolvers", lambda: (Address("127.0.0.9", 53),))
    assert await Resolver(Dns()).resolvers() == (Address("127.0.0.9", 53),)
