"""The part of the port for storage that has orders, each also the job of fulfilling it, and TXT records."""

from collections.abc import Callable, Collection, Sequence
from datetime import datetime
from typing import Protocol

from acmehub.models import (
    Authorization,
    AuthorizationMode,
    Event,
    EventKind,
    Order,
    TxtRecord,
)
from acmehub.ports.figures import FailureCause
from acmehub.ports.lists import ALL_ORDERS, OrderFilter
from acmehub.rules.orders import Change, Lease, OrderBundle


class Orders(Protocol):
    """Orders with their authorizations; each order row is also the job of fulfilling it."""

    async def add(self, bundle: OrderBundle, events: Sequence[Event] = ()) -> None:
        """Store a new order with its authorizations; `Conflict("lock_key")` when another order has the lock that it
        takes."""
        ...

    async def get(self, order_id: str, *, version: int = 0) -> OrderBundle | None:
        """An order with its authorizations, as stored now; with `version`, as it was stored since then at least, if
        this process knows that."""
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
        the lock that the change takes, `Conflict("txt_record")` when a row of `present` has changed,
        `Conflict("upstream_url")` when another one that has a lock has the upstream
        order. A certificate of an order that `replaces` another one makes that one's `replaced_by` this order, unless
        it has one. Giving the lock up makes the orders that wait for it (same
        `name_set` and authority, stage `ordering`, a `run_at`) due at once. A change whose order equals the stored one
        and that has nothing else writes nothing. `Missing` when there is no such order.
        """
        ...

    async def claim(
        self, lease: Lease, now: datetime, limit: int, full: frozenset[str] = frozenset()
    ) -> Sequence[OrderBundle]:
        """Take up to `limit` due orders whose lease is free or over, those that were opened first, fence + 1 each.

        So a backlog is worked order by order: what is begun is ended before another one begins.

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
        """The account's newest valid order since then that was finalized with these very bytes."""
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

    async def list(self, wanted: OrderFilter = ALL_ORDERS, *, after: str = "", limit: int = 100) -> Sequence[Order]:
        """Orders, newest first, from beyond the order `after`."""
        ...

    async def causes(
        self, since: datetime, opened_since: datetime, principal_ids: frozenset[str] | None = None
    ) -> Sequence[FailureCause]:
        """What the orders failed of that have failed since then and were opened since `opened_since`, those that failed
        most first; with `principal_ids`, those of these principals."""
        ...

    async def waiting(self, principal_ids: frozenset[str] | None = None) -> Sequence[FailureCause]:
        """As `causes`, of the orders that are not over and whose present step has failed; `first` and `last` say when
        they were opened."""
        ...

    async def ids(self, prefix: str, limit: int) -> Sequence[str]:
        """As `Resources.ids`."""
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

    async def remove(self, record: TxtRecord, events: Sequence[Event] = ()) -> None:
        """The record is gone from DNS: forget the row (fine when it is forgotten already), and append to timelines."""
        ...

    async def needed(self, records: Sequence[TxtRecord]) -> frozenset[str]:
        """The ids of those of these rows whose record (zone, name, value) another row needs, which is not to be
        removed."""
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
