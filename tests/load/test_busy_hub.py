"""A busy hub with two CAs, one of which is down for a while: the log names each refused and failed order once and the
outage twice, nothing else repeats, and log, `audit list` and `order list` (`--failing` while it is down) agree.

60 orders here; LOAD_SECONDS=3600 makes 2 000 in an hour, with the CA down for ten minutes (`make nightly`).
"""

import asyncio
import json
import os
import ssl
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from acmehub.rules.jws import decode_base64url
from acmehub.testing.acme_client import AcmeClient
from acmehub.testing.acme_keys import AccountKey, ExternalAccount
from acmehub.testing.hub_process import HubProcess, free_port
from tests.journal import Journal

SECONDS = float(os.environ.get("LOAD_SECONDS", "0"))
ORDERS = max(60, round(SECONDS / 3600 * 2000))
DOWN_SECONDS = max(1.0, SECONDS / 6)
pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(SECONDS + 900)]

CLIENTS = 7  # so that what is refused is not all of one account, of which the audit has 60 entries an hour
TSIG = "c2VjcmV0LXRzaWcta2V5LW9mLXRoaXMtdGVzdA=="  # of a managed challenge that no order needs
UPSTREAM = """
[[principal]]
name = "hub"
type = "application"
roles = ["managed_acme_consumer"]

[[token]]
title = "hub"
principal = "hub"
names = "*.far.test"
authorization = "preapproved"
"""
RESOURCES = """
[[authority]]
name = "upstream"
plugin = "ca_acme"
settings = {{ directory = "{directory}", ca_file = "{ca_file}", eab_kid = "{kid}", eab_hmac_key = "{hmac_key}" }}

[[profile]]
name = "far"
description = "From the CA"
authority = "upstream"

[[managed_challenge]]
name = "far"
plugin = "dns_rfc2136"
match = "*.far.test, *.gone.test"
settings = {{ server = "127.0.0.1", port = 9, key_name = "hub.", key_secret = "{key_secret}" }}

[[principal]]
name = "app"
type = "application"
roles = ["managed_acme_consumer", "managed_challenge_consumer"]

[[token]]
title = "fleet"
principal = "app"
names = "*.near.test, *.far.test, *.gone.test"
authorization = "preapproved"
"""


class Line:
    """The way to the CA; `down` it cuts every connection."""

    def __init__(self, port: int) -> None:
        self.port = free_port()
        self.down = False
        self._to = port
        self._open: set[asyncio.StreamWriter] = set()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        async with await asyncio.start_server(self._join, "127.0.0.1", self.port):
            yield
            self.cut()

    def cut(self) -> None:
        self.down = True
        for writer in self._open:
            writer.transport.abort()

    async def _join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.down:
            writer.transport.abort()
            return
        there, here = await asyncio.open_connection("127.0.0.1", self._to)
        both = {writer, here}
        self._open |= both
        try:
            await asyncio.gather(_copy(reader, here), _copy(there, writer))
        finally:
            self._open -= both


async def _copy(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    try:
        while data := await source.read(65536):
            sink.write(data)
            await sink.drain()
    except ConnectionError:
        pass  # the way is down
    finally:
        sink.close()


@pytest.fixture
def upstream(tmp_path: Path, journal: Journal) -> Iterator[tuple[HubProcess, Line]]:
    """Another hub as the CA, and the way to it."""
    port = free_port()
    line = Line(port)
    config = f'public_url = "https://localhost:{line.port}"\n[limits]\nnew_orders = 0\ntoken_orders_per_second = 0\n'
    ca = HubProcess(tmp_path / "ca", port=port, config=config, log=journal.new_log("ca"))
    ca.apply(UPSTREAM)
    with ca:
        yield ca, line


@pytest.fixture
def hub(tmp_path: Path, journal: Journal, upstream: tuple[HubProcess, Line]) -> Iterator[HubProcess]:
    """The hub whose log is read."""
    ca, line = upstream
    made = HubProcess(tmp_path / "hub", config='[log]\nformat = "json"\n', log=journal.new_log("hub"))
    credentials = ca.eab("hub")
    directory = f"https://localhost:{line.port}/acme/directory"
    made.apply(RESOURCES.format(**{**credentials, "directory": directory, "ca_file": ca.ca_file, "key_secret": TSIG}))
    with made:
        yield made


async def test_log_audit_and_orders_agree_and_nothing_repeats(
    hub: HubProcess, upstream: tuple[HubProcess, Line]
) -> None:
    _, line = upstream
    eab = hub.eab("fleet")
    tls = ssl.create_default_context(cafile=str(hub.ca_file))
    async with line.running(), httpx.AsyncClient(verify=tls, timeout=120) as http:
        clients = []
        for _ in range(CLIENTS):
            key = AccountKey.generate("P-256")
            clients.append(await AcmeClient.discover(http, hub.directory, key=key, user_agent="busy/1"))
            await clients[-1].register(ExternalAccount(eab["kid"], decode_base64url(eab["hmac_key"])), status=201)
        begun = time.monotonic()
        tasks: list[asyncio.Task[None]] = []
        waiting: list[dict[str, Any]] = []
        for number in range(ORDERS):
            if number == ORDERS // 3:
                line.cut()
                restored = asyncio.create_task(_restored(line, hub, waiting))
            tasks.append(asyncio.create_task(_order(clients[number % CLIENTS], number)))
            await asyncio.sleep(max(0.02, begun + SECONDS * (number + 1) / ORDERS - time.monotonic()))
        await asyncio.gather(restored, *tasks)
        print(f"{ORDERS} orders in {time.monotonic() - begun:.1f} s")
        listed = await asyncio.to_thread(hub.json, "order", "list", "--limit", "1000")
        while len(listed) % 1000 == 0:
            after = listed[-1]["id"]
            listed += await asyncio.to_thread(hub.json, "order", "list", "--limit", "1000", "--after", after)
        refused = await asyncio.to_thread(hub.json, "audit", "list", "--refused", "--limit", "1000")
        bound = await asyncio.to_thread(hub.json, "audit", "list", "--action", "account.created")
        assert await asyncio.to_thread(hub.json, "order", "list", "--failing") == []
    hub.stop()
    log = [json.loads(text) for text in hub.log.read_text().splitlines() if text.startswith("{")]
    assert Counter(entry["detail"].partition(" from ")[0] for entry in bound) == Counter(
        f"account {line['account']}" for line in log if line["message"] == "account bound"
    )
    _waited(waiting, log, refused)
    _agree(log, listed, refused)


def _kind(number: int) -> str:
    """Most orders are signed at once; some go to the CA, which refuses some of those; some are refused by the hub."""
    return {3: "far.test", 6: "other.test", 9: "gone.test"}.get(number % 10, "near.test")


def _count(zone: str) -> int:
    return sum(_kind(number) == zone for number in range(ORDERS))


async def _order(client: AcmeClient, number: int) -> None:
    zone = _kind(number)
    name = f"n{number}.{zone}"
    if zone == "other.test":
        for _ in range(3):  # it tries again, as clients do
            await client.new_order([name], status=403)
    elif zone == "gone.test":
        order = await client.new_order([name], status=201, profile="far")
        async with asyncio.timeout(DOWN_SECONDS * 2 + 400):
            while (await client.order(order.location)).json["status"] != "invalid":
                await asyncio.sleep(0.2)
    else:
        profile = {"profile": "far"} if zone == "far.test" else {}
        await client.issue([name], seconds=DOWN_SECONDS * 2 + 400, **profile)


async def _restored(line: Line, hub: HubProcess, waiting: list[dict[str, Any]]) -> None:
    """The CA is back after its time; meanwhile `waiting` gets what fails."""
    begun = time.monotonic()
    await asyncio.sleep(DOWN_SECONDS / 2)
    listed = await asyncio.to_thread(hub.json, "order", "list", "--limit", "1000")
    waiting += await asyncio.to_thread(hub.json, "order", "list", "--failing", "--limit", "1000")
    tried = {item["id"] for item in listed if item["attempts"] and item["status"] not in ("valid", "invalid")}
    assert tried <= {item["id"] for item in waiting}  # while the CA is down, none of them goes on
    await asyncio.sleep(max(0.0, begun + DOWN_SECONDS - time.monotonic()))
    line.down = False


def _waited(waiting: list[dict[str, Any]], log: list[dict[str, Any]], refused: list[dict[str, Any]]) -> None:
    """What `order list --failing` had while the CA was down: orders for it that the log has opened before the CA was
    back and not ended before it was down, and the words of the outage; the audit has no refusal of theirs."""
    assert waiting
    assert {item["authority"] for item in waiting} == {"upstream"}
    at = {line["message"]: line["time"] for line in log if line["message"].startswith("authority ")}
    ids = {item["id"] for item in waiting}
    opened = {line["order"]: line for line in log if line["message"] == "order opened"}
    ended = {line["order"]: line for line in log if line["message"] in ("order finished", "order failed")}
    assert ids <= opened.keys() & ended.keys()
    assert all(opened[id]["authority"] == "upstream" for id in ids)
    assert all(opened[id]["time"] < at["authority works again"] for id in ids)
    assert all(ended[id]["time"] > at["authority cannot be used"] for id in ids)
    assert not {name for item in waiting for name in item["names"]} & {
        entry["detail"].partition(":")[0] for entry in refused
    }


def _agree(log: list[dict[str, Any]], listed: list[dict[str, Any]], refused: list[dict[str, Any]]) -> None:
    said: dict[str, list[dict[str, Any]]] = {}
    for line in log:
        said.setdefault(line["message"], []).append(line)
    by_status = {status: {item["id"] for item in listed if item["status"] == status} for status in ("valid", "invalid")}
    assert len(listed) == ORDERS - _count("other.test")
    _each_once(said.pop("order opened"), {item["id"] for item in listed})
    _each_once(said.pop("order finished"), by_status["valid"])
    failed = said.pop("order failed")
    _each_once(failed, by_status["invalid"])
    assert len(failed) == _count("gone.test")
    errors = {item["id"]: item["error"] for item in listed}
    assert all(line["reason"] == errors[line["order"]] for line in failed)
    names = {f"n{number}.other.test" for number in range(ORDERS) if _kind(number) == "other.test"}
    lines = said.pop("order refused")
    assert Counter(line["names"][0] for line in lines) == Counter(names)
    assert {line["token"] for line in lines} == {"fleet"}
    assert {entry["action"] for entry in refused} == {"order.refused"}
    assert Counter(entry["detail"].partition(":")[0] for entry in refused) == Counter(names)
    assert {entry["actor"] for entry in refused} == {f"account {line['account']}" for line in lines}
    assert len(said.pop("account bound")) == CLIENTS
    begin, end = said.pop("authority cannot be used")[0], said.pop("authority works again")[0]
    assert (begin["authority"], end["authority"]) == ("upstream", "upstream")
    repeated = {text: len(lines) for text, lines in said.items() if len(lines) > 1}
    counts = Counter(line["message"] for line in log)
    assert (counts["authority cannot be used"], counts["authority works again"], repeated) == (1, 1, {})
    assert not [line for line in log if line["level"] in ("error", "critical")]


def _each_once(lines: list[dict[str, Any]], ids: set[str]) -> None:
    assert Counter(line["order"] for line in lines) == Counter(ids)
