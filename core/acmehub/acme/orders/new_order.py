"""newOrder and newAuthz (RFC 8555 sections 7.4 and 7.4.1) in four steps: resolve, authorize, build, reuse or store.

The first three only read. The last one writes what was learned of the account, and the order.
"""

import logging
from datetime import datetime
from typing import cast

import msgspec
from msgspec.structs import replace

from acmehub.acme.orders.address_support import require_address_support
from acmehub.acme.orders.authority_choice import choose_authority, choose_profile, chosen_authority, refuse_paused
from acmehub.acme.orders.authorization_reuse import reuse_authorizations
from acmehub.acme.orders.dispatching import OrderDispatcher
from acmehub.acme.orders.learning import LearningService, Lesson
from acmehub.acme.orders.order_reuse import OrderReuse
from acmehub.acme.orders.preauthorization import earlier, hidden
from acmehub.acme.orders.profiles import last_moment
from acmehub.acme.orders.replacement import replacement_of
from acmehub.acme.orders.requested_dates import check_dates, requested_date
from acmehub.models import Actor, AuthorizationMode, Event, EventKind, Order, Profile
from acmehub.models.wire import NewOrder
from acmehub.ports.authority import RelayAuthority
from acmehub.ports.clock import Clock
from acmehub.ports.plugins import OrderRequest, Selection
from acmehub.ports.store import Conflict, Store
from acmehub.rules.authorization_modes import resolve_mode
from acmehub.rules.finalizing import claimed
from acmehub.rules.names import check_identifiers
from acmehub.rules.orders import Lifetimes, OrderBundle, open_order
from acmehub.rules.rights import Claim
from acmehub.rules.single_flight import lock_key
from acmehub.runtime.client_limits.limits import ClientLimits
from acmehub.runtime.plugin_objects import AuthorityObject, PluginObjects
from acmehub.runtime.plugins import Registry
from acmehub.runtime.rights import Rights
from acmehub.runtime.snapshot import Snapshot, Snapshots

_log = logging.getLogger(__name__)


class Asked(msgspec.Struct, frozen=True):
    """Who asks for what. With `preauthorization` the order carries an authorization and is hidden from its client.

    `snapshot` is the configuration, where the request has looked at it already.
    """

    actor: Actor
    new_order: NewOrder
    user_agent: str = ""
    preauthorization: bool = False
    snapshot: Snapshot | None = None


class Resolved(msgspec.Struct, frozen=True):
    """What the order would be: its profile, its authority and why that one, its authorization mode."""

    snapshot: Snapshot
    request: OrderRequest
    profile: Profile | None
    selection: Selection
    authority: AuthorityObject
    lesson: Lesson
    mode: AuthorizationMode


class Authorized(msgspec.Struct, frozen=True):
    """When the order was found to be allowed, and the validity that it asks for."""

    now: datetime
    not_before: datetime | None
    not_after: datetime | None


class Built(msgspec.Struct, frozen=True):
    """The order as it would be stored, with the first lines of its timeline."""

    bundle: OrderBundle
    events: tuple[Event, ...]


class NewOrders:
    """Opens orders for clients; every refusal is a Problem, and leaves nothing behind."""

    def __init__(
        self,
        store: Store,
        snapshots: Snapshots,
        registry: Registry,
        plugin_objects: PluginObjects,
        clock: Clock,
        lifetimes: Lifetimes,
        order_reuse: OrderReuse,
        learning: LearningService,
        rights: Rights,
        limits: ClientLimits,
        dispatcher: OrderDispatcher,
    ) -> None:
        self._store = store
        self._snapshots = snapshots
        self._registry = registry
        self._plugin_objects = plugin_objects
        self._clock = clock
        self._lifetimes = lifetimes
        self._order_reuse = order_reuse
        self._learning = learning
        self._rights = rights
        self._limits = limits
        self._dispatcher = dispatcher

    async def open(self, asked: Asked) -> OrderBundle:
        """The order that the client gets: an open one that serves it as well, else a new one that is due."""
        check_identifiers(asked.new_order.identifiers)
        resolved = await self.resolve(asked)
        authorized = await self.authorize(asked, resolved)
        built = await self.build(asked, resolved, authorized)
        return await self.reuse_or_store(asked, resolved, authorized, built)

    async def resolve(self, asked: Asked) -> Resolved:
        """Find profile, authority and authorization mode."""
        actor, new_order = asked.actor, asked.new_order
        snapshot = asked.snapshot or await self._snapshots.current()
        request = OrderRequest(actor.principal, actor.token, new_order.identifiers, new_order.profile)
        profile = await choose_profile(snapshot, request)
        selection = await choose_authority(self._registry, snapshot, request, profile)
        authority = await chosen_authority(self._plugin_objects, snapshot, selection)
        lesson = await self._learning.lesson(actor, new_order.identifiers, asked.user_agent, signing=authority.signing)
        mode = self._mode(asked, authority, lesson)
        return Resolved(snapshot, request, profile, selection, authority, lesson, mode)

    async def authorize(self, asked: Asked, resolved: Resolved) -> Authorized:
        """Check that the actor may have this order: names, the policy's hook, dates."""
        new_order = asked.new_order
        authority, signing = resolved.authority, resolved.authority.signing
        refuse_paused(new_order.identifiers, authority)
        require_address_support(new_order.identifiers, authority)
        claim = Claim(new_order.identifiers, new_order.profile, needs_challenge=not signing)
        await self._rights.require_new(asked.actor, claim, resolved.snapshot)
        objection = self._registry.hook.authorize_order(request=resolved.request)
        if objection is not None:
            raise objection
        now = self._clock.now()
        not_before = requested_date("notBefore", new_order.not_before, signing=signing)
        not_after = requested_date("notAfter", new_order.not_after, signing=signing)
        check_dates(not_before, not_after, authority.object, now)
        return Authorized(now, not_before, last_moment(resolved.profile, authority.object, not_before, not_after, now))

    async def build(self, asked: Asked, resolved: Resolved, authorized: Authorized) -> Built:
        """Make the order and its authorizations, with those that the account has proven before already valid."""
        now = authorized.now
        replacement = await replacement_of(self._store, asked.actor, asked.new_order)
        bundle = open_order(
            asked.actor,
            asked.new_order.identifiers,
            mode=resolved.mode,
            authority_id=resolved.authority.row.id,
            signing=resolved.authority.signing,
            now=now,
            lifetimes=self._lifetimes,
            profile=resolved.selection.profile,
            not_before=authorized.not_before,
            not_after=authorized.not_after,
            replaces=replacement.cert_id,
            client_profile=asked.new_order.profile,
        )
        bundle, reused = await reuse_authorizations(self._store, bundle, self._lifetimes, now)
        if asked.preauthorization:
            bundle = hidden(bundle)
        order, why = bundle.order, resolved.lesson.why
        mode = f"{order.mode.value}: {why}" if why else order.mode.value
        kind = EventKind.PREAUTHORIZATION_OPENED if asked.preauthorization else EventKind.ORDER_OPENED
        opened = Event(order_id=order.id, at=now, kind=kind, detail=f"{resolved.selection.reason}; {mode}")
        return Built(bundle, (opened, *reused, *replacement.events(order)))

    async def reuse_or_store(
        self, asked: Asked, resolved: Resolved, authorized: Authorized, built: Built
    ) -> OrderBundle:
        """Write: what was learned of the account, and the order, unless an open one serves as well.

        A new order takes its tokens of the limits before that; one that is reused costs none.
        """
        found = await self._open_one(asked, built, authorized.now)
        if found is None:
            order = built.bundle.order
            await self._limits.new_order(asked.actor, order.name_set, len(order.identifiers))
        if not await self._learning.store(resolved.lesson):
            lesson = Lesson(resolved.lesson.fallback)
            resolved = replace(resolved, lesson=lesson, mode=self._mode(asked, resolved.authority, lesson))
            built = await self.build(asked, resolved, authorized)
            found = await self._open_one(asked, built, authorized.now)
        if found is not None:
            return found
        bundle = await self._add(built, resolved.authority)
        order, actor = bundle.order, asked.actor
        _log.info(
            "pre-authorization opened" if asked.preauthorization else "order opened",
            extra={
                "order": order.id,
                "names": tuple([item.value for item in order.identifiers]),
                "account": order.account_id,
                "token": actor.token.title,
                "principal": actor.principal.name,
                "authority": resolved.authority.row.name,
                "mode": order.mode.value,
            },
        )
        return bundle

    async def _add(self, built: Built, authority: AuthorityObject) -> OrderBundle:
        """Store the order, claimed and with its single-flight lock where this process has a place for it at once."""
        order, add = built.bundle.order, self._store.orders.add
        if order.run_at is None:
            await add(built.bundle, built.events)
            return built.bundle
        with self._dispatcher.handing_over(order) as handover:
            if handover is None:
                await add(built.bundle, built.events)
                return built.bundle
            bundle = claimed(built.bundle, handover, _lock_key(authority, order))
            try:
                await add(bundle, built.events)
            except Conflict as conflict:
                if conflict.field != "lock_key":
                    raise
                bundle = claimed(built.bundle, handover)  # its first step looks who has the lock
                await add(bundle, built.events)
            self._dispatcher.adopt(bundle)
        return bundle

    async def _open_one(self, asked: Asked, built: Built, now: datetime) -> OrderBundle | None:
        """An open order of the account that serves as well as the one that was built."""
        if asked.preauthorization:
            return await earlier(self._store, built.bundle, now)
        return await self._order_reuse.find_open(built.bundle, asked.actor.token.authorization, now)

    def _mode(self, asked: Asked, authority: AuthorityObject, lesson: Lesson) -> AuthorizationMode:
        return resolve_mode(
            asked.actor.token.authorization, asked.user_agent, signing=authority.signing, learned=lesson.mode
        )


def _lock_key(authority: AuthorityObject, order: Order) -> str | None:
    """The lock of an order at a CA where the hub has its account; at any other, the order's first step takes it."""
    account_url = authority.row.account_url
    if authority.signing or not account_url:
        return None
    return lock_key(cast(RelayAuthority, authority.object).server, account_url, order)
