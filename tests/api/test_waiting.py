"""`wait` and `since`: an answer about an order comes with the news."""

import asyncio
import time

from acmehub.api import waiting
from tests.api.desk import ROOT, Desk


async def test_an_answer_waits_for_the_next_version(desk: Desk) -> None:
    path = f"/orders/{desk.ids['order']}"
    before = await desk.get(path)
    held = asyncio.create_task(desk.get(f"{path}?wait=30&since={before['version']}"))
    while not len(desk.hub.order_events):
        await asyncio.sleep(0)
    await desk.admin.orders.cancel(desk.ids["order"], ROOT)
    async with asyncio.timeout(5):
        after = await held
    assert (before["status"], after["status"]) == ("pending", "invalid")
    assert after["version"] > before["version"]


async def test_what_has_happened_since_is_answered_at_once_and_so_is_what_is_over(desk: Desk) -> None:
    path = f"/orders/{desk.ids['order']}"
    await desk.admin.orders.cancel(desk.ids["order"], ROOT)
    version = (await desk.get(path))["version"]
    async with asyncio.timeout(5):
        await desk.get(f"{path}?wait=30&since={version - 1}")
        await desk.get(f"{path}?wait=30&since={version}")  # an invalid order has no news any more
    assert not len(desk.hub.order_events)


async def test_the_time_is_up(desk: Desk) -> None:
    begun = time.monotonic()
    assert (await desk.get(f"/orders/{desk.ids['order']}?wait=0.2"))["status"] == "pending"
    assert 0.2 <= time.monotonic() - begun < 5
    answer = await desk.ask("GET", f"/orders/{desk.ids['order']}?wait=61")
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "wait")


async def test_the_end_of_the_process_ends_the_wait(desk: Desk) -> None:
    held = asyncio.create_task(desk.get(f"/orders/{desk.ids['order']}?wait=30"))
    while not len(desk.hub.order_events):
        await asyncio.sleep(0)
    desk.hub.stop()
    async with asyncio.timeout(5):
        assert (await held)["status"] == "pending"


async def test_a_token_has_a_number_of_answers_that_wait(desk: Desk) -> None:
    path = f"/orders/{desk.ids['order']}?wait=30"
    held = [asyncio.create_task(desk.get(path)) for _ in range(waiting.MOST_OF_TOKEN)]
    while len(desk.hub.order_events) < waiting.MOST_OF_TOKEN:
        await asyncio.sleep(0)
    async with asyncio.timeout(5):
        await desk.get(path)
    other = asyncio.create_task(desk.get(path, as_="auditor"))
    while len(desk.hub.order_events) == waiting.MOST_OF_TOKEN:
        await asyncio.sleep(0)
    desk.hub.stop()
    await asyncio.gather(*held, other)
