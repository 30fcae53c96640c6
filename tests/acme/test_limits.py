"""Limits on what clients do, and how little strangers leave behind (docs/configure.md, "Limits on clients")."""

import asyncio
import itertools
import sqlite3
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from acmehub.acme.orders import order_reuse
from acmehub.acme.server import app
from acmehub.config import Acme, Limits
from acmehub.models import AuditEntry, AuthorizationMode, EventKind, TokenLimits
from acmehub.rules.rate_limits import SECOND
from acmehub.testing.acme_client import AcmeClient, Reply
from acmehub.testing.acme_keys import AccountKey, ExternalAccount, b64, compact, make_csr
from acmehub.testing.fakes import ManualClock
from tests.acme.lab import Lab, laboratory

NO_PACE: dict[str, Any] = {"token_orders_per_second": 0}


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> ManualClock:
    """The time that the buckets see."""
    made = ManualClock()
    monkeypatch.setattr(
        "acmehub.runtime.client_limits.buckets.microseconds", lambda _: int(made.now().timestamp() * SECOND)
    )
    return made


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Answers to those who go on are held for a moment only."""
    monkeypatch.setattr(app, "HOLD_REFUSED", 0.01)


@asynccontextmanager
async def lab_with(
    folder: Path, plugin: str = "ca_local", acme: Acme = Acme(hold=0.05), **limits: Any
) -> AsyncIterator[Lab]:
    """A hub with these limits; by default its authority signs itself, so that every order is a new one."""
    async with laboratory(folder, acme, limits=Limits(**{**NO_PACE, **limits})) as lab:
        if not await lab.hub.store.managed_challenges.list():
            await lab.managed_challenge()
        if plugin != "ca_local":
            await lab.no_authority()
            await lab.authority(plugin)
        yield lab


async def limited(lab: Lab) -> Sequence[AuditEntry]:
    """What the audit has of limits that were reached."""
    return [entry for entry in await lab.hub.store.records.audited() if entry.action == "limit.reached"]


async def refused(lab: Lab) -> Sequence[AuditEntry]:
    """What the audit has of callers that were refused."""
    return [entry for entry in await lab.hub.store.records.audited() if not entry.allowed]


def is_limited(reply: Reply, name: str) -> int:
    """Assert that the limit `name` has refused, and give its Retry-After."""
    assert (reply.status, reply.problem) == (429, "rateLimited")
    assert f"(limit {name})" in reply.json["detail"]
    assert reply.retry_after is not None
    assert f"try again in {reply.retry_after} s" in reply.json["detail"]
    return reply.retry_after


# -------------------------------------------------------------------------------------------------- each limit


async def test_new_orders_of_an_account_and_retry_after_is_exact(folder: Path, clock: ManualClock) -> None:
    async with lab_with(folder, new_orders=2) as lab:
        client, other = await lab.client(), await lab.client()
        for number in range(2):
            await client.new_order([f"{number}.corp.test"], status=201)
        wait = is_limited(await client.new_order(["c.corp.test"], status=429), "new_orders")
        assert wait == 1800
        await other.new_order(["c.corp.test"], status=201)
        clock.advance(wait - 1)
        is_limited(await client.new_order(["c.corp.test"], status=429), "new_orders")
        clock.advance(1)
        await client.new_order(["c.corp.test"], status=201)


async def test_names_in_orders_count_one_by_one(folder: Path) -> None:
    async with lab_with(folder, names=5) as lab:
        client = await lab.client()
        await client.new_order([f"{number}.corp.test" for number in range(4)], status=201)
        is_limited(await client.new_order(["a.corp.test", "b.corp.test"], status=429), "names")
        await client.new_order(["a.corp.test"], status=201)


async def test_orders_for_the_same_set_of_names_are_limited_a_day_and_others_go_on(folder: Path) -> None:
    async with lab_with(folder, same_names=2) as lab:
        client = await lab.client()
        await client.new_order(["a.corp.test", "b.corp.test"], status=201)
        await client.new_order(["b.corp.test", "A.corp.test"], status=201)
        wait = is_limited(await client.new_order(["a.corp.test", "b.corp.test"], status=429), "same_names")
        assert 43_000 < wait <= 43_200
        await client.new_order(["a.corp.test"], status=201)
        await (await lab.client()).new_order(["a.corp.test", "b.corp.test"], status=201)


async def test_a_client_that_gets_its_open_order_back_spends_nothing(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with lab_with(folder, "ca_stand_in", same_names=1, new_orders=1) as lab:
        client = await lab.client()
        first = await client.new_order(["a.corp.test"], status=201)
        for _ in range(5):
            assert (await client.new_order(["a.corp.test"], status=201)).location == first.location
            await client.order(first.location)
        timeline = await lab.hub.store.records.timeline((await lab.stored(first.location)).order.id)
        assert [event.kind for event in timeline].count(EventKind.ORDER_REUSED) == 1
        monkeypatch.setattr(order_reuse, "NOTED_EVERY", order_reuse.NOTED_EVERY * 0)
        await client.new_order(["a.corp.test"], status=201)
        timeline = await lab.hub.store.records.timeline((await lab.stored(first.location)).order.id)
        assert [event.kind for event in timeline].count(EventKind.ORDER_REUSED) == 2
        is_limited(await client.new_order(["b.corp.test"], status=429), "new_orders")


async def test_open_orders_are_limited_until_one_is_finished(folder: Path) -> None:
    async with lab_with(folder, "ca_stand_in", open_orders=3) as lab:
        client = await lab.client()
        orders = [await client.new_order([f"{number}.corp.test"], status=201) for number in range(3)]
        assert is_limited(await client.new_order(["d.corp.test"], status=429), "open_orders") == 3600
        await client.finalize(orders[0].json, make_csr(["0.corp.test"])[0], status=200)
        await client.new_order(["d.corp.test"], status=201)
        is_limited(await client.new_order(["e.corp.test"], status=429), "open_orders")


async def test_a_token_has_limits_for_all_of_its_accounts_together(folder: Path) -> None:
    async with lab_with(folder, token_new_orders=2, token_names=3) as lab:
        _, external = await lab.token()
        clients = [await lab.stranger() for _ in range(3)]
        for client in clients:
            await client.register(external, status=201)
        await clients[0].new_order(["a.corp.test"], status=201)
        is_limited(await clients[1].new_order([f"{n}.corp.test" for n in range(3)], status=429), "token_names")
        await clients[1].new_order(["b.corp.test"], status=201)
        is_limited(await clients[2].new_order(["c.corp.test"], status=429), "token_new_orders")
        await (await lab.client()).new_order(["c.corp.test"], status=201)


async def test_new_orders_of_a_token_wait_for_their_turn(
    folder: Path, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("acmehub.runtime.client_limits.limits.TURN_WITHIN", 0.5)
    async with lab_with(folder, token_orders_per_second=10) as lab:
        await another_orders(lab)
        client = await lab.client()
        begun = time.monotonic()
        replies = await asyncio.gather(*(_order(client, f"{number}.corp.test") for number in range(20)))
        seconds = time.monotonic() - begun
        statuses = [reply.status for reply in replies]
        assert (statuses.count(201), statuses.count(429)) == (15, 5)
        assert seconds > 0.4
        is_limited(next(reply for reply in replies if reply.status == 429), "token_orders_per_second")


async def another_orders(lab: Lab) -> None:
    """A client of another token is there."""
    await (await lab.client()).new_order(["neighbour.corp.test"], status=201)


async def test_a_token_that_is_alone_does_not_wait_until_another_one_orders(folder: Path, clock: ManualClock) -> None:
    async with lab_with(folder, token_orders_per_second=1) as lab:
        client = await lab.client()
        begun = time.monotonic()
        for number in range(5):
            await client.new_order([f"{number}.corp.test"], status=201)
        assert time.monotonic() - begun < 5.0  # each would wait a second longer than the one before
        await another_orders(lab)
        await client.new_order(["5.corp.test"], status=201)
        begun = time.monotonic()
        await client.new_order(["6.corp.test"], status=201)
        assert time.monotonic() - begun > 0.5


async def _order(client: AcmeClient, name: str) -> Reply:
    """newOrder with a nonce of its own, for requests side by side."""
    url = client.directory["newOrder"]
    nonce = (await client.http.head(client.directory["newNonce"])).headers["replay-nonce"]
    asked = compact({"identifiers": [{"type": "dns", "value": name}]})
    return await client.send(url, await client.sign(url, asked, nonce=nonce))


async def test_the_end_of_the_hub_ends_the_wait_for_a_turn(folder: Path, clock: ManualClock) -> None:
    async with lab_with(folder, token_orders_per_second=1) as lab:
        await another_orders(lab)
        client = await lab.client()
        await client.new_order(["a.corp.test"], status=201)
        begun = time.monotonic()
        for number in range(4):  # each waits a second longer
            asyncio.get_running_loop().call_later(0.05, lab.hub.stopping.set)
            await client.new_order([f"{number}.corp.test"], status=201)
        assert time.monotonic() - begun < 5.0


async def test_new_accounts_of_an_address_and_of_a_token(folder: Path) -> None:
    async with lab_with(folder, new_accounts=3, token_new_accounts=2) as lab:
        _, external = await lab.token()
        known = await lab.stranger()
        await known.register(external, status=201)
        await (await lab.stranger()).register(external, status=201)
        wait = is_limited(await (await lab.stranger()).register(external, status=429), "token_new_accounts")
        assert 43_000 < wait <= 43_200
        await lab.client()
        _, another = await lab.token()
        is_limited(await (await lab.stranger()).register(another, status=429), "new_accounts")
        for _ in range(3):
            await known.register(external, status=200)  # it has its account


async def test_responses_to_challenges(folder: Path) -> None:
    async with lab_with(folder, "ca_stand_in", challenge_answers=2) as lab:
        client = await lab.client(authorization=AuthorizationMode.ACCEPT)
        placed = await client.new_order(["a.corp.test"], status=201)
        (url,) = placed.json["authorizations"]
        challenge = (await client.authorization(url)).json["challenges"][0]["url"]
        for _ in range(2):
            await client.respond(challenge)
        is_limited(await client.post(challenge, {}, status=429), "challenge_answers")
        await client.post(challenge, status=200)  # reading is not responding


async def test_revocations_by_account_and_by_key(folder: Path) -> None:
    async with lab_with(folder, revocations=1) as lab:
        client = await lab.client()
        leaf = b64(b"not a certificate")
        await client.post(client.directory["revokeCert"], {"certificate": leaf}, status=400)
        is_limited(await client.post(client.directory["revokeCert"], {"certificate": leaf}, status=429), "revocations")


async def test_key_changes(folder: Path) -> None:
    async with lab_with(folder, key_changes=1) as lab:
        client = await lab.client()
        await client.key_change(AccountKey.generate(), status=200)
        is_limited(await client.key_change(AccountKey.generate(), status=429), "key_changes")


async def test_wrong_signatures_are_limited_per_address_and_right_ones_never(folder: Path) -> None:
    async with lab_with(folder, failed_signatures=2) as lab:
        client, stranger = await lab.client(), await lab.stranger()
        _, external = await lab.token()
        right, client.key = client.key, AccountKey.generate()
        assert (await client.new_order(["a.corp.test"], status=400)).problem == "malformed"
        wrong = ExternalAccount(external.kid, b"k" * 32)
        assert (await stranger.register(wrong, status=403)).problem == "unauthorized"
        is_limited(await client.new_order(["a.corp.test"], status=429), "failed_signatures")
        is_limited(await stranger.register(wrong, status=429), "failed_signatures")
        client.key = right
        await client.new_order(["a.corp.test"], status=201)
        await stranger.register(external, status=201)


@pytest.mark.parametrize("name", [name for name in TokenLimits.__struct_fields__ if name != "revocations"])
async def test_zero_switches_a_limit_off(folder: Path, name: str) -> None:
    async with lab_with(folder, **dict[str, Any]({name: 0})) as lab:
        client = await lab.client()
        for _ in range(3):
            await client.new_order(["a.corp.test"], status=201)
        assert await limited(lab) == []


# ------------------------------------------------------------------------------------------ a token's own, bursts


async def test_a_token_may_have_its_own_limits(folder: Path) -> None:
    async with lab_with(folder, new_orders=1) as lab:
        wide = await lab.client(limits=TokenLimits(new_orders=3))
        free = await lab.client(limits=TokenLimits(new_orders=0))
        for number in range(3):
            await wide.new_order([f"{number}.corp.test"], status=201)
            await free.new_order([f"{number}.corp.test"], status=201)
        is_limited(await wide.new_order(["d.corp.test"], status=429), "new_orders")
        await free.new_order(["d.corp.test"], status=201)


async def test_a_burst_is_one_line_of_the_log_and_one_audit_entry_and_its_answers_are_slow(
    folder: Path, clock: ManualClock, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app, "HOLD_REFUSED", 30.0)
    async with lab_with(folder, new_orders=2) as lab:
        client = await lab.client()
        for name in ("a.corp.test", "b.corp.test"):
            await client.new_order([name], status=201)
        begun = time.monotonic()
        is_limited(await client.new_order(["b.corp.test"], status=429), "new_orders")
        assert time.monotonic() - begun < 15.0
        monkeypatch.setattr(app, "HOLD_REFUSED", 0.2)
        begun = time.monotonic()
        for _ in range(3):
            is_limited(await client.new_order(["b.corp.test"], status=429), "new_orders")
        assert time.monotonic() - begun > 0.6
        (entry,) = await limited(lab)
        account = client.kid.rpartition("/")[2]
        assert (entry.actor, entry.object, entry.allowed) == (f"account {account}", f"new_orders/{account}", False)
        assert "new orders of this account: at most 2 an hour" in entry.detail
        assert len([line for line in caplog.messages if "is refused: too many" in line]) == 1
        clock.advance(1800)
        await client.new_order(["b.corp.test"], status=201)
        is_limited(await client.new_order(["c.corp.test"], status=429), "new_orders")
        assert len(await limited(lab)) == 1
        clock.advance(1800)
        await client.new_order(["b.corp.test"], status=201)
        is_limited(await client.new_order(["c.corp.test"], status=429), "new_orders")
        assert len(await limited(lab)) == 2


async def test_refused_answers_that_are_held_are_answered_when_the_hub_stops(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app, "HOLD_REFUSED", 60.0)
    async with lab_with(folder, new_orders=1) as lab:
        client = await lab.client()
        await client.new_order(["a.corp.test"], status=201)
        is_limited(await client.new_order(["b.corp.test"], status=429), "new_orders")
        asyncio.get_running_loop().call_later(0.1, lab.hub.stop)
        is_limited(await client.new_order(["b.corp.test"], status=429), "new_orders")


async def test_a_refused_order_writes_nothing_of_itself(folder: Path) -> None:
    async with lab_with(folder, new_orders=1) as lab:
        client = await lab.client("device/1")
        await client.new_order(["a.corp.test"], status=201)
        account = await lab.hub.store.accounts.by_thumbprint(client.key.thumbprint)
        client.user_agent = "another-device/2"  # what is learned of that is not stored
        is_limited(await client.new_order(["b.corp.test"], status=429), "new_orders")
        assert await lab.hub.store.accounts.by_thumbprint(client.key.thumbprint) == account
        assert len(await lab.hub.store.orders.list()) == 1


async def test_limits_outlive_a_restart(folder: Path) -> None:
    async with lab_with(folder, same_names=2) as lab:
        client = await lab.client()
        for _ in range(2):
            await client.new_order(["a.corp.test"], status=201)
    async with lab_with(folder, same_names=2) as lab:
        client.http = lab.http
        client._nonces.clear()
        is_limited(await client.new_order(["a.corp.test"], status=429), "same_names")
        await client.new_order(["b.corp.test"], status=201)


async def test_clients_behind_a_proxy_without_an_address_share_no_limit(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("acmehub.acme.server.signed.client_address", lambda *_: "")
    async with lab_with(folder, new_accounts=1) as lab:
        for _ in range(3):
            await lab.client()


# ---------------------------------------------------------------------------------------------------- strangers


async def test_strangers_are_one_audit_entry_an_address_and_minute_never_one_a_key(
    folder: Path, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = "2001:db8::1"
    monkeypatch.setattr("acmehub.acme.server.signed.client_address", lambda *_: address)
    async with lab_with(folder) as lab:
        token, external = await lab.token(networks=("192.0.2.0/24",))
        revoked = await _client_of_a_revoked_token(lab)

        async def all_ways() -> None:
            stranger = await lab.stranger()
            await stranger.register(status=403)
            await stranger.register(ExternalAccount("t" * 44, b"k" * 32), status=403)
            await stranger.register(ExternalAccount(token.id, b"k" * 32), status=403)
            await stranger.register(external, status=403)  # from elsewhere
            stranger.kid = f"{stranger.directory['newAccount'].replace('new-account', 'acct/')}{'0' * 44}"
            await stranger.new_order(["a.corp.test"], status=400)
            await revoked.new_order(["a.corp.test"], status=403)

        for _ in range(3):
            await all_ways()
        assert len(await refused(lab)) == 1
        address = "2001:db8::2"  # the same customer
        await all_ways()
        assert len(await refused(lab)) == 1
        address = "2001:db8:0:1::1"
        await all_ways()
        assert len(await refused(lab)) == 2
        address = "2001:db8::1"
        clock.advance(60)
        await all_ways()
        newest = (await refused(lab))[0]
        assert len(await refused(lab)) == 3
        assert (newest.actor, newest.action) == ("address 2001:db8::/64", "account.refused")
        assert "23 more since the last entry" in newest.detail


async def _client_of_a_revoked_token(lab: Lab) -> AcmeClient:
    row, external = await lab.token()
    client = await lab.stranger()
    client.http = lab.http
    for token in await lab.hub.store.tokens.list():
        if token.id == row.id:
            await client.register(external, status=201)
    (stored,) = [token for token in await lab.hub.store.tokens.list() if token.id == row.id]
    await lab.hub.store.tokens.replace(replace(stored, revoked=lab.now))
    return client


async def test_strangers_from_everywhere_are_sixty_audit_entries_a_minute(
    folder: Path, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    numbers = itertools.count()
    monkeypatch.setattr("acmehub.acme.server.signed.client_address", lambda *_: f"2001:db8:0:{next(numbers):x}::1")
    async with lab_with(folder) as lab:
        stranger = await lab.stranger()
        for _ in range(80):
            await stranger.register(status=403)
        assert len([entry for entry in await lab.hub.store.records.audited(500) if not entry.allowed]) == 60


async def test_a_refused_newaccount_uses_no_nonce_up_and_sent_again_is_refused_again(folder: Path) -> None:
    async with lab_with(folder) as lab:
        token, external = await lab.token()
        stranger = await lab.stranger()
        url = stranger.directory["newAccount"]
        refused_body = await stranger.sign(url, compact({}))
        for _ in range(3):
            assert (await stranger.send(url, refused_body)).problem == "externalAccountRequired"
        body = await stranger.sign(url, compact({"externalAccountBinding": external.binding(stranger.key, url)}))
        assert (await stranger.send(url, body)).status == 201
        assert (await stranger.send(url, body)).problem == "badNonce"
        assert (await lab.hub.store.tokens.get(token.id) or token).uses == 1
        again = await stranger.sign(url, compact({"onlyReturnExisting": True}))
        assert (await stranger.send(url, again)).status == 200
        assert (await stranger.send(url, again)).problem == "badNonce"


async def test_one_newaccount_that_is_sent_twice_at_once_succeeds_once(folder: Path) -> None:
    async with lab_with(folder) as lab:
        _, external = await lab.token()
        stranger = await lab.stranger()
        url = stranger.directory["newAccount"]
        body = await stranger.sign(url, compact({"externalAccountBinding": external.binding(stranger.key, url)}))
        replies = await asyncio.gather(*(stranger.send(url, body) for _ in range(4)))
        assert sorted(reply.status for reply in replies) == [201, 400, 400, 400]


# ----------------------------------------------------------------------------------- what a client makes us read


async def test_lists_read_no_more_rows_than_they_show(folder: Path) -> None:
    async with lab_with(folder) as lab:
        client = await lab.client()
        account = client.kid.rpartition("/")[2]
        first = await client.new_order(["a.corp.test"], status=201)
        await client.new_order(["b.corp.test"], status=201)
        _multiply(lab, first.location.rpartition("/")[2], 3000)
        steps = _steps(lab)
        store = lab.hub.store.orders
        assert await steps(store.of_account(account)) < 8000
        assert await steps(store.previous(account, "nothing.corp.test")) < 8000
        assert await steps(store.same_csr(account, b"csr", lab.now.replace(year=2000))) < 15_000
        assert await steps(store.valid_authorizations(account, ["a.corp.test"], lab.now.replace(year=2000))) < 4000
        assert await steps(store.open_count(account, 50)) < 4000
        pages, url = 0, (await client.post(client.kid)).json["orders"]
        seen: list[str] = []
        while url:
            page = await client.post(url, status=200)
            seen += page.json["orders"]
            url = next(iter(page.links("next")), "")
            pages += 1
        assert len(seen) == len(set(seen)) == 2
        assert pages == 31


def _multiply(lab: Lab, order_id: str, count: int) -> None:
    """As many more orders of the account, which are invalid, with valid authorizations, from outside."""
    connection = sqlite3.connect(lab.hub.config.data_dir / "acmehub.db")
    for table, key in (("orders", "id"), ("authorization_", "order_id")):
        columns = [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]
        rows = connection.execute(f"SELECT * FROM {table} WHERE {key} = ?", (order_id,)).fetchall()
        for number in range(count):
            for row in rows:
                new = dict(zip(columns, row, strict=True))
                new["id"] = f"{number:044x}"
                if table == "orders":
                    new["status"] = "invalid"
                    new["name_set"] = "c.corp.test"
                else:
                    new["order_id"] = new["id"]
                marks = ", ".join("?" * len(columns))
                connection.execute(f"INSERT INTO {table} VALUES ({marks})", tuple(new.values()))
    connection.commit()
    connection.close()


def _steps(lab: Lab) -> Any:
    """A function that counts the steps of SQLite's machine, in hundreds, which a read takes."""
    driver = lab.hub.store._driver  # type: ignore[attr-defined]
    count = 0

    def step() -> int:
        nonlocal count
        count += 100
        return 0

    for connection in (driver._near, driver._far, driver._writer.connection):
        connection.set_progress_handler(step, 100)

    async def of(read: Any) -> int:
        nonlocal count
        count = 0
        await read
        return count

    return of
