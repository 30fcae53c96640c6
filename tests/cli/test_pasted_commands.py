"""What `acmehub token eab` prints works as it is, with real clients; the matrix runs most of the others."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509

from acmehub.testing.hub_process import HubFailed, HubProcess
from tests.servers.programs import need

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HubProcess]:
    with HubProcess(tmp_path_factory.mktemp("pasted")) as process:
        process.run("token", "add", "Firewall 01", "--names", "*.corp.test")
        yield process


def pasted(hub: HubProcess, heading: str) -> str:
    """The lines below a heading."""
    said = hub.run("token", "eab", "Firewall 01")
    return said.split(f"# {heading}", 1)[1].split("\n", 1)[1].split("\n\n", 1)[0]


def names_in(path: Path) -> list[str]:
    leaf = x509.load_pem_x509_certificates(path.read_bytes())[0]
    found = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return list(found.get_values_for_type(x509.DNSName))


def run(command: str, folder: Path, **environment: str) -> None:
    done = subprocess.run(
        ["sh", "-c", command],
        cwd=folder,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=90,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_lego(hub: HubProcess, tmp_path: Path) -> None:
    need("lego")
    run(pasted(hub, "lego"), tmp_path, LEGO_PATH=str(tmp_path / "lego"))
    assert names_in(tmp_path / "lego/certificates/host.corp.test.crt") == ["host.corp.test"]


def test_caddy_accepts_its_options(hub: HubProcess, tmp_path: Path) -> None:
    need("caddy")
    (tmp_path / "Caddyfile").write_text(pasted(hub, "Caddy") + "\nhost.corp.test {\n}\n")
    run("caddy adapt --config Caddyfile", tmp_path, HOME=str(tmp_path))


def test_one_client_can_be_asked_for(hub: HubProcess) -> None:
    said = hub.run("token", "eab", "Firewall 01", "--client", "mod_md")
    assert "MDomain host.corp.test" in said
    assert "certbot" not in said


def test_an_unknown_client_is_refused_with_those_that_there_are(hub: HubProcess) -> None:
    with pytest.raises(HubFailed, match=r"no client 'telnet'; there are: certbot, lego"):
        hub.run("token", "eab", "Firewall 01", "--client", "telnet")


def test_a_client_without_eab_is_told_of_the_secret_directory(hub: HubProcess) -> None:
    assert "acmehub token set TITLE --secret-directory" in hub.run("token", "eab", "Firewall 01", "--client", "tiny")
    hub.run("token", "set", "Firewall 01", "--secret-directory")
    url = hub.json("token", "eab", "Firewall 01")["secret_directory"]
    assert f"--directory-url {url} " in pasted(hub, "acme-tiny")
