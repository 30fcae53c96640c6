"""Fixtures of the ACME server's tests."""

import asyncio
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from acmehub.config import Acme
from acmehub.testing.acme_client import AcmeClient
from tests.acme.lab import Lab, laboratory

HOLD = 0.05


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
async def lab(folder: Path) -> AsyncIterator[Lab]:
    """A hub whose only authority relays, and whose worker is the test; long polls take 50 ms."""
    async with laboratory(folder, Acme(hold=HOLD)) as made:
        await made.no_authority()
        await made.authority()
        await made.managed_challenge()
        yield made


@pytest.fixture
async def client(lab: Lab) -> AcmeClient:
    """A client with an account, in mode `preapproved`."""
    return await lab.client()
