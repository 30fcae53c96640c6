"""How long the first page of each list takes, by each filter and by any two: operators wait for it.

    python -m bench.lists                                   SQLite, in a new folder
    python -m bench.lists postgresql://hub:password@127.0.0.1/hub    a database without tables
    python -m bench.lists --orders 1000000 …

100 000 orders, half as many certificates, as many entries of the audit. Principals, tokens and accounts have unequal
shares, and one authority, one principal and one status have few rows among them. SQLite has no statistics, PostgreSQL
those that autovacuum makes. Prints the slowest lists, and fails where one takes longer than 100 ms of the store's time.
"""

import argparse
import asyncio
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from itertools import combinations
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from acmehub.admin.operations.attention.reading import Attention
from acmehub.models import (
    AccountStatus,
    AuditEntry,
    AuditFilter,
    Certificate,
    Event,
    EventKind,
    Order,
    OrderStatus,
    Stage,
    TxtRecord,
)
from acmehub.models.problems import Problem, ProblemType
from acmehub.ports.clock import SystemClock
from acmehub.ports.lists import AccountFilter, CertificateFilter, OrderFilter
from acmehub.ports.settings import Secret
from acmehub.rules.orders import OrderBundle
from acmehub.runtime.snapshot import Snapshots
from acmehub.storage import tables
from acmehub.storage.certificates import reversed_labels
from acmehub.storage.codec import Codec
from acmehub.storage.driver import SqlDriver
from acmehub.storage.piccolo_engine import transaction
from acmehub.storage.statements import Dialect
from acmehub.storage.store import SqlStore
from acmehub.storage_api import SqliteDriver
from acmehub.testing.store_samples import (
    Seed,
    a_certificate,
    a_managed_challenge,
    a_principal,
    a_token,
    an_account,
    an_authority,
)

MOST_MILLISECONDS = 100.0
FIGURES = ("attention", "late")  # asked for now and then, not page by page
ACCOUNTS = 500
PRINCIPALS = 100
RARE = 1000  # one order of so many has what is rare
BATCH = 2000
MINUTE = timedelta(minutes=1)
NOW = datetime(2026, 11, 28, 12, tzinfo=UTC)


class Filled:
    """What a list is asked for."""

    def __init__(self, seeds: Sequence[Seed], rare: Seed) -> None:
        self.seeds = seeds
        self.rare = rare
        self.ids = frozenset(seed.actor.principal.id for seed in seeds)


async def fill(store: SqlStore, driver: SqlDriver, orders: int) -> Filled:
    """Write rows straight into the tables."""
    authority, other = an_authority(), an_authority("rare")
    challenge = a_managed_challenge()
    for row in (replace(authority, pauses=()), replace(other, default=False, pauses=())):
        await store.authorities.add(row)
    await store.managed_challenges.add(challenge)
    seeds: list[Seed] = []
    for number in range(PRINCIPALS):
        principal = a_principal(f"p{number}")
        token = replace(a_token(principal, f"t{number}"), expires=None, use_limit=None, revoked=None)
        await store.principals.add(principal)
        await store.tokens.add(token)
        for _ in range(ACCOUNTS // PRINCIPALS):
            account, _ = await store.accounts.bind(an_account(token), lambda token, _: token)
            actor = await store.accounts.actor(account.id)
            assert actor is not None
            seeds.append(Seed(actor, authority, challenge))
    for seed in seeds[:2]:
        await store.accounts.replace(replace(seed.actor.account, status=AccountStatus.REVOKED))
    rare = replace(seeds[-1], authority=other)
    async with driver.schema() as session, transaction(session):
        for begin in range(0, orders, BATCH):
            made = [_rows(number, orders, seeds, rare) for number in range(begin, min(begin + BATCH, orders))]
            await _insert(session, driver, made)
    entries = [
        AuditEntry(at=NOW - number * MINUTE, actor=f"account {number % 500}", action="order.refused", object="o")
        for number in range(orders, 0, -1)
    ]
    for begin in range(0, len(entries), BATCH):
        await store.records.audit(entries[begin : begin + BATCH])
    return Filled(seeds, rare)


Made = tuple[OrderBundle, tuple[Event, ...], Certificate | None, TxtRecord | None]


def _rows(number: int, orders: int, seeds: Sequence[Seed], rare: Seed) -> Made:
    """An order; each second one has a certificate, one of 20 has failed, one of a thousand is open and fails."""
    is_rare = number % RARE == 7
    seed = rare if is_rare else seeds[number * number % (len(seeds) - 1)]
    opened = NOW - timedelta(days=180) * (1 - number / orders)
    bundle = seed.order(f"n{number % (orders // 4)}.z{number % 50}.corp.test", created=opened)
    over: dict[str, Any] = {"status": OrderStatus.VALID, "stage": Stage.DONE, "run_at": None}
    events, certificate, record = [Event(order_id=bundle.order.id, at=opened, kind=EventKind.ORDER_OPENED)], None, None
    if number % RARE == 3:
        over = {"attempts": 2, "stage": Stage.VALIDATING, "run_at": NOW + timedelta(days=1)}
        events.append(Event(order_id=bundle.order.id, at=opened, kind=EventKind.CA_UNAVAILABLE, detail="refused"))
        record = seed.record(bundle)
    elif number % 20 == 1:
        problem = Problem(ProblemType.CAA, "refused").document()
        over = {"status": OrderStatus.INVALID, "stage": Stage.FAILED, "run_at": None, "error": problem}
        events += [
            Event(order_id=bundle.order.id, at=opened, kind=kind)
            for kind in (EventKind.CA_REFUSED, EventKind.ORDER_FAILED)
        ]
    elif number % 2 == 0 or is_rare:
        ends = {"not_before": opened, "not_after": opened + timedelta(days=90), "alternates": ()}
        revoked = {"revoked": NOW} if is_rare else {}
        certificate = replace(a_certificate(bundle.order, created=opened), chain="PEM " * 900, **ends, **revoked)
    return OrderBundle(replace(bundle.order, **over), bundle.authorizations), tuple(events), certificate, record


async def _insert(session: Any, driver: SqlDriver, made: Sequence[Made]) -> None:
    dialect = driver.dialect
    orders = Codec(Order, tables.Order, dialect)
    events = Codec(Event, tables.Event, dialect)
    certificates = Codec(Certificate, tables.Certificate, dialect)
    records = Codec(TxtRecord, tables.TxtRecord, dialect)
    authorizations = Codec(type(made[0][0].authorizations[0]), tables.Authorization, dialect)
    issued = [certificate for _, _, certificate, _ in made if certificate is not None]
    bundles = [bundle for bundle, *_ in made]
    for codec, items in (
        (orders, [bundle.order for bundle in bundles]),
        (authorizations, [item for bundle in bundles for item in bundle.authorizations]),
        (events, [event for _, each, _, _ in made for event in each]),
        (certificates, issued),
        (records, [record for *_, record in made if record is not None]),
    ):
        if items:
            writer: Any = codec
            await session.insert(writer.table, writer.fields, [writer.row(item) for item in items])
    names = [(item.id, name, reversed_labels(name)) for item in issued for name in item.names]
    await session.insert("certificate_name", ("certificate_id", "name", "reversed"), names)


# ------------------------------------------------------------------------------------------------------- questions

Question = tuple[str, Callable[[], Awaitable[Any]]]


def questions(store: SqlStore, filled: Filled) -> Iterator[Question]:
    """Each list by each filter and any two of them, and the figures."""
    common, rare = filled.seeds[0].actor, filled.rare
    some = frozenset(sorted(filled.ids)[:10])
    own = frozenset({rare.actor.principal.id})
    month = NOW + timedelta(days=30)
    everything: Sequence[tuple[str, Any, Any, dict[str, Sequence[Any]]]] = (
        (
            "orders",
            OrderFilter,
            store.orders.list,
            {
                "status": tuple(OrderStatus),
                "stage": (Stage.VALIDATING, Stage.DONE),
                "account_id": (common.account.id, rare.actor.account.id),
                "principal_id": (common.principal.id, rare.actor.principal.id),
                "token_id": (common.token.id, rare.actor.token.id),
                "authority_id": (filled.seeds[0].authority.id, rare.authority.id),
                "challenge_id": (rare.managed_challenge.id,),
                "name": ("n8.z8.corp.test", "nobody.test"),
                "since": (NOW - timedelta(days=1), NOW - timedelta(days=170)),
                "failing": (True,),
                "principal_ids": (filled.ids, some, own, frozenset({"nobody"})),
            },
        ),
        (
            "certificates",
            CertificateFilter,
            store.certificates.list,
            {
                "name": ("n8.z8.corp.test",),
                "below": ("corp.test", "z8.corp.test", "nobody.test"),
                "principal_id": (common.principal.id, rare.actor.principal.id),
                "token_id": (common.token.id,),
                "authority_id": (filled.seeds[0].authority.id, rare.authority.id),
                "ends_before": (NOW, month),
                "uncovered": (True,),
                "revoked": (True, False),
                "principal_ids": (filled.ids, some, own, frozenset({"nobody"})),
            },
        ),
        (
            "accounts",
            AccountFilter,
            store.accounts.list,
            {
                "principal_id": (common.principal.id,),
                "token_id": (common.token.id,),
                "status": (AccountStatus.VALID, AccountStatus.REVOKED, AccountStatus.DEACTIVATED),
                "thumbprint": (common.account.thumbprint, "none"),
                "principal_ids": (filled.ids, some, own),
            },
        ),
        (
            "audit",
            AuditFilter,
            lambda wanted, limit: store.records.audited(limit, wanted),
            {
                "actor": ("account 77", "nobody"),
                "action": ("order", "limit.reached"),
                "object": ("nothing",),
                "since": (NOW - timedelta(hours=1),),
                "until": (NOW - timedelta(days=60),),
                "refused": (True,),
            },
        ),
    )
    for noun, kind, list_, values in everything:
        for count in range(3):
            for chosen in combinations(values, count):
                for given in _each([[(name, value) for value in values[name]] for name in chosen]):
                    wanted = kind(**dict(given))
                    name = " ".join([noun, *(f"{field}={_short(value)}" for field, value in given)])
                    yield name, lambda wanted=wanted, list_=list_: list_(wanted, limit=50)  # type: ignore[misc]
    attention = Attention(store, SystemClock(), Snapshots(store), timedelta(days=1))
    timeline = store.certificates
    yield "causes of a day", lambda: store.orders.causes(NOW - timedelta(days=1), NOW - timedelta(days=2))
    yield "causes of a day, some", lambda: store.orders.causes(NOW - timedelta(days=1), NOW - timedelta(days=2), some)
    yield "waiting", lambda: store.orders.waiting()
    yield "late", lambda: timeline.late(NOW, 1000)
    yield "late, some", lambda: timeline.late(NOW, 1000, some)
    yield "expiry in 90 days", lambda: timeline.expiry(NOW, timedelta(days=1), NOW + timedelta(days=90))
    yield "counts", lambda: store.counts(NOW)
    yield "attention", lambda: attention.items()
    yield "attention, some", lambda: attention.items(some)


def _each(values: Sequence[Sequence[Any]]) -> Iterator[tuple[Any, ...]]:
    if not values:
        yield ()
        return
    for first in values[0]:
        for rest in _each(values[1:]):
            yield (first, *rest)


def _short(value: object) -> str:
    return f"{len(value)} ids" if isinstance(value, frozenset) else str(value)[-24:]


async def measure(driver: SqlDriver, orders: int) -> int:
    """Fill and ask; the exit status."""
    store = SqlStore(driver)
    await store.migrate()
    await store.open()
    begin = time.monotonic()
    filled = await fill(store, driver, orders)
    if driver.dialect is Dialect.POSTGRES:
        async with driver.schema() as session:
            await session.execute("VACUUM ANALYZE")
    print(f"{orders} orders written in {time.monotonic() - begin:.0f} s")
    took: list[tuple[float, str]] = []
    for name, ask in questions(store, filled):
        best = float("inf")
        for _ in range(3):  # the best of three: what else the machine does is not the store's time
            begin = time.perf_counter()
            await ask()
            best = min(best, (time.perf_counter() - begin) * 1000)
        took.append((best, name))
    await store.close()
    took.sort(reverse=True)
    for milliseconds, name in took[:25]:
        print(f"{milliseconds:8.1f} ms  {name}")
    slow = [name for milliseconds, name in took if milliseconds > MOST_MILLISECONDS and not name.startswith(FIGURES)]
    print(f"{len(took)} questions, {len(slow)} of them slower than {MOST_MILLISECONDS:.0f} ms")
    return 1 if slow else 0


def main(arguments: Sequence[str]) -> int:
    """Measure one engine."""
    parser = argparse.ArgumentParser(description="first pages of all lists")
    parser.add_argument("dsn", nargs="?", default="", help="PostgreSQL instead of SQLite")
    parser.add_argument("--orders", type=int, default=100_000)
    given = parser.parse_args(arguments)
    if given.dsn:
        from acmehub_storage_postgres import PostgresDriver, Settings

        return asyncio.run(measure(PostgresDriver(Settings(dsn=Secret(given.dsn))), given.orders))
    with tempfile.TemporaryDirectory() as folder:
        return asyncio.run(measure(SqliteDriver(Path(folder) / "acmehub.db"), given.orders))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
