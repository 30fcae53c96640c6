"""The rules of the test run (no silent skip in CI, no secret in a log, what is fast), and the words of the product."""

import ast
import os
import re
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from tests.journal import Journal

ROOT = Path(__file__).resolve().parent.parent
TABLES = ROOT / "core" / "acmehub" / "storage" / "tables.py"  # a table has the name of its model, by intent


MIGRATIONS = ROOT / "core" / "acmehub" / "storage" / "migrations"  # they name what older versions have stored

# Words that had a meaning of their own here, and the standard terms of docs/vocabulary.md that replace them.
RETIRED = {
    "bulletin": "order events",
    "complaint": "error",
    "cure": "hint",
    "drafted": "built",
    "efforts": "issuance timeout",
    "flights": "single-flight lock",
    "founding": "bootstrap",
    "insist": "retry until",
    "janitor": "TXT cleanup",
    "ledger": "TXT records",
    "newsroom": "notifications",
    "patience": "client timeout",
    "prover": "validator",
    "recalled": "reused",
    "remembering": "authorization reuse",
    "revive": "build",
    "rival": "lock holder",
    "stumble": "handle unexpected",
    "triggering": "responding",
    "unproven": "validation failed",
    "withdraw": "schedule removal",
    "withdrawn": "schedule removal",
}
RETIRED_NAMES = (
    "first_look",
    "give_up_at",
    "hand_out_again",
    "open_like",
    "order_again",
    "put_off",
    "OrderStory",
    "OrderLine",
)
TURNS = ("anew", "of ours", "whoever")  # of phrase, which a reader has to translate
WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])")


def retired_words(text: str) -> set[str]:
    """The retired words, names and turns of phrase in a text; words also within identifiers, singular or plural."""
    words = {word.lower() for word in WORD.findall(text.replace("privilegeWithdrawn", ""))}  # RFC 5280 section 5.3.1
    found = {word for word in RETIRED if {word, f"{word}s", f"{word}d"} & words}
    found |= {name for name in RETIRED_NAMES if re.search(rf"\b{name}\b", text)}
    return found | {turn for turn in TURNS if re.search(rf"\b{turn}\b", text, re.IGNORECASE)}


def pointing_docstrings(text: str) -> Iterator[int]:
    """Lines of docstrings that send the reader elsewhere instead of saying something."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and (
            (ast.get_docstring(node) or "").startswith("See ")
        ):
            yield node.body[0].lineno


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


def test_retired_words_do_not_come_back() -> None:
    paths = [path for path in product() if path.parent != MIGRATIONS]
    found = {str(path.relative_to(ROOT)): words for path in paths if (words := retired_words(path.read_text()))}
    assert found == {}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("async def _janitor_loop(): ...", {"janitor"}),
        ("class NewsroomError(Exception): ...", {"newsroom"}),
        ("# Cures for it", {"cure"}),
        ("await job.put_off(5)", {"put_off"}),
        ('"""Whoever asks is refused anew."""', {"whoever", "anew"}),
        ("the secure procedure, a single-flight lock, proverbs, renewed", set()),
    ],
)
def test_a_retired_word_is_found_in_identifiers_and_in_prose(text: str, words: set[str]) -> None:
    assert retired_words(text) == words


def test_docstrings_say_something_themselves() -> None:
    found = [f"{path.relative_to(ROOT)}:{line}" for path in product() for line in pointing_docstrings(path.read_text())]
    assert found == []


def test_a_docstring_that_only_points_elsewhere_is_found() -> None:
    text = (
        'class A:\n    """An A."""\n    def b(self):\n        """See `C.b`."""\ndef see():\n    """Seen, or not."""\n'
    )
    assert list(pointing_docstrings(text)) == [4]


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
