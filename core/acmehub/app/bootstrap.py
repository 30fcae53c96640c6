"""The first start: a data directory, a master key, an administrator, and an authority that can sign at once."""

import logging
import stat
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import TypeVar

from acmehub.admin.operations.resealing import SEALED
from acmehub.config import Config, ConfigError, is_mounted
from acmehub.models import (
    ActorKind,
    AuditActor,
    Authority,
    ManagedChallenge,
    Origin,
    Principal,
    PrincipalType,
    Role,
    RoleAssignment,
    SealKey,
    Token,
    Via,
    new_id,
)
from acmehub.ports.settings import Secret, dump_settings, read_settings
from acmehub.ports.store import Conflict, Resources, Store
from acmehub.runtime.audit import audit_entry
from acmehub.runtime.plugin_objects import AUTHORITY_SETTINGS
from acmehub.runtime.plugins import Registry
from acmehub.runtime.vault import (
    Vault,
    VaultError,
    decode_key,
    id_of_sealed,
    key_id,
    make_key_file,
    read_key_file,
)

ADMINISTRATOR = "administrator"
LOCAL_AUTHORITY = "local"
MASTER_KEY_FILE = "master.key"
ACTOR = AuditActor("first start", ActorKind.SYSTEM, origin=Origin(Via.SYSTEM))
_LOCAL_PLUGIN = "ca_local"
R = TypeVar("R", Principal, Authority)
_log = logging.getLogger(__name__)


def prepare_data_dir(path: Path) -> None:
    """Make the data directory, for its owner alone (0700), or look whether one that is there is fit for keys.

    The mode of one that is there stays: others who may enter it are warned of. `ConfigError` when others may write to
    it, unless it is mounted, and when it cannot be used.
    """
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        mode = stat.S_IMODE(path.stat().st_mode)
    except OSError as error:
        raise ConfigError(f"data directory {path}: {error.strerror}: choose another with --data-dir") from None
    if mode & stat.S_IWOTH and not is_mounted(path):
        raise ConfigError(
            f"data directory {path}: everybody may write to it (mode {mode:04o}), and keys would be in it:"
            f" choose another with --data-dir, or chmod 700 {path}"
        )
    if mode & 0o077:
        may = "write to" if mode & 0o022 else "enter"
        _log.warning("others may %s the data directory %s (mode %04o): chmod 700 %s", may, path, mode, path)


def open_vault(config: Config) -> Vault:
    """The vault with the keys of `master_keys`, else with the one in the data directory; empty when there is none.

    Makes nothing. `ConfigError` or `VaultError` name the key that cannot be used.
    """
    if config.master_keys:
        return Vault([_configured(index, key) for index, key in enumerate(config.master_keys)])
    file = config.data_dir / MASTER_KEY_FILE
    try:
        file.stat()
    except (FileNotFoundError, NotADirectoryError):
        return Vault(())
    except OSError as error:
        raise VaultError(f"{file}: the master key cannot be read: {error.strerror}") from None
    return Vault([read_key_file(file)])


def _configured(index: int, key: Secret) -> bytes:
    try:
        return decode_key(key.reveal())
    except VaultError as error:
        raise ConfigError(f"$.master_keys[{index}]: {error}: `acmehub key new` makes one") from None


async def is_founded(store: Store) -> bool:
    """Whether an open storage has a hub in it."""
    return bool(await store.principals.list())


async def sealed_values(store: Store, *, tokens: bool) -> Sequence[bytes]:
    """What is sealed in a storage, with or without the secrets of tokens, of which there may be many."""
    rows: list[Token | ManagedChallenge | Authority | SealKey] = [
        *await store.authorities.list(),
        *await store.managed_challenges.list(),
        *(await store.tokens.list() if tokens else ()),
        *await store.seals.keys(),
    ]
    return [value for row in rows for field in SEALED[type(row)] if (value := getattr(row, field))]


def require_master_key(vault: Vault, config: Config) -> None:
    """`VaultError` for a founded storage whose master key is not here: a new one would open nothing in it.

    Another process may have made the file since this one looked.
    """
    file = config.data_dir / MASTER_KEY_FILE
    if vault.empty and file.exists():
        vault.begin(read_key_file(file))
    if vault.empty:
        raise VaultError(
            f"the master key {file} is missing, under which the secrets in the storage are sealed:"
            " put the file back, restore it from a backup, or name the key in master_keys (ACMEHUB_MASTER_KEYS)"
        )


def closed_secrets(vault: Vault, values: Sequence[bytes], config: Config) -> str:
    """What to say of sealed values that no key of the ring opens, and what to do; empty when there are none."""
    closed = [value for value in values if not vault.knows(value)]
    if not closed:
        return ""
    wanted = sorted({id_of_sealed(value) for value in closed})
    where = "master_keys" if config.master_keys else str(config.data_dir / MASTER_KEY_FILE)
    return (
        f"{len(closed)} of {len(values)} secrets in the storage are sealed under a master key that is not in {where}"
        f" (key id {', '.join(wanted)}): {_hint(wanted, config)}"
    )


def _hint(wanted: Sequence[str], config: Config) -> str:
    """Where the key is, if it is in the data directory beside `master_keys`."""
    file = config.data_dir / MASTER_KEY_FILE
    if config.master_keys:
        try:
            if key_id(read_key_file(file)) in wanted:
                return f"it is in {file}; add that to master_keys as file:{file}"
        except VaultError:
            return "add that key to master_keys, behind the first one"
    return "add that key to master_keys, behind the first one"


async def found(store: Store, vault: Vault, registry: Registry, now: datetime, config: Config) -> None:
    """Put an administrator into a storage that has no principal yet, and the authority `local` if it has none either;
    a vault without a key gets one, in the data directory, unless something in the storage is sealed already.

    Safe when several processes do it at once, or when one dies half-way: names are unique, and the administrator, by
    whom a founded storage is known, comes last.
    """
    if await is_founded(store):
        return
    if vault.empty and not await sealed_values(store, tokens=False):
        vault.begin(make_key_file(config.data_dir / MASTER_KEY_FILE))
    require_master_key(vault, config)
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
    entry = audit_entry(item.created, ACTOR, action, item.name, named=(item.id, item.name))
    await store.records.audit([entry])
