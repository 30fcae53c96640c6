"""Attention: each rule finds what it is about and nothing where all is well; one cause is one item."""

import shutil
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from acmehub.admin.operations.attention.item import AttentionItem, Severity, ranked
from acmehub.admin.operations.attention.reading import Attention, Dates
from acmehub.admin.operations.attention.service import AttentionService
from acmehub.app.own_certificate import own_certificate
from acmehub.config import Config
from acmehub.config.sections import TlsMode
from acmehub.models import (
    AccountStatus,
    AuditEntry,
    Certificate,
    Event,
    EventKind,
    Order,
    OrderStatus,
    Pause,
    Stage,
    TxtState,
)
from acmehub.models.problems import Problem, ProblemType
from acmehub.ports.store import Store, StoreUnavailable
from acmehub.rules.orders import Change, Lease, OrderBundle
from acmehub.runtime.plugins import Registry
from acmehub.runtime.snapshot import Snapshots
from acmehub.testing.fakes import ManualClock
from acmehub.testing.store_samples import (
    Seed,
    a_certificate,
    a_managed_challenge,
    a_principal,
    a_token,
    an_account,
    an_authority,
)
from tests.admin.conftest import ROOT, sqlite_store

NOW = datetime(2026, 11, 28, 12, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)


class Desk:
    """A store with one of everything, and attention over it."""

    def __init__(self, store: Store, seed: Seed, clock: ManualClock) -> None:
        self.store = store
        self.seed = seed
        self.clock = clock
        self.dates: Dates | None = None
        self.attention = Attention(store, clock, Snapshots(store, clock), DAY, lambda: self.dates)
        self.service = AttentionService(store, clock, self.attention)

    async def items(self) -> list[AttentionItem]:
        return list(await self.service.list(ROOT))

    async def only(self) -> AttentionItem:
        (item,) = await self.items()
        return item

    async def order(
        self,
        *names: str,
        age: timedelta = HOUR,
        events: tuple[tuple[EventKind, str, str], ...] = (),
        seed: Seed | None = None,
        record: dict[str, Any] | None = None,
        **fields: Any,
    ) -> Order:
        seed = seed or self.seed
        opened = NOW - age
        bundle = seed.order(*names, created=opened)
        await self.store.orders.add(bundle)
        fields = {"run_at": NOW + HOUR, **fields}

        def rule(now: OrderBundle) -> Change:
            lines = [Event(order_id=now.order.id, at=NOW - HOUR / 2, kind=k, detail=d, server=s) for k, d, s in events]
            records = (replace(seed.record(now), **record),) if record is not None else ()
            return Change(order=replace(now.order, **fields), events=tuple(lines), records=records)

        return (await self.store.orders.apply(bundle.order.id, rule)).order

    async def failed(self, *names: str, events: tuple[tuple[EventKind, str, str], ...] = (), **fields: Any) -> Order:
        problem = Problem(fields.pop("type", ProblemType.SERVER_INTERNAL), "as the client got it").document()
        over: dict[str, Any] = {"status": OrderStatus.INVALID, "stage": Stage.FAILED, "error": problem, "run_at": None}
        return await self.order(*names, events=(*events, (EventKind.ORDER_FAILED, "", "")), **over, **fields)

    async def certified(self, name: str, *, age: float, left: float, **fields: Any) -> Certificate:
        """A certificate that began and ends so many days ago and from now."""
        over: dict[str, Any] = {"status": OrderStatus.VALID, "stage": Stage.DONE, "run_at": None}
        order = await self.order(name, age=timedelta(days=age), **over)
        dates = {"not_before": order.created, "not_after": NOW + timedelta(days=left)}
        certificate = replace(a_certificate(order, created=order.created), **dates, **fields)
        await self.store.orders.apply(order.id, lambda now: Change(order=now.order, certificate=certificate))
        return certificate


async def settled(store: Store, **of_token: Any) -> Seed:
    """As `store_samples.sow`, with a token that does not end."""
    principal, authority, challenge = a_principal(), an_authority(), a_managed_challenge()
    token = replace(a_token(principal), **{"expires": None, "use_limit": None, "revoked": None, **of_token})
    await store.principals.add(principal)
    await store.tokens.add(token)
    await store.authorities.add(replace(authority, default=True, pauses=()))
    await store.managed_challenges.add(replace(challenge, match="*.corp.test"))
    account, _ = await store.accounts.bind(an_account(token), lambda token, _: token)
    actor = await store.accounts.actor(account.id)
    assert actor is not None
    return Seed(actor, authority, challenge)


@pytest.fixture
async def desk(registry: Registry, tmp_path: Path, migrated: Path) -> AsyncIterator[Desk]:
    shutil.copytree(migrated, tmp_path, dirs_exist_ok=True)
    store = sqlite_store(registry, tmp_path)
    await store.open()
    yield Desk(store, await settled(store), ManualClock(NOW))
    await store.close()


UNAVAILABLE = (EventKind.CA_UNAVAILABLE, "connection refused", "https://ca.test/dir")
REFUSED = (EventKind.DNS_PROVIDER_REFUSED, "invalid API token", "api.dns.test")


async def test_where_all_is_well_nothing_needs_anybody(desk: Desk) -> None:
    await desk.order("a.corp.test")  # waits for its turn
    await desk.order("b.corp.test", attempts=1, events=(UNAVAILABLE,))  # a slip
    await desk.certified("fresh.corp.test", age=10, left=80)
    desk.dates = (NOW - 10 * DAY, NOW + 80 * DAY)
    assert await desk.items() == []


async def test_a_dead_authority_is_one_item_with_what_waits_and_what_failed(desk: Desk) -> None:
    await desk.certified("old.corp.test", age=10, left=80)
    await desk.failed("a.corp.test", age=30 * HOUR, events=(UNAVAILABLE,))
    waiting = await desk.order("b.corp.test", age=3 * HOUR, attempts=4, events=(UNAVAILABLE,))
    item = await desk.only()
    assert (item.severity, item.kind, item.id) == (Severity.PAGE, "authority", desk.seed.authority.id)
    assert item.what == f"authority {item.name}: CA unavailable: 1 waiting and 1 failed orders"
    assert (item.words, item.whose, item.count) == ("connection refused", "https://ca.test/dir", 2)
    assert "is the CA reachable from here?" in item.to_do
    assert f"acmehub authority set {item.name}" in item.to_do
    assert item.principals == (desk.seed.actor.principal.name,)
    assert item.since == NOW - 3 * HOUR  # when the one that waits was opened
    issued = await desk.certified("new.corp.test", age=0, left=90)  # it works for others
    assert issued.authority_id == waiting.authority_id
    assert (await desk.only()).severity is Severity.WARN


async def test_an_authority_that_is_not_the_default_warns(desk: Desk) -> None:
    (row,) = await desk.store.authorities.list()
    await desk.store.authorities.replace(replace(row, default=False))
    await desk.order("b.corp.test", attempts=3, events=(UNAVAILABLE,))
    assert (await desk.only()).severity is Severity.WARN


async def test_a_limit_of_an_authority_says_until_when(desk: Desk) -> None:
    said = (EventKind.CA_RATE_LIMITED, "too many certificates", "https://ca.test")
    await desk.order("b.corp.test", attempts=3, events=(said,), run_at=NOW + 5 * HOUR)
    assert f"CA rate limit until {NOW + 5 * HOUR:%Y-%m-%d %H:%M}Z" in (await desk.only()).what


async def test_a_pause_of_a_ca_stays_until_somebody_acts(desk: Desk) -> None:
    (row,) = await desk.store.authorities.list()
    pauses = (Pause(NOW - DAY, "visit the portal"), Pause(NOW - HOUR, "this name", ("x.test",)))
    await desk.store.authorities.replace(replace(row, pauses=pauses))
    account, name = await desk.items()
    assert (account.severity, account.since, account.words) == (Severity.PAGE, NOW - DAY, "visit the portal")
    assert f"acmehub authority clear-pause {row.name}" in account.to_do
    assert (name.severity, "x.test" in name.what) == (Severity.WARN, True)


async def test_a_wrong_dns_credential_is_one_item_of_its_managed_challenge(desk: Desk) -> None:
    stays = {"state": TxtState.REMOVE, "attempts": 7, "last_error": "invalid API token", "created": NOW - 2 * DAY}
    await desk.order("www.corp.test", age=3 * HOUR, attempts=2, events=(REFUSED,), record=stays)
    await desk.order("www.corp.test", age=2 * HOUR, attempts=5, events=(REFUSED,))  # no record yet: by the name
    await desk.failed("www.corp.test", events=(REFUSED,), type=ProblemType.DNS)
    item = await desk.only()
    assert (item.kind, item.id) == ("challenge", desk.seed.managed_challenge.id)
    assert "DNS provider refused: 2 waiting and 1 failed orders; 1 TXT record cannot be removed" in item.what
    assert (item.words, item.whose) == ("invalid API token", "api.dns.test")
    assert "mend the credentials or rights at the provider" in item.to_do
    assert item.since == NOW - 2 * DAY


async def test_records_that_cannot_be_removed_are_told_without_an_order(desk: Desk) -> None:
    stays = {"state": TxtState.REMOVE, "attempts": 5, "last_error": "no such zone"}
    order = await desk.failed("www.corp.test", age=9 * DAY, record=stays)
    item = await desk.only()
    assert item.key == f"challenge/{desk.seed.managed_challenge.id}"
    assert (item.words, item.count) == ("no such zone", 1)
    (row,) = await desk.store.txt_records.of_order(order.id)
    await desk.store.txt_records.replace(replace(row, attempts=4))
    assert await desk.items() == []


async def test_failed_orders_are_grouped_by_their_cause(desk: Desk) -> None:
    wrong = (EventKind.VALIDATION_FAILED, "404 at http://a.corp.test", "a.corp.test")
    for _ in range(3):
        await desk.failed("a.corp.test", events=(wrong,))
    await desk.failed("b.corp.test", type=ProblemType.CAA)
    validation, caa = sorted(await desk.items(), key=lambda item: -item.count)
    assert (validation.what, validation.count) == ("3 failed orders: validation failed", 3)
    assert validation.words == "404 at http://a.corp.test"
    assert (caa.what, caa.words) == ("1 failed order: caa", "as the client got it")
    assert f"acmehub order show {caa.id}" in caa.to_do


async def test_an_account_that_renews_nothing_any_more_is_one_item(desk: Desk) -> None:
    for name in ("a.corp.test", "b.corp.test"):
        await desk.certified(name, age=64, left=26)
    item = await desk.only()
    assert (item.severity, item.kind, item.id) == (Severity.WARN, "account", desk.seed.actor.account.id)
    assert (item.count, "the client does not come" in item.what, "and 1 more" in item.what) == (2, True, True)
    assert "acmehub account deactivate" in item.to_do
    await desk.certified("c.corp.test", age=82, left=8)
    item = await desk.only()
    assert (item.severity, item.count, item.what[:11]) == (Severity.PAGE, 3, "c.corp.test")
    await desk.store.accounts.replace(replace(desk.seed.actor.account, status=AccountStatus.DEACTIVATED))
    assert await desk.items() == []


async def test_a_renewal_whose_last_order_failed_says_of_what(desk: Desk) -> None:
    await desk.certified("a.corp.test", age=64, left=26)
    last = await desk.failed("a.corp.test", age=9 * DAY)
    item = await desk.only()
    assert "the last order failed" in item.what
    assert (item.words, last.id in item.to_do) == ("as the client got it", True)
    await desk.order("a.corp.test")  # it comes again
    assert await desk.items() == []


async def test_a_looping_device_is_one_item(desk: Desk) -> None:
    account = desk.seed.actor.account.id

    def entry(hours: float, actor: str) -> AuditEntry:
        at = NOW - timedelta(hours=hours)
        return AuditEntry(at=at, actor=actor, action="limit.reached", object="x", detail="too many", allowed=False)

    actors = (30, f"account {account}"), (20, f"account {account}"), (1, f"account {account}"), (1, "address ::1")
    await desk.store.records.audit([entry(*each) for each in actors])
    item = await desk.only()
    assert (item.kind, item.id, item.count, item.words) == ("account", account, 2, "too many")
    assert item.since == NOW - 20 * HOUR
    assert f"acmehub order list --account {account}" in item.to_do


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"expires": NOW + 5 * DAY, "created": NOW - 85 * DAY}, "expires at 2026-12-03"),
        ({"expires": NOW - DAY, "created": NOW - 85 * DAY}, "has expired"),
        ({"use_limit": 40, "uses": 40}, "is used up: it has bound 40 accounts"),
        ({"use_limit": 42, "uses": 40}, "it may bind 2 more"),
        ({"expires": NOW + 15 * DAY, "created": NOW - 75 * DAY}, ""),
        ({"use_limit": 1, "uses": 1}, ""),
        ({"use_limit": 50, "uses": 40}, ""),
        ({"expires": NOW - DAY, "enabled": False}, ""),
    ],
)
async def test_a_token_is_told_of_in_the_last_share_of_its_life(desk: Desk, fields: dict[str, Any], said: str) -> None:
    (token,) = await desk.store.tokens.list()
    await desk.store.tokens.replace(replace(token, **fields))
    if not said:
        assert await desk.items() == []
        return
    item = await desk.only()
    assert (item.severity, item.kind, said in item.what) == (Severity.INFO, "token", True)
    await desk.store.accounts.replace(replace(desk.seed.actor.account, status=AccountStatus.REVOKED))
    assert await desk.items() == []


async def test_orders_that_no_worker_claims_are_urgent(desk: Desk) -> None:
    await desk.order("a.corp.test", run_at=NOW - 2 * timedelta(minutes=1))
    item = await desk.only()
    assert (item.severity, item.key, item.since) == (Severity.PAGE, "worker", NOW - timedelta(minutes=2))
    await desk.store.orders.add(desk.seed.order("b.corp.test", created=NOW - DAY))
    await desk.store.orders.claim(Lease("me", NOW + HOUR), NOW, 1)
    assert await desk.items() == []


@pytest.mark.parametrize(("left", "urgent"), [(17, True), (-1, True), (19, False)])
async def test_the_hubs_own_certificate_is_urgent_in_the_last_fifth_of_its_life(
    desk: Desk, left: int, urgent: bool
) -> None:
    desk.dates = (NOW + (left - 90) * DAY, NOW + left * DAY)
    assert [item.key for item in await desk.items()] == (["own_certificate"] if urgent else [])


def test_the_hubs_own_certificate_is_read_from_its_file(tmp_path: Path) -> None:
    config = Config(data_dir=tmp_path)
    assert own_certificate(config) is None
    (tmp_path / "tls.pem").write_text("nonsense")
    assert own_certificate(config) is None
    assert own_certificate(Config(data_dir=tmp_path, tls=TlsMode(mode="off"))) is None


async def test_a_storage_that_cannot_be_written_is_told_with_what_can_be_read(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(*_: object) -> Any:
        raise StoreUnavailable("the disk is full: /srv/hub")

    await desk.certified("c.corp.test", age=82, left=8)
    monkeypatch.setattr(desk.store, "ping", away)
    storage, renewal = await desk.items()
    assert (storage.key, storage.severity, storage.words) == ("storage", Severity.PAGE, "the disk is full: /srv/hub")
    assert renewal.kind == "account"
    monkeypatch.setattr(desk.store.orders, "waiting", away)
    assert (await desk.only()).key == "storage"


async def test_of_other_principals_nothing_is_told(desk: Desk) -> None:
    (token,) = await desk.store.tokens.list()
    await desk.store.tokens.replace(replace(token, expires=NOW - DAY))
    await desk.order("b.corp.test", attempts=4, events=(UNAVAILABLE,))
    await desk.order("c.corp.test", run_at=NOW - HOUR)
    await desk.failed("d.corp.test")
    await desk.certified("e.corp.test", age=82, left=8)
    limited = AuditEntry(at=NOW, actor=f"account {desk.seed.actor.account.id}", action="limit.reached", object="x")
    await desk.store.records.audit([limited])
    assert len(await desk.items()) == 6
    mine = await desk.attention.items(frozenset({desk.seed.actor.principal.id}))
    assert sorted(item.kind for item in mine) == ["account", "account", "authority", "order", "token"]
    assert await desk.attention.items(frozenset({"another"})) == []


def test_the_worst_comes_first_and_then_what_lasts_longest() -> None:
    def item(key: str, severity: Severity, since: datetime | None) -> AttentionItem:
        return AttentionItem(key=key, severity=severity, what="", since=since, to_do="")

    wanted = [
        item("c", Severity.PAGE, None),
        item("a", Severity.PAGE, NOW - DAY),
        item("b", Severity.PAGE, NOW),
        item("d", Severity.WARN, NOW - 9 * DAY),
        item("e", Severity.INFO, NOW - 99 * DAY),
    ]
    assert ranked(wanted[::-1]) == wanted
