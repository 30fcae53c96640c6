"""`make audit` says what it knows, and says clearly when it knows nothing."""

from typing import Any

import pytest

from scripts.audit import said

GOOD: dict[str, Any] = {"name": "a", "version": "1", "vulns": []}
BAD = {"name": "b", "version": "2", "vulns": [{"id": "PYSEC-1", "fix_versions": ["3"], "aliases": []}]}
SKIPPED = {"name": "c", "skip_reason": "Dependency not found on PyPI and could not be audited: c (1)"}


@pytest.mark.parametrize(
    ("packages", "status", "words"),
    [
        ([GOOD], 0, "1 packages of uv.lock, no known vulnerability"),
        ([GOOD, BAD], 1, "b 2: PYSEC-1, fixed in 3"),
        ([GOOD, BAD, SKIPPED], 1, "PYSEC-1"),
        ([GOOD, SKIPPED], 2, "NOT AUDITED: PyPI's advisory service"),
        ([SKIPPED], 2, "answered for 0 of 1 packages"),
        ([], 2, "NOT AUDITED"),
    ],
)
def test_what_is_not_known_is_not_called_sound(
    capsys: pytest.CaptureFixture[str], packages: list[dict[str, Any]], status: int, words: str
) -> None:
    assert said(packages) == status
    assert words in capsys.readouterr().out
