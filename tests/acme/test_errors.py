"""What goes wrong on our side is a problem, too, and says no more than it should.

docs/reliability.md sections 1, 5.
"""

import asyncio
import logging
import re
from typing import Any

import httpx
import pytest
from litestar import get
from litestar.params import FromPath

from acmehub import hookimpl
from acmehub.app import health
from acmehub.app.asgi import create_app
from acmehub.ports.store import StoreUnavailable
from acmehub.runtime.plugins import PluginError
from acmehub.testing.acme_client import AcmeClient, check_nonce
from tests.acme.lab import DIRECTORY, Lab


async def test_an_unavailable_storage_is_503_with_retry_after_and_a_nonce(
    lab: Lab, client: AcmeClient, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def unavailable(*_: object) -> None:
        raise StoreUnavailable("/secret/place/acmehub.db is locked")

    caplog.set_level(logging.DEBUG)
    monkeypatch.setattr(lab.hub.store.orders, "add", unavailable)
    reply = await client.new_order(["a.corp.test"], status=503)
    assert (reply.problem, reply.retry_after) == ("serverInternal", 10)
    assert "/secret/place" not in reply.body.decode()
    assert "/secret/place" in str([vars(record) for record in caplog.records])


async def test_an_unexpected_exception_is_a_bare_server_internal_with_a_reference_that_the_log_has(
    lab: Lab, client: AcmeClient, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def broken(*_: object) -> None:
        raise ZeroDivisionError("inner secret")

    monkeypatch.setattr(lab.hub.store.orders, "add", broken)
    with caplog.at_level(logging.ERROR):
        reply = await client.new_order(["a.corp.test"], status=500)
    assert reply.problem == "serverInternal"
    assert reply.json["detail"] == f"internal error, reference {reply.json['reference']}"
    assert "inner secret" not in reply.body.decode()
    (record,) = [record for record in caplog.records if record.name == "acmehub.acme.server.app"]
    assert record.__dict__["reference"] == reply.json["reference"]
    assert record.exc_info is not None
    assert "a.corp.test" not in record.getMessage()


async def test_a_defect_before_the_signature_is_checked_has_a_nonce_too(
    lab: Lab, client: AcmeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(lab.hub.store.accounts, "actor", broken)
    assert (await client.new_order(["a.corp.test"], status=500)).problem == "serverInternal"


async def test_readyz_asks_the_storage_once_a_second_for_all(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    ping, asked = lab.hub.store.ping, 0

    async def counted() -> None:
        nonlocal asked
        asked += 1
        await ping()

    monkeypatch.setattr(lab.hub.store, "ping", counted)
    found = await asyncio.gather(*(lab.http.get("/readyz") for _ in range(20)))
    assert {answer.status_code for answer in found} == {200}
    assert asked == 1
    monkeypatch.setattr(health, "ASKED_EVERY", 0.0)
    assert (await lab.http.get("/readyz")).status_code == 200
    assert asked == 2


async def test_readyz_writes_nothing(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "ASKED_EVERY", 0.0)
    database = lab.hub.config.data_dir / "acmehub.db-wal"
    await lab.http.get("/readyz")
    before = database.stat().st_size
    revisions = await lab.hub.store.revisions()
    for _ in range(20):
        assert (await lab.http.get("/readyz")).status_code == 200
    assert database.stat().st_size == before
    assert await lab.hub.store.revisions() == revisions


async def test_readyz_does_not_wait_for_a_storage_that_hangs(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "LONGEST_ANSWER", 0.02)

    async def silent() -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(lab.hub.store, "ping", silent)
    async with asyncio.timeout(5):
        assert (await lab.http.get("/readyz")).status_code == 503


async def test_healthz_and_readyz_say_what_is(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "ASKED_EVERY", 0.0)
    assert (await lab.http.get("/healthz")).status_code == 200
    assert (await lab.http.get("/readyz")).status_code == 200

    async def unavailable() -> None:
        raise StoreUnavailable("/secret/place/acmehub.db is read-only")

    monkeypatch.setattr(lab.hub.store, "ping", unavailable)
    not_ready = await lab.http.get("/readyz")
    assert not_ready.status_code == 503
    assert "/secret" not in not_ready.text
    monkeypatch.undo()
    lab.hub.stop()
    assert (await lab.http.get("/readyz")).status_code == 503
    assert (await lab.http.get("/healthz")).status_code == 200


@pytest.mark.parametrize(("method", "path", "status"), [("GET", "/nowhere", 404), ("POST", "/healthz", 405)])
async def test_errors_beside_acme_are_problem_documents_without_acme_types(
    lab: Lab, method: str, path: str, status: int
) -> None:
    response = await lab.http.request(method, path)
    assert response.status_code == status
    assert response.headers["content-type"] == "application/problem+json"
    assert response.json()["type"] == "about:blank"
    assert "replay-nonce" not in response.headers


async def test_a_plugins_route_is_served_and_its_failure_shows_nothing(
    lab: Lab, tmp_path_factory: pytest.TempPathFactory
) -> None:
    @get("/extra", sync_to_thread=False)
    def extra() -> str:
        return "here"

    @get("/broken", sync_to_thread=False)
    def broken() -> str:
        raise ZeroDivisionError("inner secret")

    class Routes:
        @hookimpl
        def register_routes(self) -> list[object]:
            return [extra, broken]

    lab.hub.registry.add("routes", Routes())
    transport = httpx.ASGITransport(create_app(lab.hub))  # type: ignore[arg-type]
    async with httpx.AsyncClient(transport=transport, base_url="https://hub.test") as http:
        assert (await http.get("/extra")).text == "here"
        response = await http.get("/broken")
        assert response.status_code == 500
        assert "secret" not in response.text
        assert (await http.get("/acme/directory")).status_code == 200


@pytest.mark.parametrize("path", ["/acme", "/acme/directory", "/acme/{name:str}", "/acmeadmin/{name:str}"])
async def test_a_plugin_cannot_take_a_path_of_the_acme_server(lab: Lab, path: str) -> None:
    @get(path, sync_to_thread=False)
    def taken() -> str:
        return "taken"

    class Routes:
        @hookimpl
        def register_routes(self) -> list[object]:
            return [taken]

    lab.hub.registry.add("routes", Routes())
    with pytest.raises(PluginError, match=f"route {re.escape(path)}.*/acme"):
        create_app(lab.hub)


async def test_routes_with_parameters_do_not_shadow_the_acme_server(lab: Lab) -> None:
    @get("/{rest:path}", sync_to_thread=False)
    def everything(rest: FromPath[str]) -> str:
        return rest

    class Routes:
        @hookimpl
        def register_routes(self) -> list[object]:
            return [everything]

    lab.hub.registry.add("routes", Routes())
    transport = httpx.ASGITransport(create_app(lab.hub))  # type: ignore[arg-type]
    async with httpx.AsyncClient(transport=transport, base_url="https://hub.test") as http:
        assert (await http.get("/else/where")).text == "/else/where"
        assert (await http.get("/acme/directory")).json()["newOrder"].endswith("/acme/new-order")
        missing = await http.get("/acme/nowhere")
        assert (missing.status_code, "replay-nonce" in missing.headers) == (404, True)


@pytest.mark.parametrize("path", ["/acmex", "/acmex/directory", "/acme-directory"])
async def test_paths_that_only_begin_like_the_acme_servers_are_not_its_own(lab: Lab, path: str) -> None:
    response = await lab.http.get(path)
    assert (response.status_code, response.json()["type"]) == (404, "about:blank")
    assert "replay-nonce" not in response.headers


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "OPTIONS"])
@pytest.mark.parametrize("path", ["/acme", "/acme/", "/acme/nowhere", "/acme/directory/", "/acme//directory"])
async def test_an_unknown_path_of_the_acme_server_is_answered_by_it(lab: Lab, method: str, path: str) -> None:
    response = await lab.http.request(method, path)
    assert (response.status_code, response.headers["content-type"]) == (404, "application/problem+json")
    assert response.headers["link"] == f'<{DIRECTORY}>;rel="index"'
    check_nonce(response)


async def test_another_method_is_answered_with_allow_and_a_nonce(lab: Lab) -> None:
    response = await lab.http.put("/acme/new-order")
    assert (response.status_code, response.headers["allow"]) == (405, "POST")
    assert response.headers["content-type"] == "application/problem+json"
    check_nonce(response)


async def test_a_websocket_at_the_acme_server_is_refused(lab: Lab) -> None:
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "websocket.connect"}

    async def send(message: Any) -> None:
        sent.append(message)

    scope: Any = {"type": "websocket", "path": "/acme/directory", "raw_path": b"/acme/directory", "headers": []}
    await create_app(lab.hub)(scope, receive, send)
    assert [message["type"] for message in sent] == ["websocket.close"]
