"""What stands at the top of the repository: nothing that was left behind; and what CI calls is there."""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
EXPECTED = {
    ".ci",
    ".github",
    ".gitignore",
    ".pre-commit-config.yaml",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "LICENSE",
    "Makefile",
    "README.md",
    "SECURITY.md",
    "bench",
    "core",
    "docs",
    "examples",
    "hatch_build.py",
    "plugins",
    "pyproject.toml",
    "scripts",
    "tests",
    "uv.lock",
}
PAGES = ["CONTRIBUTING.md", "README.md", ".github/PULL_REQUEST_TEMPLATE.md", ".github/workflows/ci.yml"]
CALL = re.compile(r"\bmake ([a-z]+)\b")


def test_nothing_else_stands_at_the_top() -> None:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert {name.partition("/")[0] for name in listed.splitlines()} == EXPECTED


@pytest.mark.parametrize("page", [*PAGES, ".github/workflows/release.yml"])
def test_targets_of_make_that_are_named_are_there(page: str) -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    text = "".join(re.findall(r"`[^`]+`|^```.*?^```|run: .*", (ROOT / page).read_text(), re.MULTILINE | re.DOTALL))
    assert set(CALL.findall(text)) - targets == set()
