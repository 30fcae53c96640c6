"""`acmehub backup`, `acmehub restore`, and `acmehub db copy`: a hub moves."""

import asyncio
import os
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from msgspec.structs import asdict, replace

from acmehub import __version__
from acmehub.cli.shared.exit_status import Exit, Failed
from acmehub.cli.shared.finding import no_hub
from acmehub.cli.shared.progress import CountLine
from acmehub.cli.shared.session import (
    Result,
    actor,
    config_options,
    json_option,
    machine_verb,
    read_config,
    show,
)
from acmehub.cli.shared.settings import read_options, settings_options
from acmehub.config import Config, Storage, find_config
from acmehub.models.text import json_line
from acmehub.rules.permissions import Acting
from acmehub.serving.data_dir import FILES

if TYPE_CHECKING:
    from acmehub.admin.operations.backup_file import BackupReader
    from acmehub.app.hub import Hub

_CONFIG = "acmehub.toml"
_RESTORED_CONFIG = "acmehub.toml.restored"
BACKUP = """\b
Examples:
  acmehub backup /var/backups/hub.backup
  acmehub backup --force /mnt/nightly/hub.backup
"""
RESTORE = """\b
Examples:
  acmehub restore hub.backup
  acmehub restore hub.backup --config /etc/acmehub/acmehub.toml
"""
COPY = """\b
Examples:
  acmehub db copy --to storage_postgres --set dsn=env:HUB_DSN
  acmehub db copy --to storage_sqlite
"""


# ---------------------------------------------------------------------------------------------------------- backup


@click.command(epilog=BACKUP)
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--force", is_flag=True, help="Replace a file that is there.")
@machine_verb
async def backup(hub: "Hub", file: Path, force: bool) -> Result:
    """Write the whole hub into one file, while it runs: rows, master keys, its certificates, acmehub.toml.

    With the file, anybody is this hub: it is for its owner's eyes only (mode 0600), and should be kept so.
    """
    from acmehub.admin.operations.moving import BackupContent  # cryptography, which --help need not wait for

    config = hub.config
    content = BackupContent(
        keys=_master_keys(config),
        files=_files(config),
        version=__version__,
        storage=config.storage.plugin,
        public_url=config.public_url,
    )
    progress = CountLine("rows")
    try:
        made = await hub.admin.moving.backup(file, content, Acting.machine(actor()), force=force, progress=progress)
    finally:
        progress.end()
    rest = _not_kept(config)
    rows = sum(made.rows.values())
    lines = [f"{file}: {rows} rows, {', '.join(('master key', *made.files))}"]
    lines += [f"not in it: {', '.join(map(str, rest))}: keep a copy yourself"] if rest else []
    lines.append("with this file anybody is this hub: keep it where only you can read it")
    return Result({"file": file, **asdict(made), "not_in_it": rest}, lines)


def _master_keys(config: Config) -> Sequence[str]:
    """The ring, base64url."""
    from acmehub.app.bootstrap import MASTER_KEY_FILE  # as above
    from acmehub.runtime.vault import decode_key, encode_key, read_key_file

    if config.master_keys:
        return [encode_key(decode_key(key.reveal())) for key in config.master_keys]
    return [encode_key(read_key_file(config.data_dir / MASTER_KEY_FILE))]


def _files(config: Config) -> Mapping[str, bytes]:
    places = {name: config.data_dir / name for name in FILES}
    path = find_config(click.get_current_context().params["config_file"], os.environ, Path.cwd())
    if path is not None:
        places[_CONFIG] = path
    return {name: place.read_bytes() for name, place in places.items() if place.is_file()}


def _not_kept(config: Config) -> Sequence[Path]:
    """Files of the data directory that the hub did not make, as the `ca_file` of an authority may be one."""
    from acmehub.app.bootstrap import MASTER_KEY_FILE

    database = str(config.storage.settings.get("path", "acmehub.db"))
    known = {*FILES, MASTER_KEY_FILE, _RESTORED_CONFIG}
    return sorted(
        path
        for path in config.data_dir.iterdir()
        if path.name not in known and not path.name.startswith((database, "acmehub.db", "."))
    )


# --------------------------------------------------------------------------------------------------------- restore


@click.command(epilog=RESTORE)
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@config_options
@json_option
def restore(file: Path, config_file: Path | None, data_dir: Path | None, as_json: bool) -> None:
    """Make a hub of a backup: in a data directory and a storage that have none.

    The configuration says which storage that is; it need not be of the kind that was backed up. Where it has no
    master_keys, master.key is written into the data directory.
    """
    show(asyncio.run(_restore(file, read_config(config_file, data_dir=data_dir))), as_json)


async def _restore(file: Path, config: Config) -> Result:
    from acmehub.admin.operations import moving  # as above
    from acmehub.admin.operations.backup_file import open_backup
    from acmehub.app.bootstrap import prepare_data_dir
    from acmehub.app.hub import open_store
    from acmehub.ports.clock import SystemClock
    from acmehub.runtime.plugins import build_registry
    from acmehub.runtime.vault import Vault, decode_key

    clock = SystemClock()
    store = open_store(config, build_registry(config.plugins), clock)
    progress = CountLine("rows")
    with open_backup(file) as found:
        ring = [decode_key(key) for key in ([key.reveal() for key in config.master_keys] or found.keys)]
        new = _new_files(found, config)
        try:
            await moving.check(found, Vault(ring), progress)
            prepare_data_dir(config.data_dir)
            await moving.restore(
                found,
                store,
                config.storage.plugin,
                Acting.machine(actor()),
                clock,
                put_files=lambda: _write(new),
                progress=progress,
            )
        finally:
            progress.end()
        return _restored(found, config, new)


def _new_files(found: "BackupReader", config: Config) -> Mapping[Path, bytes]:
    """The files to write. One that is there with this content already is of a restore that did not end; with another
    content, it is of another hub."""
    wanted = {name: found.file(name) for name in FILES}
    wanted[_RESTORED_CONFIG] = found.file(_CONFIG)
    if not config.master_keys:
        wanted |= {name: f"{key}\n".encode() for name, key in zip(_key_files(found), found.keys, strict=True)}
    files = {config.data_dir / name: content for name, content in wanted.items() if content is not None}
    for path, content in files.items():
        if path.exists() and path.read_bytes() != content:
            raise Failed(f"{path}: is of another hub: restore into an empty data directory", Exit.CONFLICT)
    return files


def _key_files(found: "BackupReader") -> Sequence[str]:
    from acmehub.app.bootstrap import MASTER_KEY_FILE

    return [MASTER_KEY_FILE, *(f"{MASTER_KEY_FILE}.{number}" for number in range(2, len(found.keys) + 1))]


def _write(files: Mapping[Path, bytes]) -> None:
    from acmehub.runtime.vault import write_private

    for path, content in files.items():
        if not path.exists():
            beside = path.with_name(f".{path.name}.{os.getpid()}")
            beside.unlink(missing_ok=True)  # left by a process that died here
            write_private(beside, content)
            beside.rename(path)


def _restored(found: "BackupReader", config: Config, files: Mapping[Path, bytes]) -> Result:
    made = found.manifest
    rows = sum(made.rows.values())
    lines = [f"restored {rows} rows of {made.created:%Y-%m-%d %H:%M:%S}Z into {config.storage.plugin}"]
    if not config.master_keys and len(found.keys) > 1:
        keys = ", ".join(f'"file:{(config.data_dir / name).absolute()}"' for name in _key_files(found))
        lines.append(f"in acmehub.toml: master_keys = [{keys}]; after `acmehub db reseal` the first is enough")
    copy = config.data_dir / _RESTORED_CONFIG
    if copy in files:
        lines.append(f"the configuration of then is in {copy}: take what you need from it")
    lines += [
        "the hub that was backed up must not run any more: both would order certificates",
        f"next: clients know {made.public_url}: keep that as public_url, have its DNS name lead to this host,"
        " then `acmehub serve`",
    ]
    return Result({**asdict(made), "files": list(files)}, lines)


# ------------------------------------------------------------------------------------------------------------ copy


@click.command(epilog=COPY)
@click.option("--to", "plugin", required=True, metavar="PLUGIN", help="The storage that gets everything.")
@settings_options
@config_options
@json_option
def copy(
    plugin: str,
    pairs: tuple[str, ...],
    settings_file: Path | None,
    config_file: Path | None,
    data_dir: Path | None,
    as_json: bool,
) -> None:
    """Copy all rows of the storage into another one, which must have none; no hub may run meanwhile.

    Ids, secrets and accounts stay as they are: clients notice nothing. The old storage stays, too.
    """
    config = read_config(config_file, data_dir=data_dir)
    show(asyncio.run(_copy(config, plugin, pairs, settings_file)), as_json)


async def _copy(config: Config, plugin: str, pairs: Sequence[str], settings_file: Path | None) -> Result:
    from acmehub.app.bootstrap import require_master_key
    from acmehub.app.hub import build_hub, open_store  # as above
    from acmehub.ports.copying import CopiesRows
    from acmehub.ports.setting_fields import setting_fields
    from acmehub.ports.settings import secret_fields
    from acmehub.ports.store import StoreAbsent

    hub = build_hub(config)
    kind = hub.registry.storages[plugin].settings
    written = {
        key: value
        for key, value in read_options(setting_fields(kind), pairs, settings_file).items()
        if value is not None
    }
    settings = _resolved(written)
    target = open_store(replace(config, storage=Storage(plugin=plugin, settings=settings)), hub.registry, hub.clock)
    in_use = isinstance(hub.store, CopiesRows) and await hub.store.used_elsewhere()
    progress = CountLine("rows")
    try:
        await hub.store.open(serve=not in_use)  # nobody begins to serve from it meanwhile
    except StoreAbsent as absent:
        raise no_hub(config, str(absent), os.environ, Path.cwd()) from None
    try:
        require_master_key(hub.vault, config)
        rows = await hub.admin.moving.copy(target, plugin, Acting.machine(actor()), in_use=in_use, progress=progress)
    finally:
        progress.end()
        await hub.store.close()
    lines = [f"copied {rows} rows to {plugin}", *_next(plugin, written, secret_fields(kind))]
    return Result({"rows": rows, "storage": plugin}, lines)


def _resolved(written: Mapping[str, Any]) -> dict[str, Any]:
    from acmehub.config import resolve_text

    return {
        key: resolve_text(value, os.environ, Path.cwd(), f"--set {key}") if isinstance(value, str) else value
        for key, value in written.items()
    }


def _next(plugin: str, written: Mapping[str, Any], secret: Collection[str]) -> Sequence[str]:
    """What to write into acmehub.toml, secrets that were given as themselves left out."""

    def shown(key: str, value: object) -> str:
        hidden = key in secret and not str(value).startswith(("env:", "file:"))
        return f"{key} = {'…' if hidden else json_line(value)}"

    settings = ", ".join(shown(key, value) for key, value in written.items())
    return [
        "next, in acmehub.toml:",
        "  [storage]",
        f'  plugin = "{plugin}"',
        *([f"  settings = {{ {settings} }}"] if settings else []),
        "then `acmehub serve`; no hub may run on the old storage any more: both would order certificates",
    ]
