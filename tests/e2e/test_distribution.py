"""What others install, by the commands of docs/quickstart.md: from a clone, and from wheels."""

import os
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.test_docs import fences

pytestmark = pytest.mark.e2e
ROOT = Path(__file__).resolve().parent.parent.parent
SOURCES = ("core", "plugins", "pyproject.toml", "hatch_build.py", "uv.lock", "README.md", "LICENSE", "CHANGELOG.md")
INSTALLED = "/opt/acmehub"
ASKS = ("challenge", "add", "public zone", "--plugin", "dns_cloudflare", "--match", "*.example.com")


def run(*command: str | Path, cwd: Path, status: int = 0, environment: Mapping[str, str] | None = None) -> str:
    """Run a command without this environment's settings for Python; its output."""
    own = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    done = subprocess.run(
        command,
        cwd=cwd,
        env={**own, "PIP_NO_COMPILE": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1", **(environment or {})},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == status, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sources alone, as in a fresh clone."""
    folder = tmp_path_factory.mktemp("clone")
    ignore = shutil.ignore_patterns("__pycache__", "*.egg-info", "build", "dist", ".venv")
    for name in SOURCES:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=ignore)
        else:
            shutil.copy(source, folder / name)
    return folder


@pytest.fixture(scope="module")
def wheels(clone: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A machine that has the wheels of `make dist`, and no clone."""
    folder = tmp_path_factory.mktemp("machine")
    uv = Path(sys.executable).with_name("uv")
    build = (uv, "build", "--quiet", "--all-packages", "--wheel", "--out-dir", folder / "dist")
    run(*build, cwd=clone, environment={"ACMEHUB_RELEASE": "1"})
    return folder


@pytest.fixture(scope="module")
def libraries(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the hub needs and is not ours, as this environment has it: for an installation that downloads nothing."""
    folder = tmp_path_factory.mktemp("libraries")
    for item in Path(sysconfig.get_path("purelib")).iterdir():
        if not re.match(r"_?_?(acmehub|editable|pip|hatchling)", item.name) and item.suffix != ".pth":
            (folder / item.name).symlink_to(item)
    return folder


@pytest.mark.parametrize("kind", ["clone", "wheels"])
def test_the_commands_of_the_quickstart_install_and_a_missing_plugin_names_its_own(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    where: Path = request.getfixturevalue(kind)
    (commands,) = [body for page, body in fences(f"sh install {kind}") if page.name == "quickstart.md"]
    assert INSTALLED in commands
    ready = {"PYTHONPATH": str(request.getfixturevalue("libraries"))} if kind == "wheels" else {}
    run("/bin/sh", "-ec", commands.replace(INSTALLED, str(tmp_path / "venv")), cwd=where, environment=ready)
    acmehub = tmp_path / "venv" / "bin" / "acmehub"
    listed = run(acmehub, "plugin", "list", cwd=tmp_path, environment=ready)
    for plugin, there in {"dns_rfc2136": True, "ca_letsencrypt": True, "dns_cloudflare": False}.items():
        assert (plugin in listed) is there

    run(acmehub, "init", "--hub", cwd=tmp_path, environment=ready)
    said = run(acmehub, *ASKS, "--set", "api_token=x", cwd=tmp_path, status=2, environment=ready)
    cure = said.strip().partition("is not installed: ")[2]
    run("/bin/sh", "-ec", cure, cwd=tmp_path, environment=ready)
    assert "dns_cloudflare" in run(acmehub, "plugin", "list", cwd=tmp_path, environment=ready)
    run(acmehub, *ASKS, "--set", "api_token=x", cwd=tmp_path, environment=ready)
