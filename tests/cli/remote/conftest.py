"""A file with a token, and the command in an empty folder."""

from pathlib import Path

import pytest

TOKEN = f"acmehub_{'1' * 44}_{'s' * 43}"


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    path = tmp_path / "hub.token"
    path.write_text(f"{TOKEN}\n")
    path.chmod(0o600)
    return path
