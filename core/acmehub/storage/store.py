"""The store: the nouns of `ports.store` over one driver."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import datetime

from acmehub.models import AuditEntry, Authority, Campaign, ManagedChallenge, Principal, Profile, Token
from acmehub.ports.clock import Clock, SystemClock
from acmehub.ports.copying import CopiesRows, StoreSnapshot, TablePage
from acmehub.ports.figures import Counts
from acmehub.ports.idempotency import IdempotencyKeys
from acmehub.ports.order_store import Orders, TxtRecords
from acmehub.ports.revisions import Revisions
from acmehub.ports.seals import Seals
from acmehub.ports.spending import RateLimits, UsedNonces
from acmehub.ports.store import (
    Accounts,
    Certificates,
    Records,
    Resources,
    Store,
    StoreAbsent,
    StoreOutdated,
)
from acmehub.ports.zone_leases import ZoneLeases
from acmehub.storage import tables
from acmehub.storage.accounts import SqlAccounts
from acmehub.storage.audit.entries import AuditRows
from acmehub.storage.audit.seals import SqlSeals
from acmehub.storage.certificates import CertificateRows, SqlCertificates
from acmehub.storage.driver import SqlDriver
from acmehub.storage.hot_statements import TOUCH
from acmehub.storage.idempotency import SqlIdempotencyKeys
from acmehub.storage.jobs import Leases, read_counts
from acmehub.storage.orders import SqlOrders
from acmehub.storage.rate_limits import SqlRateLimits
from acmehub.storage.records import EventRows, SqlRecords, SqlUsedNonces
from acmehub.storage.resources import RevisionRows, SqlResources, read_copy_number
from acmehub.storage.schema_steps import require_schema
from acmehub.storage.statements import Batch, Unit
from acmehub.storage.txt_records import SqlTxtRecords, SqlZoneLeases


class SqlStore(Store, CopiesRows):
    """A `ports.store.Store` over SQL. `clock` gives the time at which waiting orders are made due."""

    def __init__(self, driver: SqlDriver, clock: Clock | None = None) -> None:
        self._driver = driver
        self._is_open = False
        self._clock = clock = clock or SystemClock()
        self._leases = Leases(driver)
        events = EventRows(driver)
        audit = AuditRows(driver)
        certificates = CertificateRows(driver)
        self.principals: Resources[Principal] = SqlResources(driver, audit, Principal, tables.Principal)
        self.tokens: Resources[Token] = SqlResources(driver, audit, Token, tables.Token, name_field="title")
        self.managed_challenges: Resources[ManagedChallenge] = SqlResources(
            driver, audit, ManagedChallenge, tables.ManagedChallenge
        )
        self.authorities: Resources[Authority] = SqlResources(driver, audit, Authority, tables.Authority)
        self.profiles: Resources[Profile] = SqlResources(driver, audit, Profile, tables.Profile)
        self.campaigns: Resources[Campaign] = SqlResources(driver, audit, Campaign, tables.Campaign)
        self.accounts: Accounts = SqlAccounts(driver, audit)
        self.orders: Orders = SqlOrders(driver, clock, events, certificates, audit)
        self.txt_records: TxtRecords = SqlTxtRecords(driver, events)
        self.certificates: Certificates = SqlCertificates(driver, certificates, audit)
        self.records: Records = SqlRecords(driver, events, audit)
        self.seals: Seals = SqlSeals(driver, audit)
        self._revisions = RevisionRows(driver)
        self.nonces: UsedNonces = SqlUsedNonces(driver, self._revisions.known)
        self.rate_limits: RateLimits = SqlRateLimits(driver)
        self.zone_leases: ZoneLeases = SqlZoneLeases(driver)
        self.idempotency: IdempotencyKeys = SqlIdempotencyKeys(driver)

    @property
    def shared(self) -> bool:
        return self._driver.shared

    async def migrate(self) -> int:
        if self._is_open:  # only what has every step is open
            return 0
        try:
            await self.open()
        except (StoreAbsent, StoreOutdated):
            from acmehub.storage.migrating import migrate  # Piccolo's runner is a third of a start: only where needed

            return await migrate(self._driver)
        await self.close()
        return 0

    async def used_elsewhere(self) -> bool:
        return await self._driver.used_elsewhere()

    @asynccontextmanager
    async def snapshot(self) -> AsyncIterator[StoreSnapshot]:
        from acmehub.storage.transfer import snapshot  # with Piccolo's runner, as above

        async with snapshot(self._driver) as found:
            yield found

    async def import_rows(
        self, schema: Sequence[str], pages: AsyncIterator[TablePage], audit: Sequence[AuditEntry] = ()
    ) -> None:
        from acmehub.storage.transfer import import_rows

        await import_rows(self._driver, schema, pages, audit)

    async def copy_number(self) -> int:
        return await self._driver.point_read(read_copy_number)

    async def open(self, *, serve: bool = False, worker: str = "") -> None:
        await self._driver.open(serve=serve)
        try:
            await self._driver.read(require_schema, self._driver.place)
            if worker:
                self._driver.enter(worker)
                await self._driver.write(self._leases.end_those_of_the_dead, self._clock.now())
        except BaseException:
            await self._driver.close()
            raise
        self._is_open = True

    async def close(self) -> None:
        self._is_open = False
        await self._driver.close()

    async def ping(self) -> None:
        """Takes the writer's place and changes no row; the driver knows of a full disk by other means."""
        self._driver.check()
        await self._driver.write(_ping)

    async def revisions(self) -> Revisions:
        return await self._driver.point_read(self._revisions.read)

    async def counts(self, now: datetime) -> Counts:
        return await self._driver.read(read_counts, self._driver.dialect, now)

    def subscribe(self, callback: Callable[[str, int], None]) -> Callable[[], None]:
        return self._driver.subscribe(callback)


def _ping() -> Unit[None]:
    yield Batch((TOUCH(),), autocommit=True)
