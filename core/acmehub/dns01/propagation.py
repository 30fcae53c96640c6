"""Propagation: whether the servers that a CA may ask show a TXT value (docs/reliability.md 2.9)."""

import asyncio
import enum
import itertools
from collections.abc import Awaitable, Callable, Collection, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import Protocol, TypeVar

import msgspec

from acmehub.dns01.errors import DnsUnclear
from acmehub.dns01.resolver import Address, NameServer, Resolver
from acmehub.models import Propagation, PropagationMode
from acmehub.runtime.backoff import poll_in

T = TypeVar("T")

MOST_ADDRESSES = 20  # that one look asks of those that a zone names
LOOK_TIMEOUTS = 6  # a look lasts at most that many times the timeout of a question


class Outlet(Protocol):
    """What decides where a look may connect to, and how often."""

    def refusal(self, host: str) -> str | None:
        """Why an address is not asked; None when it may be."""
        ...

    def turn(self, host: str) -> AbstractAsyncContextManager[None]:
        """Wait until the address may be asked once more; it is asked within the context."""
        ...


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
    """A verdict, the message for it, and the servers whose answers led to it: none when the records were not seen."""

    verdict: Verdict
    message: str
    servers: tuple[str, ...] = ()


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
        return Judgement(Verdict.GO, f"{sight.name} seen on {', '.join(view.showing)}{silent}", view.showing)
    if view.blind:
        message = f"{sight.name}: no server can be asked from here ({', '.join(view.silent) or 'none is known'})"
        if elapsed >= settings.delay and polls > 1:
            return Judgement(Verdict.GO, f"{message}; goes on after {settings.delay:g} s")
        return Judgement(Verdict.WAIT, message)
    message = f"{', '.join(view.lacking)} without the TXT record of {sight.name}"
    if elapsed >= settings.limit and polls >= fair_polls(settings.limit):
        return Judgement(Verdict.FAIL, f"{message} after {settings.limit:g} s", view.lacking)
    return Judgement(Verdict.WAIT, message, view.lacking)


def next_poll_in(polls: int) -> float:
    """Seconds until the query after number `polls` (from 1): 0.75 s at first, 5 s in the end."""
    return poll_in(polls, first=0.75, factor=1.5)


def fair_polls(limit: float) -> int:
    """How many polls `limit` seconds must have held at least, slow servers allowed for."""
    return max(2, int(limit / 12.0))


async def view_authoritative(
    resolver: Resolver,
    zone: str,
    name: str,
    values: Collection[str],
    servers: Sequence[str],
    port: int,
    *,
    outlet: Outlet | None = None,
    until: float | None = None,
) -> View:
    """Ask each authoritative server of `zone` (or each of `servers`) directly, without recursion.

    Of the servers that the zone names, 20 addresses are asked at most, and with an `outlet` only those that it allows.
    The look ends at `until` (loop time; by default after six timeouts of a question): a server that has not answered by
    then cannot be asked.
    """
    until = until or _deadline(resolver)
    if servers:
        addresses = await _located(resolver, servers, port, until)
        hosts = [(str(address), address) for address in addresses]
        silent = [] if hosts else list(servers)
    else:
        found = await within(until, resolver.servers(zone), f"the name servers of {zone}")
        silent = [f"{server.name} (no address)" for server in found if not server.addresses]
        hosts = []
        for server, address in _in_turns(found):
            label = f"{server.name} ({address})"
            if outlet is not None and (refusal := outlet.refusal(address.host)) is not None:
                silent.append(f"{server.name}: {refusal}")
            elif len(hosts) < MOST_ADDRESSES:
                hosts.append((label, address))

    async def ask(address: Address) -> frozenset[str]:
        async with outlet.turn(address.host) if outlet is not None and not servers else nullcontext():
            return await resolver.authoritative_txt(name, address)

    return await _view(hosts, silent, values, ask, until)


async def view_resolved(resolver: Resolver, name: str, values: Collection[str], servers: Sequence[str]) -> View:
    """Ask resolvers: `servers`, else the hub's own."""
    until = _deadline(resolver)
    addresses = await _located(resolver, servers, 53, until) if servers else await resolver.resolvers()
    hosts = [(str(address), address) for address in addresses]
    return await _view(hosts, [], values, lambda address: resolver.resolved_txt(name, address), until)


async def within(until: float, answer: Awaitable[T], wanted: str) -> T:
    """The answer, or `DnsUnclear` saying what was `wanted` when it has not come at `until` (loop time)."""
    try:
        async with asyncio.timeout_at(until):
            return await answer
    except TimeoutError as error:
        raise DnsUnclear(f"no answer from DNS in time: {wanted}") from error


def _deadline(resolver: Resolver) -> float:
    return asyncio.get_running_loop().time() + LOOK_TIMEOUTS * resolver.timeout


def _in_turns(found: Sequence[NameServer]) -> list[tuple[NameServer, Address]]:
    """The addresses of all servers, each once: the first ones of each server, then the second ones, and so on."""
    rounds = itertools.zip_longest(*([(server, address) for address in server.addresses] for server in found))
    by_address = {item[1]: item for each in rounds for item in reversed(each) if item is not None}
    return list(by_address.values())


async def _located(resolver: Resolver, servers: Sequence[str], port: int, until: float) -> tuple[Address, ...]:
    looked_up = asyncio.gather(*(resolver.located(item, port) for item in servers))
    found = await within(until, looked_up, f"addresses of {', '.join(servers)}")
    return tuple(address for addresses in found for address in addresses)


async def _view(
    hosts: Sequence[tuple[str, Address]],
    silent: list[str],
    values: Collection[str],
    ask: Callable[[Address], Awaitable[frozenset[str]]],
    until: float,
) -> View:
    showing: list[str] = []
    lacking: list[str] = []
    found: set[str] = set()

    async def one(label: str, address: Address) -> None:
        try:
            there = await within(until, ask(address), "the TXT records")
        except DnsUnclear as error:
            silent.append(f"{label}: {error.detail}")
            return
        found.update(there)
        (showing if set(values) <= there else lacking).append(label)

    await asyncio.gather(*(one(label, address) for label, address in hosts))
    return View(tuple(sorted(showing)), tuple(sorted(lacking)), tuple(sorted(silent)), tuple(sorted(found)))
