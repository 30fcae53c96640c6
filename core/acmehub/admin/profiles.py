"""Profiles: what clients may name in an order, and so choose its authority (draft-ietf-acme-profiles)."""

from collections.abc import Sequence
from datetime import datetime

import msgspec
from msgspec import UNSET, UnsetType
from msgspec.structs import replace

from acmehub.admin.authorities import AuthorityService
from acmehub.admin.errors import InUse
from acmehub.admin.profile_fields import ProfileFields
from acmehub.admin.resources import ResourceService
from acmehub.models import Authority, Principal, Profile
from acmehub.ports.clock import Clock
from acmehub.ports.store import Resources, Store
from acmehub.rules.permissions import Acting
from acmehub.runtime.plugin_objects import PluginObjects
from acmehub.runtime.plugins import Registry
from acmehub.runtime.vault import Vault

INSTEAD = ", which may ask for no other than those it is limited to: change that first (`acmehub principal set`)"


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


class ProfileService(ResourceService[Profile, ProfileView]):
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
        self.fields = ProfileFields(store, authorities, plugin_objects)

    async def add(self, new: NewProfile, acting: Acting) -> ProfileView:
        """Make one; clients may name it from the next request on."""
        async with self._gate(acting, "profile.add", new.name) as passage:
            values = await self.fields.stored(msgspec.structs.asdict(new))
            item = Profile(created=self._clock.now(), **values)
            await self.fields.check_lifetime(item.authority_id, item.lifetime_days)
            return await self._view(await self.rows.insert(item, passage))

    async def set(self, ref: str, patch: ProfilePatch, acting: Acting) -> ProfileView:
        """Change one; orders that are under way keep what they were opened with."""
        async with self._gate(acting, "profile.set", ref) as passage:
            given = {name: value for name, value in msgspec.structs.asdict(patch).items() if value is not UNSET}
            changes = await self.fields.stored(given)
            before = await self.rows.find(ref)
            if changes.get("name", before.name) != before.name:
                self._require_unnamed(await self._users_of(before), f"{self.rows.describe(before)} cannot be renamed")
            after = replace(before, **changes)
            await self.fields.check_lifetime(after.authority_id, after.lifetime_days)
            return await self._view(await self.rows.change(ref, lambda item: replace(item, **changes), passage))

    async def remove(self, ref: str, acting: Acting) -> None:
        """Remove one that no principal is limited to. Orders for it are finished nonetheless."""
        async with self._gate(acting, "profile.remove", ref) as passage:
            await self.rows.remove(ref, self._users_of, INSTEAD, passage)

    def _stored(self) -> Resources[Profile]:
        return self._store.profiles

    async def _users_of(self, item: Profile) -> Sequence[str]:
        principals: Sequence[Principal] = await self._store.principals.list()
        return [f"principal {one.name!r}" for one in principals if item.name in one.profiles]

    def _require_unnamed(self, users: Sequence[str], what: str) -> None:
        if users:
            raise InUse(f"{what}: it is in use by {', '.join(users)}{INSTEAD}")

    async def _view(self, item: Profile) -> ProfileView:
        row = await self._store.authorities.get(item.authority_id) if item.authority_id else None
        fields = {
            name: getattr(item, name) for name in ProfileView.__struct_fields__ if name not in ("authority", "problem")
        }
        return ProfileView(authority=row.name if row else item.authority_id, problem=_problem(item, row), **fields)


def _problem(item: Profile, row: Authority | None) -> str:
    if not item.authority_id:
        return ""
    if row is None:
        return "its authority is gone"
    return "" if row.enabled else f"its authority {row.name!r} is disabled"
