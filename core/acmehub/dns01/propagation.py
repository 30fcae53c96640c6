"""Propagation: whether the servers that a CA may ask show a TXT value (docs/reliability.md 2.9)."""

import asyncio
import enum
from collections.abc import Awaitable, Callable, Collection, Sequence

import msgspec

from acmehub.dns01.errors import DnsUnclear
from acmehub.dns01.resolver import Address, Resolver
from acmehub.models import Propagation, PropagationMode
from acmehub.runtime.backoff import poll_in

SERVERS_AT_ONCE = 16


class View(msgspec.Struct, frozen=True):
    """What the servers of a name show: which have all values, which lack one, which cannot be asked (and why).

    `found` are all values that any of the servers shows, the hub's or not.
    """

    showing: tuple[str, ...] = ()
    lacking: tuple[str, ...] = ()
    silent: tuple[str, ...] = ()
    found: tuple[str, ...] = ()

    @property
    def complete(self) -> bool:
        """Every server that can be asked shows every value, and there is one."""
        return bool(self.showing) and not self.lacking

    @property
    def blind(self) -> bool:
        """No server can be asked."""
        return not self.showing and not self.lacking


class Sight(msgspec.Struct, frozen=True):
    """The view of one name's records, with the settings of their managed challenge."""

    name: str
    propagation: Propagation
    view: View


class Verdict(enum.StrEnum):
    """What follows from a sight."""

    GO = "go"
    WAIT = "wait"
    FAIL = "fail"


class Judgement(msgspec.Struct, frozen=True):
    """A verdict and the message for it."""

    verdict: Verdict
    message: str


def judge(sight: Sight, elapsed: float, polls: int) -> Judgement:
    """Go on, wait, or fail, `elapsed` seconds after the records were created, at poll number `polls`.

    A limit counts only with a fair number of polls, so that a jump of the wall clock cannot end the waiting.
    """
    settings, view = sight.propagation, sight.view
    if settings.mode is PropagationMode.NONE:
        return Judgement(Verdict.GO, f"{sight.name}: not checked, as the managed challenge says")
    if settings.mode is PropagationMode.DELAY:
        late = elapsed >= settings.delay
        message = f"{sight.name}: waits {settings.delay:g} s, as the managed challenge says"
        return Judgement(Verdict.GO if late else Verdict.WAIT, message)
    if view.complete:
        silent = f"; not reachable: {', '.join(view.silent)}" if view.silent else ""
        return Judgement(Verdict.GO, f"{sight.name} seen on {', '.join(view.showing)}{silent}")
    if view.blind:
        message = f"{sight.name}: no server can be asked from here ({', '.join(view.silent) or 'none is known'})"
        if elapsed >= settings.delay and polls > 1:
            return Judgement(Verdict.GO, f"{message}; goes on after {settings.delay:g} s")
        return Judgement(Verdict.WAIT, message)
    message = f"{', '.join(view.lacking)} without the TXT record of {sight.name}"
    if elapsed >= settings.limit and polls >= fair_polls(settings.limit):
        return Judgement(Verdict.FAIL, f"{message} after {settings.limit:g} s")
    return Judgement(Verdict.WAIT, message)


def next_poll_in(polls: int) -> float:
    """Seconds until the query after number `polls` (from 1): 0.75 s at first, 5 s in the end."""
    return poll_in(polls, first=0.75, factor=1.5)


def fair_polls(limit: float) -> int:
    """How many polls `limit` seconds must have held at least, slow servers allowed for."""
    return max(2, int(limit / 12.0))


async def view_authoritative(
    resolver: Resolver, zone: str, name: str, values: Collection[str], servers: Sequence[str], port: int
) -> View:
    """Ask each authoritative server of `zone` (or each of `servers`) directly, without recursion."""
    if servers:
        addresses = await _located(resolver, servers, port)
        hosts = [(str(address), address) for address in addresses]
        nameless = () if hosts else tuple(servers)
    else:
        found = await resolver.servers(zone)
        hosts = [(f"{server.name} ({address})", address) for server in found for address in server.addresses]
        nameless = tuple(f"{server.name} (no address)" for server in found if not server.addresses)
    return await _view(hosts, nameless, values, lambda address: resolver.authoritative_txt(name, address))


async def view_resolved(resolver: Resolver, name: str, values: Collection[str], servers: Sequence[str]) -> View:
    """Ask resolvers: `servers`, else the hub's own."""
    addresses = await _located(resolver, servers, 53) if servers else await resolver.resolvers()
    hosts = [(str(address), address) for address in addresses]
    return await _view(hosts, (), values, lambda address: resolver.resolved_txt(name, address))


async def _located(resolver: Resolver, servers: Sequence[str], port: int) -> tuple[Address, ...]:
    found = await asyncio.gather(*(resolver.located(item, port) for item in servers))
    return tuple(address for addresses in found for address in addresses)


async def _view(
    hosts: Sequence[tuple[str, Address]],
    nameless: Sequence[str],
    values: Collection[str],
    ask: Callable[[Address], Awaitable[frozenset[str]]],
) -> View:
    gate = asyncio.Semaphore(SERVERS_AT_ONCE)
    showing: list[str] = []
    lacking: list[str] = []
    silent = list(nameless)
    found: set[str] = set()

    async def one(label: str, address: Address) -> None:
        async with gate:
            try:
                there = await ask(address)
            except DnsUnclear as error:
                silent.append(f"{label}: {error.detail}")
                return
        found.update(there)
        (showing if set(values) <= there else lacking).append(label)

    await asyncio.gather(*(one(label, address) for label, address in hosts))
    return View(tuple(sorted(showing)), tuple(sorted(lacking)), tuple(sorted(silent)), tuple(sorted(found)))
