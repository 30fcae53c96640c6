"""The composition root: builds every part from the configuration, and runs them in the right order."""

import asyncio
import logging
import os
import random
import secrets
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, nullcontext
from datetime import timedelta
from functools import partial
from typing import Any, cast

import msgspec

from acmehub import __version__
from acmehub.acme.accounts.service import AccountService
from acmehub.acme.orders.learning import LearningService
from acmehub.acme.orders.new_order import NewOrders
from acmehub.acme.orders.order_reuse import OrderReuse
from acmehub.acme.orders.revocation import ClientRevocations
from acmehub.acme.orders.service import OrderService
from acmehub.admin.services import build_admin
from acmehub.app.bootstrap import (
    closed_secrets,
    found,
    is_founded,
    open_vault,
    prepare_data_dir,
    require_master_key,
    sealed_values,
)
from acmehub.app.own_certificate import own_certificate
from acmehub.config import Config, ConfigError
from acmehub.dns01 import Solver
from acmehub.issuance import Dispatcher, IssuanceWorker
from acmehub.models.events import MENDED_AT_START
from acmehub.ports.clock import Clock, SystemClock
from acmehub.ports.copying import CopiesRows
from acmehub.ports.plugins import Notifier, PluginContext, Registration
from acmehub.ports.settings import SettingsError, read_settings
from acmehub.ports.store import Store, StoreAbsent, StoreAway, StoreOutdated
from acmehub.rules.orders import Lifetimes
from acmehub.runtime.announcements import Announcements
from acmehub.runtime.backoff import SteadyClock
from acmehub.runtime.client_limits.limits import ClientLimits
from acmehub.runtime.client_limits.refusals import Refusals
from acmehub.runtime.crash_points import CrashPoints
from acmehub.runtime.notifications import NamedNotifier, Notifications
from acmehub.runtime.order_events import OrderEvents
from acmehub.runtime.plugin_factory import NOTIFIER, STORAGE, make_object
from acmehub.runtime.plugin_objects import PluginObjects
from acmehub.runtime.plugins import PluginError, Registry, build_registry
from acmehub.runtime.revocation import RevocationService
from acmehub.runtime.rights import Rights
from acmehub.runtime.sealed_audit.sealer import Sealer
from acmehub.runtime.snapshot import Snapshots
from acmehub.runtime.vault import Vault, VaultError

_log = logging.getLogger(__name__)
USER_AGENT = f"acmehub/{__version__}"


class Hub:
    """All parts of one process. `stopping` is set when it ends: long polls are answered then."""

    def __init__(
        self, config: Config, clock: Clock, crash_points: CrashPoints, vault: Vault, registry: Registry, store: Store
    ) -> None:
        self.config = config
        self.clock = clock
        self.crash_points = crash_points
        self.vault = vault
        self.registry = registry
        self.store = store
        self.notifications = Notifications(_notifiers(config, registry, clock))
        if config.notifier:  # without one nothing listens, and finished orders are not announced
            registry.add("notifications", self.notifications)
        self.stopping = asyncio.Event()
        self._copy_number: int | None = None
        self.order_events = OrderEvents()
        self.snapshots = Snapshots(store, clock)
        self.plugin_objects = PluginObjects(store, self.snapshots, registry, vault, plugin_context(config, clock))
        self.rights = Rights(store, self.snapshots, self.plugin_objects, clock)
        self.announce = Announcements(store, registry, self.snapshots, clock)
        owner = _owner()
        self.solver = Solver(store, self.snapshots, self.plugin_objects, config.dns, clock, owner)
        keep_audit = timedelta(days=config.audit.keep_days) if config.audit.keep_days > 0 else None
        sealer = Sealer(store, vault, SteadyClock(clock), random.Random(), owner=owner, keep=keep_audit)  # noqa: S311
        self.worker = IssuanceWorker(
            store,
            self.plugin_objects,
            self.solver,
            registry,
            clock,
            crash_points,
            owner=owner,
            rights=self.rights,
            worker=config.worker,
            verify=config.verify,
            beside=(sealer,),
        )
        self.dispatcher = Dispatcher()
        self.client_limits = ClientLimits(store, clock, config.limits, self.stopping)
        self.refusals = Refusals(store, clock, self.client_limits.buckets)
        self.accounts = AccountService(
            store, self.snapshots, vault, registry, clock, self.client_limits, self.refusals, self.announce
        )
        self.learning = LearningService(store, clock)
        self.orders = self._order_service()
        self.revocation = RevocationService(store, self.plugin_objects, clock)
        last_days = max(config.acme.order_days, config.verify.remember_days)
        self.client_revocations = ClientRevocations(
            store, self.revocation, self.rights, clock, timedelta(days=last_days), self.client_limits, self.refusals
        )
        self.admin = build_admin(
            store,
            vault,
            registry,
            clock,
            plugin_objects=self.plugin_objects,
            solver=self.solver,
            snapshots=self.snapshots,
            revocation=self.revocation,
            refusals=self.refusals,
            issuance_timeout=timedelta(hours=config.worker.issuance_timeout_hours),
            own_certificate=partial(own_certificate, config),
            own_tls=config.tls.authority if config.tls.mode == "auto" else "",
        )

    def _order_service(self) -> OrderService:
        acme = self.config.acme
        lifetimes = Lifetimes(
            order=timedelta(days=acme.order_days),
            issuance_timeout=timedelta(hours=self.config.worker.issuance_timeout_hours),
            remember=timedelta(days=self.config.verify.remember_days),
        )
        order_reuse = OrderReuse(
            self.store, self.snapshots, join=acme.join_orders, same_csr=timedelta(seconds=acme.same_csr_seconds)
        )
        new_orders = NewOrders(
            self.store,
            self.snapshots,
            self.registry,
            self.plugin_objects,
            self.clock,
            lifetimes,
            order_reuse,
            self.learning,
            self.rights,
            self.client_limits,
            self.dispatcher,
        )
        return OrderService(
            self.store,
            self.snapshots,
            self.dispatcher,
            self.clock,
            lifetimes,
            order_reuse,
            new_orders,
            self.rights,
            self.client_limits,
            self.announce,
        )

    @asynccontextmanager
    async def running(
        self, *, serve: bool = False, worker: bool = False, migrate: bool = True, founds: bool = True
    ) -> AsyncIterator[None]:
        """Open the storage and, with `worker`, fulfil orders; `migrate` brings the schema up to date first.

        A process that `founds` makes a hub where there is none: data directory, storage, master key, administrator.
        Any other makes nothing, and raises `StoreAbsent` there. `serve` claims the right to answer ACME requests
        (`Store.open`). On leaving, the worker finishes what is under way, then the storage is closed. Raises
        `StoreUnavailable`, `StoreOutdated`, `VaultError`, `ConfigError`, and what ended the worker.
        """
        if founds:
            prepare_data_dir(self.config.data_dir)
        await self._open(serve=serve, worker=worker, migrate=migrate, founds=founds)
        try:
            await self._found_or_require(founds=founds, everything=serve or worker)
            copies = self.store if self.store.shared and isinstance(self.store, CopiesRows) else None
            self._copy_number = await copies.copy_number() if copies is not None else 0
            if serve or worker:
                for error_line in await self.load_named_plugins():
                    _log.error("%s", error_line)
            if worker:
                await self.store.orders.wake(MENDED_AT_START)
            unsubscribe = self.store.subscribe(self.order_events.publish)
            try:
                async with self._work(worker), self.client_limits.kept() if serve else nullcontext():
                    yield
            finally:
                unsubscribe()
        finally:
            await self.revocation.close()
            await self.notifications.aclose()
            await self.plugin_objects.close()
            await self.store.close()

    async def _open(self, *, serve: bool, worker: bool, migrate: bool, founds: bool) -> None:
        owner = self.worker.owner if worker else ""
        if founds and migrate:
            await self.store.migrate()
        try:
            await self.store.open(serve=serve, worker=owner)
        except StoreOutdated:
            if not migrate:
                raise
            await self.store.migrate()
            await self.store.open(serve=serve, worker=owner)

    async def _found_or_require(self, *, founds: bool, everything: bool) -> None:
        """Found the hub if there is none, or `StoreAbsent`; `VaultError` when its secrets cannot be opened.

        `everything`: also the secrets of tokens are looked at, and those that no key opens are logged.
        """
        if not await is_founded(self.store):
            if not founds:
                raise StoreAbsent(self.config.storage.plugin)
            await found(self.store, self.vault, self.registry, self.clock.now(), self.config)
        require_master_key(self.vault, self.config)
        values = await sealed_values(self.store, tokens=everything)
        flaw = closed_secrets(self.vault, values, self.config)
        if flaw and not any(map(self.vault.knows, values)):
            raise VaultError(flaw)
        if flaw and everything:
            _log.error("%s", flaw)

    async def load_named_plugins(self) -> Sequence[str]:
        """Load the plugins that stored resources name; a line for each resource that cannot be used (ADR 3).

        Such a resource fails when it is used; everything else works.
        """
        errors = [
            f"authority {row.name!r} cannot be used: {flaw}"
            for row in await self.store.authorities.list()
            if (flaw := self.plugin_objects.flaw(row))
        ]
        for challenge in await self.store.managed_challenges.list():
            try:
                self.registry.dns_providers[challenge.plugin]
            except PluginError as error:
                errors.append(f"managed challenge {challenge.name!r} cannot be used: {error}")
        return errors

    def nonce_key(self) -> bytes:
        """Another one after each import of rows: a nonce that was used at the former hub is good at this one never.

        Raises `StoreAway` while the start still waits for the storage, which knows of imports.
        """
        if self._copy_number is None:
            raise StoreAway("the storage has not answered since the start")
        return self.vault.derive(f"nonce {self._copy_number}" if self._copy_number else "nonce")

    def stop(self) -> None:
        """End every long poll."""
        self.stopping.set()
        self.order_events.publish("", 0)

    @asynccontextmanager
    async def _work(self, worker: bool) -> AsyncIterator[None]:
        if not worker:
            yield
            return
        self.dispatcher.turn_on(self.worker)
        try:
            async with asyncio.TaskGroup() as group:
                task = group.create_task(self.worker.run(), name="issuance")
                stopper = group.create_task(self._end_with_stop(task))
                yield
                self.stopping.set()
                await stopper
        except BaseExceptionGroup as failures:
            if len(failures.exceptions) == 1:  # one thing went wrong: the caller gets that
                raise failures.exceptions[0] from None
            raise
        finally:
            self.dispatcher.turn_off()

    async def _end_with_stop(self, worker: asyncio.Task[None]) -> None:
        """The worker's steps end in the time in which the last requests do, revocations under way as well."""
        await self.stopping.wait()
        self.dispatcher.turn_off()
        worker.cancel()
        await self.revocation.close()


def build_hub(
    config: Config,
    *,
    clock: Clock | None = None,
    crash_points: CrashPoints | None = None,
) -> Hub:
    """A hub that is ready to run: plugins are loaded, the master key is read if there is one, nothing is made or open.

    Raises `ConfigError`, `VaultError`, `PluginError`.
    """
    clock = clock or SystemClock()
    config = msgspec.structs.replace(config, public_url=config.base_url)
    vault = open_vault(config)
    registry = build_registry(config.plugins)
    store = open_store(config, registry, clock)
    return Hub(config, clock, crash_points or CrashPoints(), vault, registry, store)


def open_store(config: Config, registry: Registry, clock: Clock) -> Store:
    """The storage that `[storage]` names, not opened yet."""
    registration = registry.storages[config.storage.plugin]
    made = _made(registration, config.storage.settings, "storage", config, clock, STORAGE)
    return cast(Store, made)


def _notifiers(config: Config, registry: Registry, clock: Clock) -> Sequence[NamedNotifier]:
    found = []
    for index, item in enumerate(config.notifier):
        registration = registry.notifiers[item.plugin]
        made = _made(registration, item.settings, f"notifier[{index}]", config, clock, NOTIFIER)
        found.append(NamedNotifier(item.plugin, cast(Notifier, made)))
    return found


def _made(
    registration: Registration,
    raw: dict[str, Any],
    place: str,
    config: Config,
    clock: Clock,
    kinds: tuple[type, ...],
) -> Any:
    """A plugin's object with settings of the configuration; `ConfigError` names the setting within `place`."""
    try:
        settings = read_settings(raw, registration.settings)
    except SettingsError as error:
        what, _, at = str(error).partition(" - at `$")
        raise ConfigError(f"$.{place}.settings{at.rstrip('`')}: {what} (plugin {registration.name})") from None
    return make_object(registration, settings, plugin_context(config, clock), kinds)


def plugin_context(config: Config, clock: Clock) -> PluginContext:
    """What plugins get of this hub."""
    return PluginContext(user_agent=USER_AGENT, data_dir=config.data_dir, clock=clock)


def _owner() -> str:
    """Names this process in leases."""
    return f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"
