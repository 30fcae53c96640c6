"""What an order would meet: rule, managed challenge, DNS, authority (`acmehub check`)."""

from collections.abc import Sequence

import msgspec

from acmehub.acme.orders.authority_choice import choose_authority, choose_profile
from acmehub.admin.access.errors import Invalid
from acmehub.admin.access.gate import Gate
from acmehub.admin.resources.principals import PrincipalService
from acmehub.admin.resources.tokens import TokenService
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
from acmehub.rules.permissions import Acting
from acmehub.rules.scopes import MatchIndex, decide, match_rule
from acmehub.runtime.plugin_objects import PLUGIN_UNUSABLE, PluginObjects
from acmehub.runtime.plugins import Registry
from acmehub.runtime.snapshot import Snapshot, Snapshots


class AuthorityCheck(msgspec.Struct, frozen=True, kw_only=True):
    """Which authority would take the order: `reason` is the policy's, `server` the CA's directory, `account` the hub's
    account there (empty: made on first use), `addresses` whether it issues for IP addresses, `error`
    why it would not take the order."""

    name: str = ""
    plugin: str = ""
    reason: str = ""
    signing: bool = False
    addresses: bool = False
    server: str = ""
    account: str = ""
    error: str = ""


class ProfileCheck(msgspec.Struct, frozen=True, kw_only=True):
    """The profile that the order would name, and what it asks for; `error` why the order would be refused."""

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
        """Whether an order could have the name."""
        dns_error = self.dns is not None and bool(self.dns.error)
        unseen = self.rehearsal is not None and not self.rehearsal.seen
        return not (self.refusal or dns_error or unseen or self.rehearsal_error)


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """What an order for the names would meet."""

    authority: AuthorityCheck
    names: tuple[NameCheck, ...]
    profile: ProfileCheck | None = None

    @property
    def good(self) -> bool:
        """Whether the hub would take an order for the names."""
        refused = self.profile is not None and bool(self.profile.error)
        return not refused and not self.authority.error and all(item.good for item in self.names)


class CheckService:
    """Answers what an order would meet; writes nothing but, with `live`, a TXT record that it removes again."""

    noun = "check"

    def __init__(
        self,
        store: Store,
        snapshots: Snapshots,
        registry: Registry,
        plugin_objects: PluginObjects,
        solver: Solver,
        principals: PrincipalService,
        tokens: TokenService,
        clock: Clock,
    ) -> None:
        self._snapshots = snapshots
        self._registry = registry
        self._principals = principals
        self._tokens = tokens
        self._plugin_objects = plugin_objects
        self._solver = solver
        self._clock = clock
        self._gate = Gate(store, clock)

    async def check(
        self,
        names: Sequence[str],
        acting: Acting,
        *,
        principal: str = "",
        token: str = "",
        profile: str = "",
        live: bool = False,
    ) -> Check:
        """What would happen to an order for `names`, of this principal or token (by name) and with this profile, where
        they are given.

        Raises `ServiceError`s for principal and token, `Problem` for names that no order can have, `Forbidden`.
        """
        action = "check.live" if live else "check"
        async with self._gate(acting, action, ", ".join(names)) as passage:
            identifiers = tuple(identifier_of(name) for name in names)
            check_identifiers(identifiers)
            requester = await self._requester(principal, token)
            request = OrderRequest(*requester, identifiers, profile or None)
            snapshot = await self._snapshots.current()
            profile_check, authority = await self._profile_and_authority(snapshot, request)
            index = (await snapshot.managed_challenges()).match_index
            needs_challenge = not authority.signing
            checked = []
            if live:
                await passage.note()
            for identifier in identifiers:
                found = _scoped(identifier, *requester, index, needs_challenge=needs_challenge)
                if identifier.type == "ip" and not authority.addresses and not authority.error:
                    found = (_unsupported(found[0], authority), None)
                checked.append(await self._name(*found, needs_challenge=needs_challenge, live=live))
            return Check(authority=authority, names=tuple(checked), profile=profile_check)

    async def _requester(self, principal: str, token: str) -> tuple[Principal, Token]:
        """Whose order it would be; without names, a principal that no rule narrows."""
        now = self._clock.now()
        role = Role.MANAGED_ACME_CONSUMER
        owner = Principal(name="anybody", type=PrincipalType.APPLICATION, roles=(RoleAssignment(role),), created=now)
        credential = Token(
            title="any", principal_id=owner.id, scope=(role,), secret_hash=b"", sealed_hmac_key=b"", created=now
        )
        if token:
            credential = await self._tokens.rows.find(token)
            owner = await self._principals.rows.find(credential.principal_id)
        if principal:
            named = await self._principals.rows.find(principal)
            if token and named.id != owner.id:
                raise Invalid("token", f"{token!r} is not one of principal {principal!r}")
            owner = named
        return owner, credential

    async def _profile_and_authority(
        self, snapshot: Snapshot, request: OrderRequest
    ) -> tuple[ProfileCheck | None, AuthorityCheck]:
        """The profile that is named, if any, and the authority that the order would go to."""
        if request.profile is None:
            return None, await self._authority(snapshot, request, None)
        try:
            profile = await choose_profile(snapshot, request)
        except Problem as refusal:
            return ProfileCheck(name=request.profile, error=refusal.detail), AuthorityCheck()
        assert profile is not None  # one was named
        fields = {name: getattr(profile, name) for name in ProfileCheck.__struct_fields__ if name != "error"}
        return ProfileCheck(**fields), await self._authority(snapshot, request, profile)

    async def _authority(self, snapshot: Snapshot, request: OrderRequest, profile: Profile | None) -> AuthorityCheck:
        try:
            selection = await choose_authority(self._registry, snapshot, request, profile)
        except Problem as refusal:
            return AuthorityCheck(error=refusal.detail)
        row = (await snapshot.authorities()).by_id.get(selection.authority_id)
        if row is None:
            return AuthorityCheck(error=f"the policy chose an authority that is gone ({selection.authority_id})")
        known = AuthorityCheck(name=row.name, plugin=row.plugin, reason=selection.reason, account=row.account_url)
        try:
            made = (await self._plugin_objects.authority(row.id, snapshot)).object
        except PLUGIN_UNUSABLE as error:
            return msgspec.structs.replace(known, error=str(error))
        flaw = None if row.enabled else "is disabled"
        if profile is not None and profile.lifetime_days is not None:
            flaw = flaw or lifetime_flaw(profile.lifetime_days, made)
        if flaw is None and (stored := self._plugin_objects.flaw(row)):
            flaw = f"cannot be used: {stored}"
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
