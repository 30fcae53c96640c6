"""The worker: claims orders that are due and takes their steps, as many orders at once as the configuration says.

Nothing that happens to one order stops the others.
"""

import asyncio
import logging
import random
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any

from msgspec.structs import replace

from acmehub.config import Verify, Worker
from acmehub.dns01 import Solver, TxtCleanup
from acmehub.issuance.failures import handle
from acmehub.issuance.idle_orders import IdleOrders
from acmehub.issuance.job import Job, WorkerContext
from acmehub.issuance.known_limits import KnownLimits
from acmehub.issuance.pruning import Pruner
from acmehub.issuance.ready_orders import ReadyOrders
from acmehub.issuance.renewal_windows import WindowWatch
from acmehub.issuance.retry_policy import EXPECTED
from acmehub.issuance.steps import take_step
from acmehub.models import Order
from acmehub.ports.clock import Clock
from acmehub.ports.store import Fenced, Missing, Store, StoreUnavailable
from acmehub.rules.chains import Issuers
from acmehub.rules.csr import CheckedCsr
from acmehub.rules.finalizing import Handover
from acmehub.rules.orders import UPSTREAM_VALIDATED, Change, OrderBundle
from acmehub.runtime.announcements import Announcements
from acmehub.runtime.backoff import PollCounts, SteadyClock
from acmehub.runtime.crash_points import CrashPoint, CrashPoints
from acmehub.runtime.jobs import Loop, keep_running
from acmehub.runtime.outages import Outages
from acmehub.runtime.places import Groups
from acmehub.runtime.plugin_objects import PluginObjects
from acmehub.runtime.plugins import Registry
from acmehub.runtime.rights import Rights
from acmehub.validation import Validator

IDLE = 60.0  # seconds between claims at the latest, in case that news from another process was lost
GRACE = 10.0  # seconds in which steps may end when the process stops

_log = logging.getLogger(__name__)


def groups_of(order: Order) -> Groups:
    """The groups of an order, as the storage's claim knows them."""
    mode = order.mode.value
    return Groups((order.authority_id, mode, order.principal_id), f"{order.authority_id} {mode}")


class OrderLoop(Loop[Job]):
    """Orders as jobs: claimed with a lease and a fence, worked on step after step."""

    def __init__(self, context: WorkerContext, places: int) -> None:
        super().__init__("issuance", context.clock, context.rng, places=places, idle=IDLE, grace=GRACE, shared=True)
        self._context = context

    async def claim(self, limit: int) -> Sequence[Job]:
        """Orders that are due and that nobody works on."""
        context = self._context
        full = self.places.full()
        claimed = await context.store.orders.claim(context.new_lease(), context.clock.now(), limit, full)
        return [Job(context, bundle) for bundle in claimed]

    async def next_due(self) -> datetime | None:
        """When the next order is due, or the lease of one ends."""
        return await self._context.store.orders.next_due(self.passed_over)

    def groups(self, job: Job) -> Groups:
        """Whom the order is for, and whom it may wait for."""
        return groups_of(job.order)

    def key(self, job: Job) -> str:
        """The order's id."""
        return job.order.id

    def due_again(self, job: Job) -> datetime | None:
        """As the order was last written; at once when another write has come since."""
        if job.changed.is_set():
            return self._clock.now()
        return job.order.run_at if job.order.lease_owner is None else job.order.lease_until

    async def work(self, job: Job) -> None:
        """Take steps, with naps between them, until there is nothing to do soon or another process has taken the order
        over."""
        try:
            while True:
                if job.order.csr is not None and job.order.stage not in UPSTREAM_VALIDATED:
                    self._context.crash_points.hit(CrashPoint.AFTER_CSR_STORED)
                with self.places.waiting(job.order.id):
                    try:
                        await take_step(job)
                    except EXPECTED as error:
                        await handle(job, error)
                if job.answered is not None:
                    self.places.answers(job.order.authority_id, job.answered)
                if not job.goes_on or (job.pause > 0 and not await self._nap(job)):
                    return
        except Fenced:
            _log.info("order %s: another process has taken it over", job.order.id)

    async def _nap(self, job: Job) -> bool:
        """Pause until the order is due, with its lease and without a place; whether it goes on here.

        What changes the order meanwhile ends the nap. An order whose process stops is given back at once.
        """
        context, key = self._context, job.order.id
        self.places.leave(key)
        context.asleep += 1
        try:
            while context.naps and job.goes_on and job.pause > 0:
                with suppress(TimeoutError):
                    async with asyncio.timeout(job.pause):
                        await job.changed.wait()
                if job.changed.is_set() and context.naps:
                    await job.read()
            if context.naps and job.goes_on:
                await self.places.come_back(key, self.groups(job))
        finally:
            context.asleep -= 1
        if not context.naps:
            await self.give_back(job)
        return context.naps and job.goes_on

    async def handle_unexpected(self, job: Job, error: Exception) -> None:
        """A defect of the hub or of a plugin: tried again with growing pauses, in the end a failure with a reason."""
        if not job.goes_on:
            return
        try:
            await handle(job, error)
        except (Fenced, Missing) as second:
            _log.warning("order %s: its lease is left to run out: %s", job.order.id, second)

    def order_changed(self, order_id: str, version: int) -> None:
        """A commit changed an order (empty: unknown which). Of one that is in work here, its own writes are no news."""
        job = self.find(order_id)
        if job is None:
            if not self.is_reserved(order_id):
                self.wake()
        else:
            job.hear(version)

    async def drain(self) -> None:
        """Let the steps that run end; each order is given back after its step, or in its nap."""
        self._context.stopping, self._context.naps = True, False
        for job in self.running():
            job.changed.set()
        self.places.let_in()
        await super().drain()

    async def give_back(self, job: Job) -> None:
        """Release the lease, so that another process need not wait for its end."""

        def rule(current: OrderBundle) -> Change:
            if current.order.lease_owner != self._context.owner:
                return Change(order=current.order)
            return Change(order=replace(current.order, lease_owner=None, lease_until=None))

        try:
            await self._context.store.orders.apply(job.order.id, rule, fence=job.fence)
        except (Fenced, Missing, StoreUnavailable) as error:
            _log.info("order %s: its lease is left to run out: %s", job.order.id, error)

    async def renew_leases(self) -> None:
        """Renew the lease of each running order at a third of its time, until cancelled."""
        third = self._context.lease.total_seconds() / 3
        while True:
            await asyncio.sleep(third / 2)
            at = self._clock.monotonic()
            for job in self.running():
                if at - job.renewed < third:
                    continue
                try:
                    held = await self._context.store.orders.renew(
                        job.order.id, job.fence, self._context.new_lease().until
                    )
                except StoreUnavailable as error:
                    _log.debug("order %s: its lease cannot be renewed now: %s", job.order.id, error)
                    continue
                if held:
                    job.renewed = at


class IssuanceWorker:
    """The background work of one process, with the loops `beside`. `owner` names the process in leases, uniquely."""

    def __init__(
        self,
        store: Store,
        plugin_objects: PluginObjects,
        solver: Solver,
        registry: Registry,
        clock: Clock,
        crash_points: CrashPoints,
        *,
        owner: str,
        rights: Rights,
        worker: Worker,
        verify: Verify = Verify(),
        beside: Sequence[Loop[Any]] = (),
        rng: random.Random | None = None,
    ) -> None:
        self.owner = owner
        steady = SteadyClock(clock)
        rng = rng or random.Random()  # noqa: S311  jitter
        lease = timedelta(seconds=worker.lease)
        announce = Announcements(store, registry, plugin_objects.snapshots, steady)
        outages = Outages(plugin_objects.snapshots, steady)
        self.txt_cleanup = TxtCleanup(store, solver, steady, outages, owner=owner, lease=lease, rng=rng)
        self._context = WorkerContext(
            store=store,
            plugin_objects=plugin_objects,
            solver=solver,
            validator=Validator(solver, verify),
            txt_cleanup=self.txt_cleanup,
            clock=steady,
            crash_points=crash_points,
            rng=rng,
            limits=KnownLimits(steady),
            polls=PollCounts(),
            issuers=Issuers(),
            rights=rights,
            outages=outages,
            announce=announce,
            owner=owner,
            lease=lease,
            issuance_timeout=timedelta(hours=worker.issuance_timeout_hours),
            remember=timedelta(days=verify.remember_days),
            ready=ReadyOrders(steady, timedelta(hours=worker.issuance_timeout_hours)),
        )
        keep = timedelta(days=worker.keep_days) if worker.keep_days > 0 else None
        self.orders = OrderLoop(self._context, worker.concurrency)
        self.pruner = Pruner(store, steady, rng, announce, keep)
        self.idle_orders = IdleOrders(store, rights, steady, rng, announce)
        self.windows = WindowWatch(store, plugin_objects, steady, rng, outages, owner)
        self._loops: tuple[Loop[Any], ...] = (
            self.orders,
            self.txt_cleanup,
            self.pruner,
            self.windows,
            self.idle_orders,
            *beside,
        )

    def take(self, order: Order) -> Handover | None:
        """Keep a place for an order that is claimed in another write than that of the loop, and then given to `adopt`
        and in any case to `release`; None where an older one waits for the place."""
        if not self.orders.reserve(order.id, groups_of(order)):
            return None
        return Handover(self._context.new_lease(), self._context.ready.ready(order))

    def release(self, order: Order) -> None:
        """Free the place of an order that was not adopted after all."""
        self.orders.free(order.id)

    def adopt(self, bundle: OrderBundle, csr: CheckedCsr | None = None) -> None:
        """Go on at once with an order that was claimed so; with any other, claim what is due.

        `csr` is the order's CSR where the caller has just checked it.
        """
        order = bundle.order
        running = self.orders.find(order.id)  # may be a job that has given the order back and is about to end
        if order.lease_owner == self._context.owner and (running is None or running.fence != order.fence):
            self.orders.start(Job(self._context, bundle, csr, adopted=True))
        else:
            self.orders.wake()

    async def run(self) -> None:
        """Work until cancelled; then running steps may end, leases are given back, and TXT records are removed."""
        self._context.stopping, self._context.naps = False, True
        end_subscription = self._context.store.subscribe(self.orders.order_changed)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(keep_running("renewal of leases", self.orders.renew_leases))
                for loop in self._loops:
                    group.create_task(loop.run())
        finally:
            end_subscription()
            await self.txt_cleanup.finish()

    async def work_off(self) -> int:
        """Work on all orders that are due now until none is; how many were claimed."""
        return await self.orders.work_off()
