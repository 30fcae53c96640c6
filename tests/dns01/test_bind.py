"""The solver against a real BIND with two secondaries."""

import asyncio

import pytest

from acmehub.config import Dns
from acmehub.dns01 import DnsWrong
from acmehub.dns01.explanation import explain
from acmehub.dns01.propagation import view_authoritative
from acmehub.dns01.resolver import Caa, Resolver
from acmehub.dns01.zones import find_place
from tests.servers.bind import Bind


@pytest.fixture
def resolver(bind: Bind) -> Resolver:
    return Resolver(Dns(resolvers=(f"{bind.primary}:{bind.port}",), port=bind.port, timeout=1.0))


async def test_zone_servers_and_value_are_found(bind: Bind, resolver: Resolver) -> None:
    place = await find_place(resolver, "www.corp.test", ())
    assert (place.name, place.zone) == ("_acme-challenge.www.corp.test", "corp.test")
    servers = await resolver.servers("corp.test")
    assert [(item.name, item.addresses[0].host) for item in servers] == [
        (f"ns{number}.corp.test", address) for number, address in enumerate(bind.addresses, 1)
    ]
    await asyncio.to_thread(bind.change, "corp.test", add=[f"{place.name}. 60 TXT v"])
    for _ in range(50):
        view = await view_authoritative(resolver, place.zone, place.name, ("v",), (), bind.port)
        if view.complete:
            break
        await asyncio.sleep(0.1)
    assert len(view.showing) == 3
    await asyncio.to_thread(bind.change, "corp.test", delete=[f"{place.name}. TXT"])


async def test_a_frozen_secondary_is_out_of_reach_and_does_not_hold_up_the_rest(bind: Bind, resolver: Resolver) -> None:
    await resolver.servers("corp.test")
    bind.freeze(bind.addresses[2])
    try:
        view = await view_authoritative(resolver, "corp.test", "_acme-challenge.corp.test", ("v",), (), bind.port)
    finally:
        bind.thaw(bind.addresses[2])
    assert len(view.lacking) == 2
    assert view.silent[0].endswith("no answer within 1 s")


async def test_a_private_zone_of_one_label_works_once_it_is_named(bind: Bind, resolver: Resolver) -> None:
    with pytest.raises(DnsWrong, match="only that of lan"):
        await find_place(resolver, "host.lan", ())
    place = await find_place(resolver, "host.lan", (), zone="lan")
    view = await view_authoritative(resolver, place.zone, place.name, ("v",), (), bind.port)
    assert len(view.lacking) == 3


async def test_a_cname_into_another_zone_and_caa_are_explained(resolver: Resolver) -> None:
    found = await explain(resolver, "alias.corp.test", None)
    assert found.chain == ("_acme-challenge.alias.corp.test", "alias.far.test")
    assert (found.effective, found.zone, found.error) == ("alias.far.test", "far.test", "")
    assert found.caa == (Caa("corp.test", 0, "issue", "ca.test"),)
    assert {item.name for item in found.servers} == {f"ns{number}.far.test" for number in (1, 2, 3)}
