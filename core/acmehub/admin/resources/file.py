"""`acmehub apply`: make the stored resources, by name, as a file has them; a second run changes nothing.

For a resource that the file names, it is the whole truth: a field that is left out goes back to its default. Three
things stay as they are: settings of plugins that are left out (secrets are not exported, and plugins fill in some
themselves), the mark of the default authority, which can only be given, and what has happened (uses, revocation).
Resources that the file does not name are not touched.
"""

import enum
from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec.structs import replace

from acmehub.admin.access.errors import Invalid, NotFound, ServiceError
from acmehub.admin.access.gate import Gate
from acmehub.admin.access.reach import Reach
from acmehub.admin.resources.authorities import AuthorityPatch, AuthorityService, NewAuthority
from acmehub.admin.resources.authorities import checked_fields as checked_authority_fields
from acmehub.admin.resources.document import Document, InvalidFile, New, name_of
from acmehub.admin.resources.export import document_of
from acmehub.admin.resources.managed_challenges import (
    ManagedChallengePatch,
    ManagedChallengeService,
    NewManagedChallenge,
)
from acmehub.admin.resources.managed_challenges import checked_fields as checked_challenge_fields
from acmehub.admin.resources.principals import NewPrincipal, PrincipalPatch, PrincipalService
from acmehub.admin.resources.principals import checked_fields as checked_principal_fields
from acmehub.admin.resources.profiles import NewProfile, ProfilePatch, ProfileService
from acmehub.admin.resources.rows import ResourceRows
from acmehub.admin.resources.service import checked_name
from acmehub.admin.resources.token_fields import checked_fields as checked_token_fields
from acmehub.admin.resources.tokens import AddedToken, NewToken, TokenPatch, TokenService
from acmehub.admin.resources.with_plugins import PluginResourceService, Sources, given_fields
from acmehub.models import Authority, ManagedChallenge, Model, Principal, Role, Token
from acmehub.ports.clock import Clock
from acmehub.ports.store import Store
from acmehub.rules.permissions import Acting


class Step(enum.StrEnum):
    """What `apply` does for one resource."""

    CREATE = "create"
    CHANGE = "change"
    UNCHANGED = "unchanged"


class PlannedChange(msgspec.Struct, frozen=True):
    """One line of a plan; `fields` are those that change, a setting as `settings.NAME` (none with another `plugin`,
    whose settings start from the defaults). `managed_by`: another owner, who has set it last."""

    kind: str
    name: str
    step: Step
    fields: tuple[str, ...] = ()
    managed_by: str = ""


class Applied(msgspec.Struct, frozen=True):
    """A plan, carried out unless it was a dry run; `tokens` are the new ones with their API secrets."""

    changes: tuple[PlannedChange, ...]
    tokens: tuple[AddedToken, ...] = ()


class _Planned(msgspec.Struct, frozen=True):
    line: PlannedChange
    new: New
    id: str = ""


class _Owner(msgspec.Struct, frozen=True):
    """The principal of a token in the file; `id` is empty for one that is not stored yet."""

    name: str
    roles: frozenset[Role]
    id: str


class ResourcesFileService:
    """Applies files through the services of all kinds, so that their rights, checks and audit hold."""

    noun = "resources_file"

    def __init__(
        self,
        store: Store,
        clock: Clock,
        principals: PrincipalService,
        tokens: TokenService,
        managed_challenges: ManagedChallengeService,
        authorities: AuthorityService,
        profiles: ProfileService,
    ) -> None:
        self._gate = Gate(store, clock)
        self._principals = principals
        self._tokens = tokens
        self._managed_challenges = managed_challenges
        self._authorities = authorities
        self._profiles = profiles

    async def apply(
        self,
        document: Document,
        acting: Acting,
        *,
        sources: Sources | None = None,
        dry_run: bool = False,
        owner: str = "",
        take_over: bool = False,
    ) -> Applied:
        """Carry a file out, or with `dry_run` only return what that would do.

        What it changes bears `owner` as `managed_by`; what another owner has set is changed only with `take_over`.
        All of it is checked before the first write; `InvalidFile` has every fault. A failure in the middle (a storage
        that goes away) leaves the first part done: apply the file again.
        """
        async with self._gate(acting, "apply") as passage:
            acting = replace(acting, managing=checked_name(owner, "owner") if owner else "")
            plan = [_of_another(item, acting.managing) for item in await self._plan(document, sources, passage.reach)]
            if not (dry_run or take_over):
                _refuse_others(plan, document)
            added: list[AddedToken] = []
            if not dry_run:
                for planned in plan:
                    token = await self._carry_out(planned, acting, sources)
                    added += [token] if token else []
            return Applied(tuple(planned.line for planned in plan), tuple(added))

    async def export(self, acting: Acting) -> str:
        """All resources as the TOML of such a file, with secrets left out."""
        async with self._gate(acting, "export"):
            return document_of(
                await self._authorities.list(acting),
                self._authorities.offers,
                await self._managed_challenges.list(acting),
                self._managed_challenges.offers,
                await self._profiles.list(acting),
                await self._principals.list(acting),
                await self._tokens.list(acting),
            )

    # --------------------------------------------------------------------------------------------- the plan

    async def _plan(self, document: Document, sources: Sources | None, reach: Reach) -> Sequence[_Planned]:
        plan: list[_Planned] = []
        errors: list[str] = []
        for kind, new in document.entries():
            try:
                plan.append(await self._planned(kind, new, document, sources, reach))
            except ServiceError as error:
                field = error.field if isinstance(error, Invalid) else _named_by(error)
                errors.append(f"{document.place(kind, new, field)}: {error}")
        if errors:
            raise InvalidFile(tuple(errors))
        return plan

    async def _planned(
        self, kind: str, new: New, document: Document, sources: Sources | None, reach: Reach
    ) -> _Planned:
        match new:
            case NewAuthority():
                authority = await _named(self._authorities.rows, new.name, reach)
                fields = checked_authority_fields(given_fields(new))
                if not new.default:
                    del fields["default"]
                return self._compared(
                    kind, new, authority, fields, _settings_diff(self._authorities, authority, new, sources)
                )
            case NewManagedChallenge():
                challenge = await _named(self._managed_challenges.rows, new.name, reach)
                fields = checked_challenge_fields(given_fields(new))
                return self._compared(
                    kind, new, challenge, fields, _settings_diff(self._managed_challenges, challenge, new, sources)
                )
            case NewProfile():
                authority = next((item for item in document.authorities if item.name == new.authority), None)
                fields = await self._profiles.fields.planned(_given(new), authority, sources, reach)
                return self._compared(kind, new, await _named(self._profiles.rows, new.name, reach), fields)
            case NewPrincipal():
                principal = await _named(self._principals.rows, new.name, reach)
                known = {item.name for item in await reach.only(await self._profiles.rows.list())}
                known |= {item.name for item in document.profiles}
                known |= set(principal.profiles if principal is not None else ())
                fields = checked_principal_fields(_given(new), known)
                return self._compared(kind, new, principal, fields)
            case NewToken():
                owner = await self._owner_of(new, document, reach)
                fields = checked_token_fields(_given(new, "principal", "secret_directory"), owner.name, owner.roles)
                token = await self._token_of(new, owner)
                secret = token is not None and bool(token.directory_hash) is not new.secret_directory
                return self._compared(kind, new, token, fields, ["secret_directory"] if secret else ())

    def _compared(
        self, kind: str, new: New, row: Model | None, fields: dict[str, Any], settings: Sequence[str] = ()
    ) -> _Planned:
        name = name_of(new)
        if row is None:
            return _Planned(PlannedChange(kind, name, Step.CREATE), new)
        different = [field.removesuffix("_id") for field, value in fields.items() if getattr(row, field) != value]
        changed = (*different, *settings)
        step = Step.CHANGE if changed else Step.UNCHANGED
        return _Planned(PlannedChange(kind, name, step, changed, getattr(row, "managed_by", "")), new, row.id)

    async def _owner_of(self, new: NewToken, document: Document, reach: Reach) -> "_Owner":
        """The token's principal as it will be: with the roles that the file gives it."""
        row: Principal | None = next(iter(await reach.only(await self._principals.rows.named(new.principal))), None)
        entry = next((item for item in document.principals if item.name == new.principal), None)
        source = entry or row
        if source is None:
            raise NotFound(f"there is no principal {new.principal!r}: declare it in the file, or make it first")
        return _Owner(new.principal, frozenset(item.role for item in source.roles), row.id if row else "")

    async def _token_of(self, new: NewToken, owner: "_Owner") -> Token | None:
        rows = [row for row in await self._tokens.rows.named(new.title) if row.principal_id == owner.id]
        if len(rows) > 1:
            ids = ", ".join(row.id for row in rows)
            raise Invalid("title", f"{owner.name!r} has several tokens of this title ({ids}); rename all but one")
        return rows[0] if rows else None

    # ------------------------------------------------------------------------------------------ carrying out

    async def _carry_out(self, planned: _Planned, acting: Acting, sources: Sources | None) -> AddedToken | None:
        new, step = planned.new, planned.line.step
        if step is Step.UNCHANGED:
            return None
        match new:
            case NewAuthority():
                if step is Step.CREATE:
                    await self._authorities.add(new, acting, sources=sources)
                else:
                    given = _given(new) if new.default else _given(new, "default")
                    await self._authorities.set(planned.id, AuthorityPatch(**given), acting, sources=sources)
            case NewManagedChallenge():
                if step is Step.CREATE:
                    await self._managed_challenges.add(new, acting, sources=sources)
                else:
                    patch = ManagedChallengePatch(**_given(new))
                    await self._managed_challenges.set(planned.id, patch, acting, sources=sources)
            case NewProfile():
                if step is Step.CREATE:
                    await self._profiles.add(new, acting)
                else:
                    await self._profiles.set(planned.id, ProfilePatch(**_given(new)), acting)
            case NewPrincipal():
                if step is Step.CREATE:
                    await self._principals.add(new, acting)
                else:
                    await self._principals.set(planned.id, PrincipalPatch(**_given(new)), acting)
            case NewToken():
                if step is Step.CREATE:
                    return await self._tokens.add(new, acting)
                await self._tokens.set(planned.id, TokenPatch(**_given(new, "principal")), acting)
        return None


def _of_another(planned: _Planned, owner: str) -> _Planned:
    """The line names another owner only."""
    line = planned.line
    same = line.managed_by == owner or line.step is not Step.CHANGE
    return replace(planned, line=replace(line, managed_by="")) if same else planned


def _refuse_others(plan: Sequence[_Planned], document: Document) -> None:
    """`InvalidFile` for what this file would change and another owner has set."""
    others = [item for item in plan if item.line.managed_by]
    if others:
        how = "apply it there, or take it over with --take-over; --dry-run lists what differs"
        raise InvalidFile(
            tuple(
                f"{document.place(item.line.kind, item.new)}: it is managed by {item.line.managed_by!r}: {how}"
                for item in others
            )
        )


def _named_by(error: ServiceError) -> str:
    """The field of an entry that names an object that is not there."""
    return "principal" if isinstance(error, NotFound) else ""


async def _named(rows: ResourceRows[Any], name: str, reach: Reach) -> Any:
    """The stored row of this name; `Taken` for one that is not reached, before anything is written."""
    found = next(iter(await rows.named(name)), None)
    if found is not None and not await reach.has(found):
        raise rows.taken(found)
    return found


def _given(new: New, *without: str) -> dict[str, Any]:
    return {name: value for name, value in msgspec.structs.asdict(new).items() if name not in without}


def _settings_diff(
    service: PluginResourceService[Any, Any],
    row: Authority | ManagedChallenge | None,
    new: NewAuthority | NewManagedChallenge,
    sources: Sources | None,
) -> Sequence[str]:
    """What differs of plugin and settings; for a new resource only checks them."""
    if row is None:
        service.read(new.plugin, new.settings, sources)
        return ()
    changed = service.changed(row, new.plugin, new.settings, sources)
    return ["plugin"] if row.plugin != new.plugin else [f"settings.{name}" for name in changed]
