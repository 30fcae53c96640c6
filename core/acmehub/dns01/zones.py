"""Zones: where the TXT record of a name goes, along the CNAMEs at `_acme-challenge`, and whether that is allowed."""

import secrets
from collections.abc import Awaitable, Callable, Collection, Sequence

import msgspec

from acmehub.dns01.errors import DnsUnclear, DnsWrong
from acmehub.dns01.resolver import Resolver
from acmehub.models.identifiers import base_name, canonical
from acmehub.models.managed_challenges import ANY_ZONE

LABEL = "_acme-challenge"
LONGEST_CHAIN = 16


class Place(msgspec.Struct, frozen=True):
    """Where the TXT record of a name goes: `name` in `zone`; `chain` are the names that CNAMEs led along, the first
    being `_acme-challenge` of the asked name and the last `name`."""

    name: str
    zone: str
    chain: tuple[str, ...]


def challenge_name(name: str) -> str:
    """The name that a CA queries for `name`, a wildcard or not (RFC 8555 section 8.4)."""
    return f"{LABEL}.{base_name(canonical(name))}"


async def follow(name: str, target_of: Callable[[str], Awaitable[str | None]]) -> tuple[str, ...]:
    """The chain of CNAMEs from `name` on, `name` included; `DnsWrong` for a loop or a chain that does not end."""
    chain = [name]
    while (target := await target_of(chain[-1])) is not None:
        if target in chain:
            raise DnsWrong(f"CNAME loop: {' -> '.join([*chain, target])}")
        if len(chain) > LONGEST_CHAIN:
            raise DnsWrong(f"more than {LONGEST_CHAIN} CNAMEs one after the other, beginning at {name}")
        chain.append(target)
    return tuple(chain)


async def find_place(
    resolver: Resolver,
    name: str,
    allowed: Sequence[str] | None,
    *,
    zone: str = "",
    own: Collection[str] = (),
    direct: bool = True,
) -> Place:
    """Where the TXT record for `name` goes. Raises `DnsWrong` naming the foreign zone.

    A CNAME may lead within the zone of `name`, and into the zones `allowed` (`*`: any; None: no check). A wildcard
    CNAME (`*.example.com`) that leads elsewhere is passed over: it is not for challenges, and the record hides it.
    Names at and below `zone` lie in that zone, without a search. `own`: zones that the search may find although they
    are single labels or public suffixes. A CNAME that resolvers answer with an error code is asked of the zone's own
    servers, unless `direct` is false: then there is none.

    One question tells a name's zone and that it has no CNAME, or its CNAME; only where it does not, more are asked.
    """
    known: dict[str, str] = {}

    def is_set(name: str) -> bool:
        return bool(zone) and (name == zone or name.endswith(f".{zone}"))

    async def zone_of(name: str) -> str:
        return zone if is_set(name) else known.get(name) or await resolver.zone_of(name, own)

    async def target_of(name: str) -> str | None:
        if not is_set(name):
            target, known[name] = await resolver.glance(name, own)
            if target or known[name]:
                return target
        try:
            return await resolver.cname(name)
        except DnsUnclear as error:
            if not error.answered:
                raise
            return await _asked_directly(resolver, await zone_of(name), name, error) if direct else None

    asked = challenge_name(name)
    chain = await follow(asked, target_of)
    found = await zone_of(chain[-1])
    if len(chain) == 1 or allowed is None or ANY_ZONE in allowed or found in {canonical(item) for item in allowed}:
        return Place(chain[-1], found, chain)
    home = await zone_of(asked)
    if found == home:
        return Place(chain[-1], found, chain)
    if await _from_wildcard(resolver, chain):
        return Place(asked, home, (asked,))
    raise DnsWrong(
        f"{' -> '.join(chain)}: this CNAME leads into zone {found}, which the managed challenge does not allow"
        f" (its cname_zones would need {found})"
    )


async def _asked_directly(resolver: Resolver, zone: str, name: str, unclear: DnsUnclear) -> str | None:
    """Where a CNAME points that resolvers could not tell. A name that the zone's servers have an error code for, too,
    has none as far as anybody can know; raises `unclear` when they cannot be asked, or have delegated the name."""
    try:
        return await resolver.authoritative_cname(zone, name)
    except DnsUnclear as error:
        if not error.answered:
            raise unclear from error
        return None


async def _from_wildcard(resolver: Resolver, chain: Sequence[str]) -> bool:
    """Whether a name that surely does not exist beside the first of the chain has the same CNAME."""
    sibling = f"_{secrets.token_hex(8)}.{chain[0].partition('.')[2]}"
    return await resolver.cname(sibling) == chain[1]
