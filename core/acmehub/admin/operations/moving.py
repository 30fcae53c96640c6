"""A hub moves: all of it into a file and out of one, or its rows into another storage.

What leaves is proved to open first: every sealed secret, with the master keys that go along.
"""

from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from acmehub.admin.access.errors import NotFound, Refused, Taken
from acmehub.admin.access.gate import Gate
from acmehub.admin.operations.backup_file import BackupReader, Manifest, new_backup
from acmehub.admin.operations.resealing import SEALED
from acmehub.models import AuditEntry, Authority, ManagedChallenge, SealKey, Token
from acmehub.ports.clock import Clock
from acmehub.ports.copying import CopiesRows, HasRows, OtherSchema, TablePage
from acmehub.ports.store import Store
from acmehub.rules.permissions import Acting
from acmehub.runtime.audit import audit_entry
from acmehub.runtime.vault import Vault, VaultError, decode_key

_SEALED_IN = {
    "token": SEALED[Token],
    "managed_challenge": SEALED[ManagedChallenge],
    "authority": SEALED[Authority],
    "seal_key": SEALED[SealKey],
}
OnRows = Callable[[int], None]
"""Called with the number of rows that were done, from time to time."""


def no_progress(_rows: int) -> None:
    """For those who do not look."""


class BackupContent(msgspec.Struct, frozen=True, kw_only=True):
    """What goes into a backup besides rows: master keys (base64url, the one that seals first), files by name, and what
    the manifest says of the hub."""

    keys: Sequence[str]
    files: Mapping[str, bytes]
    version: str
    storage: str
    public_url: str


class MovingService:
    """Backups of a hub, and copies of its storage."""

    def __init__(self, store: Store, vault: Vault, clock: Clock) -> None:
        self._store = store
        self._vault = vault
        self._clock = clock
        self._gate = Gate(store, clock)

    async def backup(
        self,
        path: Path,
        content: BackupContent,
        acting: Acting,
        *,
        force: bool = False,
        progress: OnRows = no_progress,
    ) -> Manifest:
        """Write everything into the file `path`, as it is at one moment; other processes go on.

        `Taken` when there is a file, unless `force`; `Refused` when a sealed value does not open with `content.keys`:
        nobody could use what was restored of that.
        """
        vault = Vault([decode_key(key) for key in content.keys])
        async with self._gate(acting, "backup.create", f"file {path}") as passage:
            rows = _copying(self._store)
            with new_backup(path, force=force) as backup:
                await passage.note()
                async with rows.snapshot() as snapshot:
                    async for page in opened(snapshot.pages(), vault, progress):
                        backup.page(page)
                    manifest = Manifest(
                        version=content.version,
                        storage=content.storage,
                        schema=tuple(snapshot.schema),
                        created=self._clock.now(),
                        public_url=content.public_url,
                        rows=backup.rows,
                        files=tuple(content.files),
                        keys=len(content.keys),
                    )
                backup.finish(manifest, content.keys, content.files)
        return manifest

    async def copy(
        self, target: Store, name: str, acting: Acting, *, in_use: bool = False, progress: OnRows = no_progress
    ) -> int:
        """Copy all rows into `target`, which has none and is not open; how many. `name` is what the audit calls it.

        `in_use`: another process has the source open. `Refused` then, as what it writes from now on would be lost.
        """
        done = 0

        def count(rows: int) -> None:
            nonlocal done
            done = rows
            progress(rows)

        async with self._gate(acting, "storage.copy", f"storage {name}") as passage:
            if in_use:
                raise Refused("another process uses the storage: stop every `acmehub serve` and `worker` first")
            if not await self._store.principals.list():
                raise NotFound("there is no hub in this storage: nothing was copied")
            rows, into = _copying(self._store), _copying(target)
            await passage.note()
            async with rows.snapshot() as snapshot:
                await _put(into, name, snapshot.schema, opened(snapshot.pages(), self._vault, count), ())
        return done


async def check(backup: BackupReader, vault: Vault, progress: OnRows = no_progress) -> None:
    """Read a backup to its end: `Refused` when a part is damaged, or when a secret does not open with `vault`."""
    async for _ in opened(backup.pages(), vault, progress):
        pass


async def restore(
    backup: BackupReader,
    store: Store,
    name: str,
    acting: Acting,
    clock: Clock,
    *,
    put_files: Callable[[], None],
    progress: OnRows = no_progress,
) -> None:
    """Put the rows of a backup, which was checked, into `store`, which has none and is not open.

    Where there is no hub nobody has a role: this takes access to the machine, as the first start does. `put_files` is
    called when it is certain that the storage takes the rows, and before it has them; so a second restore works after a
    crash at any time.
    """
    made = backup.manifest
    detail = f"of {made.created:%Y-%m-%d %H:%M:%S}Z, {made.storage}, acmehub {made.version}"
    entry = audit_entry(clock.now(), acting.actor, "backup.restore", f"file {backup.path}", detail)

    async def pages() -> AsyncIterator[TablePage]:
        put_files()
        done = 0
        async for page in backup.pages():
            yield page
            done += len(page.rows)
            progress(done)

    await _put(_copying(store), name, made.schema, pages(), (entry,))


async def opened(pages: AsyncIterator[TablePage], vault: Vault, progress: OnRows) -> AsyncIterator[TablePage]:
    """The pages as they are; `Refused` at the first sealed value that `vault` does not open."""
    done = 0
    async for page in pages:
        purposes = _SEALED_IN.get(page.table, {})
        names = [column.name for column in page.columns]
        for row in page.rows if purposes else ():
            _open(dict(zip(names, row, strict=True)), purposes.items(), vault)
        yield page
        done += len(page.rows)
        progress(done)


def _open(row: dict[str, Any], purposes: Iterable[tuple[str, str]], vault: Vault) -> None:
    for field, purpose in purposes:
        if row.get(field):
            try:
                vault.open(purpose, row["id"], row[field])
            except VaultError as error:
                raise Refused(f"{error}: without the right master key it could not be used") from None


async def _put(
    into: CopiesRows,
    name: str,
    schema: Sequence[str],
    pages: AsyncIterator[TablePage],
    audit: Sequence[AuditEntry],
) -> None:
    try:
        await into.import_rows(schema, pages, audit)
    except HasRows as error:
        raise Taken(f"{name}: {error}: give a storage without a hub") from None
    except OtherSchema as error:
        raise Refused(f"{name}: {error}") from None


def _copying(store: Store) -> CopiesRows:
    if not isinstance(store, CopiesRows):
        raise Refused(f"{type(store).__name__} offers no copies of its rows: use its own tools")
    return store
