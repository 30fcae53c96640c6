"""examples/nginx: a real nginx before a real hub."""

import asyncio
import os
import re
import socket
import ssl
import subprocess
import time
from base64 import urlsafe_b64decode
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

import httpx
import pytest
import trustme

from acmehub.config import load_config
from acmehub.testing.acme_client import AcmeClient, AcmeRefused
from acmehub.testing.acme_keys import ExternalAccount
from acmehub.testing.hub_process import HubProcess, free_port
from tests.journal import Journal
from tests.servers.programs import need, program

pytestmark = pytest.mark.e2e
EXAMPLE = Path(__file__).resolve().parent.parent.parent / "examples" / "nginx" / "acmehub.conf"
NGINX = program("nginx")
HOLD = 2.0
FRAME = """
daemon off;
{user}
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    include {folder}/acmehub.conf;
}}
"""
AWAY = """
[[authority]]
name = "away"
plugin = "ca_acme"
default = true
settings = { directory = "https://127.0.0.1:9/dir" }

[[managed_challenge]]
name = "corp zone"
plugin = "dns_rfc2136"
match = "*.corp.test"
settings = { server = "127.0.0.1", port = 9, key_name = "hub.", key_secret = "c2VjcmV0" }
"""


class Proxied(NamedTuple):
    """A hub behind nginx: what its clients know."""

    hub: HubProcess
    url: str
    ca_file: Path

    @asynccontextmanager
    async def client(self, address: str, **headers: str) -> AsyncIterator[AcmeClient]:
        """A client that comes from one of this machine's addresses."""
        trust = ssl.create_default_context(cafile=str(self.ca_file))
        transport = httpx.AsyncHTTPTransport(local_address=address, verify=trust)
        async with httpx.AsyncClient(transport=transport, headers=headers, timeout=60) as http:
            yield await AcmeClient.discover(http, f"{self.url}/acme/directory")

    async def register(self, client: AcmeClient, token: str) -> int:
        """Bind an account to a token; the answer's status."""
        credentials = await asyncio.to_thread(self.hub.eab, token)
        try:
            key = urlsafe_b64decode(credentials["hmac_key"] + "=")
            return (await client.register(ExternalAccount(credentials["kid"], key))).status
        except AcmeRefused as refused:
            return int(str(refused).split()[0])


def settings_of_the_example(port: int, url: str) -> str:
    """The lines for acmehub.toml that the example's comment has, with this test's port and URL."""
    comment = re.search(r"# In acmehub.toml:\n#\n((?:#.*\n)+)", EXAMPLE.read_text())
    assert comment is not None
    lines = re.sub(r"^# ? ? ?", "", comment[1], flags=re.MULTILINE)
    assert 'listen = "127.0.0.1:8080"\n' in lines
    return lines.replace('listen = "127.0.0.1:8080"\n', "").replace("https://hub.example.com", url)


@pytest.fixture(scope="module")
def proxied(tmp_path_factory: pytest.TempPathFactory, journal: Journal) -> Iterator[Proxied]:
    """The example, changed where it says so: ports, names, paths."""
    need(NGINX)
    folder = tmp_path_factory.mktemp("nginx")
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(folder / "ca.pem"))
    certificate = authority.issue_cert("localhost")
    certificate.private_key_pem.write_to_path(str(folder / "privkey.pem"))
    certificate.cert_chain_pems[0].write_to_path(str(folder / "fullchain.pem"))
    port, hub_port = free_port(), free_port()
    url = f"https://localhost:{port}"
    changes = {
        "127.0.0.1:8080": f"127.0.0.1:{hub_port}",
        "listen 443": f"listen 127.0.0.1:{port}",
        "    listen [::]:443 ssl;\n": "",
        "hub.example.com": "localhost",
        "/etc/acmehub/": f"{folder}/",
    }
    text = EXAMPLE.read_text()
    for before, after in changes.items():
        assert before in text
        text = text.replace(before, after)
    (folder / "acmehub.conf").write_text(text)
    (folder / "nginx.conf").write_text(FRAME.format(folder=folder, user="user root;" if os.geteuid() == 0 else ""))
    config = settings_of_the_example(hub_port, url)
    acme = f"\n[acme]\nhold = {HOLD}\n"
    with HubProcess(folder / "hub", config=config + acme, port=hub_port, log=journal.new_log("hub")) as hub:
        hub.run("token", "add", "Device", "--network", "127.0.0.2/32", "--names", "*.corp.test")
        nginx = subprocess.Popen([NGINX, "-c", folder / "nginx.conf", "-e", folder / "error.log"])
        try:
            wait_for(port, nginx, folder / "error.log")
            yield Proxied(hub, url, folder / "ca.pem")
        finally:
            nginx.terminate()
            nginx.wait(20)


def wait_for(port: int, nginx: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + 20
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=5).close()
        except OSError:
            assert nginx.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.05)
        else:
            return


async def test_a_client_gets_its_certificate_through_nginx_and_an_answer_is_held(proxied: Proxied) -> None:
    async with proxied.client("127.0.0.2") as client:
        assert await proxied.register(client, "Device") == 201
        chain, _key = await client.issue(["www.corp.test"])
        assert chain.count("END CERTIFICATE") >= 1
        await asyncio.to_thread(proxied.hub.apply, AWAY)
        begin = time.monotonic()
        assert (await client.new_order(["slow.corp.test"])).status == 201
        assert HOLD - 0.5 < time.monotonic() - begin < HOLD + 10


async def test_the_clients_address_is_the_one_that_nginx_has_seen(proxied: Proxied) -> None:
    async with proxied.client("127.0.0.3") as client:
        assert await proxied.register(client, "Device") == 403
    async with proxied.client("127.0.0.3", **{"X-Forwarded-For": "127.0.0.2"}) as client:
        assert await proxied.register(client, "Device") == 403


async def test_a_head_that_the_hub_takes_passes_nginx_and_a_longer_body_does_not(proxied: Proxied) -> None:
    trust = ssl.create_default_context(cafile=str(proxied.ca_file))
    async with httpx.AsyncClient(verify=trust, timeout=30) as http:
        head = await http.get(f"{proxied.url}/acme/directory", headers={"Cookie": "c" * 12_000})
        assert head.status_code == 200
        assert head.json()["newOrder"] == f"{proxied.url}/acme/new-order"
        assert (await http.post(f"{proxied.url}/acme/new-order", content=b"x" * 70_000)).status_code == 413
        assert (await http.get(proxied.url + "/")).text.startswith("acmehub")


def test_nginx_waits_longer_than_an_answer_is_held() -> None:
    waits = re.search(r"proxy_read_timeout (\d+)s;", EXAMPLE.read_text())
    assert waits is not None
    assert int(waits[1]) > load_config(environ={}).acme.hold + 10
