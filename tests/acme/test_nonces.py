"""Nonces: exactly once, across starts and replicas, in bounded memory.

RFC 8555 section 6.5, docs/client-rules.md rules 12, 13.
"""

import asyncio
import re
from datetime import UTC, datetime, timedelta

import httpx
import pytest

from acmehub.acme.server import nonces
from acmehub.acme.server.nonces import LIFETIME, LocalNonces, SharedNonces
from acmehub.app.asgi import create_app
from acmehub.models import Actor
from acmehub.ports.spending import NonceUse
from acmehub.testing.acme_client import AcmeClient
from tests.acme.lab import Lab


class Time:
    """A clock that the test moves."""

    def __init__(self) -> None:
        self.passed = 0.0

    def now(self) -> datetime:
        return datetime(2026, 11, 24, tzinfo=UTC) + timedelta(seconds=self.passed)

    def monotonic(self) -> float:
        return 1000.0 + self.passed


class Used:
    """What a shared store remembers."""

    def __init__(self) -> None:
        self.nonces: dict[str, datetime] = {}

    async def use(self, nonce: str, expires: datetime) -> bool:
        return self.nonces.setdefault(nonce, expires) is expires

    async def use_by(self, actor: Actor, nonce: str, expires: datetime) -> NonceUse | None:
        return NonceUse(await self.use(nonce, expires))

    async def is_used(self, nonce: str) -> bool:
        return nonce in self.nonces

    async def prune(self, now: datetime) -> None:
        self.nonces = {nonce: expires for nonce, expires in self.nonces.items() if expires > now}


async def test_rule_12_a_nonce_is_base64url_of_a_length_that_can_be() -> None:
    for source in (LocalNonces(Time()), SharedNonces(lambda: b"k" * 32, Used(), Time())):
        issued = source.issue()
        assert re.fullmatch(r"[A-Za-z0-9_-]{32}", issued)


async def test_a_nonce_is_good_once() -> None:
    source = LocalNonces(Time())
    first, second = source.issue(), source.issue()
    assert await source.spend(second)
    assert not await source.spend(second)
    assert await source.spend(first)
    assert not await source.spend(first)


async def test_every_nonce_of_many_chunks_is_good_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nonces, "_CHUNK", 16)
    source = LocalNonces(Time())
    issued = [source.issue() for _ in range(100)]
    assert len(set(issued)) == 100
    assert [await source.spend(nonce) for nonce in issued] == [True] * 100
    assert [await source.spend(nonce) for nonce in issued] == [False] * 100


async def test_a_nonce_of_an_earlier_start_is_refused() -> None:
    earlier = LocalNonces(Time())
    issued = earlier.issue()
    later = LocalNonces(Time())
    later.issue()
    assert not await later.spend(issued)


@pytest.mark.parametrize("text", ["", "x", "A" * 32, "é" * 32, "A" * 31 + "=", "A" * 31 + "!", "A" * 64])
async def test_a_made_up_nonce_is_refused(text: str) -> None:
    source = LocalNonces(Time())
    source.issue()
    assert not await source.spend(text)


async def test_another_spelling_of_a_nonce_is_refused() -> None:
    source = SharedNonces(lambda: b"k" * 32, Used(), Time())
    issued = next(nonce for nonce in iter(source.issue, "") if "-" in nonce)
    assert not await source.spend(issued.replace("-", "+"))
    assert await source.spend(issued)


async def test_rule_12_a_nonce_lives_for_an_hour_at_least() -> None:
    time = Time()
    source = LocalNonces(time)
    issued, kept = source.issue(), source.issue()
    time.passed = LIFETIME - 1
    source.issue()
    assert await source.spend(issued)
    time.passed = 2 * LIFETIME
    source.issue()
    assert not await source.spend(kept)


async def test_memory_is_given_back_when_nonces_are_old() -> None:
    time = Time()
    source = LocalNonces(time)
    for _ in range(50):
        source.issue()
        time.passed += LIFETIME / 4
    assert len(source._chunks) <= 6


async def test_memory_is_bounded_however_many_nonces_are_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nonces, "_CHUNK", 16)
    monkeypatch.setattr(nonces, "_MOST_CHUNKS", 8)
    source = LocalNonces(Time())
    for _ in range(1000):
        source.issue()
    assert len(source._chunks) <= 8
    assert await source.spend(source.issue())


async def test_of_two_replicas_only_one_takes_a_nonce() -> None:
    used, time = Used(), Time()
    here, there = SharedNonces(lambda: b"k" * 32, used, time), SharedNonces(lambda: b"k" * 32, used, time)
    issued = here.issue()
    taken = await asyncio.gather(there.spend(issued), here.spend(issued))
    assert sorted(taken) == [False, True]


async def test_a_replica_with_another_key_takes_no_nonce_of_ours() -> None:
    used, time = Used(), Time()
    ours, theirs = SharedNonces(lambda: b"j" * 32, used, time), SharedNonces(lambda: b"k" * 32, used, time)
    assert not await ours.spend(theirs.issue())


async def test_a_shared_nonce_ends_after_an_hour_and_a_clock_may_be_a_little_off() -> None:
    used, ours, theirs = Used(), Time(), Time()
    here, there = SharedNonces(lambda: b"k" * 32, used, ours), SharedNonces(lambda: b"k" * 32, used, theirs)
    theirs.passed = 120.0
    assert await here.spend(there.issue())
    theirs.passed = 400.0
    assert not await here.spend(there.issue())
    issued = here.issue()
    ours.passed = LIFETIME - 1
    assert await here.spend(here.issue())
    ours.passed = LIFETIME + 400.0
    assert not await here.spend(issued)


async def test_two_replicas_of_the_whole_server_take_a_nonce_once(
    lab: Lab, client: AcmeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(type(lab.hub.store), "shared", property(lambda _store: True))
    here, there = (httpx.ASGITransport(create_app(lab.hub)) for _ in range(2))  # type: ignore[arg-type]
    async with httpx.AsyncClient(transport=here) as one, httpx.AsyncClient(transport=there) as other:
        issued = (await one.head(client.directory["newNonce"])).headers["replay-nonce"]
        body = await client.sign(client.kid, b"", nonce=issued)
        headers = {"content-type": "application/jose+json"}
        replies = await asyncio.gather(*(web.post(client.kid, content=body, headers=headers) for web in (one, other)))
    assert sorted(reply.status_code for reply in replies) == [200, 400]
    refused = next(reply for reply in replies if reply.status_code == 400)
    assert refused.json()["type"].endswith(":badNonce")


async def test_used_nonces_are_forgotten_when_they_could_not_be_used_any_more() -> None:
    used, time = Used(), Time()
    source = SharedNonces(lambda: b"k" * 32, used, time)
    assert await source.spend(source.issue())
    time.passed = LIFETIME + 700.0
    assert await source.spend(source.issue())
    assert len(used.nonces) == 1


async def test_looking_at_a_shared_nonce_writes_nothing() -> None:
    used = Used()
    source = SharedNonces(lambda: b"k" * 32, used, Time())
    nonce = source.issue()
    assert await source.is_good(nonce)
    assert not used.nonces
    assert not await source.is_good("A" * 32)
    assert await source.spend(nonce)
    assert not await source.is_good(nonce)


async def test_looking_at_a_local_nonce_leaves_it_good() -> None:
    source = LocalNonces(Time())
    nonce = source.issue()
    assert [await source.is_good(nonce) for _ in range(2)] == [True, True]
    assert await source.spend(nonce)
    assert not await source.is_good(nonce)
