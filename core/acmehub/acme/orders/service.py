"""What a client may do with orders and their authorizations, from newOrder to the certificate (RFC 8555 section 7.4).

Every verb takes the `Actor` who asks. An object that is not there and one of another account are answered alike.
"""

import logging
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Protocol

import msgspec
from msgspec.structs import replace

from acmehub.acme.orders.address_support import require_address_support
from acmehub.acme.orders.authorization_reuse import forget, recall
from acmehub.acme.orders.learning import LearningService
from acmehub.acme.orders.order_reuse import OrderReuse, hand_out_again
from acmehub.acme.orders.preauthorization import earlier, hidden
from acmehub.acme.orders.profiles import ClientProfiles, last_moment
from acmehub.acme.orders.replacement import replacement_of
from acmehub.acme.orders.requested_dates import check_dates
from acmehub.models import (
    Actor,
    Authority,
    Authorization,
    AuthorizationMode,
    Certificate,
    ChallengeType,
    Event,
    EventKind,
    ManagedChallenge,
    Order,
    Profile,
)
from acmehub.models.problems import Problem, ProblemType, not_found
from acmehub.models.wire import NewOrder
from acmehub.ports.authority import CertificateAuthority, SigningAuthority
from acmehub.ports.clock import Clock
from acmehub.ports.plugins import Candidate, OrderRequest, Selection
from acmehub.ports.store import Missing, Store
from acmehub.rules.authorization_modes import settle_mode
from acmehub.rules.csr import CheckedCsr, check_csr
from acmehub.rules.names import check_identifiers
from acmehub.rules.orders import UPSTREAM_VALIDATED, Change, Lease, Lifetimes, OrderBundle, open_order
from acmehub.rules.orders import answer as answer_rule
from acmehub.rules.orders import approve as approve_rule
from acmehub.rules.orders import deactivate as deactivate_rule
from acmehub.rules.orders import finalize as finalize_rule
from acmehub.rules.scopes import MatchIndex, decide
from acmehub.runtime.announcements import announce
from acmehub.runtime.plugin_objects import PLUGIN_UNUSABLE, AuthorityObject, PluginObjects
from acmehub.runtime.plugins import Registry

_log = logging.getLogger(__name__)
_RETRY_AFTER = 60


class Fulfiller(Protocol):
    """The part of fulfilment in this process that goes on with an order at once."""

    def lease(self) -> Lease:
        """A lease for an order that is to be claimed in the write that makes it due."""
        ...

    def adopt(self, bundle: OrderBundle, csr: CheckedCsr | None = None) -> None:
        """Go on with an order that was claimed with such a lease; `csr` is its CSR, which has just been checked."""
        ...


class OrderService:
    """Orders as clients see them; `fulfilment` is None in a process that does not work on orders itself."""

    def __init__(
        self,
        store: Store,
        registry: Registry,
        plugin_objects: PluginObjects,
        worker: Fulfiller | None,
        clock: Clock,
        lifetimes: Lifetimes,
        repeats: OrderReuse,
        learning: LearningService,
    ) -> None:
        self._store = store
        self._registry = registry
        self._plugin_objects = plugin_objects
        self._worker = worker
        self._clock = clock
        self._lifetimes = lifetimes
        self._repeats = repeats
        self._learning = learning
        self.profiles = ClientProfiles(store)
        self._authorities: tuple[Sequence[Authority], tuple[Candidate, ...]] = ((), ())
        self._signing: dict[type, bool] = {}
        self._index: tuple[Sequence[ManagedChallenge], MatchIndex] = ((), MatchIndex(()))

    async def open(
        self, actor: Actor, asked: NewOrder, user_agent: str = "", *, preauthorization: bool = False
    ) -> OrderBundle:
        """A new order, stored and ready to be worked on; every refusal is a Problem (RFC 8555 section 7.4).

        `user_agent` tells what suits the client where its token leaves the mode to us. With `preauthorization` the
        order is hidden, and only there for its authorization (section 7.4.1).
        """
        check_identifiers(asked.identifiers)
        profile = await self.profiles.chosen(asked.profile, actor.principal)
        request = OrderRequest(actor.principal, actor.token, asked.identifiers, asked.profile)
        selection = await self.select(request, profile)
        authority = await self._authority(selection.authority_id)
        require_address_support(asked.identifiers, authority)
        signing = self._signs(authority.object)
        narrowed = signing and bool(actor.token.names)  # then no managed challenge is looked for
        index = self._index[1] if narrowed else await self._match_index()
        decide(asked.identifiers, actor.token, actor.principal, index, needs_challenge=not signing)
        objection = self._registry.hook.authorize_order(request=request)
        if objection is not None:
            raise objection
        now = self._clock.now()
        asked_mode = actor.token.authorization
        lesson = await self._learning.lesson(actor, asked.identifiers, user_agent, signing=signing)
        not_before = _moment("notBefore", asked.not_before, signing)
        not_after = _moment("notAfter", asked.not_after, signing)
        check_dates(not_before, not_after, authority.object, now)
        replacement = await replacement_of(self._store, actor, asked)
        bundle = open_order(
            actor,
            asked.identifiers,
            mode=settle_mode(asked_mode, user_agent, signing=signing, learned=lesson.mode),
            authority_id=authority.row.id,
            signing=signing,
            now=now,
            lifetimes=self._lifetimes,
            profile=selection.profile,
            not_before=not_before,
            not_after=last_moment(profile, authority.object, not_before, not_after, now),
            replaces=replacement.cert_id,
            client_profile=asked.profile,
        )
        bundle, proven = await recall(self._store, bundle, self._lifetimes, now)
        if preauthorization:
            bundle = hidden(bundle)
            joined = await earlier(self._store, bundle, now)
        else:
            joined = await self._repeats.open_like(bundle, asked_mode, now)
        if joined is not None:
            return joined
        order = bundle.order
        settled = f"{order.mode.value}: {lesson.why}" if lesson.why else order.mode.value
        opened = EventKind.PREAUTHORIZATION_OPENED if preauthorization else EventKind.ORDER_OPENED
        event = Event(order_id=order.id, at=now, kind=opened, detail=f"{selection.reason}; {settled}")
        await self._store.orders.add(bundle, (event, *proven, *replacement.events(order)))
        return bundle

    async def order(self, actor: Actor, order_id: str) -> OrderBundle:
        """An order of the actor's."""
        bundle = await self._store.orders.get(order_id)
        if bundle is None or bundle.order.account_id != actor.account.id:
            raise not_found()
        return bundle

    async def client_order(self, actor: Actor, order_id: str) -> OrderBundle:
        """An order of the actor's that it may see as one: not the hidden one of a pre-authorization."""
        bundle = await self.order(actor, order_id)
        if bundle.order.preauthorization:
            raise not_found()
        return bundle

    async def authorization(self, actor: Actor, authorization_id: str) -> Authorization:
        """An authorization of the actor's."""
        item = await self._store.orders.authorization(authorization_id)
        if item is None or item.account_id != actor.account.id:
            raise not_found()
        return item

    async def certificate(self, actor: Actor, certificate_id: str) -> Certificate:
        """A certificate of the actor's."""
        item = await self._store.certificates.get(certificate_id)
        if item is None or item.account_id != actor.account.id:
            raise not_found()
        return item

    async def finalize(self, actor: Actor, order_id: str, csr: bytes) -> OrderBundle:
        """Take the client's CSR (DER); the same one again changes nothing (docs/client-rules.md rules 4, 5).

        Where the order only waited for it, this process claims the order in the same write and goes on at once. A CSR
        that the account got a certificate for lately gets that one again.
        """
        before = (await self.client_order(actor, order_id)).order
        checked = check_csr(csr, before.identifiers, actor.account.jwk)
        if before.csr is None:
            await self.profiles.check_key(before, checked.public_key)
        now = self._clock.now()
        issued = await self._repeats.issued_for(before, csr, now)
        if issued is not None:
            return await self._hand_out_again(before, csr, issued, now)
        lease = self._worker.lease() if self._worker is not None else None
        bundle = await self._apply(order_id, lambda stored: finalize_rule(stored, csr, now, lease))
        if self._worker is not None and lease is not None and _claimed(before, bundle.order, lease):
            self._worker.adopt(bundle, checked)
        return bundle

    async def _hand_out_again(self, before: Order, csr: bytes, issued: Certificate, now: datetime) -> OrderBundle:
        bundle = await self._apply(before.id, lambda stored: hand_out_again(stored, csr, issued, now))
        if bundle.order.certificate_id == issued.id:
            await announce(self._store, self._registry, bundle.order, now)
        return bundle

    async def answer(self, actor: Actor, authorization: Authorization, challenge: ChallengeType) -> OrderBundle:
        """The client says that a challenge can be checked; fine in every state (docs/client-rules.md rule 5)."""
        self._require_own(actor, authorization)
        now = self._clock.now()
        return await self._apply(
            authorization.order_id, lambda stored: answer_rule(stored, authorization.id, challenge, now)
        )

    async def deactivate(self, actor: Actor, authorization: Authorization) -> OrderBundle:
        """The client gives an authorization up (RFC 8555 section 7.5.2)."""
        self._require_own(actor, authorization)
        now = self._clock.now()

        async def give_up(item: Authorization) -> OrderBundle:
            return await self._apply(item.order_id, lambda stored: deactivate_rule(stored, item.id, now))

        bundle = await give_up(authorization)
        await forget(self._store, authorization, self._lifetimes, now, give_up)
        return bundle

    async def approve(self, actor: Actor, bundle: OrderBundle) -> OrderBundle:
        """Where `auto` chose mode `accept` and the upstream was quicker than the client: approve.

        docs/client-rules.md section 4.4.
        """
        order = bundle.order
        chosen = actor.token.authorization is AuthorizationMode.AUTO and order.mode is AuthorizationMode.ACCEPT
        if not chosen or order.stage not in UPSTREAM_VALIDATED:
            return bundle
        now = self._clock.now()
        return await self._apply(order.id, lambda stored: approve_rule(stored, now))

    async def _apply(self, order_id: str, rule: Callable[[OrderBundle], Change]) -> OrderBundle:
        try:
            return await self._store.orders.apply(order_id, rule)
        except Missing:
            raise not_found() from None

    async def select(self, request: OrderRequest, profile: Profile | None = None) -> Selection:
        """The authority for an order, and why: the profile's, else the one that the policy chooses; a Problem when none
        takes it."""
        rows = await self._store.authorities.list()
        if rows is not self._authorities[0]:
            self._authorities = (rows, tuple(_candidate(row) for row in rows if row.enabled))
        if profile is not None and profile.authority_id:
            return Selection(profile.authority_id, f"the client named {profile.name}", profile.upstream_profile)
        candidates = self._authorities[1]
        if profile is not None:
            leading = await self.profiles.by_authority()
            candidates = tuple(replace(item, profiles=leading.get(item.id, ())) for item in candidates)
        selection: Selection | None = self._registry.hook.select_authority(request=request, candidates=candidates)
        if selection is None:
            raise Problem(
                ProblemType.REJECTED_IDENTIFIER,
                "no certificate authority of this hub takes the order"
                if candidates
                else "this hub has no certificate authority yet; its operator adds one with 'acmehub authority add'",
            )
        if profile is not None and profile.upstream_profile is not None:
            selection = replace(selection, profile=profile.upstream_profile)
        return selection

    async def _authority(self, authority_id: str) -> AuthorityObject:
        try:
            listed = next((row for row in self._authorities[0] if row.id == authority_id), None)  # read by `select`
            found = await self._plugin_objects.authority(authority_id, listed)
            if not found.row.enabled:
                raise Missing(f"authority {found.row.name!r} is disabled")
        except PLUGIN_UNUSABLE as error:
            _log.error("an order cannot be taken: its authority is not usable", extra={"reason": str(error)})
            raise Problem(
                ProblemType.SERVER_INTERNAL,
                "the certificate authority for this order cannot be used at present; the hub's log says why",
                status=503,
                retry_after=_RETRY_AFTER,
            ) from error
        return found

    def _signs(self, authority: CertificateAuthority) -> bool:
        """Whether an authority signs by itself; kept by class, as asking a Protocol is slow."""
        kind = type(authority)
        if kind not in self._signing:
            self._signing[kind] = isinstance(authority, SigningAuthority)
        return self._signing[kind]

    async def _match_index(self) -> MatchIndex:
        rows = await self._store.managed_challenges.list()
        if rows is not self._index[0]:
            self._index = (rows, MatchIndex(rows))
        return self._index[1]

    def _require_own(self, actor: Actor, authorization: Authorization) -> None:
        if authorization.account_id != actor.account.id:
            raise not_found()


def _moment(member: str, text: str | None, signing: bool) -> datetime | None:
    """A time that the client asks for: RFC 3339, and only where the authority can grant it."""
    if text is None:
        return None
    try:
        moment = msgspec.convert(text, datetime)
    except msgspec.ValidationError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise Problem(ProblemType.MALFORMED, f"'{member}' is not a time of RFC 3339, as in 2026-11-24T06:00:00Z")
    if not signing:
        raise Problem(ProblemType.MALFORMED, f"the authority of this order sets dates itself; leave '{member}' out")
    return moment


def _candidate(row: Authority) -> Candidate:
    return Candidate(
        id=row.id, name=row.name, plugin=row.plugin, default=row.default, created=row.created, tags=row.tags
    )


def _claimed(before: Order, after: Order, lease: Lease) -> bool:
    """Whether the write that made `after` took the lease."""
    return after.fence > before.fence and after.lease_owner == lease.owner and after.lease_until == lease.until
