"""The examples of docs/api.md are run, but for Terraform's."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from acmehub.testing.hub_process import HubProcess

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "api.md").read_text()
FENCE = re.compile(r"^```(sh|python) api\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HubProcess]:
    with HubProcess(tmp_path_factory.mktemp("hub")) as running:
        yield running


def test_the_examples_of_the_page_work(hub: HubProcess, tmp_path: Path) -> None:
    hub.run("principal", "add", "op", "--role", "operator")
    added = hub.json("token", "add", "op", "--principal", "op", "--scope", "operator", "--reveal", "--delegates")
    environment = {
        "HUB": f"https://localhost:{hub.port}",
        "TOKEN": f"acmehub_{added['id']}_{added['secret']}",
        "CURL_CA_BUNDLE": str(hub.ca_file),
        "SSL_CERT_FILE": str(hub.ca_file),
        "ACMEHUB_CONFIG": str(hub.folder / "acmehub.toml"),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }
    examples = FENCE.findall(PAGE)
    assert [kind for kind, _ in examples] == ["sh", "sh", "python"]
    said = ""
    for kind, text in examples:
        program = ["sh", "-e"] if kind == "sh" else [sys.executable]
        ran = subprocess.run(
            program, input=text, text=True, env=environment, cwd=hub.folder, capture_output=True, check=False
        )
        assert ran.returncode == 0, (text, ran.stdout, ran.stderr)
        said += ran.stdout
    assert "printer-07" in said
    assert '"enabled":false' in said
