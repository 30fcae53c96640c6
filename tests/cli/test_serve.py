"""`acmehub serve` as a process: how it starts, refuses to start, reloads, and ends."""

import asyncio
import datetime
import http.client
import json
import os
import signal
import socket
import ssl
import subprocess
import time
from base64 import urlsafe_b64decode
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest
import trustme
from cryptography import x509

from acmehub.testing.acme_client import AcmeClient, AcmeRefused
from acmehub.testing.acme_keys import ExternalAccount
from acmehub.testing.hub_process import HubProcess, free_port
from tests.cli.conftest import COMMAND, Cli

IN_USE = "the port is in use by another process"


def connect(hub: HubProcess, ca: Path | None = None, timeout: float = 15) -> http.client.HTTPSConnection:
    context = ssl.create_default_context(cafile=str(ca or hub.ca_file))
    return http.client.HTTPSConnection("localhost", hub.port, context=context, timeout=timeout)


def get(hub: HubProcess, path: str, ca: Path | None = None) -> tuple[int, bytes]:
    connection = connect(hub, ca)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def served_certificate(port: int) -> x509.Certificate:
    return x509.load_pem_x509_certificate(ssl.get_server_certificate(("127.0.0.1", port)).encode())


def write_pair(folder: Path, ca: trustme.CA, *, serial_like: str = "localhost") -> None:
    pair = ca.issue_cert(serial_like)
    new = folder / "chain.new"
    pair.private_key_pem.write_to_path(folder / "key.pem")
    (folder / "key.pem").chmod(0o600)
    new.write_bytes(b"".join(item.bytes() for item in pair.cert_chain_pems))
    new.replace(folder / "chain.pem")


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HubProcess]:
    """A hub that the tests of this module share: they only look."""
    with HubProcess(tmp_path_factory.mktemp("shared")) as process:
        yield process


# ------------------------------------------------------------------------------------------------------- start


def test_without_any_file_it_serves_the_directory_over_tls_of_its_own_ca(hub: HubProcess) -> None:
    status, body = get(hub, "/acme/directory")
    assert status == 200
    assert json.loads(body)["newOrder"] == f"https://localhost:{hub.port}/acme/new-order"


def test_it_says_where_it_serves_and_which_ca_to_trust(hub: HubProcess) -> None:
    said = hub.log.read_text()
    assert f"serves https://localhost:{hub.port}/acme/directory" in said
    assert f"clients must trust {hub.ca_file}" in said


def test_the_data_directory_is_for_its_owner_alone(hub: HubProcess) -> None:
    data = hub.folder / "data"
    assert data.stat().st_mode & 0o777 == 0o700
    modes = {path.name: path.stat().st_mode & 0o777 for path in data.iterdir()}
    assert modes["master.key"] == modes["tls.pem"] == modes["acmehub.db"] == 0o600


def test_a_port_chosen_by_the_system_stands_in_the_urls(tmp_path: Path) -> None:
    cli = Cli(tmp_path)
    process = subprocess.Popen(
        [str(COMMAND), "serve", "--listen", "127.0.0.1:0"], cwd=tmp_path, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    try:
        url = process.stdout.readline().split()[-1]
        port = int(url.split(":")[2].split("/")[0])
        assert port > 0
        assert served_certificate(port).serial_number
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(15) == 0
        process.stdout.close()
    assert cli.json("principal", "list")[0]["name"] == "administrator"


def test_the_own_certificate_is_kept_over_restarts_and_replaced_for_other_names(tmp_path: Path) -> None:
    with HubProcess(tmp_path) as hub:
        first = served_certificate(hub.port)
        hub.stop()
        hub.start()
        assert served_certificate(hub.port) == first
        hub.stop()
        hub.start(ACMEHUB_TLS__NAMES="hub.example.test")
        other = served_certificate(hub.port)
        names = other.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        assert names.get_values_for_type(x509.DNSName) == ["localhost", "hub.example.test"]
        assert [str(item) for item in names.get_values_for_type(x509.IPAddress)] == ["127.0.0.1", "::1"]


def test_old_tls_versions_are_refused(hub: HubProcess) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with pytest.warns(DeprecationWarning, match="TLSv1 is deprecated"):
        context.minimum_version = ssl.TLSVersion.TLSv1
    with pytest.warns(DeprecationWarning, match="TLSv1_1 is deprecated"):
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    context.set_ciphers("ALL:@SECLEVEL=0")
    with socket.create_connection(("127.0.0.1", hub.port)) as plain, pytest.raises(ssl.SSLError):
        context.wrap_socket(plain)


# ------------------------------------------------------------------------------------------- refusals to start


def test_a_port_in_use_is_one_clear_line(cli: Cli) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        said = cli.refused(1, "serve", "--listen", f"127.0.0.1:{port}")
    assert f" error   acmehub: 127.0.0.1:{port}: {IN_USE}" in said
    assert "\n" not in said


def test_an_address_of_another_machine_is_one_clear_line(cli: Cli) -> None:
    said = cli.refused(1, "serve", "--listen", "192.0.2.1:8443")
    assert " error   acmehub: 192.0.2.1:8443:" in said
    assert "\n" not in said


def test_a_second_serve_on_the_same_sqlite_file_is_refused(hub: HubProcess) -> None:
    said = Cli(hub.folder).refused(5, "serve", "--listen", "127.0.0.1:0")
    assert "acmehub.db" in said
    assert "\n" not in said
    assert get(hub, "/readyz")[0] == 200


def test_the_command_line_works_beside_a_running_serve(hub: HubProcess) -> None:
    assert [item["name"] for item in Cli(hub.folder).json("authority", "list")] == ["local"]


def test_a_master_key_that_others_may_read_is_refused(cli: Cli) -> None:
    cli.ok("principal", "list")
    key = cli.folder / "data" / "master.key"
    key.chmod(0o644)
    said = cli.refused(1, "serve", "--listen", "127.0.0.1:0")
    assert "chmod 600 data/master.key" in said


def test_broken_toml_is_named_with_line_and_column(cli: Cli) -> None:
    (cli.folder / "acmehub.toml").write_text('listen = "127.0.0.1:1"\n[tls\n')
    assert "acmehub.toml: not TOML: " in cli.refused(2, "serve")
    assert "line 2" in cli.refused(2, "serve")


def test_a_misspelt_key_is_named_with_line_and_cure(cli: Cli) -> None:
    (cli.folder / "acmehub.toml").write_text('[tls]\nmod = "off"\n')
    assert "acmehub.toml:2: $.tls.mod: unknown key; did you mean mode?" in cli.refused(2, "serve")


def test_a_plugin_that_is_not_installed_is_named_with_the_cure(cli: Cli) -> None:
    said = cli.refused(3, "serve", "--listen", "127.0.0.1:0", ACMEHUB_PLUGINS="dns_cloudfare")
    assert said.endswith(" error   acmehub: plugin 'dns_cloudfare' is not installed; did you mean 'dns_cloudflare'?")


def test_tls_files_that_are_missing_or_do_not_fit_are_named(cli: Cli) -> None:
    files = {"ACMEHUB_TLS__MODE": "files", "ACMEHUB_TLS__CERTIFICATE": "chain.pem", "ACMEHUB_TLS__KEY": "key.pem"}
    listen = ("serve", "--listen", "127.0.0.1:0")
    assert "chain.pem: no such file" in cli.refused(2, *listen, **files)
    write_pair(cli.folder, trustme.CA())
    trustme.CA().issue_cert("localhost").private_key_pem.write_to_path(cli.folder / "key.pem")
    (cli.folder / "key.pem").chmod(0o604)
    assert "every user can read this key" in cli.refused(2, *listen, **files)
    (cli.folder / "key.pem").chmod(0o640)
    assert "chain.pem and key.pem: not a chain and its key" in cli.refused(2, *listen, **files)


def test_a_data_directory_that_cannot_be_made_is_named_with_the_cure(cli: Cli) -> None:
    said = cli.refused(2, "serve", "--listen", "127.0.0.1:0", "--data-dir", "/proc/hub")  # not even root may
    assert " error   acmehub: data directory /proc/hub: " in said
    assert said.endswith("choose another with --data-dir")


def test_an_own_certificate_without_its_authority_names_the_cure(cli: Cli) -> None:
    cli.ok("authority", "remove", "local")
    said = cli.refused(2, "serve", "--listen", "127.0.0.1:0")
    assert "acmehub authority add local --plugin ca_local" in said


# ------------------------------------------------------------------------------------------------ own TLS files


@pytest.fixture
def files_hub(tmp_path: Path) -> HubProcess:
    write_pair(tmp_path, trustme.CA())
    return HubProcess(
        tmp_path, config='[tls]\nmode = "files"\ncertificate = "chain.pem"\nkey = "key.pem"\n[log]\nformat = "json"\n'
    )


def wait_for(what: str, hub: HubProcess, seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while what not in hub.log.read_text():
        assert time.monotonic() < deadline, f"no {what!r} in the log:\n{hub.last_words()}"
        time.sleep(0.05)


def test_a_new_certificate_is_served_after_sighup_and_connections_are_kept(files_hub: HubProcess) -> None:
    with files_hub as hub:
        before = served_certificate(hub.port)
        old_ca = hub.folder / "old.pem"
        old_ca.write_text(ssl.get_server_certificate(("127.0.0.1", hub.port)))
        kept = http.client.HTTPSConnection("localhost", hub.port, context=ssl._create_unverified_context(), timeout=10)
        kept.request("GET", "/healthz")
        assert kept.getresponse().read()
        write_pair(hub.folder, trustme.CA())
        os.kill(hub.pid, signal.SIGHUP)
        wait_for("TLS certificate loaded again", hub)
        assert served_certificate(hub.port) != before
        kept.request("GET", "/healthz")
        assert kept.getresponse().status == 200
        kept.close()


def test_files_that_do_not_fit_are_logged_and_the_old_certificate_stays(files_hub: HubProcess) -> None:
    with files_hub as hub:
        before = served_certificate(hub.port)
        write_pair(hub.folder, trustme.CA())
        trustme.CA().issue_cert("localhost").private_key_pem.write_to_path(hub.folder / "key.pem")
        os.kill(hub.pid, signal.SIGHUP)
        wait_for("TLS certificate not loaded again", hub)
        assert served_certificate(hub.port) == before
        line = next(json.loads(line) for line in hub.log.read_text().splitlines() if "not loaded again" in line)
        assert line["level"] == "error"
        assert datetime.datetime.fromisoformat(line["time"]).tzinfo is not None


def test_without_tls_it_serves_plain_http_behind_a_proxy(tmp_path: Path) -> None:
    config = 'public_url = "https://hub.example.test"\n[tls]\nmode = "off"\n'
    with HubProcess(tmp_path, config=config) as hub:
        connection = http.client.HTTPConnection("127.0.0.1", hub.port, timeout=10)
        connection.request("GET", "/acme/directory")
        directory = json.loads(connection.getresponse().read())
        connection.close()
        assert directory["newOrder"] == "https://hub.example.test/acme/new-order"
        assert not hub.ca_file.exists()


# ------------------------------------------------------------------------------------------------------ limits


def raw(hub: HubProcess, timeout: float = 15) -> ssl.SSLSocket:
    context = ssl.create_default_context(cafile=str(hub.ca_file))
    return context.wrap_socket(
        socket.create_connection(("localhost", hub.port), timeout=timeout), server_hostname="localhost"
    )


def test_a_head_that_is_too_large_is_refused(hub: HubProcess) -> None:
    for request in (
        b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 20_000 + b"\r\n\r\n",  # complete
        b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 20_000,  # not even that
        b"GET /" + b"a" * 20_000,
    ):
        with raw(hub) as connection:
            connection.sendall(request)
            assert connection.recv(4096).startswith(b"HTTP/1.1 431 ")


def test_connections_beyond_the_limit_are_told_when_to_come_back(tmp_path: Path) -> None:
    request = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
    with HubProcess(tmp_path, config="[limits]\nconnections = 2\n") as hub, raw(hub) as one, raw(hub) as two:
        for connection in (one, two):
            connection.sendall(request)
            assert connection.recv(4096).startswith(b"HTTP/1.1 200 ")
        with raw(hub) as third:
            third.sendall(request)
            answer = third.recv(4096)
        assert answer.startswith(b"HTTP/1.1 503 ")
        assert b"\r\nretry-after: 10\r\n" in answer
        one.sendall(request)
        assert one.recv(4096)


def test_requests_that_do_not_arrive_in_time_are_cut_off(tmp_path: Path) -> None:
    whole = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
    with HubProcess(tmp_path, config="[limits]\nrequest_seconds = 1\n") as hub:
        post = b"POST /acme/new-order HTTP/1.1\r\nHost: x\r\nContent-Type: application/jose+json\r\n"
        for begin in (b"", b"GET / HT", post, post + b"Content-Length: 9\r\n\r\n1234"):
            with raw(hub) as connection:
                connection.sendall(begin)
                started = time.monotonic()
                assert read_to_end(connection) == b""
                assert 0.5 < time.monotonic() - started < 10
        with raw(hub) as connection:
            for _ in range(3):
                connection.sendall(whole)
                answer = b""
                while not answer.endswith(b"ok\n"):
                    answer += connection.recv(4096)
            connection.sendall(whole[:10])
            assert read_to_end(connection) == b""


def read_to_end(connection: ssl.SSLSocket) -> bytes:
    try:
        return connection.recv(4096)
    except ConnectionResetError:
        return b""


# --------------------------------------------------------------------------------------------------------- end


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_ends_cleanly_on_a_signal(tmp_path: Path, number: signal.Signals) -> None:
    with HubProcess(tmp_path) as hub:
        os.kill(hub.pid, number)
        assert hub.ended(10)
        assert hub._process is not None
        assert hub._process.returncode == 0
        assert "Traceback" not in hub.log.read_text()


def test_a_worker_alone_says_that_it_is_ready_and_ends_cleanly(tmp_path: Path) -> None:
    HubProcess(tmp_path).found()
    with HubProcess(tmp_path, command="worker") as worker:
        wait_for("acmehub worker is ready", worker)
        os.kill(worker.pid, signal.SIGTERM)
        assert worker.ended(10)
        assert worker._process is not None
        assert worker._process.returncode == 0


def test_idle_connections_do_not_delay_the_end(tmp_path: Path) -> None:
    with HubProcess(tmp_path) as hub:
        connection = connect(hub)
        connection.request("GET", "/healthz")
        connection.getresponse().read()
        started = time.monotonic()
        os.kill(hub.pid, signal.SIGTERM)
        assert hub.ended(8)
        assert time.monotonic() - started < 8
        connection.close()


async def test_clients_that_are_slow_do_not_delay_the_end(tmp_path: Path) -> None:
    post = b"POST /acme/new-order HTTP/1.1\r\nHost: x\r\nContent-Type: application/jose+json\r\n"
    get = b"GET /acme/directory HTTP/1.1\r\nHost: x\r\n\r\n"
    with HubProcess(tmp_path) as hub, ExitStack() as open_connections:
        for _ in range(3):  # within their handshake
            open_connections.enter_context(socket.create_connection(("127.0.0.1", hub.port)))
        slow_head, slow_body, slow_reader = (open_connections.enter_context(raw(hub)) for _ in range(3))
        slow_head.sendall(get[:8])
        slow_body.sendall(post + b"Content-Length: 9\r\n\r\n1")
        slow_reader.settimeout(1)
        with pytest.raises(TimeoutError):  # the hub reads no more, as its answers are not read
            slow_reader.sendall(get * 1_000_000)
        started = time.monotonic()
        os.kill(hub.pid, signal.SIGTERM)
        assert hub.ended(12)
        assert time.monotonic() - started < 8
        assert hub.exit_status == 0
        assert "Traceback" not in hub.log.read_text()


async def test_on_a_socket_for_both_families_a_proxy_is_trusted_and_networks_hold(tmp_path: Path) -> None:
    port = free_port()
    both = {"ACMEHUB_LISTEN": f":{port}"}
    with HubProcess(tmp_path, config='trusted_proxies = ["127.0.0.1"]', port=port, environment=both) as hub:
        hub.run("token", "add", "Device", "--network", "192.0.2.0/24")
        credentials = hub.eab("Device")
        external = ExternalAccount(credentials["kid"], urlsafe_b64decode(credentials["hmac_key"] + "="))

        async def register(peer: str, **headers: str) -> int:
            trust = ssl.create_default_context(cafile=str(hub.ca_file))
            transport = httpx.AsyncHTTPTransport(local_address=peer, verify=trust)
            async with httpx.AsyncClient(transport=transport, headers=headers, timeout=30) as http:
                client = await AcmeClient.discover(http, hub.directory)
                try:
                    return (await client.register(external)).status
                except AcmeRefused as refused:
                    return int(str(refused).split()[0])

        assert await register("127.0.0.1", **{"X-Forwarded-For": "192.0.2.7"}) == 201
        assert await register("127.0.0.1", **{"X-Forwarded-For": "[::ffff:192.0.2.7]:50000"}) == 201
        assert await register("127.0.0.1", **{"X-Forwarded-For": "198.51.100.1"}) == 403
        assert await register("127.0.0.1") == 403
        assert await register("127.0.0.1", **{"X-Forwarded-For": "unknown"}) == 403
        assert await register("127.0.0.2", **{"X-Forwarded-For": "192.0.2.7"}) == 403
        said = hub.log.read_text()
        assert said.count("names no client address") == 1
        assert "the trusted proxy 127.0.0.1 names" in said


STUCK = """
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

[[principal]]
name = "device"
roles = ["managed_acme_consumer"]

[[token]]
title = "Device"
principal = "device"
"""


async def test_an_answer_that_is_held_is_given_when_the_process_is_told_to_end(tmp_path: Path) -> None:
    with HubProcess(tmp_path) as hub:
        hub.apply(STUCK)
        credentials = hub.eab("Device")
        trust = ssl.create_default_context(cafile=str(hub.ca_file))
        async with httpx.AsyncClient(verify=trust, timeout=60) as http:
            client = await AcmeClient.discover(http, hub.directory)
            key = urlsafe_b64decode(credentials["hmac_key"] + "=")
            await client.register(ExternalAccount(credentials["kid"], key))
            held = asyncio.create_task(client.new_order(["a.corp.test"]))
            while not await asyncio.to_thread(hub.json, "order", "list"):
                assert not held.done()
            assert not held.done()
            os.kill(hub.pid, signal.SIGTERM)
            started = time.monotonic()
            assert (await held).status == 201
            assert time.monotonic() - started < 8
        assert await asyncio.to_thread(hub.ended, 15)
        assert hub._process is not None
        assert hub._process.returncode == 0


def test_fault_points_are_armed_by_the_environment(cli: Cli) -> None:
    said = cli.refused(1, "serve", "--listen", "127.0.0.1:0", ACMEHUB_CRASH_POINTS="after_add_txt:often")
    assert " error   acmehub: ACMEHUB_CRASH_POINTS:" in said
    assert len(said.splitlines()) == 1
