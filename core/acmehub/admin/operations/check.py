"""What an order would meet: token, rule, managed challenge, DNS, authority (`acmehub check`)."""

from collections.abc import Sequence

import msgspec
from msgspec.structs import replace

from acmehub.acme.orders.authority_choice import choose_authority, choose_profile
from acmehub.admin.access.errors import Invalid
from acmehub.admin.access.gate import Gate
from acmehub.admin.access.reach import Reach
from acmehub.admin.operations.check_results import (
    AuthorityCheck,
    Check,
    NameCheck,
    ProfileCheck,
    TokenCheck,
)
from acmehub.admin.operations.queries import CheckRequest
from acmehub.admin.operations.requesters import Requester, anybody, refusal_of, warning_of
from acmehub.admin.resources.managed_challenges import ManagedChallengeService
from acmehub.admin.resources.principals import PrincipalService
from acmehub.admin.resources.tokens import TokenService
from acmehub.dns01 import DnsError, Solver
from acmehub.models import Authority, ManagedChallenge, Profile
from acmehub.models.identifiers import Identifier, identifier_of
from acmehub.models.problems import Problem
from acmehub.ports.authority import (
    AnswersProbe,
    RelayAuthority,
    SigningAuthority,
    UpstreamAccountLost,
    UpstreamError,
    issues_for_addresses,
    lifetime_flaw,
)
from acmehub.ports.clock import Clock
from acmehub.ports.dns import DnsProviderError
from acmehub.ports.plugins import OrderRequest
from acmehub.ports.store import Store
from acmehub.rules.names import check_identifiers
from acmehub.rules.pauses import pause_of
from acmehub.rules.permissions import Acting
from acmehub.rules.scopes import MatchIndex, decide, match_rule
from acmehub.runtime.plugin_objects import PLUGIN_UNUSABLE, PluginObjects
from acmehub.runtime.plugins import Registry
from acmehub.runtime.snapshot import Snapshot, Snapshots


class Evaluation(msgspec.Struct, frozen=True):
    """What the hub would say to an order of one requester, before it asks anybody else."""

    requester: Requester
    profile: ProfileCheck | None
    authority: AuthorityCheck
    row: Authority | None
    names: tuple[tuple[NameCheck, ManagedChallenge | None], ...]
    objection: str
    refusal: str

    @property
    def refused(self) -> Sequence[str]:
        """Why the names, and the order, are refused."""
        return [reason for reason in (self.refusal, *(name.refusal for name, _ in self.names)) if reason]


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
        managed_challenges: ManagedChallengeService,
        clock: Clock,
    ) -> None:
        self._store = store
        self._snapshots = snapshots
        self._registry = registry
        self._principals = principals
        self._tokens = tokens
        self._managed_challenges = managed_challenges
        self._plugin_objects = plugin_objects
        self._solver = solver
        self._clock = clock
        self._gate = Gate(store, clock)

    async def check(
        self,
        asked: CheckRequest,
        acting: Acting,
    ) -> Check:
        """What would happen to the order that is asked about; with `live` this is the action `check.live`.

        Raises `ServiceError`s for what is named and not there, `Problem` for names that no order can have, `Forbidden`.
        """
        principal, token, profile, live = asked.principal, asked.token, asked.profile, asked.live
        async with self._gate(acting, "check.live" if live else "check", ", ".join(asked.names)) as passage:
            identifiers = tuple(identifier_of(name) for name in asked.names)
            check_identifiers(identifiers)
            reach = passage.reach
            requesters = await self._requesters(principal, token, reach)
            instead = await self._managed_challenges.rows.find(asked.challenge, reach) if asked.challenge else None
            snapshot = await self._reached(reach)
            found = [await self._evaluate(snapshot, one, identifiers, profile, reach) for one in requesters]
            best = min(found, key=lambda one: len(one.refused))
            if live:
                await passage.note()
            checked: Sequence[NameCheck] = [await self._name(*item, best, instead, live=live) for item in best.names]
            if not (principal or token):
                checked = await self._with_principals(snapshot, checked, profile, reach)
            authority = await self._tried(best) if live and not best.authority.error else best.authority
            return Check(
                authority=authority,
                names=tuple(checked),
                profile=best.profile,
                tokens=self._token_checks(found, best) if principal or token else (),
                requester_error=best.refusal,
                objection=best.objection,
            )

    async def _reached(self, reach: Reach) -> Snapshot:
        """What is configured; with a role that tags narrow, without the managed challenges and profiles that it does
        not reach."""
        snapshot = await self._snapshots.current()
        if reach.everything:
            return snapshot
        challenges, profiles = await snapshot.managed_challenges(), await snapshot.profiles()
        return snapshot.narrowed(await reach.only(challenges.rows), await reach.only(profiles.rows))

    async def _requesters(self, principal: str, token: str, reach: Reach) -> Sequence[Requester]:
        """With whose tokens the order might be made; a principal that no rule narrows where none is named."""
        now = self._clock.now()
        if token:
            credential = await self._tokens.rows.find(token, reach)
            owner = await self._principals.rows.find(credential.principal_id, None)
            if principal and (await self._principals.rows.find(principal, reach)).id != owner.id:
                raise Invalid("token", f"{token!r} is not one of principal {principal!r}")
            return [Requester(owner, credential)]
        if not principal:
            return [anybody(now)]
        owner = await self._principals.rows.find(principal, reach)
        tokens = [item for item in await self._tokens.rows.list() if item.principal_id == owner.id]
        return [Requester(owner, item) for item in tokens] or [Requester(owner, anybody(now).token, stands_in=True)]

    def _token_checks(self, found: Sequence[Evaluation], best: Evaluation) -> tuple[TokenCheck, ...]:
        ordered = sorted(found, key=lambda one: (one is not best, len(one.refused)))
        return tuple(
            TokenCheck(
                title=one.requester.token.title,
                id=one.requester.token.id,
                principal=one.requester.principal.name,
                fits=not one.refused,
                why="; ".join(dict.fromkeys(one.refused)),
                warning=warning_of(one.requester, self._clock.now()),
            )
            for one in ordered
            if not one.requester.stands_in
        )

    async def _with_principals(
        self, snapshot: Snapshot, checked: Sequence[NameCheck], profile: str, reach: Reach
    ) -> Sequence[NameCheck]:
        """For each name, the principals that are reached one of whose tokens can have it."""
        owners = {item.id: item for item in await reach.only(await self._principals.rows.list())}
        tokens = [item for item in await self._tokens.rows.list() if item.principal_id in owners]
        everyone = [Requester(owners[item.principal_id], item) for item in tokens]
        result = []
        for item in checked:
            could: list[str] = []
            for one in everyone:
                if one.principal.name in could:
                    continue
                evaluation = await self._evaluate(snapshot, one, (identifier_of(item.name),), profile, reach)
                refused_profile = evaluation.profile is not None and evaluation.profile.error
                if not (evaluation.refused or evaluation.objection or refused_profile):
                    could.append(one.principal.name)
            result.append(replace(item, principals=tuple(could)))
        return result

    async def _evaluate(
        self,
        snapshot: Snapshot,
        requester: Requester,
        identifiers: tuple[Identifier, ...],
        profile: str,
        reach: Reach,
    ) -> Evaluation:
        request = OrderRequest(requester.principal, requester.token, identifiers, profile or None)
        profile_check, authority, row = await self._profile_and_authority(snapshot, request)
        if row is not None and not await reach.has(row):
            authority, row = _nameless(authority), None
        challenges = await snapshot.managed_challenges()
        needs_challenge = not authority.signing
        names = []
        for identifier in identifiers:
            found = _scoped(identifier, requester, challenges.match_index, needs_challenge=needs_challenge)
            if found[0].refusal and (disabled := _disabled(challenges.rows, identifier.value)):
                hint = f"{found[0].refusal} (managed challenge {disabled!r} covers it, and is disabled)"
                found = (replace(found[0], refusal=hint), None)
            if identifier.type == "ip" and not authority.addresses and not authority.error:
                found = (_unsupported(found[0], authority), None)
            names.append(found)
        objection: Problem | None = self._registry.hook.authorize_order(request=request)
        return Evaluation(
            requester,
            profile_check,
            authority,
            row,
            tuple(names),
            objection.detail if objection is not None else "",
            refusal_of(requester, len(identifiers), self._clock.now()),
        )

    async def _profile_and_authority(
        self, snapshot: Snapshot, request: OrderRequest
    ) -> tuple[ProfileCheck | None, AuthorityCheck, Authority | None]:
        """The profile that is named, if any, and the authority that the order would go to."""
        if request.profile is None:
            return None, *await self._authority(snapshot, request, None)
        try:
            profile = await choose_profile(snapshot, request)
        except Problem as refusal:
            return ProfileCheck(name=request.profile, error=refusal.detail), AuthorityCheck(), None
        assert profile is not None  # one was named
        fields = {name: getattr(profile, name) for name in ProfileCheck.__struct_fields__ if name != "error"}
        return ProfileCheck(**fields), *await self._authority(snapshot, request, profile)

    async def _authority(
        self, snapshot: Snapshot, request: OrderRequest, profile: Profile | None
    ) -> tuple[AuthorityCheck, Authority | None]:
        try:
            selection = await choose_authority(self._registry, snapshot, request, profile)
        except Problem as refusal:
            return AuthorityCheck(error=refusal.detail), None
        row = (await snapshot.authorities()).by_id.get(selection.authority_id)
        if row is None:
            return AuthorityCheck(error=f"the policy chose an authority that is gone ({selection.authority_id})"), None
        known = AuthorityCheck(name=row.name, plugin=row.plugin, reason=selection.reason, account=row.account_url)
        try:
            made = (await self._plugin_objects.authority(row.id, snapshot)).object
        except PLUGIN_UNUSABLE as error:
            return replace(known, error=str(error)), row
        flaw = None if row.enabled else "is disabled"
        if profile is not None and profile.lifetime_days is not None:
            flaw = flaw or lifetime_flaw(profile.lifetime_days, made)
        if flaw is None and (stored := self._plugin_objects.flaw(row)):
            flaw = f"cannot be used: {stored}"
        if flaw is None and (pause := pause_of(row.pauses, request.identifiers)):
            flaw = f"has paused orders like this one (`acmehub authority clear-pause {row.name}`): {pause.detail}"
        server = made.server if isinstance(made, RelayAuthority) else ""
        found = replace(
            known,
            server=server,
            signing=isinstance(made, SigningAuthority),
            addresses=issues_for_addresses(made),
            error=f"{row.name} {flaw}" if flaw is not None else "",
        )
        return found, row

    async def _tried(self, best: Evaluation) -> AuthorityCheck:
        """The authority, tried without an order."""
        check, row = best.authority, best.row
        if check.signing or row is None:
            return replace(check, live="nothing was tried: it signs by itself")
        made = (await self._plugin_objects.authority(row.id)).object
        if not isinstance(made, AnswersProbe):
            return replace(check, live=f"nothing was tried: {row.plugin} cannot be tried without an order")
        account = self._plugin_objects.stored_account(row)
        try:
            try:
                return replace(check, live=await made.probe(account))
            except UpstreamAccountLost as lost:
                seen = await made.probe(None)
                return replace(check, live=f"{seen}; the hub's account is lost ({lost.detail}), it registers another")
        except UpstreamError as error:
            return replace(check, error=f"{error.server or check.server}: {error.detail}")

    async def _name(
        self,
        check: NameCheck,
        challenge: ManagedChallenge | None,
        best: Evaluation,
        asked: ManagedChallenge | None,
        *,
        live: bool,
    ) -> NameCheck:
        """What DNS says; with `asked`, of this managed challenge, also where the authority asks for none."""
        if asked is not None:
            check, challenge = _with(check, asked)
        if challenge is None or (best.authority.signing and asked is None):
            return check
        try:
            await self._plugin_objects.provider(challenge.id)
        except PLUGIN_UNUSABLE as error:
            return replace(check, refusal=f"managed challenge {challenge.name!r} cannot be used: {error}")
        check = replace(check, dns=await self._solver.explain(check.name, challenge))
        if not live:
            return check
        try:
            return replace(check, rehearsal=await self._solver.rehearse(challenge.id, check.name))
        except (DnsError, DnsProviderError, *PLUGIN_UNUSABLE) as error:
            return replace(check, rehearsal_error=str(error))


def _unsupported(check: NameCheck, authority: AuthorityCheck) -> NameCheck:
    which = f"authority {authority.name!r}" if authority.name else "the authority"
    return replace(check, refusal=f"{which} does not issue for IP addresses")


def _nameless(check: AuthorityCheck) -> AuthorityCheck:
    """The check of an authority that the actor does not reach: whether it would take the order, and nothing of it."""
    error = "the authority of such orders takes none at present" if check.error else ""
    return AuthorityCheck(signing=check.signing, addresses=check.addresses, error=error)


def _disabled(rows: Sequence[ManagedChallenge], name: str) -> str:
    """The name of a disabled managed challenge that covers a name."""
    return next((row.name for row in rows if not row.enabled and match_rule(row.match).matches(name)), "")


def _with(check: NameCheck, asked: ManagedChallenge) -> tuple[NameCheck, ManagedChallenge | None]:
    """The check with the managed challenge that was asked for."""
    check = replace(check, managed_challenge=asked.name, plugin=asked.plugin, rule="", others=())
    if not asked.enabled:
        return replace(check, refusal=f"managed challenge {asked.name!r} is disabled"), None
    if not match_rule(asked.match).matches(check.name):
        return replace(check, refusal=f"managed challenge {asked.name!r} does not cover it ({asked.match})"), None
    return replace(check, rule=_rule(asked, check.name)), asked


def _rule(challenge: ManagedChallenge, name: str) -> str:
    """The most specific part of a match rule that covers a name."""
    matching = [pattern for pattern in match_rule(challenge.match).patterns if match_rule(str(pattern)).matches(name)]
    return str(max(matching, key=lambda pattern: pattern.rank))


def _scoped(
    identifier: Identifier, requester: Requester, index: MatchIndex, *, needs_challenge: bool
) -> tuple[NameCheck, ManagedChallenge | None]:
    name = identifier.value
    try:
        scope = decide((identifier,), requester.token, requester.principal, index, needs_challenge=needs_challenge)
    except Problem as refusal:
        return NameCheck(name=name, refusal=refusal.detail), None
    challenge = scope.challenge_of(name)
    if challenge is None:
        return NameCheck(name=name), None
    others = tuple(dict.fromkeys(item.name for item in index.matching(name) if item.id != challenge.id))
    check = NameCheck(name=name, managed_challenge=challenge.name, plugin=challenge.plugin, others=others)
    return replace(check, rule=_rule(challenge, name)), challenge
