"""The examples are what docs/write-a-plugin.md shows and pass their own suites; the first is small, and works when it
is installed."""

import json
import os
import re
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from acmehub.testing.dns_server import DnsServer, running_in_thread
from acmehub.testing.hub_process import HubProcess
from acmehub.testing.provider_processes import change_in_two_processes
from tests.e2e.clients import certbot_from_debian
from tests.issuance.rig import make_rig
from tests.journal import Journal
from tests.servers.pebble import PebbleOptions, running_pebble

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "examples" / "plugin"
MODULE = EXAMPLE / "acmehub_dns_folder.py"
PAGE = ROOT / "docs" / "write-a-plugin.md"
EXAMPLES = sorted(path.parent for path in (ROOT / "examples").glob("*/pyproject.toml"))
NAME = "_acme-challenge.corp.test"
UV = Path(sys.executable).with_name("uv")
MOST_LINES = 15

RESOURCES = """
[[authority]]
name = "pebble"
plugin = "ca_acme"
default = true
settings = {{ directory = "{directory}", ca_file = "{ca_file}", terms_of_service_agreed = true }}

[[managed_challenge]]
name = "corp zone"
plugin = "dns_folder"
match = "corp.test, *.corp.test"
settings = {{ folder = "{folder}" }}

[[principal]]
name = "device"
type = "application"
roles = ["managed_acme_consumer"]

[[token]]
title = "device"
principal = "device"
scope = ["managed_acme_consumer"]
"""


def test_the_page_shows_the_files_as_they_are() -> None:
    shown = dict(re.findall(r"^```\w+ (\S+)\n(.*?)^```$", PAGE.read_text(), flags=re.MULTILINE | re.DOTALL))
    files = [path for path in (ROOT / "examples").rglob("*") if path.suffix in (".py", ".toml")]
    whole = {str(path.relative_to(ROOT)): path.read_text() for path in files}
    left_out = {path for path in whole if path.startswith("examples/plugin_")}
    left_out = {path for path in left_out if path.endswith(("/pyproject.toml", "/record_sets.py"))}
    assert shown == {path: text for path, text in whole.items() if path not in left_out}


def test_the_example_has_at_most_15_lines_of_code() -> None:
    text = re.sub(r'^"""[^"]*"""$', "", MODULE.read_text(), flags=re.MULTILINE)
    assert 0 < len([line for line in text.splitlines() if line.strip()]) <= MOST_LINES


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.name)
def test_an_examples_own_suite_is_green(example: Path) -> None:
    command = [sys.executable, "-W", "error", "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    done = subprocess.run(command, cwd=example, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "passed" in done.stdout


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.name)
def test_an_examples_entry_point_is_its_module(example: Path) -> None:
    project = tomllib.loads((example / "pyproject.toml").read_text())
    ((name, module),) = project["project"]["entry-points"]["acmehub"].items()
    assert (project["project"]["name"], module) == (f"acmehub-{name.replace('_', '-')}", f"acmehub_{name}")
    assert (example / f"{module}.py").exists()


async def test_two_processes_lose_values_of_a_provider_that_hides_that_it_replaces_record_sets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rest = EXAMPLE.with_name("plugin_rest_dns")
    monkeypatch.syspath_prepend(str(rest))
    monkeypatch.syspath_prepend(str(rest / "tests"))
    from record_sets import RecordSets

    from tests.plugins.unmarked import make_unmarked

    with RecordSets("corp.test", "token") as server:
        left = await change_in_two_processes(
            partial(make_unmarked, server.url, "token"), "corp.test", NAME, tmp_path, rewrites=False, values=8
        )
        assert server.values[NAME] != left


async def test_the_ca_that_signs_by_itself_issues_in_a_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(EXAMPLE.with_name("plugin_signing_ca")))
    import acmehub_ca_small

    async with make_rig(tmp_path) as rig:
        rig.registry.add("ca_small", acmehub_ca_small)
        rig.signer_row = await rig.authority("ca_small")
        order_id = await rig.open("www.corp.test", signing=True, finalize=True)
        await rig.go()
        await rig.assert_valid(order_id)
        assert (await rig.plugin_objects.authority(rig.signer_row.id)).object.root.startswith("-----BEGIN")  # type: ignore[union-attr]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh virtual environment with the core's wheel and the example from its folder; gives its `bin`."""
    folder = tmp_path_factory.mktemp("installed")
    release = {**os.environ, "ACMEHUB_RELEASE": "1"}
    subprocess.run([UV, "build", "-q", "--wheel", "--out-dir", folder / "dist", ROOT], check=True, env=release)
    subprocess.run([UV, "venv", "-q", "--python", sys.executable, folder / "venv"], check=True)
    python = folder / "venv" / "bin" / "python"
    wheel = next((folder / "dist").glob("acmehub-*.whl"))
    fresh = ("--refresh-package", "acmehub-dns-folder")  # uv would take its cache while pyproject.toml is the same
    subprocess.run([UV, "pip", "install", "-q", "--python", python, *fresh, wheel, EXAMPLE], check=True)
    return python.parent


def test_the_installed_plugin_is_listed(installed: Path, tmp_path: Path) -> None:
    listing = (installed / "acmehub", "plugin", "list", "--json")
    done = subprocess.run(listing, cwd=tmp_path, check=True, capture_output=True, text=True)
    plugins = {item["name"]: item for item in json.loads(done.stdout)}
    assert plugins["dns_folder"]["state"] == "installed"
    assert plugins["dns_folder"]["distribution"] == "acmehub-dns-folder"
    assert plugins["ca_acme"]["state"] == "active"


@pytest.fixture
def hub(
    installed: Path, tmp_path: Path, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[HubProcess, DnsServer]]:
    """A hub run from `installed`, whose upstream is a Pebble that validates through a DNS server with a folder."""
    records = tmp_path / "records"
    records.mkdir()
    monkeypatch.setattr(sys, "executable", str(installed / "python"))  # HubProcess takes the `acmehub` beside it
    with running_in_thread(DnsServer(["corp.test"], txt_folder=records)) as dns:
        address = f"127.0.0.1:{dns.port}"
        options = PebbleOptions(dns_server=address, nonce_reject=15)
        config = f'[dns]\nresolvers = ["{address}"]\nport = {dns.port}\n'
        with running_pebble(tmp_path / "pebble", options, log=journal.new_log("pebble")) as pebble:
            hub = HubProcess(tmp_path / "hub", config=config, log=journal.new_log("hub"))
            hub.apply(RESOURCES.format(directory=pebble.directory, ca_file=pebble.ca_file, folder=records))
            with hub:
                yield hub, dns


@pytest.mark.e2e
def test_the_installed_plugin_answers_a_real_order(hub: tuple[HubProcess, DnsServer], tmp_path: Path) -> None:
    process, dns = hub
    client = certbot_from_debian(tmp_path / "device", process.ca_file, process.directory, process.eab("device"))
    chain = client.issue("corp.test", "*.corp.test")[0].read_text()
    assert "BEGIN CERTIFICATE" in chain
    assert [item for item in dns.seen if item.rdtype == "TXT" and item.rcode == "NOERROR"]
    deadline = time.monotonic() + 20  # the record goes when the CA has decided, which the client does not wait for
    while left := list((tmp_path / "records").iterdir()):
        assert time.monotonic() < deadline, left
        time.sleep(0.1)
