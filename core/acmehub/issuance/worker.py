"""The worker: claims orders that are due and takes them step by step, as many at once as it may.

It wakes when the storage says that an order changed, when the next order is due, and when a place becomes free; it
polls nothing. Nothing that happens to one order stops it.
"""

import asyncio
import logging
import random
from collections.abc import Callable, Coroutine
from datetime import timedelta
from typing import Any

from msgspec.structs import replace

from acmehub.config import Verify, Worker
from acmehub.dns01 import Solver, TxtCleanup
from acmehub.issuance.job import Job, WorkerContext
from acmehub.issuance.known_limits import KnownLimits
from acmehub.issuance.pruning import Pruner
from acmehub.issuance.renewal_windows import WindowWatch
from acmehub.issuance.retry_policy import EXPECTED, MOST_REFUSALS, settle
from acmehub.issuance.steps import take_step
from acmehub.models import EventKind
from acmehub.models.problems import Problem, ProblemType
from acmehub.ports.clock import Clock
from acmehub.ports.store import Fenced, Missing, Store, StoreError, StoreUnavailable
from acmehub.rules.chains import Issuers
from acmehub.rules.csr import CheckedCsr
from acmehub.rules.orders import UPSTREAM_VALIDATED, Change, Lease, OrderBundle
from acmehub.runtime.backoff import PollCounts, SteadyClock, back_off
from acmehub.runtime.crash_points import CrashPoint, CrashPoints
from acmehub.runtime.plugin_objects import PluginObjects
from acmehub.runtime.plugins import Registry
from acmehub.validation import Validator

LONGEST_SLEEP = 60.0  # looks at least so often, in case that news from another process was lost
BREATH = 0.025  # between two looks of which the first found nothing: many commits concern no worker
GRACE = 10.0
RESTART = 5.0

_log = logging.getLogger(__name__)


class IssuanceWorker:
    """Fulfils orders; one per process. `owner` names the process in leases, uniquely."""

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
        worker: Worker,
        verify: Verify = Verify(),
        rng: random.Random | None = None,
    ) -> None:
        steady = SteadyClock(clock)
        rng = rng or random.Random()  # noqa: S311  jitter
        lease = timedelta(seconds=worker.lease)
        self.txt_cleanup = TxtCleanup(store, solver, steady, owner=owner, lease=lease, rng=rng)
        self._context = WorkerContext(
            store=store,
            plugin_objects=plugin_objects,
            solver=solver,
            validator=Validator(solver, verify),
            registry=registry,
            txt_cleanup=self.txt_cleanup,
            clock=steady,
            crash_points=crash_points,
            rng=rng,
            limits=KnownLimits(steady),
            looks=PollCounts(),
            issuers=Issuers(),
            owner=owner,
            lease=lease,
            issuance_timeout=timedelta(hours=worker.issuance_timeout_hours),
            remember=timedelta(days=verify.remember_days),
        )
        keep = timedelta(days=worker.keep_days) if worker.keep_days > 0 else None
        self.pruner = Pruner(store, steady, self._context.announce, keep)
        self.windows = WindowWatch(store, plugin_objects, steady, rng)
        self._store = store
        self._concurrency = worker.concurrency
        self._jobs: dict[str, tuple[Job, asyncio.Task[None]]] = {}
        self._woken = asyncio.Event()
        self._fatal: BaseException | None = None

    def lease(self) -> Lease:
        """A lease of this process from now on, for an order that is claimed in another write and given to `adopt`."""
        return Lease(self._context.owner, self._context.clock.now() + self._context.lease)

    def adopt(self, bundle: OrderBundle, csr: CheckedCsr | None = None) -> None:
        """Go on at once with an order that has just been written with `lease()`; with any other: look what is due.

        `csr` is the order's, for who has just checked it.
        """
        order = bundle.order
        working = self._jobs.get(order.id)  # may be a job that has given the order back and is about to end
        if order.lease_owner == self._context.owner and (working is None or working[0].fence != order.fence):
            self._start(bundle, csr)
        else:
            self._woken.set()

    def wake(self) -> None:
        """Look what is due now."""
        self._woken.set()

    async def run(self) -> None:
        """Work until cancelled; then steps that run may end, and leases are given back."""
        self._context.stopping = False
        end_subscription = self._store.subscribe(lambda _order_id, _version: self._woken.set())
        try:
            async with asyncio.TaskGroup() as group:
                helpers = (self.txt_cleanup.run, self.pruner.run, self.windows.run)
                for loop in (self._claim_for_ever, self._renew_for_ever, *helpers):
                    group.create_task(_keep_running(loop))
        finally:
            end_subscription()
            await self._drain()

    async def work_off(self) -> int:
        """Work on everything that is due now until nothing is; how many orders were claimed."""
        count = 0
        while True:
            claimed = await self._claim()
            count += claimed
            if not claimed and not self._jobs:
                return count
            await self._settle_down(None)
            if self._fatal is not None:
                fatal, self._fatal = self._fatal, None
                raise fatal

    # ---------------------------------------------------------------------------------------------- claiming

    async def _claim(self) -> int:
        room = self._concurrency - len(self._jobs)
        if room <= 0:
            return 0
        claimed = await self._store.orders.claim(self.lease(), self._context.clock.now(), room)
        for bundle in claimed:
            self._start(bundle)
        return len(claimed)

    async def _claim_for_ever(self) -> None:
        failures = 0
        while True:
            self._woken.clear()
            looked = self._context.clock.monotonic()
            try:
                claimed = await self._claim()
                seconds = 0.0 if claimed else await self._until_next()
                failures = 0
            except StoreUnavailable as error:
                failures += 1
                seconds = back_off(failures, longest=15.0)
                _log.warning("no order can be claimed now (again in %.0f s): %s", seconds, error)
                await asyncio.sleep(seconds)
                continue
            if not claimed:
                await self._sleep(seconds, looked)

    async def _until_next(self) -> float:
        """Seconds until an order can be claimed; without a free place only news counts."""
        if len(self._jobs) >= self._concurrency:
            return LONGEST_SLEEP
        due = await self._store.orders.next_due()
        if due is None:
            return LONGEST_SLEEP
        return min(LONGEST_SLEEP, (due - self._context.clock.now()).total_seconds())

    async def _sleep(self, seconds: float, looked: float) -> None:
        """Until `seconds` have passed or there is news, but a breath after the look that found nothing."""
        try:
            async with asyncio.timeout(max(seconds, 0.0)):
                await self._woken.wait()
        except TimeoutError:
            pass  # the next order is due
        early = BREATH - (self._context.clock.monotonic() - looked)
        if early > 0:
            await asyncio.sleep(early)

    # ----------------------------------------------------------------------------------------------- working

    def _start(self, bundle: OrderBundle, csr: CheckedCsr | None = None) -> None:
        job = Job(self._context, bundle, csr)
        task = asyncio.create_task(self._work(job))
        self._jobs[bundle.order.id] = (job, task)
        task.add_done_callback(lambda ended: self._end(job, ended))

    async def _work(self, job: Job) -> None:
        """Step after step, until there is nothing to do at once or the order is somebody else's."""
        try:
            while True:
                if job.order.csr is not None and job.order.stage not in UPSTREAM_VALIDATED:
                    self._context.crash_points.hit(CrashPoint.AFTER_CSR_STORED)
                try:
                    await take_step(job)
                except EXPECTED as error:
                    await settle(job, error)
                if not job.goes_on:
                    return
        except Fenced:
            _log.info("order %s: another worker has taken it over", job.order.id)
        except StoreUnavailable as error:
            _log.warning("order %s: its lease is left to run out: %s", job.order.id, error)

    def _end(self, job: Job, task: asyncio.Task[None]) -> None:
        kept = self._jobs.get(job.order.id)
        if kept is not None and kept[0] is job:
            del self._jobs[job.order.id]
        self._woken.set()  # a place is free, and the order may be due at another time
        error = None if task.cancelled() else task.exception()
        if error is None:
            return
        if not isinstance(error, Exception):
            self._fatal = error
            return
        _log.error("order %s failed in a way that was not foreseen", job.order.id, exc_info=error)
        stumble = asyncio.create_task(self._stumble(job, error))
        self._jobs[job.order.id] = (job, stumble)
        stumble.add_done_callback(lambda _ended: self._jobs.pop(job.order.id, None))

    async def _stumble(self, job: Job, error: Exception) -> None:
        """A defect of ours or of a plugin: tried again with growing pauses, in the end a failure with a reason."""
        event = job.event(EventKind.UNEXPECTED_ERROR, type(error).__name__)
        attempts = job.order.attempts + 1
        try:
            if not job.goes_on:
                return
            if attempts >= MOST_REFUSALS:
                words = f"unforeseen error at stage {job.order.stage.value}; the hub's log has it"
                await job.fail(Problem(ProblemType.SERVER_INTERNAL, words).document(), event)
            else:
                await job.put_off(back_off(attempts), event)
        except StoreError as second:
            _log.warning("order %s: its lease is left to run out: %s", job.order.id, second)

    async def _renew_for_ever(self) -> None:
        third = self._context.lease.total_seconds() / 3
        while True:
            await asyncio.sleep(third / 2)
            at = self._context.clock.monotonic()
            for job, _task in list(self._jobs.values()):
                if at - job.renewed < third:
                    continue
                try:
                    held = await self._store.orders.renew(job.order.id, job.fence, self.lease().until)
                except StoreUnavailable as error:
                    _log.warning("order %s: its lease cannot be renewed now: %s", job.order.id, error)
                    continue
                if held:
                    job.renewed = at

    # ---------------------------------------------------------------------------------------------- stopping

    async def _settle_down(self, seconds: float | None) -> None:
        """Wait until no order is in work, or `seconds` have passed."""
        try:
            async with asyncio.timeout(seconds):
                while self._jobs:
                    await asyncio.wait([task for _job, task in self._jobs.values()])
                    await asyncio.sleep(0)  # lets the callbacks of what has ended run
        except TimeoutError:
            return

    async def _drain(self) -> None:
        self._context.stopping = True
        await self._settle_down(GRACE)
        left = list(self._jobs.values())
        for _job, task in left:
            task.cancel()
        if left:
            await asyncio.wait([task for _job, task in left])
        for job, _task in left:
            await self._give_back(job)
        await self.txt_cleanup.finish()

    async def _give_back(self, job: Job) -> None:
        def rule(current: OrderBundle) -> Change:
            if current.order.lease_owner != self._context.owner:
                return Change(order=current.order)
            return Change(order=replace(current.order, lease_owner=None, lease_until=None))

        try:
            await self._store.orders.apply(job.order.id, rule, fence=job.fence)
        except (Fenced, Missing, StoreUnavailable) as error:
            _log.info("order %s: its lease is left to run out: %s", job.order.id, error)


async def _keep_running(loop: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run a loop for ever: one that ends with an error is logged and begun again."""
    while True:
        task = asyncio.create_task(loop())
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError:
            task.cancel()
            await asyncio.wait([task])
            raise
        error = None if task.cancelled() else task.exception()
        _log.error("a loop of the worker ended and begins again", exc_info=error)
        if error is not None and not isinstance(error, Exception):
            raise error
        await asyncio.sleep(RESTART)
