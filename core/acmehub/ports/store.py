"""Storage as named verbs over models. Each verb is one transaction; a verb that returned has been made durable.

A storage is written once over SQL (`storage/`) for two engines; another one must pass
`acmehub.testing.store_contract`.
"""

from collections.abc import Callable, Collection, Sequence
from datetime import datetime, timedelta
from typing import Protocol, TypeVar

from acmehub.models import (
    Account,
    Actor,
    AuditEntry,
    AuditFilter,
    AuditRecord,
    Authority,
    Campaign,
    Certificate,
    Event,
    EventKind,
    ManagedChallenge,
    Principal,
    Profile,
    Token,
)
from acmehub.ports.figures import Counts, ExpiryBucket
from acmehub.ports.idempotency import IdempotencyKeys
from acmehub.ports.lists import ALL_ACCOUNTS, ALL_CERTIFICATES, AccountFilter, CertificateFilter
from acmehub.ports.order_store import Orders, TxtRecords
from acmehub.ports.revisions import Revisions
from acmehub.ports.seals import Seals
from acmehub.ports.spending import RateLimits, UsedNonces
from acmehub.ports.zone_leases import ZoneLeases

R = TypeVar("R", Principal, Token, ManagedChallenge, Authority, Profile, Campaign)


class StoreError(Exception):
    """Base of what a storage can answer besides a result."""


class StoreUnavailable(StoreError):
    """The database cannot be used now (locked, full, read-only, not reachable); nothing was changed, or it is not
    known whether (a lost COMMIT). The text names the place and what to do."""


class StoreAbsent(StoreError):
    """No hub has ever been there: no file, or no tables. The text is the place alone."""


class StoreOutdated(StoreError):
    """The schema lacks steps that this program needs; the text names the place and what to do."""


class Conflict(StoreError):
    """Another row has this unique value, or the row has changed since it was read; `field` names the value."""

    def __init__(self, field: str, detail: str = "") -> None:
        super().__init__(detail or field)
        self.field = field


class Missing(StoreError):
    """There is no such row."""


class Fenced(StoreError):
    """The writer's fencing token is no longer the row's: somebody else owns the job now."""


class StoreAway(StoreUnavailable):
    """The database does not answer, and may answer later without anything being changed at the hub."""


class Resources(Protocol[R]):
    """What operators manage: principals, tokens, managed challenges, authorities, profiles, campaigns."""

    async def get(self, id: str) -> R | None:
        """By id."""
        ...

    async def named(self, name: str) -> Sequence[R]:
        """By name (a token's: its title, which need not be unique)."""
        ...

    async def list(self) -> Sequence[R]:
        """All, oldest first."""
        ...

    async def ids(self, prefix: str, limit: int) -> Sequence[str]:
        """The first `limit` ids that begin with `prefix` (lower-case hexadecimal digits)."""
        ...

    async def add(self, item: R, audit: Sequence[AuditEntry] = ()) -> None:
        """Insert, with entries for the audit in the same transaction; `Conflict` on a name that is taken."""
        ...

    async def replace(self, item: R, audit: Sequence[AuditEntry] = (), needed: Sequence[R] = ()) -> R:
        """Write `item`, and entries for the audit, if its version is still the stored one, and give it back with the
        next; else `Conflict`.

        The versions of other rows that are `needed` must be the stored ones, too, and move: of two writes at once, each
        of which needs what the other one takes away, one has a `Conflict`.
        """
        ...

    async def remove(self, item: R, audit: Sequence[AuditEntry] = (), needed: Sequence[R] = ()) -> None:
        """Delete, and write entries for the audit; `Conflict` (field `references`) while others refer to it, or when it
        changed. `needed` as in `replace`."""
        ...


class Accounts(Protocol):
    """ACME accounts."""

    async def actor(self, account_id: str) -> Actor | None:
        """The account with its token and principal, in one read: asked for on every request."""
        ...

    def cached_actor(self, account_id: str) -> Actor | None:
        """The actor as it was read last, which may have changed since; None where nothing is known. Reads nothing."""
        ...

    async def by_thumbprint(self, thumbprint: str) -> Account | None:
        """The account of a key."""
        ...

    async def bind(self, account: Account, rule: Callable[[Token, Principal], Token]) -> tuple[Account, bool]:
        """Create an account and count the use of its token, in one transaction.

        An account with the same thumbprint is returned as it is (second value False) without asking `rule`. Else
        `rule` gets token and principal as stored now and returns the token to write, or raises (nothing is written);
        `Missing` when the token is unknown.
        """
        ...

    async def replace(self, account: Account, audit: Sequence[AuditEntry] = ()) -> Account:
        """Version-guarded write, as `Resources.replace`."""
        ...

    async def list(
        self, wanted: AccountFilter = ALL_ACCOUNTS, *, after: str = "", limit: int = 100
    ) -> Sequence[Account]:
        """Accounts by id, `after` exclusive."""
        ...

    async def ids(self, prefix: str, limit: int) -> Sequence[str]:
        """As `Resources.ids`."""
        ...


class Certificates(Protocol):
    """Issued certificates."""

    async def get(self, certificate_id: str) -> Certificate | None:
        """By id."""
        ...

    async def by_serial(self, serial: str) -> Sequence[Certificate]:
        """By serial number in lower-case hexadecimal."""
        ...

    async def replace(self, certificate: Certificate, audit: Sequence[AuditEntry] = ()) -> Certificate:
        """Version-guarded write, as `Resources.replace`."""
        ...

    async def window_due(self, now: datetime, limit: int) -> Sequence[Certificate]:
        """Certificates whose `window_until` has come, most overdue first."""
        ...

    async def list(
        self, wanted: CertificateFilter = ALL_CERTIFICATES, *, after: str = "", limit: int = 100
    ) -> Sequence[Certificate]:
        """Certificates from beyond the certificate `after`, newest first; with `ends_before`, by their end."""
        ...

    async def ids(self, prefix: str, limit: int) -> Sequence[str]:
        """As `Resources.ids`."""
        ...

    async def expiry(
        self, begin: datetime, step: timedelta, until: datetime, principal_ids: frozenset[str] | None = None
    ) -> Sequence[ExpiryBucket]:
        """How many certificates end in each `step` (whole seconds) from `begin` (its second) up to `until`, exclusive;
        with `principal_ids`, those of accounts of these principals."""
        ...

    async def late(
        self, now: datetime, limit: int, principal_ids: frozenset[str] | None = None
    ) -> Sequence[Certificate]:
        """Uncovered certificates that are past the end of their renewal window (the CA's, or by their dates) while no
        order for the same set of names is open; those that end first come first. One that has ended longer ago than
        half of its validity (or 200 days) is missed by nobody."""
        ...

    async def fill_name_sets(self, limit: int) -> int:
        """Write the `name_set` of up to `limit` certificates that have none, and what `CertificateFilter.below` needs
        of up to `limit` names; how many they were."""
        ...

    async def name_sets_filled(self) -> bool:
        """Whether nothing is left that `fill_name_sets` would write."""
        ...


class Records(Protocol):
    """What is only ever appended: timelines and the audit."""

    async def note(self, events: Sequence[Event]) -> None:
        """Append to timelines outside a `Change`."""
        ...

    async def timeline(self, order_id: str) -> Sequence[Event]:
        """An order's events, oldest first."""
        ...

    async def latest(self, order_ids: Sequence[str], kinds: Collection[EventKind]) -> Sequence[Event]:
        """Of each order, the latest event of these kinds, if it has one."""
        ...

    async def audit(self, entries: Sequence[AuditEntry]) -> None:
        """Append to the audit outside a change."""
        ...

    async def prune_timelines(self, before: datetime, after: int, limit: int) -> int | None:
        """Delete what was written before then about orders that have ended, among the `limit` lines from beyond line
        `after`, oldest first; the last line that was looked at, None when no older ones are left."""
        ...

    async def audited(
        self,
        limit: int = 100,
        filter: AuditFilter = AuditFilter(),
        *,
        before: int | None = None,
        after: int | None = None,
    ) -> Sequence[AuditRecord]:
        """The latest entries that the filter lets through, newest first; with `before` or `after`, of those with a
        smaller or larger id, with `after` oldest first."""
        ...


class Store(Protocol):
    """A storage: open, use the nouns, close."""

    principals: Resources[Principal]
    tokens: Resources[Token]
    managed_challenges: Resources[ManagedChallenge]
    authorities: Resources[Authority]
    profiles: Resources[Profile]
    campaigns: Resources[Campaign]
    accounts: Accounts
    orders: Orders
    txt_records: TxtRecords
    certificates: Certificates
    records: Records
    seals: Seals
    nonces: UsedNonces
    rate_limits: RateLimits
    zone_leases: ZoneLeases
    idempotency: IdempotencyKeys

    @property
    def shared(self) -> bool:
        """Whether several `serve` processes may use it at once; if not, a second one is refused at `open`."""
        ...

    async def migrate(self) -> int:
        """Bring the schema up to date, safely when several processes do so at once; how many steps were taken."""
        ...

    async def open(self, *, serve: bool = False, worker: str = "") -> None:
        """Connect; `serve` claims the right to answer ACME requests (see `shared`).

        Makes nothing: where `migrate` has never been, `StoreAbsent`; where it has steps to take, `StoreOutdated`.
        `StoreUnavailable` on any other failure. `worker`: the owner that the leases of this process will have; leases
        of owners whose processes are known to be dead are over then, a storage that cannot know waits until they end.
        """
        ...

    async def close(self) -> None:
        """Finish what is under way and let go."""
        ...

    async def ping(self) -> None:
        """Raise `StoreUnavailable` unless a write could be made now; writes nothing."""
        ...

    async def revisions(self) -> Revisions:
        """The revisions of all kinds of resources, in one read of a few rows: asked for on every newOrder."""
        ...

    async def counts(self, now: datetime) -> Counts:
        """How much there is of what."""
        ...

    def subscribe(self, callback: Callable[[str, int], None]) -> Callable[[], None]:
        """Call `callback(order_id, version)` in the event loop after each commit that changed an order, by this
        process or (as far as the engine can tell) another; `version` is the order's new one, which moves with its
        authorizations, too. With `("", 0)` something changed, it is not known what. Returns the function that ends the
        subscription."""
        ...
