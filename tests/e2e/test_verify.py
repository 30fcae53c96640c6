"""Real clients prove control to the hub itself (mode `verify`), which issues from its private CA."""

import os
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import pytest
from cryptography import x509
from cryptography.x509.verification import PolicyBuilder, Store

from acmehub.testing.hub_process import HubProcess, free_port
from scripts.certbot import FROM_PYPI, Certbot
from tests.e2e.clients import CERTBOT_APT, LEGO
from tests.journal import Journal
from tests.servers.bind import Bind, Zone
from tests.servers.programs import need

pytestmark = pytest.mark.e2e

RESOURCES = """
[[principal]]
name = "device"
type = "application"
roles = ["managed_acme_consumer"]

[[token]]
title = "proving"
principal = "device"
scope = ["managed_acme_consumer"]
names = "*.corp.test, 127.0.0.0/8"
authorization = "verify"
"""


class World(NamedTuple):
    """The hub, the ports that it looks at, and a token's credentials."""

    hub: HubProcess
    http_port: int
    tls_port: int
    credentials: dict[str, str]

    def names_in(self, path: Path) -> set[str]:
        """The names of the certificate in a file, when its chain leads to the hub's root."""
        leaf, *above = x509.load_pem_x509_certificates(path.read_bytes())
        root = x509.load_pem_x509_certificate(self.hub.ca_file.read_bytes())
        alternatives = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        verifier = PolicyBuilder().store(Store([root]))
        for name in alternatives:
            assert isinstance(name, x509.DNSName | x509.IPAddress)
            verifier.build_server_verifier(name).verify(leaf, above)
        return {str(name.value) for name in alternatives}

    def timeline(self, number: int = 0) -> list[str]:
        """What happened to the newest order but `number`."""
        order = self.hub.json("order", "list")[number]
        events = self.hub.json("order", "show", order["id"])["timeline"]
        return [f"{event['kind']}: {event['detail']}" for event in events]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, journal: Journal) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("verify")
    hosts = tuple(f"{label} A 127.0.0.1" for label in ("a", "b", "c", "d", "wrong"))
    zone = Zone("corp.test", records=(*hosts, "moved CNAME a"))
    http_port, tls_port = free_port(), free_port()
    with Bind(folder / "bind", [zone], log=journal.new_log("bind"), resolves=True) as bind:
        config = f"""
            [dns]
            resolvers = ["{bind.primary}:{bind.port}"]
            port = {bind.port}
            [verify]
            http_port = {http_port}
            tls_port = {tls_port}
            networks = ["127.0.0.1"]
            remember_days = 30
        """
        with HubProcess(folder / "hub", config=config, log=journal.new_log("hub")) as hub:
            hub.apply(RESOURCES)
            credentials = hub.eab("proving")
            journal.keep_secret("HMAC key of proving", credentials["hmac_key"])
            yield World(hub, http_port, tls_port, credentials)


def certbot(world: World, folder: Path, executable: Path, port: int | None = None) -> tuple[Certbot, Sequence[str]]:
    """A certbot, and the options that have it listen where the hub looks."""
    need(executable)
    client = Certbot(folder, world.hub.ca_file, world.hub.directory, world.credentials, executable)
    return client, ("--http-01-address", "127.0.0.1", "--http-01-port", str(port or world.http_port))


def lego(world: World, folder: Path, *arguments: str, names: Sequence[str]) -> Path:
    """lego's certificate for `names`."""
    need(LEGO)
    trust = {"LEGO_CA_CERTIFICATES": str(world.hub.ca_file)}
    account = ("-s", world.hub.directory, "-a", "-m", "ops@example.org", "--eab")
    eab = ("--kid", world.credentials["kid"], "--hmac", world.credentials["hmac_key"])
    domains = [part for name in names for part in ("-d", name)]
    command = [str(LEGO), "--path", str(folder), *account, *eab, *domains, *arguments, "run"]
    done = subprocess.run(command, env={**os.environ, **trust}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / "certificates" / f"{names[0]}.crt"


@pytest.mark.parametrize("executable", [CERTBOT_APT, FROM_PYPI], ids=["certbot 2.1", "certbot current"])
def test_certbot_standalone_proves_by_http_01_and_renews_without_a_proof(
    world: World, tmp_path: Path, executable: Path
) -> None:
    client, where = certbot(world, tmp_path, executable)
    names = ("a.corp.test", "moved.corp.test")
    done = client.certonly(names, *where)
    assert done.returncode == 0, done.stdout
    assert world.names_in(client.chain()) == set(names)
    seen = [line for line in world.timeline() if line.startswith("validated")]
    assert len(seen) == 2
    (of_a,) = [line for line in seen if line.startswith("validated: a.corp.test: ")]  # the first or the second one
    assert f" http://a.corp.test:{world.http_port}/.well-known/acme-challenge/" in of_a
    first = client.chain().read_bytes()
    again = client.renew("--http-01-port", str(free_port()))  # where the hub does not look
    assert again.returncode == 0, again.stdout
    assert client.chain().read_bytes() != first
    assert sum("authorization reused" in line for line in world.timeline()) == 2


def test_certbot_is_told_why_its_proof_was_not_seen(world: World, tmp_path: Path) -> None:
    client, where = certbot(world, tmp_path, FROM_PYPI, free_port())
    done = client.certonly(["wrong.corp.test"], *where)
    assert done.returncode != 0
    assert "wrong.corp.test cannot be reached" in done.stdout
    assert f"127.0.0.1:{world.http_port}" in done.stdout


@pytest.mark.parametrize("way", ["http", "tls"])
def test_lego_proves_by_http_01_and_by_tls_alpn_01(world: World, tmp_path: Path, way: str) -> None:
    port = world.http_port if way == "http" else world.tls_port
    names = ("b.corp.test", "c.corp.test")
    chain = lego(world, tmp_path, f"--{way}", f"--{way}.port", f"127.0.0.1:{port}", names=names)
    assert world.names_in(chain) == set(names)
    assert sum("validated" in line for line in world.timeline()) == 2


def test_certbot_gets_a_certificate_for_an_address(world: World, tmp_path: Path) -> None:
    """RFC 8738; certbot can since 5.3."""
    client, where = certbot(world, tmp_path, FROM_PYPI)
    done = client.certonly(["d.corp.test"], "--ip-address", "127.0.0.1", *where)
    assert done.returncode == 0, done.stdout
    assert world.names_in(client.chain()) == {"d.corp.test", "127.0.0.1"}


def test_a_client_that_takes_an_address_for_a_dns_name_is_told_so(world: World, tmp_path: Path) -> None:
    """lego as Debian has it."""
    with pytest.raises(AssertionError, match=r"rejectedIdentifier :: 127\.0\.0\.1: looks like an IP address"):
        lego(world, tmp_path, "--http", "--http.port", f"127.0.0.1:{world.http_port}", names=["127.0.0.1"])


def test_an_address_that_is_not_to_be_asked_is_refused_in_words(world: World, tmp_path: Path) -> None:
    client, where = certbot(world, tmp_path, FROM_PYPI)
    done = client.certonly([], "--ip-address", "127.0.0.2", *where)
    assert done.returncode != 0
    assert "127.0.0.2 is outside the allowed networks" in done.stdout
