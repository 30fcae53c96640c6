"""examples/systemd: systemd takes the unit, finds little that it leaves open, and starts what this release has."""

import shlex
import subprocess
import sys
from configparser import RawConfigParser
from pathlib import Path

import pytest

from acmehub.cli.serve import serve
from acmehub.serving.server import GRACE_SECONDS
from tests.servers.programs import need

ROOT = Path(__file__).resolve().parent.parent.parent
UNIT = ROOT / "examples" / "systemd" / "acmehub.service"
USERS = UNIT.with_name("acmehub.sysusers")
INSTALLED = "/opt/acmehub/bin/acmehub"
EXPOSURE = 20  # of 100: what systemd calls OK


def service(option: str) -> str:
    """What the unit says in [Service]; of an option that comes twice, the last one."""
    unit = RawConfigParser(strict=False)
    unit.optionxform = str  # type: ignore[assignment,method-assign]  # as configparser's documentation has it
    unit.read(UNIT)
    return unit["Service"][option]


@pytest.fixture
def unit(tmp_path: Path) -> Path:
    """The unit, with the command of this environment: systemd looks whether it is there."""
    need("systemd-analyze")
    text = UNIT.read_text()
    assert INSTALLED in text
    copy = tmp_path / UNIT.name
    copy.write_text(text.replace(INSTALLED, str(Path(sys.executable).with_name("acmehub"))))
    return copy


def test_systemd_finds_nothing_wrong(unit: Path) -> None:
    done = subprocess.run(["systemd-analyze", "verify", "--man=no", unit], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")
    assert "[Install]\nWantedBy=" in unit.read_text()


def test_systemd_finds_little_that_is_left_open(unit: Path) -> None:
    command = ["systemd-analyze", "security", "--offline=true", f"--threshold={EXPOSURE}", str(unit)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_user_of_the_unit_is_made_by_the_file_beside_it() -> None:
    need("systemd-sysusers")
    done = subprocess.run(["systemd-sysusers", "--dry-run", USERS], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    kind, user, *_rest, home = USERS.read_text().splitlines()[-1].split()
    assert (kind, user, home) == ("u", service("User"), f"/var/lib/{service('StateDirectory')}")


def test_the_unit_starts_serve_and_leaves_it_the_time_to_end() -> None:
    program, verb, *arguments = shlex.split(service("ExecStart"))
    assert (program, verb) == (INSTALLED, "serve")
    given = serve.make_context("serve", arguments).params
    assert given["config_file"] == Path("/etc") / service("ConfigurationDirectory") / "acmehub.toml"
    assert int(service("TimeoutStopSec")) > 2 * GRACE_SECONDS
    assert "CAP_NET_BIND_SERVICE" in service("AmbientCapabilities")
