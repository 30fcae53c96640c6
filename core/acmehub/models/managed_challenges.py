"""Managed challenges: DNS plugins that answer a CA's dns-01 challenges for some domains."""

import enum
from datetime import datetime

import msgspec

from acmehub.models.base import Model

ANY_ZONE = "*"
"""Among `cname_zones`: a CNAME may lead into any zone."""


class PropagationMode(enum.StrEnum):
    """How the solver finds out that a TXT record is visible (docs/reliability.md 2.9)."""

    AUTHORITATIVE = "authoritative"
    RESOLVERS = "resolvers"
    DELAY = "delay"
    NONE = "none"


class Propagation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How long to wait for a record and which servers to ask; `limit`, `delay` in seconds, `servers` as HOST[:PORT]."""

    mode: PropagationMode = PropagationMode.AUTHORITATIVE
    limit: float = 120.0
    delay: float = 30.0
    servers: tuple[str, ...] = ()


class ManagedChallenge(Model, frozen=True, kw_only=True):
    """A DNS plugin with its settings, and the domains it is used for.

    `match`: a domain match rule. `cname_zones`: names of zones (`*` for any) that a CNAME at `_acme-challenge` may lead
    to, besides the zone of the queried name. `zone`: names at and below it lie in this zone (empty: the hub finds the
    zone). `resolvers`: ADDRESS[:PORT], asked instead of those of `[dns]`. `sealed_settings`: the plugin's settings as
    JSON.
    """

    name: str
    plugin: str
    match: str
    tags: tuple[str, ...] = ()
    cname_zones: tuple[str, ...] = ()
    propagation: Propagation = Propagation()
    enabled: bool = True
    sealed_settings: bytes
    created: datetime
    zone: str = ""
    resolvers: tuple[str, ...] = ()
    managed_by: str = ""
