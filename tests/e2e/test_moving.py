"""The restore drill: a client that was enrolled on one hub renews at another, by the commands of docs/operate.md."""

import asyncio
import json
import shlex
import shutil
import ssl
from collections.abc import Callable, Mapping
from contextlib import chdir
from pathlib import Path
from typing import Any, cast

import httpx
import msgspec
import pytest
from cryptography import x509

from acmehub.app.asgi import create_app
from acmehub.app.hub import build_hub
from acmehub.cli.root import run
from acmehub.config import load_config
from acmehub.rules.jws import decode_base64url
from acmehub.testing.acme_client import AcmeClient
from acmehub.testing.acme_keys import AccountKey, ExternalAccount
from acmehub.testing.hub_process import HubProcess
from tests.servers.forwarder import Forwarder
from tests.servers.postgres import Postgres
from tests.test_docs import FENCE, ROOT

NAME = "www.corp.test"


def documented(step: str) -> list[list[str]]:
    """The arguments of the commands in a fence `console drill STEP` of docs/operate.md."""
    page = (ROOT / "docs" / "operate.md").read_text()
    (body,) = [match["body"] for match in FENCE.finditer(page) if match["kind"].strip() == f"console drill {step}"]
    found = [shlex.split(line.removeprefix("$ acmehub ")) for line in body.splitlines()]
    assert found
    return found


class Device:
    """A client that keeps its account's key and URL, and knows nothing of what is behind the directory."""

    def __init__(self, directory: str) -> None:
        self.directory = directory
        self.key: AccountKey | None = None
        self.kid = ""
        self.serials: list[int] = []

    async def visit(self, http: httpx.AsyncClient, eab: Mapping[str, str]) -> None:
        """Enroll, the first time; get a certificate."""
        client = await AcmeClient.discover(http, self.directory, key=self.key)
        if self.key is None:
            await client.register(ExternalAccount(eab["kid"], decode_base64url(eab["hmac_key"])))
            self.key, self.kid = client.key, client.kid
        client.kid = self.kid
        chain, _ = await client.issue([NAME])
        self.serials.append(x509.load_pem_x509_certificate(chain.encode()).serial_number)


class Operator:
    """Types commands in a hub's folder; in this process, which is quicker."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def __call__(self, folder: Path, *arguments: str) -> str:
        """What a command prints that must succeed."""
        self._capsys.readouterr()
        with chdir(folder):
            status = run(arguments)
        out, err = self._capsys.readouterr()
        assert status == 0, (arguments, out, err)
        return out

    def follow(self, folder: Path, step: str) -> None:
        """Type what the page says."""
        for arguments in documented(step):
            self(folder, *arguments)

    def credentials(self, folder: Path) -> dict[str, str]:
        """EAB credentials of a new token."""
        self(folder, "token", "add", "Firewall", "--names", "*.corp.test")
        found: dict[str, str] = json.loads(self(folder, "token", "eab", "Firewall", "--json"))
        return found


@pytest.fixture
def operator(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Operator:
    monkeypatch.setattr("acmehub.cli.shared.session.set_up_logs", lambda config: None)
    return Operator(capsys)


def test_a_client_renews_after_backup_and_restore_on_another_host(
    tmp_path: Path, free_port: Callable[[], int], operator: Operator
) -> None:
    front = ("127.0.0.1", free_port())  # what the DNS name leads to
    device = Device(f"https://localhost:{front[1]}/acme/directory")
    old, new = (
        HubProcess(tmp_path / name, port=free_port(), config=f'public_url = "https://localhost:{front[1]}"')
        for name in ("old", "new")
    )

    async def visit(eab: Mapping[str, str]) -> None:
        trusted = ssl.create_default_context(cafile=tmp_path / "trusted.pem")
        async with httpx.AsyncClient(verify=trusted, timeout=20) as http:
            await device.visit(http, eab)

    with old, Forwarder({front: ("127.0.0.1", old.port)}):
        shutil.copyfile(old.ca_file, tmp_path / "trusted.pem")
        asyncio.run(visit(operator.credentials(old.folder)))
        operator.follow(old.folder, "old")
    new.configure()
    shutil.move(old.folder / "hub.backup", new.folder / "hub.backup")
    shutil.rmtree(old.folder)
    operator.follow(new.folder, "new")
    with new, Forwarder({front: ("127.0.0.1", new.port)}):
        asyncio.run(visit({}))
    assert len(set(device.serials)) == 2


def test_a_client_renews_after_a_copy_to_postgresql_and_back(
    tmp_path: Path, postgres: Postgres, monkeypatch: pytest.MonkeyPatch, operator: Operator
) -> None:
    device = Device("https://hub.test/acme/directory")
    dsn = postgres.new_database()
    monkeypatch.setenv("HUB_DSN", dsn)

    def configure(storage: str = "") -> None:
        path = tmp_path / "acmehub.toml"
        path.touch(0o600)
        path.write_text(f'public_url = "https://hub.test"\n[tls]\nmode = "off"\n{storage}')

    async def visit(eab: Mapping[str, str]) -> None:
        config = load_config(tmp_path / "acmehub.toml", environ={"HUB_DSN": dsn})
        hub = build_hub(msgspec.structs.replace(config, data_dir=tmp_path / "data"))
        async with (
            hub.running(serve=True, worker=True),
            httpx.AsyncClient(transport=httpx.ASGITransport(cast(Any, create_app(hub))), timeout=20) as http,
        ):
            await device.visit(http, eab)

    configure()
    operator(tmp_path, "init", "--hub")
    asyncio.run(visit(operator.credentials(tmp_path)))
    operator.follow(tmp_path, "copy")
    configure('[storage]\nplugin = "storage_postgres"\nsettings = { dsn = "env:HUB_DSN" }\n')
    (tmp_path / "data" / "acmehub.db").unlink()
    asyncio.run(visit({}))
    operator.follow(tmp_path, "back")
    configure('[storage]\nsettings = { path = "back.db" }\n')
    asyncio.run(visit({}))
    assert len(set(device.serials)) == 3
