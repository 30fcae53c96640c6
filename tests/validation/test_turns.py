"""Turns at a target: how many connections at once, and how many a second."""

import asyncio
import ipaddress

from acmehub.validation.turns import AT_ONCE, BURST, PER_SECOND, Turns

TARGET = ipaddress.ip_address("192.0.2.1")


async def held(turns: Turns, address: str, held_by: list[str], release: asyncio.Event) -> None:
    async with turns.of(ipaddress.ip_address(address)):
        held_by.append(address)
        await release.wait()


async def waiting(turns: Turns, *addresses: str) -> int:
    """How many of them get a turn while the others keep theirs."""
    held_by: list[str] = []
    release = asyncio.Event()
    tasks = [asyncio.create_task(held(turns, address, held_by, release)) for address in addresses]
    await asyncio.sleep(0.02)
    there = len(held_by)
    release.set()
    await asyncio.gather(*tasks)
    assert len(held_by) == len(addresses)
    return there


async def test_a_target_has_sixteen_turns_at_once_and_another_its_own() -> None:
    assert await waiting(Turns(), *["192.0.2.1"] * 20) == AT_ONCE
    assert await waiting(Turns(), *["192.0.2.1"] * 10, *["192.0.2.2"] * 10) == 20


async def test_an_ipv6_target_is_its_network_of_64_bits() -> None:
    assert await waiting(Turns(), *(f"2001:db8::{number:x}" for number in range(20))) == AT_ONCE
    assert await waiting(Turns(), *(f"2001:db8:0:{number:x}::1" for number in range(20))) == 20


async def test_after_a_burst_turns_come_at_a_steady_rate() -> None:
    turns = Turns()
    loop = asyncio.get_running_loop()

    async def one() -> None:
        async with turns.of(TARGET):
            pass

    began = loop.time()
    for _ in range(BURST):
        await one()
    burst = loop.time() - began
    for _ in range(10):
        await one()
    assert burst < 0.5
    assert loop.time() - began >= 10 / PER_SECOND - 0.02
