"""What would happen to an order, told beforehand: rule, managed challenge, DNS, authority (`acmehub check`)."""

from collections.abc import Sequence

import msgspec

from acmehub.acme.orders.service import OrderService
from acmehub.admin.errors import Invalid
from acmehub.admin.principals import PrincipalService
from acmehub.admin.tokens import TokenService
from acmehub.dns01 import DnsError, Explanation, Rehearsal, Solver
from acmehub.models import (
    ManagedChallenge,
    Principal,
    PrincipalType,
    Profile,
    Role,
    RoleAssignment,
    Token,
)
from acmehub.models.identifiers import Identifier, identifier_of
from acmehub.models.problems import Problem
from acmehub.ports.authority import RelayAuthority, SigningAuthority, issues_for_addresses, lifetime_flaw
from acmehub.ports.clock import Clock
from acmehub.ports.dns import DnsProviderError
from acmehub.ports.plugins import OrderRequest
from acmehub.ports.store import Store
from acmehub.rules.names import check_identifiers
from acmehub.rules.scopes import MatchIndex, decide, match_rule
from acmehub.runtime.plugin_objects import PLUGIN_UNUSABLE, PluginObjects


class AuthorityCheck(msgspec.Struct, frozen=True, kw_only=True):
    """Which authority would take the order: `reason` is the policy's, `server` the CA's directory, `account` the hub's
    account there (empty: made on first use), `addresses` whether it issues for them, `error` what stands against it."""

    name: str = ""
    plugin: str = ""
    reason: str = ""
    signing: bool = False
    addresses: bool = False
    server: str = ""
    account: str = ""
    error: str = ""


class ProfileCheck(msgspec.Struct, frozen=True, kw_only=True):
    """The profile that the order would name, and what it asks for; `error` what stands against it."""

    name: str
    description: str = ""
    upstream_profile: str | None = None
    key_types: tuple[str, ...] = ()
    lifetime_days: int | None = None
    error: str = ""


class NameCheck(msgspec.Struct, frozen=True, kw_only=True):
    """One name: `rule` is the part of the managed challenge's match rule that covers it, `refusal` why the order would
    be refused, `dns` what DNS says (None when no record is needed), `rehearsal` what `--live` saw."""

    name: str
    managed_challenge: str = ""
    plugin: str = ""
    rule: str = ""
    refusal: str = ""
    dns: Explanation | None = None
    rehearsal: Rehearsal | None = None
    rehearsal_error: str = ""

    @property
    def good(self) -> bool:
        """Whether nothing stands against the name."""
        dns_error = self.dns is not None and bool(self.dns.error)
        unseen = self.rehearsal is not None and not self.rehearsal.seen
        return not (self.refusal or dns_error or unseen or self.rehearsal_error)


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """The whole answer."""

    authority: AuthorityCheck
    names: tuple[NameCheck, ...]
    profile: ProfileCheck | None = None

    @property
    def good(self) -> bool:
        """Whether an order for the names would begin well."""
        refused = self.profile is not None and bool(self.profile.error)
        return not refused and not self.authority.error and all(item.good for item in self.names)


class CheckService:
    """PollCounts and tells; writes nothing but, with `live`, a TXT record that it removes again."""

    def __init__(
        self,
        store: Store,
        plugin_objects: PluginObjects,
        solver: Solver,
        ordering: OrderService,
        principals: PrincipalService,
        tokens: TokenService,
        clock: Clock,
    ) -> None:
        self._store = store
        self._principals = principals
        self._tokens = tokens
        self._plugin_objects = plugin_objects
        self._solver = solver
        self._ordering = ordering
        self._clock = clock

    async def check(
        self, names: Sequence[str], *, principal: str = "", token: str = "", profile: str = "", live: bool = False
    ) -> Check:
        """What would happen to an order for `names`, of this principal or token (by name) and with this profile, where
        they are given.

        Raises `ServiceError`s for principal and token, `Problem` for names that no order can have.
        """
        identifiers = tuple(identifier_of(name) for name in names)
        check_identifiers(identifiers)
        asked_by = await self._asker(principal, token)
        request = OrderRequest(*asked_by, identifiers, profile or None)
        told, authority = await self._way(request)
        index = MatchIndex(await self._store.managed_challenges.list())
        needs_challenge = not authority.signing
        checked = []
        for identifier in identifiers:
            found = _scoped(identifier, *asked_by, index, needs_challenge=needs_challenge)
            if identifier.type == "ip" and not authority.addresses and not authority.error:
                found = (_unsupported(found[0], authority), None)
            checked.append(await self._name(*found, needs_challenge=needs_challenge, live=live))
        return Check(authority=authority, names=tuple(checked), profile=told)

    async def _asker(self, principal: str, token: str) -> tuple[Principal, Token]:
        """Whose order it would be; without a name somebody to whom everything is open."""
        now = self._clock.now()
        role = Role.MANAGED_ACME_CONSUMER
        who = Principal(name="anybody", type=PrincipalType.APPLICATION, roles=(RoleAssignment(role),), created=now)
        what = Token(title="any", principal_id=who.id, scope=(role,), secret_hash=b"", sealed_hmac_key=b"", created=now)
        if token:
            what = await self._tokens.find(token)
            who = await self._principals.find(what.principal_id)
        if principal:
            named = await self._principals.find(principal)
            if token and named.id != who.id:
                raise Invalid("token", f"{token!r} is not one of principal {principal!r}")
            who = named
        return who, what

    async def _way(self, request: OrderRequest) -> tuple[ProfileCheck | None, AuthorityCheck]:
        """The profile that is named, if any, and the authority that the order would go to."""
        if request.profile is None:
            return None, await self._authority(request, None)
        try:
            profile = await self._ordering.profiles.chosen(request.profile, request.principal)
        except Problem as refusal:
            return ProfileCheck(name=request.profile, error=refusal.detail), AuthorityCheck()
        assert profile is not None  # one was named
        fields = {name: getattr(profile, name) for name in ProfileCheck.__struct_fields__ if name != "error"}
        return ProfileCheck(**fields), await self._authority(request, profile)

    async def _authority(self, request: OrderRequest, profile: Profile | None) -> AuthorityCheck:
        try:
            selection = await self._ordering.select(request, profile)
        except Problem as refusal:
            return AuthorityCheck(error=refusal.detail)
        row = await self._store.authorities.get(selection.authority_id)
        if row is None:
            return AuthorityCheck(error=f"the policy chose an authority that is gone ({selection.authority_id})")
        known = AuthorityCheck(name=row.name, plugin=row.plugin, reason=selection.reason, account=row.account_url)
        try:
            made = (await self._plugin_objects.authority(row.id)).object
        except PLUGIN_UNUSABLE as error:
            return msgspec.structs.replace(known, error=str(error))
        flaw = None if row.enabled else "is disabled"
        if profile is not None and profile.lifetime_days is not None:
            flaw = flaw or lifetime_flaw(profile.lifetime_days, made)
        if flaw is not None:
            return msgspec.structs.replace(known, error=f"{row.name} {flaw}")
        server = made.server if isinstance(made, RelayAuthority) else ""
        return msgspec.structs.replace(
            known,
            server=server,
            signing=isinstance(made, SigningAuthority),
            addresses=issues_for_addresses(made),
        )

    async def _name(
        self, check: NameCheck, challenge: ManagedChallenge | None, *, needs_challenge: bool, live: bool
    ) -> NameCheck:
        if challenge is None or not needs_challenge:
            return check
        check = msgspec.structs.replace(check, dns=await self._solver.explain(check.name))
        if not live:
            return check
        try:
            rehearsal = await self._solver.rehearse(challenge.id, check.name)
        except (DnsError, DnsProviderError, *PLUGIN_UNUSABLE) as error:
            return msgspec.structs.replace(check, rehearsal_error=str(error))
        return msgspec.structs.replace(check, rehearsal=rehearsal)


def _unsupported(check: NameCheck, authority: AuthorityCheck) -> NameCheck:
    return msgspec.structs.replace(check, refusal=f"authority {authority.name!r} does not issue for IP addresses")


def _scoped(
    identifier: Identifier, principal: Principal, token: Token, index: MatchIndex, *, needs_challenge: bool
) -> tuple[NameCheck, ManagedChallenge | None]:
    name = identifier.value
    try:
        scope = decide((identifier,), token, principal, index, needs_challenge=needs_challenge)
    except Problem as refusal:
        return NameCheck(name=name, refusal=refusal.detail), None
    challenge = scope.challenge_of(name)
    if challenge is None:
        return NameCheck(name=name), None
    matching = [pattern for pattern in match_rule(challenge.match).patterns if match_rule(str(pattern)).matches(name)]
    rule = max(matching, key=lambda pattern: pattern.rank)
    return NameCheck(name=name, managed_challenge=challenge.name, plugin=challenge.plugin, rule=str(rule)), challenge
