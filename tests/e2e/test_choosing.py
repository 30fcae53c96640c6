"""A client without EAB comes by a secret directory, and one chooses its CA by a profile: real clients, no upstream."""

import os
import subprocess
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from acmehub.testing.acme_keys import make_csr
from acmehub.testing.hub_process import HubProcess
from scripts.certbot import Certbot
from tests.journal import Journal
from tests.servers.programs import need, program

pytestmark = pytest.mark.e2e
ACME_TINY = program("acme-tiny")

RESOURCES = """
[[authority]]
name = "other"
plugin = "ca_local"
settings = { name = "the other CA" }

[[profile]]
name = "short"
description = "Six days from the other CA"
authority = "other"
lifetime_days = 6
key_types = ["P-256"]

[[principal]]
name = "device"
roles = ["managed_acme_consumer"]

[[token]]
title = "tiny"
principal = "device"
names = "*.corp.test"
use_limit = 1
secret_directory = true

[[token]]
title = "certbot"
principal = "device"
names = "*.corp.test"
"""


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory, journal: Journal) -> Iterator[HubProcess]:
    """A hub with two private CAs that logs all it can."""
    config = '[log]\nlevel = "debug"\n'
    hub = HubProcess(tmp_path_factory.mktemp("hub"), config=config, log=journal.new_log("hub"))
    hub.apply(RESOURCES)
    with hub:
        yield hub


def acme_tiny(folder: Path, hub: HubProcess, directory: str, name: str) -> "subprocess.CompletedProcess[str]":
    """acme-tiny, as Debian has it, with an account key of its own; the chain is its standard output."""
    need(ACME_TINY)
    folder.mkdir(exist_ok=True)
    key = rsa.generate_private_key(65537, 2048)
    if not (folder / "account.key").exists():
        pem = key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
        (folder / "account.key").write_bytes(pem)
    csr = x509.load_der_x509_csr(make_csr([name])[0])
    (folder / "host.csr").write_bytes(csr.public_bytes(Encoding.PEM))
    files = ("--account-key", "account.key", "--csr", "host.csr", "--acme-dir", ".")
    return subprocess.run(
        [ACME_TINY, *files, "--directory-url", directory, "--disable-check"],
        cwd=folder,
        env={**os.environ, "SSL_CERT_FILE": str(hub.ca_file)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_acme_tiny_comes_by_a_secret_directory_whose_key_no_log_has(
    hub: HubProcess, tmp_path: Path, journal: Journal
) -> None:
    directory = hub.json("token", "eab", "tiny")["secret_directory"]
    key = journal.keep_secret("secret directory key", directory.split("/")[4])
    for _ in range(2):  # a renewal is no second account
        done = acme_tiny(tmp_path / "first", hub, directory, "nas.corp.test")
        assert done.returncode == 0, done.stderr
        assert len(x509.load_pem_x509_certificates(done.stdout.encode())) == 2
    second = acme_tiny(tmp_path / "second", hub, directory, "nas.corp.test")
    assert second.returncode != 0
    assert "has been used as often as it may" in second.stderr
    unknown = acme_tiny(tmp_path / "first", hub, directory.replace(key, key[::-1]), "nas.corp.test")
    assert unknown.returncode != 0
    hub.run("token", "set", "tiny", "--no-secret-directory")
    over = acme_tiny(tmp_path / "first", hub, directory, "nas.corp.test")
    assert over.returncode != 0
    assert hub.log.stat().st_size > 0
    assert key not in hub.log.read_text()


def test_certbot_chooses_the_ca_by_a_profile(hub: HubProcess, tmp_path: Path) -> None:
    certbot = Certbot(tmp_path, hub.ca_file, hub.directory, hub.eab("certbot"))
    done = certbot.certonly(["a.corp.test"], "--required-profile", "short", "--key-type", "ecdsa")
    assert done.returncode == 0, done.stdout
    leaf = x509.load_pem_x509_certificates(certbot.chain().read_bytes())[0]
    assert leaf.not_valid_after_utc - leaf.not_valid_before_utc <= timedelta(days=6, minutes=2)
    assert "the other CA" in leaf.issuer.rfc4514_string()
    order = hub.json("order", "show", hub.json("order", "list", "--limit", "1")[0]["id"])
    assert (order["profile"], order["authority"], order["status"]) == ("short", "other", "valid")
    plain = certbot.certonly(["b.corp.test"], name="plain")
    assert plain.returncode == 0, plain.stdout
    assert (
        "the other CA"
        not in x509.load_pem_x509_certificates(certbot.chain("plain").read_bytes())[0].issuer.rfc4514_string()
    )
    wrong = certbot.certonly(["c.corp.test"], "--required-profile", "long", name="wrong")
    assert wrong.returncode != 0
    key = certbot.certonly(["d.corp.test"], "--required-profile", "short", "--key-type", "rsa", name="key")
    assert key.returncode != 0
    assert "takes P-256 only" in key.stdout
