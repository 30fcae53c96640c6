"""Concurrency with a limit."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


async def gather_limited(verb: Callable[[T], Awaitable[R]], items: Iterable[T], at_once: int) -> list[R]:
    """`gather` with a concurrency limit; waits for all, then raises the first failure."""
    gate = asyncio.Semaphore(at_once)

    async def one(item: T) -> R:
        async with gate:
            return await verb(item)

    results = await asyncio.gather(*map(one, items), return_exceptions=True)
    done: list[R] = []
    for result in results:
        if isinstance(result, BaseException):
            raise result
        done.append(result)
    return done
