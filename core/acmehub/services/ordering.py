"""What a client may do with orders and their authorizations, from newOrder to the certificate (RFC 8555 section 7.4).

Every verb takes the `Actor` who asks. An object that is not there and one of another account are answered alike.
"""

import logging
import re
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Protocol

import msgspec

from acmehub.csr import CheckedCsr, check_csr
from acmehub.instances import AuthorityInstance, Instances
from acmehub.models import (
    Actor,
    Authority,
    Authorization,
    AuthorizationMode,
    Certificate,
    ChallengeType,
    Event,
    ManagedChallenge,
    Order,
)
from acmehub.names import check_identifiers
from acmehub.orders import UPSTREAM_VALIDATED, Change, Lease, Lifetimes, OrderBundle, open_order
from acmehub.orders import answer as answer_rule
from acmehub.orders import approve as approve_rule
from acmehub.orders import deactivate as deactivate_rule
from acmehub.orders import finalize as finalize_rule
from acmehub.ports.authority import CertificateAuthority, SigningAuthority
from acmehub.ports.clock import Clock
from acmehub.ports.plugins import Candidate, OrderRequest, Selection
from acmehub.ports.settings import SettingsError
from acmehub.ports.store import Missing, Store
from acmehub.problems import Problem, ProblemType
from acmehub.registry import PluginError, Registry
from acmehub.scopes import MatchIndex, decide
from acmehub.services.modes import settle_mode
from acmehub.vault import VaultError
from acmehub.wire import NewOrder

_log = logging.getLogger(__name__)
_CERT_ID = re.compile(r"[A-Za-z0-9_-]{1,64}\.[A-Za-z0-9_-]{1,64}")  # RFC 9773 section 4.1
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
        instances: Instances,
        fulfilment: Fulfiller | None,
        clock: Clock,
        lifetimes: Lifetimes,
    ) -> None:
        self._store = store
        self._registry = registry
        self._instances = instances
        self._fulfilment = fulfilment
        self._clock = clock
        self._lifetimes = lifetimes
        self._authorities: tuple[Sequence[Authority], tuple[Candidate, ...]] = ((), ())
        self._signing: dict[type, bool] = {}
        self._index: tuple[Sequence[ManagedChallenge], MatchIndex] = ((), MatchIndex(()))

    async def open(self, actor: Actor, asked: NewOrder, user_agent: str = "") -> OrderBundle:
        """A new order, stored and ready to be worked on; every refusal is a Problem (RFC 8555 section 7.4).

        `user_agent` tells what suits the client where its token leaves the mode to us.
        """
        check_identifiers(asked.identifiers)
        if asked.profile is not None:
            raise Problem(ProblemType.INVALID_PROFILE, "this server offers no profiles; leave 'profile' out")
        request = OrderRequest(actor.principal, actor.token, asked.identifiers)
        selection = await self.select(request)
        authority = await self._authority(selection.authority_id)
        signing = self._signs(authority.object)
        index = await self._match_index()
        decide(asked.identifiers, actor.token, actor.principal, index, needs_challenge=not signing)
        objection = self._registry.hook.authorize_order(request=request)
        if objection is not None:
            raise objection
        now = self._clock.now()
        bundle = open_order(
            actor,
            asked.identifiers,
            mode=settle_mode(actor.token.authorization, user_agent, signing=signing),
            authority_id=authority.row.id,
            signing=signing,
            now=now,
            lifetimes=self._lifetimes,
            profile=selection.profile,
            not_before=_moment("notBefore", asked.not_before, signing),
            not_after=_moment("notAfter", asked.not_after, signing),
            replaces=asked.replaces if asked.replaces and _CERT_ID.fullmatch(asked.replaces) else None,
        )
        order = bundle.order
        event = Event(order_id=order.id, at=now, what="order opened", detail=f"{selection.reason}; {order.mode.value}")
        await self._store.orders.add(bundle, (event,))
        return bundle

    async def order(self, actor: Actor, order_id: str) -> OrderBundle:
        """An order of the actor's."""
        bundle = await self._store.orders.get(order_id)
        if bundle is None or bundle.order.account_id != actor.account.id:
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
        """Take the client's CSR (DER); the same one again changes nothing (CLIENTS.md rules 4, 5).

        Where the order only waited for it, this process claims the order in the same write and goes on at once.
        """
        before = (await self.order(actor, order_id)).order
        checked = check_csr(csr, before.identifiers, actor.account.jwk)
        now = self._clock.now()
        lease = self._fulfilment.lease() if self._fulfilment is not None else None
        bundle = await self._apply(order_id, lambda stored: finalize_rule(stored, csr, now, lease))
        if self._fulfilment is not None and lease is not None and _claimed(before, bundle.order, lease):
            self._fulfilment.adopt(bundle, checked)
        return bundle

    async def answer(self, actor: Actor, authorization: Authorization, challenge: ChallengeType) -> OrderBundle:
        """The client says that a challenge can be checked; fine in every state (CLIENTS.md rule 5)."""
        self._require_own(actor, authorization)
        now = self._clock.now()
        return await self._apply(
            authorization.order_id, lambda stored: answer_rule(stored, authorization.id, challenge, now)
        )

    async def deactivate(self, actor: Actor, authorization: Authorization) -> OrderBundle:
        """The client gives an authorization up (RFC 8555 section 7.5.2)."""
        self._require_own(actor, authorization)
        now = self._clock.now()
        return await self._apply(authorization.order_id, lambda stored: deactivate_rule(stored, authorization.id, now))

    async def approve(self, actor: Actor, bundle: OrderBundle) -> OrderBundle:
        """Where `auto` chose mode `accept` and the upstream was quicker than the client: approve (CLIENTS.md 4.4)."""
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

    async def select(self, request: OrderRequest) -> Selection:
        """The authority that the policy chooses for an order, and why; a Problem when none takes it."""
        rows = await self._store.authorities.list()
        if rows is not self._authorities[0]:
            self._authorities = (rows, tuple(_candidate(row) for row in rows if row.enabled))
        candidates = self._authorities[1]
        selection: Selection | None = self._registry.hook.select_authority(request=request, candidates=candidates)
        if selection is None:
            raise Problem(
                ProblemType.REJECTED_IDENTIFIER,
                "no certificate authority of this hub takes the order"
                if candidates
                else "this hub has no certificate authority yet; its operator adds one with 'acmehub authority add'",
            )
        return selection

    async def _authority(self, authority_id: str) -> AuthorityInstance:
        try:
            return await self._instances.authority(authority_id)
        except (Missing, PluginError, SettingsError, VaultError) as error:
            _log.error("an order cannot be taken: its authority is not usable", extra={"reason": str(error)})
            raise Problem(
                ProblemType.SERVER_INTERNAL,
                "the certificate authority for this order cannot be used at present; the hub's log says why",
                status=503,
                retry_after=_RETRY_AFTER,
            ) from error

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


def not_found() -> Problem:
    """The one answer for what is not there and for what is somebody else's."""
    return Problem(ProblemType.MALFORMED, "there is no such resource", status=404)


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
