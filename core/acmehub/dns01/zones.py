"""Zones: where the TXT record of a name goes, along the CNAMEs at `_acme-challenge`, and whether that is allowed."""

import secrets
from collections.abc import Sequence

import msgspec

from acmehub.dns01.errors import DnsWrong
from acmehub.dns01.resolver import Resolver
from acmehub.models.identifiers import base_name, canonical

LABEL = "_acme-challenge"
LONGEST_CHAIN = 16
ANY_ZONE = "*"


class Place(msgspec.Struct, frozen=True):
    """Where the TXT record of a name goes: `name` in `zone`; `chain` are the names that CNAMEs led along, the first
    being `_acme-challenge` of the asked name and the last `name`."""

    name: str
    zone: str
    chain: tuple[str, ...]


def challenge_name(name: str) -> str:
    """The name that a CA queries for `name`, a wildcard or not (RFC 8555 section 8.4)."""
    return f"{LABEL}.{base_name(canonical(name))}"


async def follow(resolver: Resolver, name: str) -> tuple[str, ...]:
    """The chain of CNAMEs from `name` on, `name` included; `DnsWrong` for a loop or a chain that does not end."""
    chain = [name]
    while (target := await resolver.cname(chain[-1])) is not None:
        if target in chain:
            raise DnsWrong(f"CNAME loop: {' -> '.join([*chain, target])}")
        chain.append(target)
        if len(chain) > LONGEST_CHAIN:
            raise DnsWrong(f"more than {LONGEST_CHAIN} CNAMEs one after the other, beginning at {name}")
    return tuple(chain)


async def find_place(resolver: Resolver, name: str, allowed: Sequence[str] | None) -> Place:
    """Where the TXT record for `name` goes. Raises `DnsWrong` naming the foreign zone.

    A CNAME may lead within the zone of `name`, and into the zones `allowed` (`*`: any; None: no check). A wildcard
    CNAME (`*.example.com`) that leads elsewhere is passed over: it is not for challenges, and the record hides it.
    """
    asked = challenge_name(name)
    chain = await follow(resolver, asked)
    zone = await resolver.zone_of(chain[-1])
    if len(chain) == 1 or allowed is None or ANY_ZONE in allowed or zone in {canonical(item) for item in allowed}:
        return Place(chain[-1], zone, chain)
    home = await resolver.zone_of(asked)
    if zone == home:
        return Place(chain[-1], zone, chain)
    if await _from_wildcard(resolver, chain):
        return Place(asked, home, (asked,))
    raise DnsWrong(
        f"{' -> '.join(chain)}: this CNAME leads into zone {zone}, which the managed challenge does not allow"
        f" (its cname_zones would need {zone})"
    )


async def _from_wildcard(resolver: Resolver, chain: Sequence[str]) -> bool:
    """Whether a name that surely does not exist beside the first of the chain has the same CNAME."""
    sibling = f"_{secrets.token_hex(8)}.{chain[0].partition('.')[2]}"
    return await resolver.cname(sibling) == chain[1]
