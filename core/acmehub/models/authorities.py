"""Authorities (upstream CAs) and the ACME profiles that lead to them."""

from datetime import datetime

import msgspec

from acmehub.models.base import Model


class Pause(msgspec.Struct, frozen=True):
    """A CA takes no orders of the hub's account, or none for `names` (canonical), until a person acts there; `detail`
    is what the CA says."""

    since: datetime
    detail: str
    names: tuple[str, ...] = ()


class Authority(Model, frozen=True, kw_only=True):
    """A configured upstream CA, with the hub's account there (`account_url` is empty until its first use).

    `pauses` last until an operator clears them.
    """

    name: str
    plugin: str
    default: bool = False
    enabled: bool = True
    tags: tuple[str, ...] = ()
    sealed_settings: bytes
    account_url: str = ""
    sealed_account_key: bytes = b""
    created: datetime
    pauses: tuple[Pause, ...] = ()
    managed_by: str = ""


class Profile(Model, frozen=True, kw_only=True):
    """An ACME profile (draft-ietf-acme-profiles), by which a client chooses its CA.

    `authority_id`: the authority of its orders (empty: the policy decides); `upstream_profile`: the profile requested
    there. `key_types`: the only kinds of certificate keys it allows, as `rules.keys.kind` names them (empty: any).
    `lifetime_days`: the validity requested from an authority that grants one.
    """

    name: str
    description: str
    authority_id: str = ""
    upstream_profile: str | None = None
    key_types: tuple[str, ...] = ()
    lifetime_days: int | None = None
    enabled: bool = True
    created: datetime
    tags: tuple[str, ...] = ()
    managed_by: str = ""
