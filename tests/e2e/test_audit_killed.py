"""kill -9 loses no entry of the audit: it is in the transaction of its change."""

import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

pytestmark = pytest.mark.e2e
OPERATOR = """
import asyncio, itertools, sys
from pathlib import Path
from acmehub.admin.resources.principals import NewPrincipal
from acmehub.app.hub import build_hub
from acmehub.config import Config
from acmehub.rules.permissions import Acting

async def add_for_ever():
    hub = build_hub(Config(data_dir=Path(sys.argv[1]), public_url="https://hub.test"))
    async with hub.running(founds=True):
        async with asyncio.TaskGroup() as tasks:
            for first in range(4):
                tasks.create_task(add(hub, itertools.count(first, 4)))

async def add(hub, numbers):
    for number in numbers:
        await hub.admin.principals.add(NewPrincipal(name=f"p{number}"), Acting.machine("cli:test"))
        print(f"p{number}", flush=True)

asyncio.run(add_for_ever())
"""


def test_every_change_has_its_entry_and_every_entry_its_change(tmp_path: Path) -> None:
    told: set[str] = set()
    for round_ in range(3):
        folder = tmp_path / str(round_)
        with subprocess.Popen([sys.executable, "-c", OPERATOR, folder], stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            told = {process.stdout.readline().strip() for _ in range(20 + round_)}
            process.send_signal(signal.SIGKILL)
            told |= {line.strip() for line in process.stdout}
        with closing(sqlite3.connect(folder / "acmehub.db")) as database:
            stored = {name for (name,) in database.execute("SELECT name FROM principal WHERE name LIKE 'p%'")}
            audited = [name for (name,) in database.execute("SELECT object_name FROM audit WHERE actor = 'cli:test'")]
        assert told <= stored
        assert sorted(audited) == sorted(stored)
