"""The access log: one line a request, and no secret in it."""

import json
import logging
import socket
import ssl
from pathlib import Path
from typing import Any

import httpx
import pytest

from acmehub.acme.resources import ROUTES
from acmehub.acme.server.client_address import TrustedProxies
from acmehub.app.asgi import create_app
from acmehub.config import Acme
from acmehub.models import new_id
from acmehub.rules.secret_directories import new_directory_key
from acmehub.serving.access_log import AccessLog
from acmehub.testing.acme_client import AcmeClient
from acmehub.testing.acme_keys import AccountKey
from acmehub.testing.hub_process import HubProcess
from tests.acme.lab import BASE, DIRECTORY, laboratory

KEY = new_directory_key()
CERT_ID = "aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE"


async def _nothing(*_: Any) -> None:
    """An application that answers nothing."""


@pytest.mark.parametrize(
    "path",
    [
        "/acme/new-order",
        f"/acme/order/{new_id()}/finalize",
        f"/acme/chall/{new_id()}/tls-alpn-01",
        f"/acme/renewal-info/{CERT_ID}",
        "/healthz",
        "/wp-login.php",
        "/",
    ],
)
def test_paths_without_a_secret_are_shown(path: str) -> None:
    assert AccessLog(_nothing, ROUTES, TrustedProxies()).shown(path) == path


@pytest.mark.parametrize(
    "path",
    [
        f"/acme/{KEY}/directory",
        f"/acme/{KEY}/new-account",
        f"//acme//{KEY}//directory/",
        f"/acme/{KEY}",
        f"/{KEY}/directory",
        f"/acme/directory/{KEY}",
        f"/acme/order/{KEY}",
        f"/acme/renewal-info/{KEY}",
        f"/acme/{KEY[:-3]}/directory",
        f"/acme/{KEY}%2Fdirectory",
        f"/acme/%{ord(KEY[0]):x}{KEY[1:]}/directory",
        "/" * 20 + KEY,
    ],
)
def test_the_key_of_a_secret_directory_is_hidden_wherever_it_stands(path: str) -> None:
    shown = AccessLog(_nothing, ROUTES, TrustedProxies()).shown(path)
    assert not any(KEY[at : at + 13] in shown for at in range(len(KEY) - 12))


async def test_a_line_has_method_path_status_account_address_bytes_and_time(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with laboratory(tmp_path, Acme(hold=0.05)) as lab:
        app = AccessLog(create_app(lab.hub), ROUTES, TrustedProxies(["127.0.0.1"]))
        transport = httpx.ASGITransport(app)  # type: ignore[arg-type]
        headers = {"x-forwarded-for": "::ffff:192.0.2.7"}
        async with httpx.AsyncClient(transport=transport, base_url=BASE, headers=headers) as http:
            client = await AcmeClient.discover(http, DIRECTORY, key=AccountKey.generate("P-256"), user_agent="x/1")
            _, external = await lab.token(names="*.corp.test")
            await client.register(external, status=201)
            caplog.set_level(logging.INFO, "acmehub.access")
            answer = await http.get("/acme/directory?token=secret")
            await client.new_order(["a.corp.test"], status=201)
            await http.get("/acme/nowhere")
    lines = [vars(record) for record in caplog.records if record.name == "acmehub.access"]
    assert [(line["method"], line["path"], line["status"]) for line in lines] == [
        ("GET", "/acme/directory", 200),
        ("POST", "/acme/new-order", 201),
        ("GET", "/acme/nowhere", 404),
    ]
    assert lines[0]["bytes"] == len(answer.content)
    assert lines[1]["account"] == client.kid.rpartition("/")[2]
    assert "account" not in lines[0]
    assert {line["address"] for line in lines} == {"192.0.2.7"}
    assert all(0 <= line["seconds"] < 60 for line in lines)


@pytest.mark.e2e
def test_a_hub_that_logs_json_says_nothing_else(tmp_path: Path) -> None:
    """Access lines after their answers, uvicorn's own words, and what the hub does: each a JSON object."""
    config = '[log]\nformat = "json"\naccess = true\n'
    with HubProcess(tmp_path, config=config) as hub:
        tls = ssl.create_default_context(cafile=str(hub.ca_file))
        with (
            socket.create_connection(("127.0.0.1", hub.port)) as plain,
            tls.wrap_socket(plain, server_hostname="localhost") as connection,
        ):
            connection.sendall(b"no HTTP\r\n\r\n")
            connection.recv(1000)
        with httpx.Client(verify=tls) as http:
            http.get(f"https://localhost:{hub.port}/acme/{KEY}/directory")
    said = [line for line in hub.log.read_text().splitlines() if not line.startswith(("acmehub ", "its certificate "))]
    lines = [json.loads(line) for line in said]
    assert {"uvicorn.error", "acmehub.access", "acmehub.serving.certificates"} <= {line["logger"] for line in lines}
    (request,) = [line for line in lines if line.get("path", "").endswith("/directory")]
    assert (request["path"], request["status"], request["address"]) == ("/acme/***/directory", 404, "127.0.0.1")
    assert KEY not in hub.log.read_text()


def test_off_the_application_is_not_wrapped(tmp_path: Path) -> None:
    """Off, no request passes through it."""
    from acmehub.app.hub import build_hub
    from acmehub.config import Config, Log
    from acmehub.serving.server import HubServer

    for access in (False, True):
        hub = build_hub(Config(data_dir=tmp_path / "data", log=Log(access=access)))
        assert isinstance(HubServer(hub, None, lambda: None).config.app, AccessLog) is access
