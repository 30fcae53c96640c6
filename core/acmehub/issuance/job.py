"""One claimed order: its exchanges with the outside, the one write that ends each step, its lease."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta
from typing import TypeGuard, TypeVar

import msgspec
from msgspec.structs import replace

from acmehub.dns01 import DnsUnclear, Solver, TxtCleanup
from acmehub.issuance.known_limits import KnownLimits
from acmehub.issuance.ready_orders import ReadyOrders
from acmehub.models import Authorization, Event, EventKind, Order, OrderStatus, Stage, TxtRecord
from acmehub.models.problems import ProblemDocument
from acmehub.ports.authority import (
    CertificateAuthority,
    IssueRequest,
    RelayAuthority,
    SigningAuthority,
    UpstreamAccount,
    UpstreamAccountRefused,
    UpstreamAuthorization,
    UpstreamError,
    UpstreamOrder,
    UpstreamUnavailable,
)
from acmehub.ports.store import Fenced, Missing, Store, StoreUnavailable
from acmehub.rules import orders
from acmehub.rules.chains import Issuers
from acmehub.rules.csr import CheckedCsr
from acmehub.rules.orders import UPSTREAM_VALIDATED, Change, Lease, OrderBundle
from acmehub.rules.scopes import Scope
from acmehub.runtime.announcements import Announcements
from acmehub.runtime.backoff import PollCounts, SteadyClock, back_off, jittered
from acmehub.runtime.crash_points import CrashPoints
from acmehub.runtime.outages import AUTHORITY, Outages
from acmehub.runtime.plugin_objects import PluginObjects
from acmehub.runtime.rights import FRESH, Rights
from acmehub.runtime.snapshot import Snapshot
from acmehub.validation import Validator

EXCHANGE_SECONDS = 120.0  # then an exchange counts as failed
LONGEST_NAP = 1.0  # seconds that an order pauses without being given back
MOST_ASLEEP = 1024  # orders that pause so at once
WRITE_TRIES = 6  # attempts to write a result, so that the exchange behind it is not repeated
FINISHED = frozenset({OrderStatus.VALID, OrderStatus.INVALID})

T = TypeVar("T")
Rule = Callable[[OrderBundle], Change]


class WorkerContext(msgspec.Struct, kw_only=True):
    """What every step needs. With `stopping`, each order is given back after its present step; with `naps`, one that is
    due soon is kept until then, `asleep` of them at present."""

    store: Store
    plugin_objects: PluginObjects
    solver: Solver
    validator: Validator
    txt_cleanup: TxtCleanup
    clock: SteadyClock
    crash_points: CrashPoints
    rng: random.Random
    limits: KnownLimits
    polls: PollCounts
    issuers: Issuers
    rights: Rights
    outages: Outages
    announce: Announcements
    owner: str
    lease: timedelta
    issuance_timeout: timedelta
    remember: timedelta
    ready: ReadyOrders
    stopping: bool = False
    naps: bool = False
    asleep: int = 0
    kinds: dict[type, tuple[bool, bool]] = {}

    def new_lease(self) -> Lease:
        """A lease of this process from now on."""
        return Lease(self.owner, self.clock.now() + self.lease)

    def signs(self, authority: CertificateAuthority) -> TypeGuard[SigningAuthority]:
        """Whether an authority signs by itself."""
        return self._kind(authority)[0]

    def relays(self, authority: CertificateAuthority) -> TypeGuard[RelayAuthority]:
        """Whether an authority is a CA elsewhere."""
        return self._kind(authority)[1]

    def _kind(self, authority: CertificateAuthority) -> tuple[bool, bool]:
        """Asked once per type, as the answer takes a while."""
        kind = type(authority)
        if kind not in self.kinds:
            self.kinds[kind] = isinstance(authority, SigningAuthority), isinstance(authority, RelayAuthority)
        return self.kinds[kind]


class Job:
    """An order that this process has claimed. `bundle` is the order as last read or written; `checked` its CSR, where
    this process has just checked it; `sent_replaces` says whether its last newOrder had `replaces`, `sent_csr` whether
    its last step sent the CSR, `csr_unsent` that this job has brought the order to stage `finalizing` and not sent its
    CSR; `answered` whether its authority answered the last exchange, None before the first, `began` when the last one
    began. `snapshot` is that of the present step, `trouble` what has ended the order, `changed` is set when another one
    may have changed it. With `adopted`, this process has claimed the order in another write than the claim of its loop.

    `records` (its TXT rows) and `authorizations` (the CA's, by URL) are as this claim has read or written them; None,
    or absent: not yet.
    """

    def __init__(
        self,
        context: WorkerContext,
        bundle: OrderBundle,
        checked: CheckedCsr | None = None,
        *,
        adopted: bool = False,
    ) -> None:
        self.context = context
        self.bundle = bundle
        self._checked = checked
        self.fence = bundle.order.fence
        self.renewed = context.clock.monotonic()
        self.seconds: float | None = None
        self.server = ""
        self.answered: bool | None = None
        self.began = self.renewed
        self.trouble: EventKind | None = None
        self.account_url = ""
        self.noted: list[Event] = []
        self.sent_replaces = False
        self.sent_csr = False
        self.csr_unsent = adopted and bundle.order.stage is Stage.FINALIZING
        self.snapshot: Snapshot | None = None
        self.changed = asyncio.Event()
        self._heard = 0
        self.records: tuple[TxtRecord, ...] | None = None
        self.authorizations: dict[str, UpstreamAuthorization] = {}
        self.is_written = False
        self._configured = adopted  # by what was read lately, for the request that has claimed it
        self._removal_scheduled = False
        self._account: UpstreamAccount | None = None
        self._seen = context.ready.take(bundle.order) if self.csr_unsent else None

    @property
    def order(self) -> Order:
        """The order as last read or written."""
        return self.bundle.order

    @property
    def csr(self) -> CheckedCsr | bytes | None:
        """The client's CSR, as checked or else as DER; None before the client has sent it."""
        der = self.order.csr
        return self._checked if self._checked is not None and self._checked.der == der else der

    @property
    def request(self) -> IssueRequest:
        """What is asked of the authority."""
        order = self.order
        return IssueRequest(
            identifiers=order.identifiers,
            profile=order.profile,
            not_before=order.not_before,
            not_after=order.not_after,
            replaces=order.replaces,
        )

    @property
    def now(self) -> datetime:
        """The time for what is stored."""
        return self.context.clock.now()

    @property
    def late(self) -> bool:
        """Whether the order's deadline has passed."""
        return self.order.deadline <= self.now

    def after(self, seconds: float) -> datetime:
        """A time `seconds` from now, jittered."""
        return self.now + timedelta(seconds=jittered(seconds, self.context.rng))

    async def take_snapshot(self) -> None:
        """The configuration for a step: as it is stored now for the first one of a claim, which an operator's change
        may have brought about; for a later one as it was at most `FRESH` seconds ago."""
        snapshots = self.context.plugin_objects.snapshots
        self.snapshot = await (snapshots.recent(FRESH) if self._configured else snapshots.current())
        self._configured = True
        self._account = None

    async def exchange(self, work: Awaitable[T], server: str) -> T:
        """Await one exchange with the authority, and note whether it answered."""
        try:
            result = await self.timed(work, server)
        except UpstreamError as error:
            self.answered = not isinstance(error, UpstreamUnavailable)
            if self.answered and not isinstance(error, UpstreamAccountRefused):
                self._works()
            raise
        self.answered = True
        self._works()
        return result

    def _works(self) -> None:
        self.context.outages.works(AUTHORITY, self.order.authority_id, self.began)

    async def timed(
        self,
        work: Awaitable[T],
        server: str = "",
        *,
        late: type[UpstreamUnavailable | DnsUnclear] = UpstreamUnavailable,
    ) -> T:
        """Await one exchange; the step's events carry its server and duration. A timeout raises `late`."""
        self.server = server
        started = self.began = self.context.clock.monotonic()
        try:
            async with asyncio.timeout(EXCHANGE_SECONDS):
                return await work
        except TimeoutError as error:
            raise late(f"no answer within {EXCHANGE_SECONDS:g} s", server=server) from error
        finally:
            self.seconds = self.context.clock.monotonic() - started

    async def read(self) -> None:
        """Read the order again: another write may have changed it."""
        found = await self.context.store.orders.get(self.order.id)
        if found is None:
            raise Missing(f"order {self.order.id} is gone")
        self.records = None
        self._keep(found)

    def hear(self, version: int) -> None:
        """The order was committed with this version, by this job or by another writer."""
        self._heard = max(self._heard, version)
        if version > self.order.version:
            self.changed.set()

    def _keep(self, bundle: OrderBundle) -> None:
        self.bundle = bundle
        if self._heard <= bundle.order.version:
            self.changed.clear()

    async def upstream_order(self, relay: RelayAuthority, account: UpstreamAccount, url: str) -> UpstreamOrder:
        """The upstream order: as the step before has read it (`remember`), else read now."""
        seen, self._seen = self._seen, None
        if seen is not None and seen.url == url:
            return seen
        return await self.exchange(relay.order(account, url), relay.server)

    def remember(self, upstream: UpstreamOrder) -> None:
        """Keep the upstream order for the next step: only this claim works on it, so it need not be read again.

        Where the client has to finalize first, it is kept for the claim that comes with the CSR.
        """
        self._seen = upstream
        if self.order.stage is Stage.AUTHORIZED and self.order.csr is None:
            self.context.ready.note(self.order, upstream)

    def count_poll(self, phase: str) -> int:
        """Count a poll of this order in `phase`; its number, from 1."""
        return self.context.polls.next(self.order.id, phase)

    async def account(self, server: str) -> UpstreamAccount:
        """The hub's account at the order's authority, registered (an exchange) on first use; the same all through a
        step."""
        if self._account is not None:
            self.server = server
            return self._account
        self.account_url = ""
        account = self.context.plugin_objects.account(self.order.authority_id, self.snapshot)
        try:
            known = await self.timed(account, server)
        except UpstreamUnavailable:  # success says nothing of the authority: most often the account is known
            self.answered = False
            raise
        self.account_url = known.url
        self._account = known
        return known

    async def require_rights(self) -> Scope:
        """The managed challenge of each name; asked before each outside effect. Raises `RightTaken`."""
        return await self.context.rights.require_step(self.order)

    def event(self, kind: EventKind, detail: str = "", *, exchange: bool = True) -> Event:
        """A line for the timeline; with `exchange` it carries server and duration of the last exchange."""
        server, seconds = (self.server, self.seconds) if exchange else ("", None)
        return Event(order_id=self.order.id, at=self.now, kind=kind, detail=detail, server=server, seconds=seconds)

    async def commit(self, rule: Rule) -> None:
        """End the step: write what `rule` makes of the order as it is stored now.

        Nothing is written, and `is_written` is false, when the order is at another stage meanwhile (the client
        deactivated an authorization, or this very write was made and its confirmation lost). When the order goes on at
        once or after a nap, its lease is renewed, else released, in the same write. Events in `noted` are written with
        it. `StoreUnavailable` is retried while the lease holds.
        """
        before = self.bundle
        self._removal_scheduled = self.is_written = False
        self._keep(await self._write(before.order.stage, rule))
        self.renewed = self.context.clock.monotonic()
        after = self.bundle.order
        if after.stage is Stage.FINALIZING and before.order.stage not in (Stage.FINALIZING, Stage.ISSUING):
            self.csr_unsent = True
        if self._removal_scheduled and before.order.stage not in UPSTREAM_VALIDATED:  # else they are removed already
            self.context.txt_cleanup.wake()
        if after.status in FINISHED and before.order.status not in FINISHED:
            await self.context.announce(after, self.trouble)

    async def _write(self, stage: Stage, rule: Rule) -> OrderBundle:
        now = self.now
        noted, self.noted = tuple(self.noted), []

        def guarded(current: OrderBundle) -> Change:
            if current.order.lease_owner not in (None, self.context.owner):  # a database that lost the claim gave the
                raise Fenced(f"order {self.order.id}: {current.order.lease_owner} has it")  # same fence once more
            self.is_written = current.order.stage is stage
            if not self.is_written:
                return Change(order=current.order)
            change = rule(current)
            self._removal_scheduled = change.schedule_removal
            return replace(change, order=self._with_lease(change.order, now), events=(*noted, *change.events))

        for attempt in range(WRITE_TRIES):
            try:
                return await self.context.store.orders.apply(self.order.id, guarded, fence=self.fence)
            except StoreUnavailable:
                if attempt == WRITE_TRIES - 1:
                    raise
            await asyncio.sleep(jittered(back_off(attempt + 1, first=0.25), self.context.rng))
        raise AssertionError  # pragma: no cover

    def _with_lease(self, order: Order, now: datetime) -> Order:
        """The order with its lease renewed, or released when it cannot go on now or soon."""
        if order.run_at is not None and order.run_at <= self._kept_until(now) and not self.context.stopping:
            return replace(order, lease_owner=self.context.owner, lease_until=now + self.context.lease)
        return replace(order, lease_owner=None, lease_until=None)

    def _kept_until(self, now: datetime) -> datetime:
        """Until when an order may become due that is not given back."""
        naps = self.context.naps and self.context.asleep < MOST_ASLEEP
        return now + timedelta(seconds=LONGEST_NAP) if naps else now

    @property
    def pause(self) -> float:
        """Seconds until the order is due."""
        return (self.order.run_at - self.now).total_seconds() if self.order.run_at is not None else 0.0

    @property
    def goes_on(self) -> bool:
        """Whether this process still holds the order and has something to do for it now, or after a nap."""
        order = self.order
        return (
            order.lease_owner == self.context.owner
            and order.fence == self.fence
            and order.run_at is not None
            and order.run_at <= self.now + timedelta(seconds=LONGEST_NAP)
        )

    async def fail(self, problem: ProblemDocument, *events: Event) -> None:
        """End the step, and the order, with a reason; the last event says of what."""
        now = self.now
        if events:
            self.trouble = events[-1].kind

        def rule(current: OrderBundle) -> Change:
            change = orders.failed(current, problem, now)
            return replace(change, events=(*events, *change.events))

        await self.commit(rule)

    async def reschedule(self, seconds: float, *events: Event, attempts: int | None = None) -> None:
        """End the step: take it again in `seconds`, jittered; `attempts` grows by one, or is set."""
        run_at = self.after(seconds)

        def rule(current: OrderBundle) -> Change:
            count = current.order.attempts + 1 if attempts is None else attempts
            return Change(order=replace(current.order, run_at=run_at, attempts=count), events=events)

        await self.commit(rule)


def changed(before: Sequence[Authorization], after: Sequence[Authorization]) -> tuple[Authorization, ...]:
    """The authorizations of `after` that differ from `before`."""
    return tuple(new for old, new in zip(before, after, strict=True) if new != old)
