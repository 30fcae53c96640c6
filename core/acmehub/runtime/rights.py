"""Reads what `rules/rights.py` judges: for a request as it is stored now, for a step of issuance as read lately."""

from collections.abc import Sequence

from msgspec.structs import replace

from acmehub.models import Actor, Authority, Certificate, Order
from acmehub.models.identifiers import Identifier, is_address
from acmehub.models.problems import Problem, ProblemType
from acmehub.ports.clock import Clock
from acmehub.ports.store import Store
from acmehub.rules.rights import Claim, require_names, taken
from acmehub.rules.scopes import MatchIndex, Scope
from acmehub.runtime.lru import Lru
from acmehub.runtime.plugin_objects import PLUGIN_UNUSABLE, PluginObjects
from acmehub.runtime.snapshot import Snapshot, Snapshots

FRESH = 0.25
"""Seconds: how old what a step of issuance judges by may be."""

_MOST_ACTORS = 4096
_MOST_GRANTED = 4096
_NO_CHALLENGES = MatchIndex(())


class Rights:
    """Who may have which names now; one per process."""

    def __init__(self, store: Store, snapshots: Snapshots, plugin_objects: PluginObjects, clock: Clock) -> None:
        self._store = store
        self._snapshots = snapshots
        self._plugin_objects = plugin_objects
        self._clock = clock
        self._actors: Lru[str, tuple[float, Actor]] = Lru(_MOST_ACTORS)
        self._signing: dict[str, tuple[Authority | None, bool]] = {}
        self._granted: Lru[tuple[str, Claim], tuple[Actor, MatchIndex, Scope]] = Lru(_MOST_GRANTED)

    async def require_new(self, actor: Actor, claim: Claim, snapshot: Snapshot) -> None:
        """Raise the problem of newOrder unless the actor may have what it claims, by this snapshot."""
        profiles = (await snapshot.profiles()).enabled if claim.profile is not None else {}
        index = await self._index(actor, claim, snapshot)
        self._grant(actor, claim, index, require_names(actor, claim, index, profiles, self._clock.now()))

    async def require_order(self, actor: Actor, order: Order, snapshot: Snapshot | None = None) -> None:
        """Raise `RightTaken` unless the actor may have the order's names and profile, as stored now; `snapshot` is the
        configuration now, where the caller has it."""
        snapshot = snapshot or await self._snapshots.current()
        await self._still(actor, await self._claim_of(order, snapshot), snapshot)

    async def require_authorizations(self, actor: Actor, held: Sequence[tuple[Order, Identifier]]) -> None:
        """The same for single names (`*.` for a wildcard), each with the order that its authorization is of."""
        snapshot = await self._snapshots.current()
        for order, identifier in held:
            claim = await self._claim_of(order, snapshot)
            await self._still(actor, replace(claim, identifiers=(identifier,)), snapshot)

    async def require_certificate(
        self, actor: Actor, certificate: Certificate, snapshot: Snapshot | None = None
    ) -> None:
        """The same for the names of a certificate and the profile that it was ordered with."""
        snapshot = snapshot or await self._snapshots.current()
        identifiers = tuple(Identifier("ip" if is_address(name) else "dns", name) for name in certificate.names)
        needs_challenge = await self._needs_challenge(
            certificate.authority_id, snapshot, otherwise=bool(certificate.account_url)
        )
        await self._still(actor, Claim(identifiers, certificate.profile, needs_challenge), snapshot)

    async def require_step(self, order: Order) -> Scope:
        """The scope of an order for its next step, judged by what was read at most `FRESH` seconds ago.

        Raises `RightTaken`.
        """
        actor = await self._recent_actor(order.account_id)
        snapshot = await self._snapshots.recent(FRESH)
        return await self._still(actor, await self._claim_of(order, snapshot), snapshot)

    def note_actor(self, actor: Actor, read_at: float) -> None:
        """An account with its token and principal, as they were stored at `read_at` (monotonic)."""
        self._actors.put(actor.account.id, (read_at, actor))

    async def _recent_actor(self, account_id: str) -> Actor:
        """An account with its token and principal as they were stored at most `FRESH` seconds ago."""
        now = self._clock.monotonic()
        kept = self._actors.get(account_id)
        if kept is not None and now - kept[0] <= FRESH:
            return kept[1]
        actor = await self._store.accounts.actor(account_id)
        if actor is None:
            raise taken(Problem(ProblemType.UNAUTHORIZED, "there is no such account"))
        self.note_actor(actor, now)
        return actor

    async def _still(self, actor: Actor, claim: Claim, snapshot: Snapshot) -> Scope:
        index = await self._index(actor, claim, snapshot)
        granted = self._granted.get((actor.account.id, claim))
        if granted is not None and granted[0] is actor and granted[1] is index:
            return granted[2]  # nothing that is judged has changed since: these objects would be others
        try:
            scope = require_names(actor, claim, index, None, self._clock.now())
        except Problem as refusal:
            raise taken(refusal) from refusal
        self._grant(actor, claim, index, scope)
        return scope

    def _grant(self, actor: Actor, claim: Claim, index: MatchIndex, scope: Scope) -> None:
        self._granted.put((actor.account.id, claim), (actor, index, scope))

    async def _index(self, actor: Actor, claim: Claim, snapshot: Snapshot) -> MatchIndex:
        """The managed challenges; none are looked for where the names of the token decide alone."""
        if actor.token.names and not claim.needs_challenge:
            return _NO_CHALLENGES
        return (await snapshot.managed_challenges()).match_index

    async def _claim_of(self, order: Order, snapshot: Snapshot) -> Claim:
        """What an order claims. While its authority cannot be used, as if that asked for no challenge: nothing is
        issued then, and the step that can use it judges again."""
        needs_challenge = await self._needs_challenge(order.authority_id, snapshot, otherwise=False)
        return Claim(order.identifiers, order.client_profile, needs_challenge)

    async def _needs_challenge(self, authority_id: str, snapshot: Snapshot, *, otherwise: bool) -> bool:
        row = (await snapshot.authorities()).by_id.get(authority_id)
        kept = self._signing.get(authority_id)
        if kept is not None and kept[0] is row:
            return not kept[1]
        try:
            signing = (await self._plugin_objects.authority(authority_id, snapshot)).signing
        except PLUGIN_UNUSABLE:
            return otherwise
        self._signing[authority_id] = (row, signing)
        return not signing
