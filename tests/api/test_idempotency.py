"""A POST that is repeated with its key is done once."""

import asyncio
from datetime import UTC, datetime

from acmehub.ports.authority import UpstreamError
from acmehub.ports.store import StoreUnavailable
from tests.api.desk import Desk
from tests.api.keys import KeysInMemory

NEW = {"title": "made once", "principal": "app"}


async def test_the_second_request_gets_the_first_answer_with_its_secret(desk: Desk) -> None:
    keys = KeysInMemory()
    async with desk.another(keys) as http:
        first = await desk.ask("POST", "/tokens", NEW, http=http, idempotency_key="one")
        again = await desk.ask("POST", "/tokens", NEW, http=http, idempotency_key="one")
        other = await desk.ask("POST", "/tokens", NEW, http=http, idempotency_key="two")
    assert first.status_code == again.status_code == other.status_code == 201
    assert first.json() == again.json() != other.json()
    assert (first.headers["location"], first.headers["etag"]) == (again.headers["location"], again.headers["etag"])
    assert "idempotent-replayed" not in first.headers
    assert again.headers["idempotent-replayed"] == "true"
    kept = [row.sealed_answer or b"" for row in keys.rows.values()]
    assert len(kept) == 2
    assert all(kept)
    assert not [row for row in kept if first.json()["secret"].encode() in row]


async def test_a_key_belongs_to_one_token_and_one_request(desk: Desk) -> None:
    async with desk.another(KeysInMemory()) as http:
        await desk.ask("POST", "/tokens", NEW, http=http, idempotency_key="one")
        for path, body in (
            ("/tokens", {**NEW, "title": "another"}),
            ("/principals", NEW),
            ("/apply?dry_run=true", NEW),
        ):
            answer = await desk.ask("POST", path, body, http=http, idempotency_key="one")
            assert (answer.status_code, answer.json()["type"]) == (422, "/docs/problems#key-reused")
        others = await desk.ask("POST", "/tokens", NEW, http=http, as_="operator", idempotency_key="one")
        assert others.status_code == 201


async def test_a_request_that_is_still_running_gets_409(desk: Desk) -> None:
    keys = KeysInMemory()
    async with desk.another(keys) as http:
        keys.gate.clear()
        first = asyncio.create_task(desk.ask("POST", "/tokens", NEW, http=http, idempotency_key="one"))
        while not keys.rows:
            await asyncio.sleep(0)
        second = await desk.ask("POST", "/tokens", NEW, http=http, idempotency_key="one")
        assert (second.status_code, second.json()["type"]) == (409, "/docs/problems#still-running")
        assert second.headers["retry-after"] == "5"
        keys.gate.set()
        assert (await first).status_code == 201


async def test_a_refusal_is_kept_and_a_failure_of_the_hub_is_not(desk: Desk) -> None:
    keys = KeysInMemory()
    async with desk.another(keys) as http:
        taken = {"name": "app"}
        first = await desk.ask("POST", "/principals", taken, http=http, idempotency_key="one")
        await desk.ask("PATCH", "/principals/app", {"name": "renamed"})
        again = await desk.ask("POST", "/principals", taken, http=http, idempotency_key="one")
        assert first.status_code == again.status_code == 409
        assert first.json() == again.json()

        whole = desk.admin.principals.add
        for key, failure, status in (("two", StoreUnavailable("gone"), 503), ("three", UpstreamError("no"), 502)):

            async def failing(*_: object, failure: Exception = failure) -> None:
                raise failure

            object.__setattr__(desk.admin.principals, "add", failing)
            failed = await desk.ask("POST", "/principals", {"name": key}, http=http, idempotency_key=key)
            object.__setattr__(desk.admin.principals, "add", whole)
            assert failed.status_code == status
            keys.until = dict.fromkeys(keys.until, datetime.now(UTC))
            done = await desk.ask("POST", "/principals", {"name": key}, http=http, idempotency_key=key)
            assert done.status_code == 201


async def test_a_key_is_one_to_64_printable_characters(desk: Desk) -> None:
    async with desk.another(KeysInMemory()) as http:
        for key in ("a b", "x" * 65, ""):
            answer = await desk.ask("POST", "/principals", {"name": "p"}, http=http, idempotency_key=key)
            assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "idempotency-key")
    assert (await desk.ask("GET", "/principals/p")).status_code == 404
