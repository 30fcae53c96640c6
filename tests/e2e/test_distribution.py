"""What others install from a clone with plain pip."""

import os
import shutil
import subprocess
import venv
from pathlib import Path

import pytest

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(400)]
ROOT = Path(__file__).resolve().parent.parent.parent
SOURCES = ("core", "plugins", "pyproject.toml", "hatch_build.py", "README.md", "LICENSE", "CHANGELOG.md")


def run(*command: str | Path, cwd: Path, **environment: str) -> str:
    done = subprocess.run(command, cwd=cwd, env={**os.environ, **environment}, capture_output=True, text=True)
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout


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


def test_plain_pip_installs_extras_from_a_clone(clone: Path, tmp_path: Path) -> None:
    venv.create(tmp_path / "venv", with_pip=True)
    python = tmp_path / "venv" / "bin" / "python"
    run(python, "-m", "pip", "install", "--quiet", ".[dns-cloudflare,storage-postgres]", cwd=clone)
    listed = run(python.with_name("acmehub"), "plugin", "list", cwd=tmp_path)
    assert "dns_cloudflare" in listed
    assert "storage_postgres" in listed
    assert "dns_rfc2136" not in listed
