"""The API of a real hub: schemathesis finds nothing, and a generated client does an operator's work."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from acmehub.testing.hub_process import HubProcess

EXAMPLES = os.environ.get("SCHEMATHESIS_EXAMPLES", "2")
PHASES = os.environ.get("SCHEMATHESIS_PHASES", "examples,fuzzing")  # make nightly: with coverage
HOOKS = """\
import schemathesis

@schemathesis.serializer("application/toml")
def toml(context, value):
    return value.encode() if isinstance(value, str) else b""

@schemathesis.deserializer("application/jsonl")
def lines(context, response):
    return response.content.decode()
"""
CONFIG = """\
hooks = "hooks.py"
[checks.positive_data_acceptance]
expected-statuses = ["2xx", 401, 403, 404, 409, 412, 422, 502]
[checks.negative_data_rejection]
expected-statuses = [400, 401, 403, 404, 405, 406, 409, 412, 415, 422]
"""


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HubProcess]:
    config = "[api]\naddress_requests = 0\ntoken_requests = 0\nnew_credentials = 0\n"
    with HubProcess(tmp_path_factory.mktemp("hub"), config=config) as running:
        yield running


def bearer(hub: HubProcess, name: str, role: str) -> str:
    """A new API token, as it is sent."""
    hub.run("principal", "add", name, "--role", role)
    added = hub.json("token", "add", name, "--principal", name, "--scope", role)
    return f"acmehub_{added['id']}_{added['secret']}"


def test_schemathesis_finds_nothing(hub: HubProcess, tmp_path: Path) -> None:
    token = bearer(hub, "fuzzer", "administrator")
    (tmp_path / "hooks.py").write_text(HOOKS)
    (tmp_path / "schemathesis.toml").write_text(CONFIG)
    ran = subprocess.run(
        [
            *(sys.executable, "-m", "schemathesis.cli"),
            *("--config-file", str(tmp_path / "schemathesis.toml")),
            *("run", f"https://localhost:{hub.port}/api/v1/openapi.json"),
            *("--url", f"https://localhost:{hub.port}/api/v1", "--tls-verify", str(hub.ca_file)),
            *("--header", f"Authorization: Bearer {token}"),
            *("--max-examples", EXAMPLES, "--seed", "1", "--phases", PHASES),
            *("--checks", "all", "--generation-database", "none", "--no-color", "--continue-on-failure"),
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout[-20_000:] + ran.stderr[-2_000:]
    assert hub.exit_status is None
