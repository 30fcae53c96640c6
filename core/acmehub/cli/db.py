"""`acmehub db`."""

import asyncio
from pathlib import Path

import click

from acmehub.cli.moving import copy
from acmehub.cli.shared.session import Result, Session, config_options, hub_verb, json_option, read_config, show
from acmehub.config import Config


@click.group()
def db() -> None:
    """The storage's schema and its sealed secrets, and a copy of all of it."""


db.add_command(copy)


@db.command(epilog="\b\nExample:\n  acmehub db upgrade --config /etc/acmehub.toml")
@config_options
@json_option
def upgrade(config_file: Path | None, data_dir: Path | None, as_json: bool) -> None:
    """Bring the schema up to date; `serve` and every other verb do so themselves."""
    steps = asyncio.run(_migrate(read_config(config_file, data_dir=data_dir)))
    show(Result({"steps": steps}, [f"{steps} steps taken" if steps else "the schema is up to date"]), as_json)


@db.command(epilog="\b\nExample, after another key was put first in master_keys:\n  acmehub db reseal")
@hub_verb
async def reseal(session: Session) -> Result:
    """Seal every secret again, under the first of master_keys, so that the older keys can be taken out."""
    done = await session.hub.admin.resealing.reseal(session.acting)
    text = f"{done.resealed} of {done.rows} rows sealed again under the first master key; older keys are not needed now"
    return Result(done, [text])


async def _migrate(config: Config) -> int:
    from acmehub.app.bootstrap import prepare_data_dir  # as in `hub_verb`
    from acmehub.app.hub import open_store
    from acmehub.ports.clock import SystemClock
    from acmehub.runtime.plugins import build_registry

    prepare_data_dir(config.data_dir)
    return await open_store(config, build_registry((), built_ins=()), SystemClock()).migrate()
