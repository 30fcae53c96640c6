"""Fixtures of the API's tests: the hub of the ACME server's tests, with one of everything, without limits."""

import asyncio
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from acmehub.config import Acme, Api
from tests.acme.lab import laboratory
from tests.api.desk import UNLIMITED, Desk


@pytest.fixture(scope="session")
def founded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory after its first start: making the schema takes longer than most tests."""
    folder = tmp_path_factory.mktemp("founded")

    async def start() -> None:
        async with laboratory(folder, Acme()):
            pass

    asyncio.run(start())
    return folder / "data"


@pytest.fixture
def folder(tmp_path: Path, founded: Path) -> Path:
    """A folder for a hub, with such a data directory in it."""
    shutil.copytree(founded, tmp_path / "data")
    return tmp_path


@pytest.fixture
async def desk(folder: Path) -> AsyncIterator[Desk]:
    """A hub with one of everything."""
    async with laboratory(folder, Acme(), api=Api(**UNLIMITED)) as lab:
        made = Desk(lab)
        await made.furnish()
        yield made
