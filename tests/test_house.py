"""The rules of the test run itself: no silent skip in CI, no secret in a log, what is fast."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.journal import Journal

ROOT = Path(__file__).resolve().parent.parent


def run_pytest(test: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run one test file under this run's own conftest."""
    (folder / "test_it.py").write_text(test)
    command = [sys.executable, "-m", "pytest", "-p", "tests.conftest", "-c", os.devnull]
    command += ["--rootdir", str(folder), str(folder)]
    return subprocess.run(
        command,
        cwd=ROOT,
        env={**os.environ, "CI": "", "PYTEST_ADDOPTS": "", **environment},
        capture_output=True,
        text=True,
    )


def test_a_skip_is_a_failure_with_its_reason_in_ci(tmp_path: Path) -> None:
    test = "import pytest\ndef test_it():\n    pytest.skip('no moon tonight')\n"
    assert run_pytest(test, tmp_path).returncode == 0
    in_ci = run_pytest(test, tmp_path, CI="true")
    assert in_ci.returncode == 1
    assert "no moon tonight" in in_ci.stdout


def test_a_module_that_is_skipped_is_a_failure_in_ci(tmp_path: Path) -> None:
    test = "import pytest\npytest.importorskip('no_such_module_at_all')\ndef test_it(): pass\n"
    in_ci = run_pytest(test, tmp_path, CI="true")
    assert in_ci.returncode != 0
    assert "no_such_module_at_all" in in_ci.stdout


def test_a_secret_in_a_log_fails_the_run_without_showing_it(tmp_path: Path) -> None:
    test = (
        "def test_it(journal):\n"
        "    journal.keep_secret('HMAC key', 'hunter2-hunter2')\n"
        "    journal.new_log('hub').write_text('debug: key is hunter2-hunter2')\n"
    )
    done = run_pytest(test, tmp_path)
    assert done.returncode == 1
    assert "a secret in a log: 0001-hub.log: HMAC key" in done.stdout
    assert "hunter2" not in done.stdout.partition("FAILED")[2]


def test_a_secret_that_chance_would_find_is_not_taken(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="found by chance"):
        Journal(tmp_path).keep_secret("pin", "1234")


def collected(*options: str | Path) -> set[str]:
    """The files of the tests that a run with these options would have."""
    command = [sys.executable, "-m", "pytest", "-q", "--collect-only", "-p", "no:cacheprovider", *options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode in (0, pytest.ExitCode.NO_TESTS_COLLECTED), done.stdout
    return {line.partition("::")[0] for line in done.stdout.splitlines() if "::" in line}


def test_parts_are_the_whole_and_have_nothing_in_common() -> None:
    first, second = (collected("tests/ports", "--part", f"{part}/2") for part in (1, 2))
    assert first
    assert second
    assert not first & second
    assert first | second == {f"tests/ports/{path.name}" for path in (ROOT / "tests" / "ports").glob("test_*.py")}


def test_fast_are_whole_folders_without_what_is_slow() -> None:
    some = ("tests/acme/test_machine.py", "tests/acme/test_nonces.py", "tests/admin/test_tokens.py", "tests/cli")
    assert collected("-m", "fast", *some) == {"tests/acme/test_nonces.py", "tests/admin/test_tokens.py"}


@pytest.mark.fast
def test_a_fast_test_that_starts_a_process_fails() -> None:
    with pytest.raises(AssertionError, match="starts no process"):
        subprocess.run([sys.executable, "-c", ""])
