"""API tokens: made for a principal, limited, shown as EAB credentials, disabled, revoked."""

import secrets
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Annotated, Any

import msgspec
from msgspec import UNSET
from msgspec.structs import replace

from acmehub.admin.access.authentication import Authentication, hash_secret
from acmehub.admin.access.errors import Invalid, NotFound, Refused
from acmehub.admin.access.names import whole_id
from acmehub.admin.resources.fields import Patch, described, patch_of, view_of
from acmehub.admin.resources.service import ResourceService, checked_name
from acmehub.models import AuthorizationMode, Principal, Role, Token, TokenLimits, TokenState, new_id
from acmehub.models.addresses import parse_network
from acmehub.models.audit import Origin
from acmehub.ports.clock import Clock
from acmehub.ports.settings import Secret
from acmehub.ports.store import Resources, Store
from acmehub.rules.eab import TOKEN_MOVES, eab_text, may_use, new_hmac_key, token_state
from acmehub.rules.permissions import Acting, require_over
from acmehub.rules.scopes import parse_rule
from acmehub.rules.secret_directories import directory_hash, new_directory_key
from acmehub.runtime.plugins import Registry
from acmehub.runtime.vault import Vault

HMAC_PURPOSE = "token.hmac"
DIRECTORY_PURPOSE = "token.directory"
SECRET_BYTES = 32
INSTEAD = ": accounts and their orders are kept for the record; `acmehub token revoke` ends them"
_MOST_USES = 2**31 - 1  # what an INTEGER of PostgreSQL holds
_ACCOUNTS_AT_ONCE = 500


class NewToken(msgspec.Struct, frozen=True, kw_only=True):
    """A new token; `principal` by name or id, `names` a domain match rule, `networks` in CIDR notation.

    `limits` are its own instead of the hub's. With `secret_directory` it has a directory URL of its own, for clients
    without external account binding.
    """

    title: Annotated[str, described("Its title.", change="Rename it.")]
    principal: str
    scope: Annotated[
        tuple[Role, ...],
        described("What it is for  [default: managed_acme_consumer]", change="What it is for, instead of before."),
    ] = (Role.MANAGED_ACME_CONSUMER,)
    names: Annotated[
        str,
        described(
            "Domain match rule of the names it may have; networks, too.",
            change="Domain match rule of the names it may have; '' for all that its principal may.",
        ),
    ] = ""
    authorization: Annotated[AuthorizationMode, described("How authorizations turn valid.")] = AuthorizationMode.AUTO
    networks: Annotated[
        tuple[str, ...],
        described(
            "Accounts may be bound from here only.",
            change="The networks, instead of those before.",
            clear="Accounts may be bound from anywhere.",
            metavar="CIDR",
        ),
    ] = ()
    use_limit: Annotated[
        int | None, described("How many accounts it may bind.", clear="It may bind any number of accounts.")
    ] = None
    expires: Annotated[
        datetime | None,
        described("Until when it may bind accounts: 90d, 2027-01-31, …", clear="It may bind accounts at any time."),
    ] = None
    enabled: Annotated[bool, described("Refused until it is enabled.", change="Whether it may do anything.")] = True
    limits: TokenLimits = TokenLimits()
    secret_directory: Annotated[
        bool,
        described(
            "Make a directory URL for clients that cannot do EAB.",
            change="Make a directory URL for clients that cannot do EAB (the one before is over), or take it away.",
            switch=True,
        ),
    ] = False


TokenPatch = patch_of("TokenPatch", NewToken, without=("principal",), new_directory=bool)
"""`secret_directory` gives a token a directory URL unless it has one, or takes that away; with `new_directory` it gets
another one in any case, and the old one is over."""


class TokenView(NewToken, frozen=True, kw_only=True):
    """A token as operators see it; `id` is the client id and the EAB key id."""

    id: str
    version: int
    state: TokenState
    uses: int
    revoked: datetime | None
    created: datetime


class AddedToken(msgspec.Struct, frozen=True):
    """A new token with its API secret, which the hub does not store."""

    token: TokenView
    secret: Secret


class EabView(msgspec.Struct, frozen=True):
    """A token as EAB credentials: key id, and HMAC key in base64url without padding.

    `directory_key` is that of its secret directory URL, when it has one.
    """

    kid: str
    hmac_key: Secret
    directory_key: Secret | None = None
    title: str = ""
    expires: datetime | None = None


class EabViews(msgspec.Struct, frozen=True):
    """The tokens of a principal as EAB credentials; `left_out`: titles of those that bind no account now, and why."""

    shown: tuple[EabView, ...]
    left_out: dict[str, str]


class DirectoryView(msgspec.Struct, frozen=True):
    """The key of a token's secret directory URL (`/acme/<key>/directory`); None when it has none."""

    directory_key: Secret | None


class TokenService(ResourceService[Token, TokenView]):
    """Verbs raise `ServiceError`s; a token is named by its title, or by its id where titles are not unique."""

    noun = "token"
    label = "token"
    name_field = "title"

    def __init__(self, store: Store, vault: Vault, registry: Registry, clock: Clock) -> None:
        super().__init__(store, vault, registry, clock)
        self._authentication = Authentication(store, clock)

    async def authenticate(self, id: str, secret: str, origin: Origin) -> Acting:
        """Who acts with the API token of this client id and API secret, from `origin`; `Unauthenticated`."""
        return await self._authentication.of_token(id, secret, origin)

    async def add(self, new: NewToken, acting: Acting) -> AddedToken:
        """Add a token; its API secret is in the result and nowhere else."""
        async with self._gate(acting, "token.add", new.title) as passage:
            principal = await self._principal(new.principal)
            require_over(acting, self._roles(new.scope, principal), f"token {new.title!r}")
            values = checked_fields(msgspec.structs.asdict(new), principal.name, roles_of(principal))
            del values["principal"]
            id, secret = new_id(), secrets.token_urlsafe(SECRET_BYTES)
            values |= self._directory_of(id, values.pop("secret_directory"))
            item = Token(
                id=id,
                principal_id=principal.id,
                secret_hash=hash_secret(secret),
                sealed_hmac_key=self._vault.seal(HMAC_PURPOSE, id, new_hmac_key()),
                created=self._clock.now(),
                **values,
            )
            return AddedToken(self._view_of(await self.rows.insert(item, passage), principal), Secret(secret))

    async def list(self, acting: Acting, *, principal: str = "") -> Sequence[TokenView]:
        """All, or those of a principal (name or id), oldest first."""
        async with self._gate(acting, "token.list", principal):
            owner = await self._principal(principal) if principal else None
            owners = {item.id: item for item in await self._store.principals.list()}
            rows = await self.rows.list()
            return [
                self._view_of(item, owners[item.principal_id])
                for item in rows
                if owner is None or item.principal_id == owner.id
            ]

    async def set(self, ref: str, patch: Patch[NewToken], acting: Acting, *, version: int | None = None) -> TokenView:
        """Change limits, names, mode, title; disable and enable. Nothing changes a revoked token."""
        async with self._gate(acting, "token.set", ref) as passage:
            owner = await self._owner(await self.rows.find(ref))
            changes = patch.given()
            wanted, another = changes.pop("secret_directory", UNSET), changes.pop("new_directory", False)
            changes = checked_fields(changes, owner.name, roles_of(owner))

            def rule(item: Token) -> Token:
                require_over(acting, self._roles(item.scope, owner), self.rows.describe(item))
                changed = replace(item, **changes)
                if another or (wanted is not UNSET and wanted is not bool(item.directory_hash)):
                    changed = replace(changed, **self._directory_of(item.id, bool(another or wanted)))
                require_over(acting, self._roles(changed.scope, owner), self.rows.describe(item))
                if changed != item and self._is_final(item, owner):
                    raise self._revoked(item)
                return changed

            return self._view_of(await self.rows.change(ref, rule, passage, version), owner)

    async def revoke(self, ref: str, acting: Acting) -> TokenView:
        """End a token and its accounts for good; a second time changes nothing."""
        async with self._gate(acting, "token.revoke", ref) as passage:
            owner = await self._owner(await self.rows.find(ref))
            now = self._clock.now()

            def rule(item: Token) -> Token:
                require_over(acting, self._roles(item.scope, owner), self.rows.describe(item))
                return item if self._is_final(item, owner) else replace(item, revoked=now)

            return self._view_of(await self.rows.change(ref, rule, passage), owner)

    async def remove(self, ref: str, acting: Acting) -> None:
        """Remove one that has bound no account."""
        async with self._gate(acting, "token.remove", ref) as passage:
            item = await self.rows.find(ref)
            require_over(acting, self._roles(item.scope, await self._owner(item)), self.rows.describe(item))
            await self.rows.remove(ref, self._users_of, INSTEAD, passage)

    async def eab(self, ref: str, acting: Acting) -> EabView:
        """The token as EAB credentials; audited. `Refused` when it is not for ACME, or can bind nothing any more."""
        async with self._gate(acting, "token.eab", ref) as passage:
            item = await self.rows.find(ref, passage)
            owner = await self._owner(item)
            require_over(acting, self._roles(item.scope, owner), self.rows.describe(item))
            self._require_eab(item, owner)
            view = self._eab_view(item)
            await passage.note()
            return view

    async def eab_of(self, principal: str, acting: Acting) -> EabViews:
        """The tokens of a principal (name or id) that can bind an account now, as EAB credentials.

        The audit gets an entry for each, all of them before any secret is given out. `Refused` when there is none.
        """
        async with self._gate(acting, "token.eab_of", f"principal {principal}") as passage:
            owner = await self._principal(principal)
            now = self._clock.now()
            shown: list[Token] = []
            left_out: dict[str, str] = {}
            for item in await self.rows.list():
                if item.principal_id != owner.id:
                    continue
                require_over(acting, self._roles(item.scope, owner), self.rows.describe(item))
                state = token_state(item, owner, now)
                try:
                    self._require_eab(item, owner)
                except Refused as refusal:
                    left_out[item.title] = str(refusal)
                else:
                    if state is TokenState.ACTIVE:
                        shown.append(item)
                    else:
                        left_out[item.title] = f"it is {state.value.replace('_', ' ')}"
            if not shown:
                why = "; ".join(f"{title}: {reason}" for title, reason in left_out.items()) or "it has no token"
                raise Refused(f"principal {owner.name!r} has no token that can bind an account now: {why}")
            views = tuple(self._eab_view(item) for item in shown)
            entries = [passage.entry(f"of principal {owner.name}", object=item.id) for item in shown]
            await self._store.records.audit(entries)
            return EabViews(views, left_out)

    def _require_eab(self, item: Token, owner: Principal) -> None:
        """`Refused` for a token that is no EAB credential, with what to do."""
        role = Role.MANAGED_ACME_CONSUMER
        if role not in item.scope:
            hint = f"make one with --scope {role}"
            raise Refused(f"{self.rows.describe(item)} is not scoped to {role}, so it is no EAB credential: {hint}")
        if not may_use(item, owner, role):
            hint = f"`acmehub principal set {owner.name} --role {role}`"
            raise Refused(f"principal {owner.name!r} has not the role {role} (any more): {hint}")
        if item.revoked is not None:
            raise self._revoked(item)

    def _eab_view(self, item: Token) -> EabView:
        key = eab_text(self._vault.open(HMAC_PURPOSE, item.id, item.sealed_hmac_key))
        return EabView(item.id, Secret(key), self._directory_key(item), item.title, item.expires)

    async def directory(self, ref: str, acting: Acting) -> DirectoryView:
        """The key of a token's secret directory URL. Audited."""
        async with self._gate(acting, "token.directory", ref) as passage:
            item = await self.rows.find(ref, passage)
            require_over(acting, self._roles(item.scope, await self._owner(item)), self.rows.describe(item))
            await passage.note()
            return DirectoryView(self._directory_key(item))

    def _directory_key(self, item: Token) -> Secret | None:
        if not item.sealed_directory_key:
            return None
        return Secret(self._vault.open(DIRECTORY_PURPOSE, item.id, item.sealed_directory_key).decode())

    def _directory_of(self, id: str, wanted: bool) -> dict[str, Any]:
        """The fields of a token for a fresh secret directory, or for none."""
        if not wanted:
            return {"directory_hash": b"", "sealed_directory_key": b""}
        key = new_directory_key()
        sealed = self._vault.seal(DIRECTORY_PURPOSE, id, key.encode())
        return {"directory_hash": directory_hash(key), "sealed_directory_key": sealed}

    def _stored(self) -> Resources[Token]:
        return self._store.tokens

    async def _users_of(self, item: Token) -> Sequence[str]:
        found: list[str] = []
        after = ""
        while page := await self._store.accounts.list(after=after, limit=_ACCOUNTS_AT_ONCE):
            found += [f"ACME account {account.id}" for account in page if account.token_id == item.id]
            after = page[-1].id
        return found

    def _revoked(self, item: Token) -> Refused:
        return Refused(f"{self.rows.describe(item)} is revoked, for good: make a new one (`acmehub token add`)")

    def _is_final(self, item: Token, owner: Principal) -> bool:
        return not TOKEN_MOVES[token_state(item, owner, self._clock.now())]

    async def _principal(self, ref: str) -> Principal:
        named = await self._store.principals.named(ref)
        id = ref if named else await whole_id(self._store.principals, ref, "principal")
        found = named[0] if named else await self._store.principals.get(id)
        if found is None:
            raise NotFound(f"there is no principal {ref!r}; make it first (`acmehub principal add`)")
        return found

    async def _owner(self, item: Token) -> Principal:
        return await self._principal(item.principal_id)

    def _roles(self, scope: Sequence[Role], owner: Principal) -> frozenset[Role]:
        return frozenset(scope) | roles_of(owner)

    async def _view(self, item: Token) -> TokenView:
        return self._view_of(item, await self._owner(item))

    def _view_of(self, item: Token, owner: Principal) -> TokenView:
        state = token_state(item, owner, self._clock.now())
        directory = bool(item.directory_hash)
        return view_of(TokenView, item, principal=owner.name, state=state, secret_directory=directory)


def checked_fields(values: dict[str, Any], owner: str, roles: Iterable[Role]) -> dict[str, Any]:
    """The fields of a token that are given, each checked and in its stored form; `Invalid`.

    `owner` and `roles` are the name and the roles of its principal.
    """
    checked = dict(values)
    if "title" in checked:
        checked_name(checked["title"], "title")
    if "scope" in checked:
        checked["scope"] = _checked_scope(checked["scope"], owner, frozenset(roles))
    if checked.get("names"):
        checked["names"] = checked_rule(checked["names"], "names")
    if "networks" in checked:
        checked["networks"] = tuple(_checked_network(text) for text in checked["networks"])
    if checked.get("use_limit") is not None and not 1 <= checked["use_limit"] <= _MOST_USES:
        raise Invalid("use_limit", f"must be 1 to {_MOST_USES}; leave it out for no limit")
    if checked.get("expires") is not None and checked["expires"].tzinfo is None:
        raise Invalid("expires", "needs a time zone (2027-01-31T12:00:00Z)")
    return checked


def checked_rule(text: str, field: str) -> str:
    """A domain match rule in its stored form; `Invalid`."""
    try:
        return ", ".join(map(str, parse_rule(text)))
    except ValueError as error:
        raise Invalid(field, str(error)) from None


def roles_of(principal: Principal) -> frozenset[Role]:
    """The roles that a principal has, narrowed or not."""
    return frozenset(item.role for item in principal.roles)


def _checked_scope(scope: Sequence[Role], owner: str, roles: frozenset[Role]) -> tuple[Role, ...]:
    if not scope:
        raise Invalid("scope", "needs at least one role")
    for role in scope:
        if role not in roles:
            has = ", ".join(sorted(roles)) or "none"
            raise Invalid("scope", f"principal {owner!r} has not the role {role} (it has: {has})")
    return tuple(dict.fromkeys(scope))


def _checked_network(text: str) -> str:
    try:
        return str(parse_network(text.strip()))
    except ValueError as error:
        raise Invalid("networks", f"{error}; write 192.0.2.0/24 or 2001:db8::/32") from None
