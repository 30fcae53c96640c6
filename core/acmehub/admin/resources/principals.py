"""Principals: who may use the hub, and with which roles."""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Annotated, Any

import msgspec
from msgspec.structs import replace

from acmehub.admin.access.errors import Invalid, Refused
from acmehub.admin.access.gate import Passage
from acmehub.admin.access.reach import Reach
from acmehub.admin.resources.fields import Patch, described, patch_of, view_of
from acmehub.admin.resources.service import (
    INSTEAD_OF_REMOVING,
    ResourceService,
    checked_name,
    checked_rule,
    checked_tags,
)
from acmehub.models import Principal, PrincipalType, Role, RoleAssignment
from acmehub.ports.store import Resources
from acmehub.rules.permissions import (
    CONSUMERS,
    NARROWABLE,
    Acting,
    effective_tags,
    require_assignments,
    require_reached,
    require_tags,
)

_ROLES = f"A role ({', '.join(Role)}), or ROLE:TAG,TAG, or ROLE:TAG,TAG@RULE with a domain match rule; may be repeated."
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
    tags: Annotated[
        tuple[str, ...],
        described(
            "A tag by which operators and auditors whose role is narrowed find it; may be repeated.",
            change="The tags, instead of those there are; may be repeated.",
            clear="Take all tags away.",
        ),
    ] = ()


PrincipalPatch = patch_of("PrincipalPatch", NewPrincipal)


class PrincipalView(NewPrincipal, frozen=True, kw_only=True):
    """A principal as operators see it, with the titles of its tokens; `managed_by`: the resources file that has set it
    last."""

    id: str
    version: int
    managed_by: str = ""
    tokens: tuple[str, ...]
    created: datetime


class PrincipalService(ResourceService[Principal, PrincipalView]):
    """Verbs raise `ServiceError`s."""

    noun = "principal"
    label = "principal"

    async def add(self, new: NewPrincipal, acting: Acting) -> PrincipalView:
        """Add a principal."""
        async with self._gate(acting, "principal.add", new.name) as passage:
            values = await self._checked(msgspec.structs.asdict(new), passage.reach)
            item = Principal(created=self._clock.now(), **values)
            self._require_may_be(None, item, passage)
            return await self._view(await self.rows.insert(item, passage))

    async def set(
        self, ref: str, patch: Patch[NewPrincipal], acting: Acting, *, version: int | None = None
    ) -> PrincipalView:
        """Change one; its tokens lose the roles that it loses."""
        async with self._gate(acting, "principal.set", ref) as passage:
            known = (await self.rows.find(ref, passage.reach)).profiles
            changes = await self._checked(patch.given(), passage.reach, known)

            def rule(item: Principal) -> Principal:
                changed = replace(item, **changes)
                self._require_may_be(item, changed, passage)
                return changed

            return await self._view(await self.rows.change(ref, rule, passage, version, self._administrators_left))

    async def remove(self, ref: str, acting: Acting) -> None:
        """Remove one that has no tokens."""
        async with self._gate(acting, "principal.remove", ref) as passage:
            item = await self.rows.find(ref, passage.reach)
            self._require_may_be(item, item, passage)
            instead = INSTEAD_OF_REMOVING.format(noun=self.noun)
            await self.rows.remove(ref, self._users_of, instead, passage, self._administrators_left)

    def _stored(self) -> Resources[Principal]:
        return self._store.principals

    def _require_may_be(self, before: Principal | None, after: Principal, passage: Passage) -> None:
        """`Forbidden` unless the actor may make one like `after`, or change `before` to that."""
        acting, action, what = passage.acting, passage.action, self.rows.describe(before or after)
        roles = (*(before.roles if before else ()), *after.roles)
        require_assignments(acting, action, roles, what)
        require_tags(acting, action, before.tags if before else (), after.tags, what)
        require_reached(acting, action, effective_tags(after), what)

    async def _users_of(self, item: Principal, _reach: Reach) -> Sequence[str]:
        return [f"token {title!r}" for title in await self._titles(item)]

    async def _checked(self, values: dict[str, Any], reach: Reach, known: Sequence[str] = ()) -> dict[str, Any]:
        profiles = await reach.only(await self._store.profiles.list())
        return checked_fields(values, [*known, *(item.name for item in profiles)])

    async def _titles(self, item: Principal) -> Sequence[str]:
        return [token.title for token in await self._store.tokens.list() if token.principal_id == item.id]

    async def _administrators_left(self, before: Principal, after: Principal | None) -> Sequence[Principal]:
        """Another enabled administrator, where a change takes one away; `Refused` for the last one: without it nobody
        can give the role."""
        if not _administers(before) or (after is not None and _administers(after)):
            return ()
        others = [one for one in await self.rows.list() if one.id != before.id and _administers(one)]
        if not others:
            raise Refused(f"{self.rows.describe(before)} is the last administrator; make another one first")
        return others[:1]

    async def _view(self, item: Principal) -> PrincipalView:
        return view_of(PrincipalView, item, tokens=tuple(await self._titles(item)))


def _administers(item: Principal) -> bool:
    return item.enabled and any(not (one.tags or one.names) for one in item.assignments(Role.ADMINISTRATOR))


def checked_fields(values: dict[str, Any], profiles: Collection[str]) -> dict[str, Any]:
    """The fields of a principal that are given, each checked; `profiles` are the names there are. `Invalid`."""
    checked = dict(values)
    if "name" in checked:
        checked_name(checked["name"])
    if "roles" in checked:
        checked["roles"] = checked_roles(checked["roles"])
    if "tags" in checked:
        checked["tags"] = checked_tags(checked["tags"])
    if "profiles" in checked:
        checked["profiles"] = checked_profiles(checked["profiles"], profiles)
    return checked


def checked_roles(roles: Sequence[RoleAssignment]) -> tuple[RoleAssignment, ...]:
    """Role assignments, each once; `Invalid`."""
    return tuple(dict.fromkeys(map(_checked_role, roles)))


def _checked_role(item: RoleAssignment) -> RoleAssignment:
    tags, names = checked_tags(item.tags, "roles"), checked_rule(item.names, "roles") if item.names else ""
    if tags and item.role not in CONSUMERS | NARROWABLE:
        raise Invalid("roles", f"tags narrow no {item.role}: leave them out, or give the role {Role.OPERATOR}")
    if names and item.role not in CONSUMERS:
        raise Invalid("roles", f"a domain match rule narrows {' and '.join(sorted(CONSUMERS))} only, not {item.role}")
    return RoleAssignment(item.role, tags, names)


def checked_profiles(names: Sequence[str], known: Collection[str]) -> tuple[str, ...]:
    """Names of profiles, each once, all of them `known`; `Invalid`."""
    for name in names:
        if name not in known:
            raise Invalid("profiles", f"there is no profile {name!r}; `acmehub profile list` shows those there are")
    return tuple(dict.fromkeys(names))


def parse_role(text: str) -> RoleAssignment:
    """A role assignment as it is written: `ROLE`, or narrowed by tags and a domain match rule, `ROLE:TAG,TAG@RULE`;
    `Invalid`."""
    narrowed, at, names = text.partition("@")
    name, colon, tags = narrowed.partition(":")
    try:
        role = Role(name.strip())
    except ValueError:
        raise Invalid("roles", f"{name!r} is not one of {', '.join(Role)}") from None
    if at and not names.strip():
        raise Invalid("roles", f"{text!r}: a domain match rule goes behind '@', as in {role}@*.example.com")
    given = [tag.strip() for tag in tags.split(",")] if colon else []
    return _checked_role(RoleAssignment(role, tuple(given), names.strip()))


def role_text(assignment: RoleAssignment) -> str:
    """What `parse_role` reads."""
    tags = f":{','.join(assignment.tags)}" if assignment.tags else ""
    return f"{assignment.role.value}{tags}{'@' if assignment.names else ''}{assignment.names}"
