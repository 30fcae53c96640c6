"""What operators configure besides who may: managed challenges, authorities, profiles, campaigns."""

import enum
from datetime import datetime

import msgspec

from acmehub.models.base import Model


class PropagationMode(enum.StrEnum):
    """How the solver learns that a TXT record can be seen (docs/reliability.md 2.9)."""

    AUTHORITATIVE = "authoritative"
    RESOLVERS = "resolvers"
    DELAY = "delay"
    NONE = "none"


class Propagation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How long, and by asking whom, to wait for a record; `limit` and `delay` in seconds, `servers` as HOST[:PORT]."""

    mode: PropagationMode = PropagationMode.AUTHORITATIVE
    limit: float = 120.0
    delay: float = 30.0
    servers: tuple[str, ...] = ()


class ManagedChallenge(Model, frozen=True, kw_only=True):
    """A solver for some domains: a DNS plugin with its settings.

    `match` is a domain match rule; `cname_zones` (names of zones, `*` for any) are where a CNAME at `_acme-challenge`
    may lead besides the zone of the asked name; `sealed_settings` are the plugin's settings as JSON.
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


class Authority(Model, frozen=True, kw_only=True):
    """A configured upstream CA, with the hub's account there (`account_url` empty until first use)."""

    name: str
    plugin: str
    default: bool = False
    enabled: bool = True
    tags: tuple[str, ...] = ()
    sealed_settings: bytes
    account_url: str = ""
    sealed_account_key: bytes = b""
    created: datetime


class Profile(Model, frozen=True, kw_only=True):
    """An ACME profile that clients may name (draft-ietf-acme-profiles): so the client chooses its CA.

    `authority_id` is where its orders go (empty: the policy decides), `upstream_profile` the profile asked for there.
    `key_types` are the only kinds of certificate keys it takes (as `keys.kind` names them; empty: any);
    `lifetime_days` the validity asked of an authority that grants one.
    """

    name: str
    description: str
    authority_id: str = ""
    upstream_profile: str | None = None
    key_types: tuple[str, ...] = ()
    lifetime_days: int | None = None
    enabled: bool = True
    created: datetime


class Campaign(Model, frozen=True, kw_only=True):
    """An operator's wish that certificates be renewed between `starts` and `renew_by` (RFC 9773 windows say so).

    It is for the certificates issued before it was made that fit every criterion it has: authority, profile, a domain
    match rule on one of the names, principal (each empty: all). `explanation_url` is told to clients; `ended` when it
    was called off.
    """

    name: str
    reason: str = ""
    authority_id: str = ""
    profile: str = ""
    names: str = ""
    principal_id: str = ""
    starts: datetime
    renew_by: datetime
    explanation_url: str = ""
    ended: datetime | None = None
    created: datetime
