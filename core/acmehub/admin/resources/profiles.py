"""Profiles: what clients may name in an order, and so choose its authority (draft-ietf-acme-profiles)."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated

import msgspec
from msgspec.structs import replace

from acmehub.admin.access.errors import InUse
from acmehub.admin.resources.authorities import AuthorityService
from acmehub.admin.resources.fields import Patch, described, patch_of, view_of
from acmehub.admin.resources.profile_fields import ProfileFields
from acmehub.admin.resources.service import ResourceService
from acmehub.models import Authority, Principal, Profile
from acmehub.ports.clock import Clock
from acmehub.ports.store import Resources, Store
from acmehub.rules.permissions import Acting
from acmehub.runtime.plugin_objects import PluginObjects
from acmehub.runtime.plugins import Registry
from acmehub.runtime.vault import Vault

INSTEAD = ", which may ask for no other than those it is limited to: change that first (`acmehub principal set`)"


_KEY_TYPES = "A kind of certificate key that it takes (RSA, RSA-2048, P-256, P-384 …), others are refused; repeatable."


class NewProfile(msgspec.Struct, frozen=True, kw_only=True):
    """A new profile; `authority` by name or id, empty: the policy chooses."""

    name: Annotated[str, described("Its name.", change="Rename it.")]
    description: Annotated[str, described("Words for the people who choose, or a URL with them.", empty=True)]
    authority: Annotated[
        str,
        described(
            "Where its orders go  [default: where the policy says]",
            change="Where its orders go; '' for where the policy says.",
        ),
    ] = ""
    upstream_profile: Annotated[
        str | None,
        described(
            "The profile that is asked for at that authority.",
            change="The profile that is asked for at that authority; '' for none.",
        ),
    ] = None
    key_types: Annotated[
        tuple[str, ...],
        described(_KEY_TYPES, change=f"Instead of those before. {_KEY_TYPES}", clear="It takes any kind of key."),
    ] = ()
    lifetime_days: Annotated[
        int | None,
        described(
            "Validity, where the authority grants one (ca_local).",
            clear="The authority's own validity.",
            no_option="--no-lifetime",
        ),
    ] = None
    enabled: Annotated[bool, described("Not offered yet.", change="Whether it is offered.")] = True


ProfilePatch = patch_of("ProfilePatch", NewProfile)


class ProfileView(NewProfile, frozen=True, kw_only=True):
    """A profile as operators see it; `problem` says why orders for it would fail."""

    id: str
    version: int
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
        """Add one; clients may name it from the next request on."""
        async with self._gate(acting, "profile.add", new.name) as passage:
            values = await self.fields.stored(msgspec.structs.asdict(new))
            item = Profile(created=self._clock.now(), **values)
            await self.fields.check_lifetime(item.authority_id, item.lifetime_days)
            return await self._view(await self.rows.insert(item, passage))

    async def set(
        self, ref: str, patch: Patch[NewProfile], acting: Acting, *, version: int | None = None
    ) -> ProfileView:
        """Change one; open orders keep the values that they started with."""
        async with self._gate(acting, "profile.set", ref) as passage:
            changes = await self.fields.stored(patch.given())
            before = await self.rows.find(ref)
            if changes.get("name", before.name) != before.name:
                self._require_unnamed(await self._users_of(before), f"{self.rows.describe(before)} cannot be renamed")
            after = replace(before, **changes)
            await self.fields.check_lifetime(after.authority_id, after.lifetime_days)
            return await self._view(
                await self.rows.change(ref, lambda item: replace(item, **changes), passage, version)
            )

    async def remove(self, ref: str, acting: Acting) -> None:
        """Remove one that no principal is limited to. The hub finishes its open orders."""
        async with self._gate(acting, "profile.remove", ref) as passage:
            await self.rows.remove(ref, self._users_of, INSTEAD, passage)

    def _stored(self) -> Resources[Profile]:
        return self._store.profiles

    async def _users_of(self, item: Profile) -> Sequence[str]:
        principals: Sequence[Principal] = await self._store.principals.list()
        return [f"principal {one.name!r}" for one in principals if item.name in one.profiles]

    def _require_unnamed(self, users: Sequence[str], what: str) -> None:
        if users:
            raise InUse(f"{what}: it is in use by {', '.join(users)}{INSTEAD}", users)

    async def _view(self, item: Profile) -> ProfileView:
        row = await self._store.authorities.get(item.authority_id) if item.authority_id else None
        authority = row.name if row else item.authority_id
        return view_of(ProfileView, item, authority=authority, problem=_problem(item, row))


def _problem(item: Profile, row: Authority | None) -> str:
    if not item.authority_id:
        return ""
    if row is None:
        return "its authority is gone"
    return "" if row.enabled else f"its authority {row.name!r} is disabled"
