"""Principals: who may use the hub, and with which roles."""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Annotated, Any

import msgspec
from msgspec.structs import replace

from acmehub.admin.access.errors import Invalid, Refused
from acmehub.admin.resources.fields import Patch, described, patch_of, view_of
from acmehub.admin.resources.service import INSTEAD_OF_REMOVING, ResourceService, checked_name, checked_tags
from acmehub.models import Principal, PrincipalType, Role, RoleAssignment
from acmehub.ports.store import Resources
from acmehub.rules.permissions import Acting, require_over

_ROLES = f"A role ({', '.join(Role)}), or ROLE:TAG,TAG; may be repeated."
_PROFILES = "The only profiles that it may ask for; may be repeated."


class NewPrincipal(msgspec.Struct, frozen=True, kw_only=True):
    """A new principal; `profiles` (names) are the only ones it may ask for, empty: any."""

    name: Annotated[str, described("Its name.", change="Rename it.")]
    type: Annotated[PrincipalType, described("Its type.")] = PrincipalType.APPLICATION
    roles: Annotated[
        tuple[RoleAssignment, ...],
        described(_ROLES, change=f"The roles, instead of those there are. {_ROLES}", clear="Take all roles away."),
    ] = ()
    enabled: Annotated[bool, described("Refused until it is enabled.", change="Whether it may do anything.")] = True
    profiles: Annotated[
        tuple[str, ...],
        described(_PROFILES, change=f"Instead of those before. {_PROFILES}", clear="It may ask for any profile."),
    ] = ()


PrincipalPatch = patch_of("PrincipalPatch", NewPrincipal)


class PrincipalView(NewPrincipal, frozen=True, kw_only=True):
    """A principal as operators see it, with the titles of its tokens."""

    id: str
    version: int
    tokens: tuple[str, ...]
    created: datetime


class PrincipalService(ResourceService[Principal, PrincipalView]):
    """Verbs raise `ServiceError`s."""

    noun = "principal"
    label = "principal"

    async def add(self, new: NewPrincipal, acting: Acting) -> PrincipalView:
        """Add a principal."""
        async with self._gate(acting, "principal.add", new.name) as passage:
            values = await self._checked(msgspec.structs.asdict(new))
            require_over(acting, (item.role for item in values["roles"]), f"principal {new.name!r}")
            item = Principal(created=self._clock.now(), **values)
            return await self._view(await self.rows.insert(item, passage))

    async def set(
        self, ref: str, patch: Patch[NewPrincipal], acting: Acting, *, version: int | None = None
    ) -> PrincipalView:
        """Change one; its tokens lose the roles that it loses."""
        async with self._gate(acting, "principal.set", ref) as passage:
            changes = await self._checked(patch.given())
            await self._require_administrator_left(ref, changes)

            def rule(item: Principal) -> Principal:
                changed = replace(item, **changes)
                require_over(acting, (one.role for one in (*item.roles, *changed.roles)), self.rows.describe(item))
                return changed

            return await self._view(await self.rows.change(ref, rule, passage, version))

    async def remove(self, ref: str, acting: Acting) -> None:
        """Remove one that has no tokens."""
        async with self._gate(acting, "principal.remove", ref) as passage:
            item = await self.rows.find(ref)
            require_over(acting, (one.role for one in item.roles), self.rows.describe(item))
            await self._require_administrator_left(ref, {"enabled": False})
            await self.rows.remove(ref, self._users_of, INSTEAD_OF_REMOVING.format(noun=self.noun), passage)

    def _stored(self) -> Resources[Principal]:
        return self._store.principals

    async def _users_of(self, item: Principal) -> Sequence[str]:
        return [f"token {title!r}" for title in await self._titles(item)]

    async def _checked(self, values: dict[str, Any]) -> dict[str, Any]:
        return checked_fields(values, [item.name for item in await self._store.profiles.list()])

    async def _titles(self, item: Principal) -> Sequence[str]:
        return [token.title for token in await self._store.tokens.list() if token.principal_id == item.id]

    async def _require_administrator_left(self, ref: str, changes: dict[str, Any]) -> None:
        """`Refused` for the last enabled administrator: without one nobody can give the role."""
        item = await self.rows.find(ref)
        if not _administers(item) or _administers(replace(item, **changes)):
            return
        others = (one for one in await self.rows.list() if one.id != item.id)
        if not any(_administers(one) for one in others):
            raise Refused(f"{self.rows.describe(item)} is the last administrator; make another one first")

    async def _view(self, item: Principal) -> PrincipalView:
        return view_of(PrincipalView, item, tokens=tuple(await self._titles(item)))


def _administers(item: Principal) -> bool:
    return item.enabled and bool(item.assignments(Role.ADMINISTRATOR))


def checked_fields(values: dict[str, Any], profiles: Collection[str]) -> dict[str, Any]:
    """The fields of a principal that are given, each checked; `profiles` are the names there are. `Invalid`."""
    checked = dict(values)
    if "name" in checked:
        checked_name(checked["name"])
    if "roles" in checked:
        checked["roles"] = checked_roles(checked["roles"])
    if "profiles" in checked:
        checked["profiles"] = checked_profiles(checked["profiles"], profiles)
    return checked


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
        raise Invalid("roles", f"{name!r} is not one of {', '.join(Role)}") from None
    return RoleAssignment(role, checked_tags([tag.strip() for tag in tags.split(",")] if colon else [], "roles"))


def role_text(assignment: RoleAssignment) -> str:
    """What `parse_role` reads."""
    return assignment.role.value + (f":{','.join(assignment.tags)}" if assignment.tags else "")
