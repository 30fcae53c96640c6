"""`acmehub db`."""

import asyncio
import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from acmehub.cli.moving import copy
from acmehub.cli.shared.exit_status import Exit
from acmehub.cli.shared.finding import no_hub
from acmehub.cli.shared.session import Result, actor, config_options, configured, json_option, machine_verb, show
from acmehub.config import Config
from acmehub.rules.permissions import Acting

if TYPE_CHECKING:
    from acmehub.app.hub import Hub


@click.group()
def db() -> None:
    """The storage's schema and its sealed secrets, and a copy of all of it."""


db.add_command(copy)


@db.command(epilog="\b\nExample:\n  acmehub db upgrade --config /etc/acmehub.toml")
@config_options
@json_option
def upgrade(config_file: Path | None, data_dir: Path | None, as_json: bool) -> None:
    """Bring the schema up to date; `serve` and `worker` do so themselves, unless they are told not to."""
    with configured(config_file, data_dir=data_dir) as config:
        steps = asyncio.run(_migrate(config))
    show(Result({"steps": steps}, [f"{steps} steps taken" if steps else "the schema is up to date"]), as_json)


@db.command(epilog="\b\nExample, after another key was put first in master_keys:\n  acmehub db reseal")
@machine_verb
async def reseal(hub: "Hub") -> Result:
    """Seal every secret again, under the first of master_keys, so that the older keys can be taken out.

    Exit status 1 when some could not be opened: the key that they are under is missing in master_keys.
    """
    done = await hub.admin.resealing.reseal(Acting.machine(actor()))
    if not done.rows:
        return Result(done, ["there are no secrets in the storage: nothing to seal again"])
    counts = f"{done.resealed} of {done.rows} rows sealed again under the first master key"
    if done.unopened:
        lines = [
            f"{counts}; {len(done.unopened)} secrets could not be opened:",
            *(f"✗ {flaw}" for flaw in done.unopened),
        ]
        return Result(done, lines, Exit.FAILED)
    return Result(done, [f"{counts}; older keys are not needed now"])


async def _migrate(config: Config) -> int:
    from acmehub.app.hub import open_store  # as in `machine_verb`
    from acmehub.ports.clock import SystemClock
    from acmehub.ports.store import StoreAbsent, StoreOutdated
    from acmehub.runtime.plugins import build_registry

    store = open_store(config, build_registry((), built_ins=()), SystemClock())
    try:
        await store.open()
    except StoreOutdated:
        return await store.migrate()
    except StoreAbsent as absent:
        raise no_hub(config, str(absent), os.environ, Path.cwd()) from None
    await store.close()
    return 0
