"""Principals: who may use the hub, and with which roles."""

from collections.abc import Collection, Sequence
from datetime import datetime

import msgspec
from msgspec import UNSET, UnsetType
from msgspec.structs import replace

from acmehub.admin.errors import Invalid, Refused
from acmehub.admin.resources import INSTEAD_OF_REMOVING, ResourceService, checked_name, checked_tags
from acmehub.models import Principal, PrincipalType, Role, RoleAssignment
from acmehub.ports.store import Resources
from acmehub.rules.permissions import Acting, require_over


class NewPrincipal(msgspec.Struct, frozen=True, kw_only=True):
    """A principal to be made; `profiles` (names) are the only ones it may ask for, empty: any."""

    name: str
    type: PrincipalType = PrincipalType.APPLICATION
    roles: tuple[RoleAssignment, ...] = ()
    enabled: bool = True
    profiles: tuple[str, ...] = ()


class PrincipalPatch(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What to change of a principal; what is unset stays."""

    name: str | UnsetType = UNSET
    type: PrincipalType | UnsetType = UNSET
    roles: tuple[RoleAssignment, ...] | UnsetType = UNSET
    enabled: bool | UnsetType = UNSET
    profiles: tuple[str, ...] | UnsetType = UNSET


class PrincipalView(msgspec.Struct, frozen=True, kw_only=True):
    """A principal as it may be shown, with the titles of its tokens."""

    id: str
    name: str
    type: PrincipalType
    roles: tuple[RoleAssignment, ...]
    enabled: bool
    profiles: tuple[str, ...]
    tokens: tuple[str, ...]
    created: datetime


class PrincipalService(ResourceService[Principal, PrincipalView]):
    """Verbs raise `ServiceError`s."""

    noun = "principal"
    label = "principal"

    async def add(self, new: NewPrincipal, acting: Acting) -> PrincipalView:
        """Make a principal."""
        async with self._gate(acting, "principal.add", new.name) as passage:
            roles = checked_roles(new.roles)
            require_over(acting, (item.role for item in roles), f"principal {new.name!r}")
            item = Principal(
                name=checked_name(new.name),
                type=new.type,
                roles=roles,
                enabled=new.enabled,
                profiles=await self._checked_profiles(new.profiles),
                created=self._clock.now(),
            )
            return await self._view(await self.rows.insert(item, passage))

    async def set(self, ref: str, patch: PrincipalPatch, acting: Acting) -> PrincipalView:
        """Change one; with a role taken away its tokens no longer stand for that role."""
        async with self._gate(acting, "principal.set", ref) as passage:
            changes = msgspec.structs.asdict(patch)
            changes = {field: value for field, value in changes.items() if value is not UNSET}
            if not isinstance(patch.name, UnsetType):
                checked_name(patch.name)
            if not isinstance(patch.roles, UnsetType):
                changes["roles"] = checked_roles(patch.roles)
            if not isinstance(patch.profiles, UnsetType):
                changes["profiles"] = await self._checked_profiles(patch.profiles)
            await self._require_administrator_left(ref, patch)

            def rule(item: Principal) -> Principal:
                changed = replace(item, **changes)
                require_over(acting, (one.role for one in (*item.roles, *changed.roles)), self.rows.describe(item))
                return changed

            return await self._view(await self.rows.change(ref, rule, passage))

    async def remove(self, ref: str, acting: Acting) -> None:
        """Remove one that has no tokens."""
        async with self._gate(acting, "principal.remove", ref) as passage:
            item = await self.rows.find(ref)
            require_over(acting, (one.role for one in item.roles), self.rows.describe(item))
            await self._require_administrator_left(ref, PrincipalPatch(enabled=False))
            await self.rows.remove(ref, self._users_of, INSTEAD_OF_REMOVING.format(noun=self.noun), passage)

    def _stored(self) -> Resources[Principal]:
        return self._store.principals

    async def _users_of(self, item: Principal) -> Sequence[str]:
        return [f"token {title!r}" for title in await self._titles(item)]

    async def _checked_profiles(self, names: Sequence[str]) -> tuple[str, ...]:
        return checked_profiles(names, [item.name for item in await self._store.profiles.list()])

    async def _titles(self, item: Principal) -> Sequence[str]:
        return [token.title for token in await self._store.tokens.list() if token.principal_id == item.id]

    async def _require_administrator_left(self, ref: str, patch: PrincipalPatch) -> None:
        """The last administrator cannot be disabled, removed, or lose the role: nobody could give it back."""
        item = await self.rows.find(ref)
        enabled = item.enabled if isinstance(patch.enabled, UnsetType) else patch.enabled
        roles = item.roles if isinstance(patch.roles, UnsetType) else patch.roles
        if not _administers(item.enabled, item.roles) or _administers(enabled, roles):
            return
        others = (one for one in await self.rows.list() if one.id != item.id)
        if not any(_administers(one.enabled, one.roles) for one in others):
            raise Refused(f"{self.rows.describe(item)} is the last administrator; make another one first")

    async def _view(self, item: Principal) -> PrincipalView:
        return PrincipalView(
            id=item.id,
            name=item.name,
            type=item.type,
            roles=item.roles,
            enabled=item.enabled,
            profiles=item.profiles,
            tokens=tuple(await self._titles(item)),
            created=item.created,
        )


def _administers(enabled: bool, roles: Sequence[RoleAssignment]) -> bool:
    return enabled and any(item.role is Role.ADMINISTRATOR for item in roles)


def checked_roles(roles: Sequence[RoleAssignment]) -> tuple[RoleAssignment, ...]:
    """Role assignments, each once; `Invalid`."""
    checked = tuple(RoleAssignment(item.role, checked_tags(item.tags, "roles")) for item in roles)
    return tuple(dict.fromkeys(checked))


def checked_profiles(names: Sequence[str], known: Collection[str]) -> tuple[str, ...]:
    """Names of profiles, each once, all of them `known`; `Invalid`."""
    for name in names:
        if name not in known:
            raise Invalid("profiles", f"there is no profile {name!r}; `acmehub profile list` shows those there are")
    return tuple(dict.fromkeys(names))


def parse_role(text: str) -> RoleAssignment:
    """A role assignment as it is written: `ROLE`, or narrowed by tags `ROLE:TAG,TAG`; `Invalid`."""
    name, colon, tags = text.partition(":")
    try:
        role = Role(name.strip())
    except ValueError:
        raise Invalid("roles", f"{name!r} is no role; there are {', '.join(Role)}") from None
    return RoleAssignment(role, checked_tags([tag.strip() for tag in tags.split(",")] if colon else [], "roles"))


def role_text(assignment: RoleAssignment) -> str:
    """What `parse_role` reads."""
    return assignment.role.value + (f":{','.join(assignment.tags)}" if assignment.tags else "")
