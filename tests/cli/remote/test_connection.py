"""A hub elsewhere, reached or not: lost answers, refusals, and everything that may answer instead of an acmehub."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest

from acmehub.admin.access.errors import InUse, Invalid, NotFound, Refused, Taken
from acmehub.admin.resources.document import InvalidFile
from acmehub.cli.remote import connection
from acmehub.cli.remote.admin import remote_admin
from acmehub.cli.remote.connection import HubConnection, connected
from acmehub.cli.shared.exit_status import Exit, Failed
from acmehub.cli.shared.remote_hub import RemoteHub
from acmehub.cli.shared.session import NOBODY
from acmehub.ports.authority import UpstreamError
from acmehub.ports.store import StoreUnavailable
from acmehub.rules.permissions import Forbidden
from tests.cli.remote.conftest import TOKEN
from tests.http_client.servers import Answering, Authority, ok, read_request, serving

DIRECTORY = ok(
    b'{"newNonce": "https://hub.test/acme/new-nonce", "newAccount": "", "newOrder": "", "meta": {}}',
    "Content-Type: application/json",
)


def done(body: bytes) -> bytes:
    """What the API answers with a result."""
    return ok(body, "Content-Type: application/json")


def problem(name: str, status: int, *lines: str, **more: object) -> bytes:
    """A problem document as the API answers it."""
    body = {"type": f"/docs/problems#{name}", "title": name, "status": status, "detail": f"words of {name}", **more}
    return ok(msgspec.json.encode(body), "Content-Type: application/problem+json", *lines, status=f"{status} X")


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "PAUSES", (0.0, 0.0))


def hub_at(port: int, token_file: Path) -> RemoteHub:
    return RemoteHub(f"http://127.0.0.1:{port}", token_file, None)


@asynccontextmanager
async def asking(port: int, token_file: Path) -> AsyncIterator[HubConnection]:
    async with connected(hub_at(port, token_file)) as made:
        yield made


async def failure(token_file: Path, *answers: bytes) -> Exception:
    """What a request ends with whose server answers so."""
    async with serving(Answering(*answers)) as port, asking(port, token_file) as hub:
        with pytest.raises(Exception) as raised:
            await hub.request("GET", "/api/v1/orders")
    return raised.value


async def test_a_request_bears_the_token_and_a_post_one_key_for_all_of_its_repetitions(token_file: Path) -> None:
    seen = []

    async def loses_the_first_answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while (request := await read_request(reader)) is not None:
            seen.append(request)
            if len(seen) == 1:
                return
            writer.write(done(b'{"id": "1"}'))

    async with serving(loses_the_first_answer) as port, asking(port, token_file) as hub:
        answer = await hub.request("POST", "/api/v1/tokens", body=b"{}")
    assert answer.body == b'{"id": "1"}'
    assert [request.line for request in seen] == ["POST /api/v1/tokens HTTP/1.1"] * 2
    first, second = (request.headers["idempotency-key"] for request in seen)
    assert first == second
    assert len(first) >= 32
    assert {request.headers["authorization"] for request in seen} == {f"Bearer {TOKEN}"}


async def test_a_change_whose_answer_is_lost_is_not_sent_again(token_file: Path) -> None:
    seen = []

    async def loses_answers(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        seen.append(await read_request(reader))

    async with serving(loses_answers) as port, asking(port, token_file) as hub:
        with pytest.raises(Failed, match="cannot be reached: the connection was closed before the response") as raised:
            await hub.request("PATCH", "/api/v1/tokens/t", body=b"{}")
    assert raised.value.status is Exit.UNAVAILABLE
    assert len(seen) == 1


async def test_a_hub_that_is_asked_too_often_or_is_still_at_it_is_asked_again_when_it_says(token_file: Path) -> None:
    server = Answering(
        problem("rate-limited", 429, "Retry-After: 0"),
        problem("still-running", 409, "Retry-After: 0"),
        done(b"[]"),
    )
    async with serving(server) as port, asking(port, token_file) as hub:
        assert (await hub.request("POST", "/api/v1/checks", body=b"{}")).body == b"[]"
    assert len({request.headers["idempotency-key"] for request in server.requests}) == 1
    failed = await failure(token_file, problem("rate-limited", 429, "Retry-After: 3600"))
    assert isinstance(failed, Failed)
    assert failed.message == "words of rate-limited"


@pytest.mark.parametrize(
    ("name", "status", "error"),
    [
        ("not-found", 404, NotFound),
        ("taken", 409, Taken),
        ("in-use", 409, InUse),
        ("refused", 409, Refused),
        ("forbidden", 403, Forbidden),
        ("upstream", 502, UpstreamError),
        ("storage-unavailable", 503, StoreUnavailable),
    ],
)
async def test_a_problem_is_the_error_that_the_verb_raises_on_the_hub(
    token_file: Path, name: str, status: int, error: type[Exception]
) -> None:
    raised = await failure(token_file, problem(name, status))
    assert type(raised) is error
    assert str(raised) == f"words of {name}"


async def test_fields_that_do_not_fit_are_told_as_on_the_hub(token_file: Path) -> None:
    one = [{"field": "settings.port", "message": "Expected `int`"}]
    raised = await failure(token_file, problem("invalid", 422, errors=one))
    assert isinstance(raised, Invalid)
    assert (raised.field, raised.message) == ("settings.port", "Expected `int`")
    lines = [{"field": "", "message": "[[token]] 't': names: x"}, {"field": "", "message": "second"}]
    raised = await failure(token_file, problem("invalid", 422, errors=lines))
    assert isinstance(raised, InvalidFile)
    assert raised.errors == ("[[token]] 't': names: x", "second")
    raised = await failure(token_file, problem("key-reused", 422))
    assert isinstance(raised, Failed)
    assert raised.status is Exit.USAGE


async def test_a_token_that_is_refused_is_named_by_its_file(token_file: Path) -> None:
    raised = await failure(token_file, problem("unauthenticated", 401))
    assert isinstance(raised, Failed)
    assert f"refuses the API token in {token_file}: words of unauthenticated" in raised.message
    assert "s" * 43 not in raised.message
    assert raised.status is Exit.FAILED


@pytest.mark.parametrize(
    ("answers", "words", "status"),
    [
        ([ok(b"<html>", "Content-Type: text/html")], "/api/v1 is answered with 200", Exit.NO_HUB),
        ([ok(b"", "Location: https://else.test/", status="302 Found")], "redirects to https://else", Exit.NO_HUB),
        ([ok(b"gone", status="404 Not Found")], "/api/v1 is answered with 404", Exit.NO_HUB),
        ([ok(b"gone", status="404 Not Found"), DIRECTORY], "is older than this command", Exit.FAILED),
        ([ok(b"", status="503 Down")], "what is before the hub says 503", Exit.UNAVAILABLE),
        ([problem("method-not-allowed", 405)], "is of another version than this command", Exit.FAILED),
        ([ok(b"{}", "Content-Type: application/problem+json", status="404 X")], "answered with 404", Exit.NO_HUB),
    ],
)
async def test_what_answers_instead_of_the_api_is_told(
    token_file: Path, answers: list[bytes], words: str, status: Exit
) -> None:
    raised = await failure(token_file, *answers)
    assert isinstance(raised, Failed)
    assert words in raised.message
    assert raised.status is status


async def test_where_nothing_listens_that_is_said(token_file: Path) -> None:
    async with serving(Answering()) as port:
        pass
    async with asking(port, token_file) as hub:
        with pytest.raises(Failed, match=f"http://127.0.0.1:{port} cannot be reached: no connection to it") as raised:
            await hub.request("GET", "/api/v1/orders")
    assert raised.value.status is Exit.UNAVAILABLE


async def test_tls_is_verified_by_the_roots_that_are_given(tmp_path: Path, token_file: Path) -> None:
    authority = Authority(tmp_path)
    server = Answering(done(b"{}"))
    async with serving(server, authority.server_tls) as port:
        url = f"https://127.0.0.1:{port}"
        async with connected(RemoteHub(url, token_file, authority.file)) as hub:
            assert (await hub.request("GET", "/api/v1/me")).status == 200
        async with connected(RemoteHub(url, token_file, None)) as hub:
            with pytest.raises(Failed, match="certificate"):
                await hub.request("GET", "/api/v1/me")
        async with connected(RemoteHub(url, token_file, tmp_path / "none.pem")) as hub:
            with pytest.raises(Failed, match=r"none\.pem cannot be read"):
                await hub.request("GET", "/api/v1/me")
    assert server.lines == ["GET /api/v1/me HTTP/1.1"]


async def test_the_public_url_is_that_of_the_directory(token_file: Path) -> None:
    server = Answering(DIRECTORY, ok(b"{}"))
    async with serving(server) as port, asking(port, token_file) as hub:
        assert await hub.public_url() == "https://hub.test"
        with pytest.raises(Failed, match=r"no acmehub at .*: /acme/directory is no ACME directory"):
            await hub.public_url()
    assert all("authorization" not in request.headers for request in server.requests)


async def test_pages_are_followed_to_the_limit_or_to_the_end(token_file: Path) -> None:
    row = {"name": "p", "version": "1", "state": "installed"}
    page = done(msgspec.json.encode({"items": [row] * 2, "next": "further"}))
    last = done(msgspec.json.encode({"items": [row], "next": None}))
    server = Answering(page, page, last)
    async with serving(server) as port, remote_admin(hub_at(port, token_file)) as (admin, _):
        assert len(await admin.plugins.list(NOBODY)) == 5
    assert server.lines == [
        "GET /api/v1/plugins?limit=200 HTTP/1.1",
        *["GET /api/v1/plugins?limit=200&after=further HTTP/1.1"] * 2,
    ]


async def test_a_verb_that_the_api_has_not_says_where_it_works(token_file: Path) -> None:
    async with remote_admin(RemoteHub("https://hub.test", token_file, None)) as (admin, _):
        with pytest.raises(Failed, match="resealing reseal: it is done on the hub's own machine") as raised:
            await admin.resealing.reseal(NOBODY)
    assert raised.value.status is Exit.USAGE
