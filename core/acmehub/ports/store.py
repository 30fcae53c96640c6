"""Storage as named verbs over models. Each verb is one transaction; a verb that returned has been made durable.

A storage is written once over SQL (`storage/`) for two engines; another one must pass
`acmehub.testing.store_contract`.
"""

from collections.abc import Callable, Collection, Sequence
from datetime import datetime
from typing import Protocol, TypeVar

import msgspec

from acmehub.models import (
    Account,
    Actor,
    AuditEntry,
    Authority,
    Authorization,
    AuthorizationMode,
    Campaign,
    Certificate,
    Event,
    EventKind,
    ManagedChallenge,
    Order,
    OrderStatus,
    Principal,
    Profile,
    Token,
    TxtRecord,
)
from acmehub.ports.spending import RateLimits, UsedNonces
from acmehub.rules.orders import Change, Lease, OrderBundle

R = TypeVar("R", Principal, Token, ManagedChallenge, Authority, Profile, Campaign)


class StoreError(Exception):
    """Base of what a storage can answer besides a result."""


class StoreUnavailable(StoreError):
    """The database cannot be used now (locked, full, read-only, not reachable); nothing was changed, or it is not
    known whether (a lost COMMIT). The text names the place and what to do."""


class Conflict(StoreError):
    """Another row has this unique value, or the row has changed since it was read; `field` names the value."""

    def __init__(self, field: str, detail: str = "") -> None:
        super().__init__(detail or field)
        self.field = field


class Missing(StoreError):
    """There is no such row."""


class Fenced(StoreError):
    """The writer's fencing token is no longer the row's: somebody else owns the job now."""


class Revisions(msgspec.Struct, frozen=True, kw_only=True):
    """How often each kind of resources was changed, by any process; a change moves it in its own transaction."""

    principals: int = 0
    tokens: int = 0
    managed_challenges: int = 0
    authorities: int = 0
    profiles: int = 0
    campaigns: int = 0


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

    async def add(self, item: R, audit: Sequence[AuditEntry] = ()) -> None:
        """Insert, with entries for the audit in the same transaction; `Conflict` on a name that is taken."""
        ...

    async def replace(self, item: R, audit: Sequence[AuditEntry] = ()) -> R:
        """Write `item`, and entries for the audit, if its version is still the stored one, and give it back with the
        next; else `Conflict`."""
        ...

    async def remove(self, item: R, audit: Sequence[AuditEntry] = ()) -> None:
        """Delete, and write entries for the audit; `Conflict` (field `references`) while others refer to it, or when it
        changed."""
        ...


class Accounts(Protocol):
    """ACME accounts."""

    async def actor(self, account_id: str) -> Actor | None:
        """The account with its token and principal, in one read: asked for on every request."""
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

    async def list(self, *, after: str = "", limit: int = 100) -> Sequence[Account]:
        """Accounts by id, `after` exclusive."""
        ...


class Orders(Protocol):
    """Orders with their authorizations; each order row is also the job of fulfilling it."""

    async def add(self, bundle: OrderBundle, events: Sequence[Event] = ()) -> None:
        """Store a new order with its authorizations."""
        ...

    async def get(self, order_id: str) -> OrderBundle | None:
        """An order with its authorizations."""
        ...

    async def authorization(self, authorization_id: str) -> Authorization | None:
        """One authorization."""
        ...

    async def apply(
        self, order_id: str, rule: Callable[[OrderBundle], Change], *, fence: int | None = None
    ) -> OrderBundle:
        """Read the order, ask `rule`, write its `Change`: one transaction; returns what is stored now.

        `rule` is pure and may raise (nothing is written, the exception comes through); it may run more than once and
        in another thread. With `fence`, `Fenced` unless it is the row's. `Conflict("lock_key")` when another order has
        the lock that the change takes, `Conflict("upstream_url")` when another one that has a lock has the upstream
        order. A certificate of an order that `replaces` another one makes that one's
        `replaced_by` this order, unless it has one. Giving the lock up makes the orders that wait for it (same
        `name_set` and authority, stage `ordering`, a `run_at`) due at once. A change whose order equals the stored one
        and that has nothing else writes nothing. `Missing` when there is no such order.
        """
        ...

    async def claim(
        self, lease: Lease, now: datetime, limit: int, full: frozenset[str] = frozenset()
    ) -> Sequence[OrderBundle]:
        """Take up to `limit` due orders whose lease is free or over, most overdue first, fence + 1 each.

        Orders are passed over whose authority's id, mode, principal's id, or `<authority's id> <mode>` is in `full`.
        """
        ...

    async def wake(self, kinds: Collection[EventKind], *, authority_id: str = "", challenge_id: str = "") -> int:
        """Make due now the orders that wait after a failure and whose latest event is one of these kinds; how many.

        Only those of an authority; only those that have a TXT record of a managed challenge, or none.
        """
        ...

    async def renew(self, order_id: str, fence: int, until: datetime) -> bool:
        """Extend a lease; False when it is lost."""
        ...

    async def next_due(self, after: datetime | None = None) -> datetime | None:
        """When the next order becomes claimable (due, or its lease over) after that; None when there is none."""
        ...

    async def lock_holders(self, order_id: str, *, lock_key: str = "", upstream_url: str = "") -> Sequence[Order]:
        """Unfinished orders other than `order_id` that have this lock, or this upstream order and a lock."""
        ...

    async def open_of(self, account_id: str, name_set: str) -> Sequence[OrderBundle]:
        """The account's pending and ready orders for these names, newest first."""
        ...

    async def previous(self, account_id: str, name_set: str) -> Order | None:
        """The account's newest order for these names, if it is among its latest 32."""
        ...

    async def same_csr(self, account_id: str, csr: bytes, since: datetime) -> Order | None:
        """The account's newest valid order since then that was finalized with these very bytes, if it is among its
        latest 100."""
        ...

    async def valid_authorizations(
        self, account_id: str, names: Sequence[str], since: datetime, limit: int = 4
    ) -> Sequence[tuple[Authorization, AuthorizationMode]]:
        """The account's valid authorizations for these names (canonical, without a wildcard label) of orders opened
        since then, each with its order's mode: for each name, and for its wildcard, up to `limit` of those that last
        longest, longest first."""
        ...

    async def of_account(self, account_id: str, *, after: str = "", limit: int = 100) -> tuple[Sequence[str], str]:
        """Ids of those that are not invalid among the account's `limit` orders from beyond the order `after`, newest
        first; and what `after` is for the next ones (empty: there are no more)."""
        ...

    async def open_count(self, account_id: str, limit: int) -> int:
        """How many pending and ready orders an account has; counts no further than to `limit`."""
        ...

    async def list(
        self, *, status: OrderStatus | None = None, account_id: str = "", after: str = "", limit: int = 100
    ) -> Sequence[Order]:
        """Orders, newest first, from beyond the order `after`."""
        ...

    async def lapsed(self, now: datetime, limit: int) -> Sequence[str]:
        """Ids of orders still pending or ready past their `expires`."""
        ...

    async def prune(self, before: datetime, limit: int) -> int:
        """Forget up to `limit` orders that were opened before then and are over, with all that belongs to them, except
        those whose certificate is valid still then or whose TXT records are not all gone; how many they were."""
        ...


class TxtRecords(Protocol):
    """TXT records that the hub created, or is about to."""

    async def of_order(self, order_id: str) -> Sequence[TxtRecord]:
        """An order's rows."""
        ...

    async def replace(self, record: TxtRecord) -> TxtRecord:
        """Version-guarded write, as `Resources.replace`."""
        ...

    async def remove(self, record: TxtRecord) -> None:
        """The record is gone from DNS: forget the row (fine when it is forgotten already)."""
        ...

    async def claim(
        self, lease: Lease, now: datetime, limit: int, full: frozenset[str] = frozenset()
    ) -> Sequence[TxtRecord]:
        """Take rows in state `remove` that are due, of no managed challenge whose id is in `full`."""
        ...

    async def next_due(self, after: datetime | None = None) -> datetime | None:
        """When the next removal is due after that; None when there is none."""
        ...

    async def list(self) -> Sequence[TxtRecord]:
        """All rows."""
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

    async def list(self, *, name: str = "", after: str = "", limit: int = 100) -> Sequence[Certificate]:
        """Certificates, newest first; `name` keeps those with that name."""
        ...


class Records(Protocol):
    """What is only ever appended: timelines and the audit."""

    async def note(self, events: Sequence[Event]) -> None:
        """Append to timelines outside a `Change`."""
        ...

    async def timeline(self, order_id: str) -> Sequence[Event]:
        """An order's events, oldest first."""
        ...

    async def audit(self, entries: Sequence[AuditEntry]) -> None:
        """Append to the audit outside a change."""
        ...

    async def prune_timelines(self, before: datetime, after: int, limit: int) -> int | None:
        """Delete what was written before then about orders that have ended, among the `limit` lines from beyond line
        `after`, oldest first; the last line that was looked at, None when no older ones are left."""
        ...

    async def prune_audit(self, before: datetime, limit: int) -> int:
        """Delete up to `limit` of the audit's oldest entries, up to the first that was written later; how many."""
        ...

    async def audited(self, limit: int = 100) -> Sequence[AuditEntry]:
        """The latest audit entries, newest first."""
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
    nonces: UsedNonces
    rate_limits: RateLimits

    @property
    def shared(self) -> bool:
        """Whether several `serve` processes may use it at once; if not, a second one is refused at `open`."""
        ...

    async def migrate(self) -> int:
        """Bring the schema up to date, safely when several processes do so at once; how many steps were taken."""
        ...

    async def open(self, *, serve: bool = False) -> None:
        """Connect; `serve` claims the right to answer ACME requests (see `shared`). `StoreUnavailable` on failure."""
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

    def subscribe(self, callback: Callable[[str, int], None]) -> Callable[[], None]:
        """Call `callback(order_id, version)` in the event loop after each commit that changed an order, by this
        process or (as far as the engine can tell) another; `version` is the order's new one, which moves with its
        authorizations, too. With `("", 0)` something changed, it is not known what. Returns the function that ends the
        subscription."""
        ...
