"""DNS for `acmehub check`: an explanation and, with `--live`, a rehearsal."""

import asyncio
import secrets
from typing import Protocol

import msgspec

from acmehub.dns01.errors import DnsError
from acmehub.dns01.propagation import Sight, Verdict, judge, next_poll_in
from acmehub.dns01.resolver import Caa, NameServer, Resolver
from acmehub.dns01.zones import Place, find_place
from acmehub.models import ManagedChallenge, TxtRecord
from acmehub.models.identifiers import base_name, canonical
from acmehub.ports.clock import Clock


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """What DNS says about a name: the place of its TXT record, the zone's servers, and who may issue.

    `chain` are the names from `_acme-challenge` on along CNAMEs, the last being `effective`. `managed_challenge` is the
    name of the one whose rule matches best (empty: none; then every zone is taken as allowed). `error` tells what is
    wrong; what could not be learnt because of it is empty. `caa_error`: why the CAA records are not known, which does
    not stop the hub.
    """

    name: str
    managed_challenge: str = ""
    effective: str = ""
    chain: tuple[str, ...] = ()
    zone: str = ""
    servers: tuple[NameServer, ...] = ()
    caa: tuple[Caa, ...] = ()
    caa_error: str = ""
    error: str = ""


class Rehearsal(msgspec.Struct, frozen=True, kw_only=True):
    """A record was written, queried and removed: whether it was `seen`, after how many `seconds`, and a message."""

    effective: str
    zone: str
    seen: bool
    seconds: float
    words: str


class WritesRecords(Protocol):
    """The verbs of the solver that a rehearsal uses."""

    async def publish(self, record: TxtRecord) -> None:
        """Create the record."""
        ...

    async def remove(self, record: TxtRecord) -> None:
        """Remove the record."""
        ...

    async def propagated(self, records: tuple[TxtRecord, ...]) -> tuple[Sight, ...]:
        """What servers show of the records."""
        ...


async def explain(resolver: Resolver, name: str, challenge: ManagedChallenge | None) -> Explanation:
    """What DNS says about `name`; never raises for what DNS says or fails to say."""
    explanation = Explanation(name=canonical(name), managed_challenge=challenge.name if challenge else "")
    allowed, zone = (challenge.cname_zones, challenge.zone) if challenge else (None, "")
    try:
        place = await find_place(resolver, name, allowed, zone=zone)
        explanation = msgspec.structs.replace(explanation, effective=place.name, chain=place.chain, zone=place.zone)
        explanation = msgspec.structs.replace(explanation, servers=await resolver.servers(place.zone))
    except DnsError as error:
        explanation = msgspec.structs.replace(explanation, error=error.detail)
    try:
        return msgspec.structs.replace(explanation, caa=await resolver.caa(base_name(canonical(name))))
    except DnsError as error:
        return msgspec.structs.replace(explanation, caa_error=error.detail)


async def rehearse(
    solver: WritesRecords, resolver: Resolver, challenge: ManagedChallenge, name: str, clock: Clock
) -> Rehearsal:
    """Write a record, query until it is seen, remove it in any case. Raises `DnsError` and `DnsProviderError`."""
    place = await find_place(resolver, name, challenge.cname_zones, zone=challenge.zone)
    record = TxtRecord(
        order_id="rehearsal",
        authorization_id="rehearsal",
        managed_challenge_id=challenge.id,
        zone=place.zone,
        name=place.name,
        value=secrets.token_urlsafe(32),
        created=clock.now(),
    )
    started = clock.monotonic()
    try:
        await solver.publish(record)
        return await _watched(solver, place, record, started, clock)
    finally:
        await solver.remove(record)


async def _watched(solver: WritesRecords, place: Place, record: TxtRecord, started: float, clock: Clock) -> Rehearsal:
    polls = 0
    while True:
        (sight,) = await solver.propagated((record,))
        polls += 1
        seconds = clock.monotonic() - started
        judgement = judge(sight, seconds, polls)
        if judgement.verdict is not Verdict.WAIT:
            return Rehearsal(
                effective=place.name,
                zone=place.zone,
                seen=judgement.verdict is Verdict.GO,
                seconds=seconds,
                words=judgement.message,
            )
        await asyncio.sleep(next_poll_in(polls))
