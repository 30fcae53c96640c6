"""Profiles: what clients may name in an order, and so choose its authority (draft-ietf-acme-profiles)."""

import re
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from acmehub.admin.authorities import AuthorityService, NewAuthority
from acmehub.admin.errors import InUse, Invalid, NotFound
from acmehub.admin.permissions import Acting
from acmehub.admin.plugin_resources import Sources
from acmehub.admin.resources import ResourceService, checked_name, with_changes
from acmehub.models import Authority, Principal, Profile
from acmehub.ports.authority import lifetime_flaw
from acmehub.ports.clock import Clock
from acmehub.ports.settings import PluginSettings
from acmehub.ports.store import Resources, Store
from acmehub.rules.keys import CURVES, RSA_BITS
from acmehub.runtime.plugin_objects import PluginObjects
from acmehub.runtime.plugins import Registry
from acmehub.runtime.vault import Vault

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_RSA = re.compile(r"RSA(?:-([1-9]\d{3}))?")
_MAX_DESCRIPTION = 500
_MAX_DAYS = 3650


class NewProfile(msgspec.Struct, frozen=True, kw_only=True):
    """A profile to be made; `authority` by name or id, empty where the policy is to choose."""

    name: str
    description: str
    authority: str = ""
    upstream_profile: str | None = None
    key_types: tuple[str, ...] = ()
    lifetime_days: int | None = None
    enabled: bool = True


class ProfilePatch(msgspec.Struct, frozen=True, kw_only=True):
    """What to change of a profile; what is unset stays, None takes a rule away."""

    name: str | UnsetType = UNSET
    description: str | UnsetType = UNSET
    authority: str | UnsetType = UNSET
    upstream_profile: str | UnsetType | None = UNSET
    key_types: tuple[str, ...] | UnsetType = UNSET
    lifetime_days: int | UnsetType | None = UNSET
    enabled: bool | UnsetType = UNSET


class ProfileView(msgspec.Struct, frozen=True, kw_only=True):
    """A profile as it may be shown; `problem` says why orders for it would fail."""

    id: str
    name: str
    description: str
    authority: str
    upstream_profile: str | None
    key_types: tuple[str, ...]
    lifetime_days: int | None
    enabled: bool
    created: datetime
    problem: str = ""


class ProfileService(ResourceService[Profile]):
    """Verbs raise `ServiceError`s."""

    noun = "profile"
    label = "profile"

    def __init__(
        self,
        store: Store,
        vault: Vault,
        registry: Registry,
        clock: Clock,
        authorities: AuthorityService,
        plugin_objects: PluginObjects,
    ) -> None:
        super().__init__(store, vault, registry, clock)
        self._authorities = authorities
        self._plugin_objects = plugin_objects

    @property
    def rows(self) -> Resources[Profile]:
        """See `ResourceService`."""
        return self._store.profiles

    async def add(self, new: NewProfile, actor: Acting) -> ProfileView:
        """Make one; clients may name it from the next request on."""
        async with self.acting(actor, "add", new.name):
            values = await self._stored_fields(msgspec.structs.asdict(new))
            item = Profile(created=self._clock.now(), **values)
            await self._check_lifetime(item)
            return await self._view(await self.insert(item))

    async def list(self, actor: Acting) -> Sequence[ProfileView]:
        """All, oldest first."""
        async with self.acting(actor, "list", ""):
            return [await self._view(item) for item in await self.rows.list()]

    async def show(self, ref: str, actor: Acting) -> ProfileView:
        """One, by name or id."""
        async with self.acting(actor, "show", ref):
            return await self._view(await self.find(ref))

    async def set(self, ref: str, patch: ProfilePatch, actor: Acting) -> ProfileView:
        """Change one; orders that are under way keep what they were opened with."""
        async with self.acting(actor, "set", ref) as note:
            given = {name: value for name, value in msgspec.structs.asdict(patch).items() if value is not UNSET}
            changes = await self._stored_fields(given)
            before = await self.find(ref)
            if changes.get("name", before.name) != before.name:
                self._require_unnamed(await self.users_of(before), f"{self.describe(before)} cannot be renamed")
            await self._check_lifetime(with_changes(before, changes))
            return await self._view(await self.change(ref, lambda item: with_changes(item, changes), note))

    async def remove(self, ref: str, actor: Acting) -> None:
        """Remove one that no principal is limited to. Orders for it are finished nonetheless."""
        async with self.acting(actor, "remove", ref):
            await self.delete(ref)

    async def users_of(self, item: Profile) -> Sequence[str]:
        """See `ResourceService`."""
        principals: Sequence[Principal] = await self._store.principals.list()
        return [f"principal {one.name!r}" for one in principals if item.name in one.profiles]

    @property
    def instead(self) -> str:
        """See `ResourceService`."""
        return ", which may ask for no other than those it is limited to: change that first (`acmehub principal set`)"

    def _require_unnamed(self, users: Sequence[str], what: str) -> None:
        if users:
            raise InUse(f"{what}: it is in use by {', '.join(users)}{self.instead}")

    async def planned_fields(
        self, new: NewProfile, declared: NewAuthority | None, sources: Sources | None
    ) -> dict[str, Any]:
        """The fields of a profile that a file declares, for an authority that it may declare, too; `Invalid`.

        One that is to be made stands as `new` in `authority_id`.
        """
        if declared is None:
            values = await self._stored_fields(msgspec.structs.asdict(new))
            await self._check_lifetime(Profile(created=self._clock.now(), **values))
            return values
        values = checked_fields(msgspec.structs.asdict(new))
        row = next(iter(await self._store.authorities.named(values.pop("authority"))), None)
        if new.lifetime_days is not None:
            kept = self._authorities.unsealed(row) if row is not None and row.plugin == declared.plugin else None
            settings = self._authorities.read(declared.plugin, declared.settings, sources, kept)
            self._refuse_lifetime(new.lifetime_days, declared.name, declared.plugin, settings)
        return {**values, "authority_id": row.id if row is not None else "new"}

    async def _stored_fields(self, values: dict[str, Any]) -> dict[str, Any]:
        """Checked, with the authority's id for its name."""
        checked = checked_fields(values)
        if "authority" in checked:
            checked["authority_id"] = await self._authority_id(checked.pop("authority"))
        return checked

    async def _authority_id(self, ref: str) -> str:
        if not ref:
            return ""
        try:
            return (await self._authorities.find(ref)).id
        except NotFound as error:
            raise Invalid("authority", str(error)) from None

    async def _check_lifetime(self, item: Profile) -> None:
        if item.lifetime_days is None:
            return
        row = await self._store.authorities.get(item.authority_id) if item.authority_id else None
        if row is None:
            raise Invalid("lifetime_days", "needs an authority that grants it: name one")
        settings = self._authorities.read(row.plugin, self._authorities.unsealed(row), None)
        self._refuse_lifetime(item.lifetime_days, row.name, row.plugin, settings)

    def _refuse_lifetime(self, days: int, name: str, plugin: str, settings: PluginSettings) -> None:
        flaw = lifetime_flaw(days, self._plugin_objects.probe(plugin, settings))
        if flaw is not None:
            raise Invalid("lifetime_days", f"authority {name!r} ({plugin}) {flaw}")

    async def _view(self, item: Profile) -> ProfileView:
        row = await self._store.authorities.get(item.authority_id) if item.authority_id else None
        fields = {
            name: getattr(item, name) for name in ProfileView.__struct_fields__ if name not in ("authority", "problem")
        }
        return ProfileView(authority=row.name if row else item.authority_id, problem=_problem(item, row), **fields)


def checked_fields(values: dict[str, Any]) -> dict[str, Any]:
    """The fields of a profile that are given, each checked and in its stored form; `Invalid`."""
    checked = dict(values)
    if "name" in checked and not _NAME.fullmatch(checked_name(checked["name"])):
        raise Invalid("name", "letters, digits, '_', '.', '-', at most 64, the first a letter or digit")
    if "description" in checked:
        text = checked["description"]
        if not text or text != text.strip() or not text.isprintable() or len(text) > _MAX_DESCRIPTION:
            raise Invalid("description", f"needs 1 to {_MAX_DESCRIPTION} printable characters: words, or their URL")
    if "key_types" in checked:
        checked["key_types"] = tuple(dict.fromkeys(map(_checked_key_type, checked["key_types"])))
    if checked.get("lifetime_days") is not None and not 1 <= checked["lifetime_days"] <= _MAX_DAYS:
        raise Invalid("lifetime_days", f"1 to {_MAX_DAYS}; leave it out for the authority's own")
    if checked.get("upstream_profile") == "":
        raise Invalid("upstream_profile", "needs a name; leave it out for none")
    return checked


def _checked_key_type(text: str) -> str:
    sized = _RSA.fullmatch(text)
    if text in CURVES.values() or (sized and (sized[1] is None or RSA_BITS[0] <= int(sized[1]) <= RSA_BITS[1])):
        return text
    raise Invalid("key_types", f"{text!r}: RSA, RSA-2048, RSA-3072, RSA-4096, {', '.join(CURVES.values())}")


def _problem(item: Profile, row: Authority | None) -> str:
    if not item.authority_id:
        return ""
    if row is None:
        return "its authority is gone"
    return "" if row.enabled else f"its authority {row.name!r} is disabled"
