"""The rules of the test run (no silent skip in CI, no secret in a log), and the words and names of the product."""

import ast
import os
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

import pytest

from tests.journal import Journal

ROOT = Path(__file__).resolve().parent.parent
TABLES = ROOT / "core" / "acmehub" / "storage" / "tables.py"  # a table has the name of its model, by intent


def product() -> list[Path]:
    """The modules of core and plugins."""
    return sorted((ROOT / "core").rglob("*.py")) + sorted((ROOT / "plugins").rglob("*.py"))


def classes_of_one_name(paths: Iterable[Path]) -> dict[str, list[str]]:
    """Names of public classes that several modules define, and those modules."""
    found = defaultdict(list)
    for path in paths:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                found[node.name].append(path.name)
    return {name: places for name, places in found.items() if len(places) > 1}


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


def test_a_class_name_means_one_class() -> None:
    assert classes_of_one_name(path for path in product() if path != TABLES and "migrations" not in path.parts) == {}


def test_a_class_name_with_two_classes_is_found(tmp_path: Path) -> None:
    (tmp_path / "one.py").write_text("class Answer: ...\nclass _Own: ...\nclass Order: ...\n")
    (tmp_path / "two.py").write_text("class _Own: ...\ndef make():\n    class Answer: ...\n")
    assert classes_of_one_name(sorted(tmp_path.glob("*.py"))) == {"Answer": ["one.py", "two.py"]}
