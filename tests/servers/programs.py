"""The programs that tests start: where they are, and the reason of a test that skips because one is missing."""

import os
import shutil
from pathlib import Path

import pytest

_SYSTEM = "/usr/local/sbin:/usr/sbin:/sbin"  # not in the PATH of every user


def program(name: str, variable: str = "") -> str:
    """The path of a program: what the environment's `variable` says, else as it is found; its name when it is not."""
    given = os.environ.get(variable, "") if variable else ""
    return given or shutil.which(name, path=f"{os.environ.get('PATH', os.defpath)}:{_SYSTEM}") or name


def need(*programs: str | Path) -> None:
    """Skip the test, with the programs that are missing as its reason."""
    missing = [str(item) for item in programs if shutil.which(item) is None]
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)}; `make test` installs them as root")
