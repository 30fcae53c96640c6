"""One rig for each test."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio

from tests.issuance.rig import Rig, make_rig


@pytest_asyncio.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    async with make_rig(tmp_path) as made:
        yield made
