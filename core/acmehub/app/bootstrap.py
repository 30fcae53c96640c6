"""The first start: a data directory, a master key, an administrator, and an authority that can sign at once."""

import logging
import stat
from datetime import datetime
from pathlib import Path
from typing import TypeVar

from acmehub.config import Config, ConfigError
from acmehub.models import AuditEntry, Authority, Principal, PrincipalType, Role, RoleAssignment, new_id
from acmehub.ports.settings import dump_settings, read_settings
from acmehub.ports.store import Conflict, Resources, Store
from acmehub.runtime.plugin_objects import AUTHORITY_SETTINGS
from acmehub.runtime.plugins import Registry
from acmehub.runtime.vault import Vault, decode_key, make_key_file

ADMINISTRATOR = "administrator"
LOCAL_AUTHORITY = "local"
MASTER_KEY_FILE = "master.key"
ACTOR = "first start"
_LOCAL_PLUGIN = "ca_local"
R = TypeVar("R", Principal, Authority)
_log = logging.getLogger(__name__)


def prepare_data_dir(path: Path) -> None:
    """Make the data directory, for its owner alone (0700); `ConfigError` when it cannot be used."""
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        if stat.S_IMODE(path.stat().st_mode) & 0o077:
            path.chmod(0o700)
    except PermissionError as error:
        if not path.is_dir():
            raise ConfigError(f"data directory {path}: {error.strerror}: choose another with --data-dir") from None
        _log.warning("data directory %s belongs to somebody else and others may enter it", path)
    except OSError as error:
        raise ConfigError(f"data directory {path}: {error.strerror}: choose another with --data-dir") from None


def open_vault(config: Config) -> Vault:
    """The vault with the keys of `master_keys`, or with the one in the data directory, made on the first start."""
    if config.master_keys:
        return Vault([decode_key(key.reveal()) for key in config.master_keys])
    return Vault([make_key_file(config.data_dir / MASTER_KEY_FILE)])


async def found(store: Store, vault: Vault, registry: Registry, now: datetime) -> None:
    """Put an administrator into a storage that has no principal yet, and the authority `local` if it has none either.

    Safe when several processes do it at once, or when one dies half-way: names are unique, and the administrator, by
    whom a founded storage is known, comes last.
    """
    if await store.principals.list():
        return
    if not await store.authorities.list():
        await _add(store, store.authorities, _local_authority(vault, registry, now))
    roles = (RoleAssignment(Role.ADMINISTRATOR),)
    administrator = Principal(name=ADMINISTRATOR, type=PrincipalType.USER, roles=roles, created=now)
    await _add(store, store.principals, administrator)


def _local_authority(vault: Vault, registry: Registry, now: datetime) -> Authority:
    id = new_id()
    settings = read_settings({}, registry.authorities[_LOCAL_PLUGIN].settings)
    sealed = vault.seal(AUTHORITY_SETTINGS, id, dump_settings(settings))
    return Authority(
        id=id, name=LOCAL_AUTHORITY, plugin=_LOCAL_PLUGIN, default=True, sealed_settings=sealed, created=now
    )


async def _add(store: Store, resources: Resources[R], item: R) -> None:
    try:
        await resources.add(item)
    except Conflict:  # another process has just done the same
        return
    action = f"{type(item).__name__.lower()}.add"
    await store.records.audit([AuditEntry(at=item.created, actor=ACTOR, action=action, object=item.name)])
