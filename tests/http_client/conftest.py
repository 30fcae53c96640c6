"""Clients that are closed at the end of the test, on asyncio's event loop and on that of `acmehub serve`."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import uvloop

from acmehub import HttpClient
from tests.http_client.servers import Authority

MakeClient = Callable[..., HttpClient]
PROXIES = ("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "NO_PROXY")
ROOTS = ("REQUESTS_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR")


@pytest.hookimpl
def pytest_asyncio_loop_factories() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    return {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


@pytest.fixture(autouse=True)
def _nothing_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*PROXIES, *ROOTS):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@pytest.fixture
async def make_client() -> AsyncIterator[MakeClient]:
    made: list[HttpClient] = []

    def make(**settings: Any) -> HttpClient:
        made.append(HttpClient(**{"user_agent": "acmehub/test", "timeout": 20, **settings}))
        return made[-1]

    yield make
    for client in made:
        await client.aclose()


@pytest.fixture
def client(make_client: MakeClient) -> HttpClient:
    return make_client()


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)
