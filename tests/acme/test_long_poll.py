"""Long polls (docs/client-rules.md section 4.3, rules 30 and 31; docs/reliability.md F36, F38)."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable
from pathlib import Path
from typing import Any, TypeVar

import pytest

from acmehub.acme.server import long_poll
from acmehub.acme.server.long_poll import LongPolls
from acmehub.config import Acme
from acmehub.models import AuthorizationMode, OrderStatus
from acmehub.rules.finalizing import finalize as finalize_rule
from acmehub.rules.orders import OrderBundle
from acmehub.runtime.order_events import Subscription
from acmehub.testing.acme_client import AcmeClient, Reply
from acmehub.testing.acme_keys import make_csr
from tests.acme.lab import Lab, laboratory

LEGO = "xenolf-acme/4.9.1 (release; linux; amd64)"
LONG = 20.0
SHORT = 0.3

T = TypeVar("T")


@pytest.fixture
async def patient(folder: Path) -> AsyncIterator[Lab]:
    """A hub whose long polls take 20 s: what these tests wait for must end them sooner."""
    async with laboratory(folder, Acme(hold=LONG)) as made:
        await made.no_authority()
        await made.authority()
        await made.managed_challenge()
        yield made


@pytest.fixture
async def brief(folder: Path) -> AsyncIterator[Lab]:
    """A hub whose long polls take 0.3 s."""
    async with laboratory(folder, Acme(hold=SHORT)) as made:
        await made.no_authority()
        await made.authority()
        await made.managed_challenge()
        yield made


async def waiting(lab: Lab, answer: Awaitable[T], number: int = 1) -> "asyncio.Task[T]":
    """The request under way, once it is a long poll."""
    task = asyncio.ensure_future(answer)
    async with asyncio.timeout(10):
        while len(lab.hub.order_events) < number:
            assert not task.done(), "it did not wait"
            await asyncio.sleep(0.005)
        await asyncio.sleep(0.05)
    assert not task.done(), "it did not wait"
    return task


async def soon(task: "asyncio.Task[T]") -> T:
    """Its result, which must come long before its time is up."""
    async with asyncio.timeout(5):
        return await task


async def quick(answer: Awaitable[Reply]) -> Reply:
    """An answer that must not wait."""
    async with asyncio.timeout(5):
        return await answer


async def placed_order(lab: Lab, client: AcmeClient, *names: str) -> Reply:
    """An order of a client, whose newOrder was answered when the upstream had validated."""
    task = await waiting(lab, client.new_order(list(names) or ["a.corp.test"]))
    (url,) = await orders_of(lab, client)
    await lab.upstream_validates(url)
    return await soon(task)


async def orders_of(lab: Lab, client: AcmeClient) -> list[str]:
    found, _ = await lab.hub.store.orders.of_account(client.kid.rpartition("/")[2])
    return [f"https://hub.test/acme/order/{id}" for id in found]


async def test_rule_30_new_order_waits_until_the_upstream_has_validated(patient: Lab) -> None:
    client = await patient.client()
    task = await waiting(patient, client.new_order(["a.corp.test"]))
    (url,) = await orders_of(patient, client)
    await patient.upstream_validates(url)
    reply = await soon(task)
    assert (reply.status, reply.json["status"], reply.retry_after) == (201, "ready", None)
    authorization = await quick(client.authorization(reply.json["authorizations"][0]))
    assert authorization.json["status"] == "valid"


async def test_rule_30_new_order_is_answered_when_its_time_is_up(brief: Lab) -> None:
    client = await brief.client()
    begun = time.monotonic()
    reply = await client.new_order(["a.corp.test"])
    assert time.monotonic() - begun >= SHORT
    assert reply.json["status"] == "ready"


async def test_rule_6_new_order_is_answered_at_once_when_the_ca_refuses(patient: Lab) -> None:
    client = await patient.client()
    task = await waiting(patient, client.new_order(["a.corp.test"]))
    (url,) = [f"https://hub.test/acme/order/{order.id}" for order in await patient.hub.store.orders.list()]
    await patient.upstream_refuses(url)
    reply = await soon(task)
    assert (reply.status, reply.json["status"]) == (201, "invalid")


async def test_with_a_signing_authority_nothing_waits(patient: Lab) -> None:
    await patient.no_authority()
    await patient.authority("ca_local", name="signs")
    client = await patient.client()
    placed = await quick(client.new_order(["a.corp.test"]))
    await quick(client.authorization(placed.json["authorizations"][0]))
    await quick(client.order(placed.location))


@pytest.mark.parametrize("mode", [AuthorizationMode.ACCEPT, AuthorizationMode.VERIFY])
async def test_nothing_waits_while_it_is_the_clients_turn(patient: Lab, mode: AuthorizationMode) -> None:
    client = await patient.client(authorization=mode)
    placed = await quick(client.new_order(["a.corp.test", "b.corp.test"]))
    url = placed.json["authorizations"][0]
    authorization = await quick(client.authorization(url))
    assert authorization.retry_after is None
    assert (await quick(client.authorization(url))).json["status"] == "pending"
    assert (await quick(client.order(placed.location))).json["status"] == "pending"
    assert (await quick(client.post(authorization.json["challenges"][0]["url"]))).json["status"] == "pending"


async def test_rule_30_the_first_read_of_an_authorization_waits_and_the_second_does_not(
    brief: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = await brief.client()
    placed = await client.new_order(["a.corp.test", "b.corp.test"])
    first, second = placed.json["authorizations"]
    begun = time.monotonic()
    assert (await client.authorization(first)).json["status"] == "valid"
    assert time.monotonic() - begun >= SHORT

    def subscribe(_order_id: str) -> Subscription:
        raise AssertionError("it waits")

    monkeypatch.setattr(brief.hub.order_events, "subscribe", subscribe)
    assert (await client.authorization(second)).json["status"] == "valid"


async def test_rule_30_a_response_to_a_challenge_waits_until_its_authorization_is_decided(patient: Lab) -> None:
    client = await patient.client(authorization=AuthorizationMode.ACCEPT)
    placed = await client.new_order(["a.corp.test"])
    url = placed.json["authorizations"][0]
    challenge = (await client.authorization(url)).json["challenges"][0]["url"]
    task = await waiting(patient, client.respond(challenge))
    await patient.upstream_validates(placed.location)
    reply = await soon(task)
    assert (reply.json["status"], reply.retry_after) == ("valid", None)


async def test_rule_30_polls_of_authorization_challenge_and_order_wait(patient: Lab) -> None:
    client = await patient.client(authorization=AuthorizationMode.ACCEPT)
    placed = await client.new_order(["a.corp.test"])
    url = placed.json["authorizations"][0]
    challenge = (await client.authorization(url)).json["challenges"][0]["url"]
    tasks = [await waiting(patient, client.respond(challenge))]
    for number, poll in enumerate(
        (client.authorization(url), client.post(challenge), client.order(placed.location)), 2
    ):
        tasks.append(await waiting(patient, poll, number))
    await patient.upstream_validates(placed.location)
    replies = [await soon(task) for task in tasks]
    assert [reply.json["status"] for reply in replies] == ["valid", "valid", "valid", "ready"]
    assert len(patient.hub.order_events) == 0


async def test_rule_30_finalize_waits_until_the_order_is_valid(patient: Lab) -> None:
    client = await patient.client()
    placed = await placed_order(patient, client)
    csr, _ = make_csr(["a.corp.test"])
    task = await waiting(patient, client.finalize(placed.json, csr))
    await patient.upstream_issues(placed.location)
    reply = await soon(task)
    assert (reply.json["status"], reply.retry_after) == ("valid", None)
    assert (await quick(client.order(placed.location))).json["status"] == "valid"


async def test_a_change_that_is_no_news_for_the_client_does_not_end_the_long_poll(patient: Lab) -> None:
    client = await patient.client(authorization=AuthorizationMode.PREAPPROVED)
    placed = await placed_order(patient, client)
    task = await waiting(patient, client.finalize(placed.json, make_csr(["a.corp.test"])[0]))
    for _ in range(3):
        patient.hub.order_events.publish("", 0)
        await asyncio.sleep(0.02)
    assert not task.done()
    await patient.upstream_issues(placed.location)
    await soon(task)


@pytest.mark.parametrize(
    ("user_agent", "poll", "response"), [("x", 10, 5), (LEGO, 10, 5), ("instant-acme/0.8", None, None)]
)
async def test_rule_31_retry_after_stands_on_unfinished_answers_only(
    brief: Lab, user_agent: str, poll: int | None, response: int | None
) -> None:
    client = await brief.client(user_agent, authorization=AuthorizationMode.ACCEPT)
    placed = await client.new_order(["a.corp.test"])
    url = placed.json["authorizations"][0]
    challenge = (await client.authorization(url)).json["challenges"][0]["url"]
    assert placed.retry_after is None
    assert (await client.respond(challenge)).retry_after == response
    assert (await client.post(challenge)).retry_after == poll
    assert (await client.authorization(url)).retry_after == poll
    assert (await client.order(placed.location)).retry_after == poll
    await brief.upstream_validates(placed.location)
    for read in (client.authorization(url), client.order(placed.location), client.post(challenge)):
        assert (await read).retry_after is None
    finalized = await client.finalize(placed.json, make_csr(["a.corp.test"])[0])
    assert (finalized.json["status"], finalized.retry_after) == ("processing", poll)
    await brief.upstream_issues(placed.location)
    assert (await client.order(placed.location)).retry_after is None


async def test_auto_spares_lego_the_challenge_when_the_upstream_validates_during_new_order(patient: Lab) -> None:
    client = await patient.client(LEGO, authorization=AuthorizationMode.AUTO)
    reply = await placed_order(patient, client)
    assert reply.json["status"] == "ready"
    stored = await patient.stored(reply.location)
    assert stored.order.mode is AuthorizationMode.PREAPPROVED
    authorization = await quick(client.authorization(reply.json["authorizations"][0]))
    assert authorization.json["status"] == "valid"
    assert [event.kind for event in await patient.hub.store.records.timeline(stored.order.id)] == [
        "order opened",
        "approved",
    ]


async def test_auto_spares_lego_the_challenge_when_the_upstream_validates_at_the_first_read(brief: Lab) -> None:
    client = await brief.client(LEGO, authorization=AuthorizationMode.AUTO)
    placed = await client.new_order(["a.corp.test"])
    assert placed.json["status"] == "pending"
    task = await waiting(brief, client.authorization(placed.json["authorizations"][0]))
    await brief.upstream_validates(placed.location)
    assert (await soon(task)).json["status"] == "valid"
    assert (await client.order(placed.location)).json["status"] == "ready"


async def test_auto_offers_lego_a_challenge_when_the_upstream_is_slow(brief: Lab) -> None:
    client = await brief.client(LEGO, authorization=AuthorizationMode.AUTO)
    placed = await client.new_order(["a.corp.test"])
    url = placed.json["authorizations"][0]
    challenges = (await client.authorization(url)).json["challenges"]
    assert {item["status"] for item in challenges} == {"pending"}
    await client.respond(challenges[0]["url"])
    await brief.upstream_validates(placed.location)
    assert (await client.order(placed.location)).json["status"] == "ready"


async def test_auto_spares_lego_the_challenge_when_nothing_is_open_while_the_upstream_validates(brief: Lab) -> None:
    client = await brief.client(LEGO, authorization=AuthorizationMode.AUTO)
    placed = await client.new_order(["a.corp.test"])
    assert placed.json["status"] == "pending"
    await brief.upstream_validates(placed.location)
    assert (await quick(client.order(placed.location))).json["status"] == "ready"
    assert (await quick(client.authorization(placed.json["authorizations"][0]))).json["status"] == "valid"


async def test_requests_change_nothing_after_their_long_poll(patient: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    client = await patient.client(LEGO, authorization=AuthorizationMode.AUTO)
    writes: list[str] = []
    apply = patient.hub.store.orders.apply

    async def counted(order_id: str, *args: Any, **rest: Any) -> OrderBundle:
        writes.append(order_id)
        return await apply(order_id, *args, **rest)

    monkeypatch.setattr(patient.hub.store.orders, "apply", counted)
    task = await waiting(patient, client.new_order(["a.corp.test"]))
    (url,) = await orders_of(patient, client)
    await patient.upstream_validates(url)
    reply = await soon(task)
    await client.authorization(reply.json["authorizations"][0])
    assert len(writes) == 1  # the upstream's


async def test_news_that_was_missed_is_found_by_reading_again(patient: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(long_poll, "_UNWATCHED", 0.5)
    client = await patient.client()
    placed = await placed_order(patient, client)
    task = await waiting(patient, client.finalize(placed.json, make_csr(["a.corp.test"])[0]))
    with monkeypatch.context() as deaf:
        deaf.setattr(Subscription, "publish", lambda _subscription, _version: None)
        await patient.upstream_issues(placed.location)
        await asyncio.sleep(0)
    assert (await soon(task)).json["status"] == "valid"


@pytest.mark.parametrize("hold", [LONG, LONG / 2])
async def test_a_change_in_the_same_commit_as_the_own_write_is_answered_at_once(
    patient: Lab, hold: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(long_poll, "_UNWATCHED", LONG * 0.75)  # the order is not read again before
    store = patient.hub.store.orders
    client = await patient.client()
    placed = await placed_order(patient, client)
    csr, _ = make_csr(["a.corp.test"])
    order_id = (await patient.stored(placed.location)).order.id
    others: list[asyncio.Task[None]] = []

    async def finalize() -> OrderBundle:
        """The own write, and one of another task in the same commit."""
        own = asyncio.create_task(store.apply(order_id, lambda stored: finalize_rule(stored, csr, patient.now)))
        others.append(asyncio.create_task(patient.upstream_issues(placed.location)))
        return await own

    polls = LongPolls(patient.hub.order_events, patient.hub.stopping, patient.hub.clock, hold)
    begun = time.monotonic()
    state = await polls.until(
        lambda bundle: bundle.order.status is OrderStatus.VALID,
        await finalize(),
        lambda _version: patient.stored(placed.location),
        seconds=hold,
        receive=silence,
    )
    assert state.order.status is OrderStatus.VALID
    assert time.monotonic() - begun < hold / 2
    await asyncio.gather(*others)


async def test_the_own_write_is_not_read_again(brief: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    client = await brief.client()
    placed = await client.new_order(["a.corp.test"])
    reads: list[str] = []
    get = brief.hub.store.orders.get

    async def counted(order_id: str, *, version: int = 0) -> OrderBundle | None:
        reads.append(order_id)
        return await get(order_id, version=version)

    monkeypatch.setattr(brief.hub.store.orders, "get", counted)
    await client.finalize(placed.json, make_csr(["a.corp.test"])[0])
    assert len(reads) == 2  # before its write, and when its time is up
    reads.clear()
    await client.new_order(["b.corp.test"])
    assert len(reads) == 1  # when its time is up


async def silence() -> Any:
    """`receive` of a client that stays."""
    await asyncio.Event().wait()


# ------------------------------------------------------------------------------------------------- how it ends


async def test_f36_long_polls_end_when_the_hub_stops(patient: Lab) -> None:
    client = await patient.client()
    tasks = [await waiting(patient, client.new_order(["a.corp.test"]))]
    other = await patient.client()
    tasks.append(await waiting(patient, other.new_order(["b.corp.test"]), 2))
    patient.hub.stop()
    assert [(await soon(task)).status for task in tasks] == [201, 201]
    assert (await quick(client.new_order(["c.corp.test"]))).status == 201


async def test_f38_a_client_that_hangs_up_ends_its_long_poll(patient: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(long_poll, "_UNWATCHED", 0.05)
    client = await patient.client()
    body = await client.sign(client.directory["newOrder"], b'{"identifiers":[{"type":"dns","value":"a.corp.test"}]}')
    gone = asyncio.Event()
    sent: list[Any] = []
    messages = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> Any:
        if messages:
            return messages.pop()
        await gone.wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    path = "/acme/new-order"
    headers = [(b"host", b"hub.test"), (b"content-type", b"application/jose+json")]
    scope: Any = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "https",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": headers,
        "client": ("127.0.0.1", 1),
        "server": ("hub.test", 443),
    }
    transport = patient.http._transport
    task = await waiting(patient, transport.app(scope, receive, send))  # type: ignore[attr-defined]
    await asyncio.sleep(0.2)
    assert len(patient.hub.order_events) == 1
    gone.set()
    await soon(task)
    assert sent == []
    assert len(patient.hub.order_events) == 0
    (order,) = await patient.hub.store.orders.list()
    assert order.status == "ready"  # what was done stays done


async def test_rule_30_the_long_polls_of_an_order_have_a_limit_together(
    patient: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(long_poll, "SUM_PER_ORDER", SHORT)
    client = await patient.client()
    begun = time.monotonic()
    placed = await quick(client.new_order(["a.corp.test"]))
    assert time.monotonic() - begun >= SHORT
    reply = await quick(client.finalize(placed.json, make_csr(["a.corp.test"])[0]))
    assert (reply.json["status"], reply.retry_after) == ("processing", 10)
    await waiting(patient, client.new_order(["b.corp.test"]))  # another order has its own sum
    patient.hub.stop()


async def test_beyond_the_most_long_polls_nothing_waits(patient: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(long_poll, "MOST_LONG_POLLS", 1)
    first, second = await patient.client(), await patient.client()
    task = await waiting(patient, first.new_order(["a.corp.test"]))
    assert (await quick(second.new_order(["b.corp.test"]))).json["status"] == "ready"
    patient.hub.stop()
    await soon(task)


async def test_the_long_polls_of_an_account_have_a_share_and_its_neighbours_are_not_answered_early(
    patient: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert long_poll.MOST_PER_ACCOUNT == long_poll.MOST_LONG_POLLS // 10
    monkeypatch.setattr(long_poll, "MOST_PER_ACCOUNT", 2)
    client, neighbour = await patient.client(), await patient.client()
    held = [await waiting(patient, client.new_order([f"{name}.corp.test"]), number=name) for name in (1, 2)]
    assert (await quick(client.new_order(["3.corp.test"]))).json["status"] == "ready"
    other = await waiting(patient, neighbour.new_order(["other.corp.test"]), number=3)
    patient.hub.stop()
    for task in (*held, other):
        await soon(task)


async def test_a_long_poll_that_ends_makes_room_for_another_of_its_account(
    patient: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(long_poll, "MOST_PER_ACCOUNT", 1)
    client = await patient.client()
    for name in ("a", "b"):
        task = await waiting(patient, client.new_order([f"{name}.corp.test"]))
        for order in await patient.hub.store.orders.list():
            if order.name_set == f"{name}.corp.test":
                await patient.upstream_validates(f"https://hub.test/acme/order/{order.id}")
        await soon(task)


async def test_what_is_remembered_of_orders_is_bounded(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(long_poll, "_MOST_ORDERS", 5)
    keeper = LongPolls(lab.hub.order_events, lab.hub.stopping, lab.hub.clock, 1.0)
    for number in range(20):
        assert keeper.is_first_read(str(number))
    assert not keeper.is_first_read("19")
    assert keeper.is_first_read("14")
