"""What a storage must do for requests with an idempotency key: one gets it, and its answer is kept for the others."""

import asyncio
from collections.abc import Callable

from acmehub.ports.idempotency import IdempotencyKey, IdempotentRequest
from acmehub.ports.store import Store
from acmehub.testing.store_samples import at

KEY = IdempotencyKey("owner", "key one")
DAY = 86_400


async def _claim(store: Store, second: float, body: bytes = b"body", key: IdempotencyKey = KEY) -> int:
    """The fence; 0 where another request has the key."""
    got = await store.idempotency.claim(key, body, now=at(second), until=at(second + 60), expires=at(second + DAY))
    return got if isinstance(got, int) else 0


class IdempotencyContract:
    """Part of `StoreContract`."""

    async def test_of_several_requests_at_once_one_gets_the_key(
        self, store: Store, make_store: Callable[[], Store]
    ) -> None:
        other = make_store()
        await other.open()
        try:
            for key in (KEY, IdempotencyKey("owner", "key two"), IdempotencyKey("another", "key one")):
                fences = await asyncio.gather(*[_claim(one, 0, key=key) for one in (store, other) * 4])
                assert sorted(fences) == [0] * 7 + [1]
        finally:
            await other.close()

    async def test_the_first_answer_is_kept_until_it_expires(self, store: Store) -> None:
        keys = store.idempotency
        fence = await _claim(store, 0)
        assert await keys.get(KEY, at(1)) == IdempotentRequest(b"body", None, fence, at(DAY))
        assert await keys.finish(KEY, fence, b"sealed")
        assert not await keys.finish(KEY, fence, b"another")
        kept = IdempotentRequest(b"body", b"sealed", fence, at(DAY))
        for body in (b"body", b"other"):
            again = await keys.claim(KEY, body, now=at(DAY - 1), until=at(DAY), expires=at(2 * DAY))
            assert again == kept == await keys.get(KEY, at(DAY - 1))
        assert await keys.get(KEY, at(DAY)) is None
        assert await _claim(store, DAY, b"other") == fence + 1
        assert await keys.get(KEY, at(DAY + 1)) == IdempotentRequest(b"other", None, fence + 1, at(2 * DAY))

    async def test_a_request_whose_process_died_is_made_again_by_the_same_one_once_its_claim_is_over(
        self, store: Store
    ) -> None:
        first = await _claim(store, 0)
        assert await _claim(store, 59) == 0
        assert await _claim(store, 60, b"other") == 0
        second = await _claim(store, 60)
        assert second > first
        assert not await store.idempotency.finish(KEY, first, b"too late")
        assert await store.idempotency.finish(KEY, second, b"sealed")
        assert await _claim(store, 999) == 0

    async def test_a_claim_that_is_over_may_still_be_finished_when_nobody_has_taken_it(self, store: Store) -> None:
        fence = await _claim(store, 0)
        assert await store.idempotency.finish(KEY, fence, b"slow")
        found = await store.idempotency.get(KEY, at(90))
        assert found is not None
        assert found.sealed_answer == b"slow"

    async def test_requests_that_have_expired_are_forgotten_and_no_other(self, store: Store) -> None:
        late = IdempotencyKey("owner", "late")
        assert await _claim(store, 0) == await _claim(store, 10, key=late) == 1
        await store.idempotency.forget(at(DAY))
        assert await store.idempotency.get(KEY, at(0)) is None
        assert await store.idempotency.get(late, at(DAY)) is not None
