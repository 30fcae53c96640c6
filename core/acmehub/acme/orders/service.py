"""What a client may do with orders and their authorizations, from newOrder to the certificate (RFC 8555 section 7.4).

Every verb takes the `Actor` of the request. An unknown object and one of another account get the same answer.
"""

from collections.abc import Callable
from datetime import datetime

from acmehub.acme.orders.authorization_reuse import deactivate_reusable
from acmehub.acme.orders.dispatching import OrderDispatcher
from acmehub.acme.orders.new_order import Asked, NewOrders
from acmehub.acme.orders.order_reuse import OrderReuse
from acmehub.acme.orders.profiles import advertised, check_key
from acmehub.models import (
    Actor,
    Authorization,
    AuthorizationMode,
    Certificate,
    ChallengeType,
    Order,
    Principal,
)
from acmehub.models.problems import not_found
from acmehub.models.wire import NewOrder
from acmehub.ports.clock import Clock
from acmehub.ports.store import Missing, Store
from acmehub.rules.csr import check_csr
from acmehub.rules.finalizing import finalize as finalize_rule
from acmehub.rules.order_reuse import reuse_certificate
from acmehub.rules.orders import UPSTREAM_VALIDATED, Change, Lease, Lifetimes, OrderBundle
from acmehub.rules.orders import answer as answer_rule
from acmehub.rules.orders import approve as approve_rule
from acmehub.rules.orders import deactivate as deactivate_rule
from acmehub.rules.rights import RightTaken, end_open_order
from acmehub.runtime.announcements import Announcements, apply_end
from acmehub.runtime.client_limits.limits import ClientLimits
from acmehub.runtime.rights import Rights
from acmehub.runtime.snapshot import Snapshot, Snapshots


class OrderService:
    """Orders as clients see them."""

    def __init__(
        self,
        store: Store,
        snapshots: Snapshots,
        dispatcher: OrderDispatcher,
        clock: Clock,
        lifetimes: Lifetimes,
        order_reuse: OrderReuse,
        new_orders: NewOrders,
        rights: Rights,
        limits: ClientLimits,
        announce: Announcements,
    ) -> None:
        self._store = store
        self._snapshots = snapshots
        self._dispatcher = dispatcher
        self._clock = clock
        self._lifetimes = lifetimes
        self._order_reuse = order_reuse
        self._new_orders = new_orders
        self._rights = rights
        self._limits = limits
        self._announce = announce

    async def open(
        self,
        actor: Actor,
        asked: NewOrder,
        user_agent: str = "",
        *,
        preauthorization: bool = False,
        snapshot: Snapshot | None = None,
    ) -> OrderBundle:
        """A new order, or an open one that serves as well; every refusal is a Problem (RFC 8555 section 7.4).

        `user_agent` tells what suits the client where its token leaves the mode to the hub. With `preauthorization` the
        order is hidden, and only there for its authorization (section 7.4.1). `snapshot` is the configuration now,
        where the caller has it; so in the other verbs.
        """
        bundle = await self._new_orders.open(Asked(actor, asked, user_agent, preauthorization, snapshot))
        return await self._approved(actor, bundle)

    async def advertised_profiles(self, principal: Principal | None = None) -> dict[str, str]:
        """Names and descriptions of the profiles for a directory: of all, or of those open to a principal."""
        return advertised((await (await self._snapshots.current()).profiles()).enabled, principal)

    async def order(self, actor: Actor, order_id: str, version: int = 0) -> OrderBundle:
        """An order of the actor's; `version` is as in `Orders.get`."""
        bundle = await self._store.orders.get(order_id, version=version)
        if bundle is None or bundle.order.account_id != actor.account.id:
            raise not_found()
        return bundle

    async def client_order(self, actor: Actor, order_id: str, version: int = 0) -> OrderBundle:
        """An order of the actor's, unless it is the hidden one of a pre-authorization."""
        bundle = await self.order(actor, order_id, version)
        if bundle.order.preauthorization:
            raise not_found()
        return bundle

    async def authorization(self, actor: Actor, authorization_id: str) -> Authorization:
        """An authorization of the actor's."""
        item = await self._store.orders.authorization(authorization_id)
        if item is None or item.account_id != actor.account.id:
            raise not_found()
        return item

    async def certificate(self, actor: Actor, certificate_id: str, snapshot: Snapshot | None = None) -> Certificate:
        """A certificate of the actor's, if the actor may have its names and profile now; else `unauthorized`."""
        item = await self._store.certificates.get(certificate_id)
        if item is None or item.account_id != actor.account.id:
            raise not_found()
        await self._rights.require_certificate(actor, item, snapshot)
        return item

    async def finalize(self, actor: Actor, order_id: str, csr: bytes, snapshot: Snapshot | None = None) -> OrderBundle:
        """Take the client's CSR (DER); the same one again changes nothing (docs/client-rules.md rules 4, 5).

        If the order only waited for its CSR, this process claims the order in the same write and goes on at once. A
        CSR that the account got a certificate for lately gets that certificate again. `unauthorized` when the actor may
        not have the names any more: the order is invalid then, unless it was finalized before.
        """
        before = (await self.client_order(actor, order_id)).order
        await self._require_names(actor, before, snapshot)
        checked = check_csr(csr, before.identifiers, actor.account.jwk, actor.account.former_keys)
        if before.csr is None and before.client_profile is not None:
            profiles = await (snapshot or await self._snapshots.current()).profiles()
            check_key(profiles.enabled.get(before.client_profile), checked.public_key)
        now = self._clock.now()
        earlier = await self._order_reuse.certificate_for(before, csr, now)
        if earlier is not None:
            return await self._reuse_certificate(before, csr, earlier, now)
        with self._dispatcher.handing_over(before) as handover:
            bundle = await self._apply(order_id, lambda stored: finalize_rule(stored, csr, now, handover))
            if handover is not None and _claimed(before, bundle.order, handover.lease):
                self._dispatcher.adopt(bundle, checked)
        return bundle

    async def _reuse_certificate(self, before: Order, csr: bytes, earlier: Certificate, now: datetime) -> OrderBundle:
        return await self._end(before.id, lambda stored: reuse_certificate(stored, csr, earlier, now))

    async def _require_names(self, actor: Actor, order: Order, snapshot: Snapshot | None) -> None:
        try:
            await self._rights.require_order(actor, order, snapshot)
        except RightTaken as reason:
            refusal, now = reason, self._clock.now()
            await self._end(order.id, lambda stored: end_open_order(stored, refusal, now))
            raise

    async def answer(self, actor: Actor, authorization: Authorization, challenge: ChallengeType) -> OrderBundle:
        """The client responds to a challenge; allowed in every state (docs/client-rules.md rule 5)."""
        self._require_own(actor, authorization)
        await self._limits.challenge_answer(actor)
        now = self._clock.now()
        return await self._apply(
            authorization.order_id, lambda stored: answer_rule(stored, authorization.id, challenge, now)
        )

    async def deactivate(self, actor: Actor, authorization: Authorization) -> OrderBundle:
        """The client gives an authorization up (RFC 8555 section 7.5.2)."""
        self._require_own(actor, authorization)
        now = self._clock.now()

        async def give_up(item: Authorization) -> OrderBundle:
            return await self._end(item.order_id, lambda stored: deactivate_rule(stored, item.id, now))

        bundle = await give_up(authorization)
        await deactivate_reusable(self._store, authorization, self._lifetimes, now, give_up)
        return bundle

    async def _approved(self, actor: Actor, bundle: OrderBundle) -> OrderBundle:
        """The order that newOrder reuses: approved if `auto` chose mode `accept` and the upstream has validated since
        (docs/client-rules.md section 4.4)."""
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

    async def _end(self, order_id: str, rule: Callable[[OrderBundle], Change]) -> OrderBundle:
        """As `_apply`, for a rule that may end the order, which is announced then."""
        try:
            bundle, ended = await apply_end(self._store, order_id, rule)
        except Missing:
            raise not_found() from None
        if ended:
            await self._announce(bundle.order)
        return bundle

    def _require_own(self, actor: Actor, authorization: Authorization) -> None:
        if authorization.account_id != actor.account.id:
            raise not_found()


def _claimed(before: Order, after: Order, lease: Lease) -> bool:
    """Whether the write that made `after` took the lease."""
    return after.fence > before.fence and after.lease_owner == lease.owner and after.lease_until == lease.until
