"""dns-01 in mode `verify`: each socket goes through the egress check, and a look is limited whatever the zone says."""

import asyncio

import pytest

from acmehub.models import ChallengeType
from acmehub.models.problems import ProblemType
from acmehub.testing.dns_server import DnsServer, FaultKind
from acmehub.validation.dns01 import record_value
from tests.dns01.drip import dripping_server
from tests.dns01.sink import sink
from tests.validation.conftest import NAME, THUMBPRINT, Make, authorization, flaw_of, proof_of

ITEM = authorization(kind=ChallengeType.DNS_01)
RECORD = f"_acme-challenge.{NAME}"
VALUE = f'"{record_value(proof_of(ITEM))}"'


def asked_for_txt(dns: DnsServer) -> int:
    return sum(item.rdtype == "TXT" for item in dns.seen)


async def test_the_value_on_the_zones_servers_is_the_proof(make_validator: Make, dns: DnsServer) -> None:
    dns.zones.add(RECORD, "TXT", VALUE)
    seen = await make_validator().validate(ITEM, THUMBPRINT)
    assert seen == f"{RECORD} on ns1.corp.test (127.0.0.1:{dns.port})"


async def test_name_servers_outside_the_networks_are_not_asked_though_the_resolver_is(
    make_validator: Make, dns: DnsServer
) -> None:
    """The resolver is on loopback as well: the operator has configured it."""
    dns.zones.add(RECORD, "TXT", VALUE)
    flaw = await flaw_of(make_validator(networks=("0.0.0.0/0", "::/0")), ITEM)
    assert flaw.type is ProblemType.DNS
    assert "127.0.0.1 (loopback) is not allowed" in flaw.detail
    assert asked_for_txt(dns) == 0
    assert {item.rdtype for item in dns.seen} == {"SOA", "NS", "A", "AAAA"}
    flaw = await flaw_of(make_validator(networks=("10.0.0.0/8",)), ITEM)
    assert "127.0.0.1 is outside the allowed networks" in flaw.detail


async def test_glue_to_addresses_of_the_inner_network_is_never_asked(make_validator: Make, dns: DnsServer) -> None:
    dns.zones.remove("ns1.corp.test", "A")
    dns.zones.add("ns1.corp.test", "A", "127.9.9.9", "169.254.169.254")
    dns.zones.add("ns1.corp.test", "AAAA", "::ffff:127.9.9.9", "::7f09:909", "64:ff9b::7f09:909")
    with sink() as silent:
        validator = make_validator(networks=("0.0.0.0/0", "::/0", "127.0.0.1/32"), port=silent.port)
        assert (await flaw_of(validator, ITEM)).type is ProblemType.DNS
        silent.read()
    assert silent.seen == []


async def test_a_server_that_may_be_asked_is_enough(make_validator: Make, dns: DnsServer) -> None:
    dns.zones.add(RECORD, "TXT", VALUE)
    dns.zones.add("corp.test", "NS", "ns2.corp.test.")
    dns.zones.add("ns2.corp.test", "A", "127.9.9.9")
    assert "ns1.corp.test" in await make_validator(networks=("127.0.0.1/32",)).validate(ITEM, THUMBPRINT)


async def test_a_dripping_server_ends_with_the_attempt_and_hides_no_other(make_validator: Make, dns: DnsServer) -> None:
    dns.zones.add(RECORD, "TXT", VALUE)
    dns.zones.add("corp.test", "NS", "ns2.corp.test.")
    dns.zones.add("ns2.corp.test", "A", "127.0.72.8")
    async with dripping_server("127.0.72.8", dns.port):
        began = asyncio.get_running_loop().time()
        assert "ns1.corp.test" in await make_validator(timeout=1.0, asked_timeout=9.0).validate(ITEM, THUMBPRINT)
        dns.zones.remove("corp.test", "NS", "ns1.corp.test.")
        dns.zones.remove("ns1.corp.test", "A")
        flaw = await flaw_of(make_validator(timeout=1.0, asked_timeout=9.0), ITEM)
        assert asyncio.get_running_loop().time() - began < 8.0
    assert "in time" in flaw.detail


async def test_silence_of_the_resolver_ends_with_the_attempt(make_validator: Make, dns: DnsServer) -> None:
    began = asyncio.get_running_loop().time()
    with dns.fault(FaultKind.DROP):
        flaw = await flaw_of(make_validator(timeout=0.2, asked_timeout=9.0), ITEM)
    assert asyncio.get_running_loop().time() - began < 8.0
    assert (flaw.type, flaw.detail) == (ProblemType.DNS, f"no answer from DNS in time: the zone of {NAME}")


async def test_resolvers_of_its_own_are_asked_for_dns_01_as_well(make_validator: Make, dns: DnsServer) -> None:
    async with DnsServer(["corp.test"], addresses=["127.0.72.7"], port=dns.port) as own:
        own.zones.add(RECORD, "TXT", VALUE)
        await make_validator(resolvers=(f"127.0.72.7:{dns.port}",)).validate(ITEM, THUMBPRINT)
    assert dns.seen == []


async def test_a_zone_that_is_a_single_label_has_to_be_named(make_validator: Make) -> None:
    item = authorization("host.lan", ChallengeType.DNS_01)
    async with DnsServer(["lan"], addresses=["127.0.72.7"]) as lan:
        lan.zones.add("_acme-challenge.host.lan", "TXT", f'"{record_value(proof_of(item))}"')
        asked = {"resolvers": (f"127.0.72.7:{lan.port}",), "port": lan.port}
        assert "no zone" in (await flaw_of(make_validator(**asked), item)).detail
        assert "ns1.lan" in await make_validator(**asked, zones=("LAN.",)).validate(item, THUMBPRINT)


async def test_looks_at_one_server_come_sixteen_at_a_time(make_validator: Make, dns: DnsServer) -> None:
    """Orders of many names, all at name servers of somebody else."""
    dns.zones.remove("ns1.corp.test", "A")
    dns.zones.add("ns1.corp.test", "A", "127.0.72.6")
    with sink() as silent:
        validator = make_validator(timeout=9.0, asked_timeout=18.0, port=silent.port)
        names = [authorization(f"h{number}.corp.test", ChallengeType.DNS_01) for number in range(40)]
        looks = asyncio.gather(*(flaw_of(validator, item) for item in names))
        while len(silent.seen) < 16 or sum(item.rdtype == "SOA" for item in dns.seen) < len(names):
            await asyncio.sleep(0.02)
        await asyncio.sleep(0.1)
        looks.cancel()
        await asyncio.wait([looks])
    assert silent.seen == ["127.0.72.6"] * 16


@pytest.mark.parametrize("kind", [FaultKind.SERVFAIL, FaultKind.REFUSED, FaultKind.NOTIMP])
async def test_a_lame_server_proves_nothing(make_validator: Make, dns: DnsServer, kind: FaultKind) -> None:
    dns.zones.add(RECORD, "TXT", VALUE)
    with dns.fault(kind, rdtype="TXT"):
        flaw = await flaw_of(make_validator(), ITEM)
    assert f"answers {kind.name}" in flaw.detail
