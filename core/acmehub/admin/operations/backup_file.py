"""The file of a backup: a ZIP archive with a manifest, the rows as JSON lines, and keys.

| member | what it is |
|---|---|
| `manifest.json` | `Manifest` |
| `keys.json` | master keys, base64url, the one that seals first |
| `rows/TABLE.jsonl` | the columns in the first line, then a row per line |
| `files/NAME` | files of the data directory, and `acmehub.toml` |

Members are read by names that the reader knows; none of those in a file says where something is written. A ZIP has its
table of contents at the end and a checksum for each member, so a file that was cut off or damaged does not read.
"""

import errno
import os
import secrets
import zipfile
import zlib
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import IO, Any, cast

import msgspec

from acmehub.admin.access.errors import Refused, Taken
from acmehub.ports.copying import Kind, TableColumn, TablePage

FORMAT = 1
PRODUCT = "acmehub backup"
CONFIG_FILE = "acmehub.toml"
_LONGEST = 1 << 24  # bytes of a line, or of a member that is not rows
_PAGE = 500
_LEVEL = 1  # of compression: rows shrink to a fifth, and the disk waits as long as the processor
_TYPES: dict[Kind, Any] = {
    "text": str,
    "integer": int,
    "number": float,
    "boolean": bool,
    "bytes": bytes,
    "time": datetime,
}


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What a backup says of itself; `rows` counts those of each table, in the order in which they are restored."""

    product: str = PRODUCT
    format: int = FORMAT
    version: str
    storage: str
    schema: tuple[str, ...]
    created: datetime
    public_url: str
    rows: dict[str, int]
    files: tuple[str, ...]
    keys: int


class _Head(msgspec.Struct):
    """What every format has."""

    product: str = ""
    format: int = 0


class _Sink:
    """Where an archive goes; nowhere once it is `dropped`, so that an archive that failed can still be closed."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.dropped = False

    def write(self, data: bytes) -> int:
        return len(data) if self.dropped else self._file.write(data)

    def flush(self) -> None:
        if not self.dropped:
            self._file.flush()


class BackupWriter:
    """Writes one backup into an open file."""

    def __init__(self, file: IO[bytes]) -> None:
        self._sink = _Sink(file)
        self._zip = zipfile.ZipFile(cast(IO[bytes], self._sink), "w", zipfile.ZIP_DEFLATED, compresslevel=_LEVEL)
        self._table = ""
        self._member: IO[bytes] | None = None
        self.rows: dict[str, int] = {}

    def page(self, page: TablePage) -> None:
        """Append rows; a table's pages follow one another."""
        if page.table != self._table or self._member is None:
            self._end_table()
            self._table, self.rows[page.table] = page.table, 0
            self._member = self._zip.open(f"rows/{page.table}.jsonl", "w", force_zip64=True)
            self._member.write(msgspec.json.encode(page.columns) + b"\n")
        self._member.write(b"".join(msgspec.json.encode(row) + b"\n" for row in page.rows))
        self.rows[page.table] += len(page.rows)

    def finish(self, manifest: Manifest, keys: Sequence[str], files: Mapping[str, bytes]) -> None:
        """Write the rest and end the archive."""
        self._end_table()
        self._zip.writestr("keys.json", msgspec.json.encode(list(keys)))
        for name, content in files.items():
            self._zip.writestr(f"files/{name}", content)
        self._zip.writestr("manifest.json", msgspec.json.format(msgspec.json.encode(manifest), indent=2))
        self._zip.close()

    def drop(self) -> None:
        """Let go of an archive that nobody will read."""
        self._sink.dropped = True
        self._end_table()
        self._zip.close()

    def _end_table(self) -> None:
        member, self._member = self._member, None
        if member is not None:
            member.close()


@contextmanager
def new_backup(path: Path, *, force: bool) -> Iterator[BackupWriter]:
    """A writer whose file gets its name when the block has ended well, flushed to the disk; before, it is a file
    beside it. Mode 0600 from its first byte on. `Taken` when there is a file, unless `force`; `Refused`."""
    if not path.name:
        raise Refused("the backup has no name: name a file")
    if os.path.lexists(path) and not force:
        raise Taken(f"{path}: is there already; --force replaces it")
    beside = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    try:
        with os.fdopen(os.open(beside, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "w+b") as file:
            writer = BackupWriter(file)
            try:
                yield writer
            except BaseException:
                writer.drop()
                raise
            file.flush()
            os.fsync(file.fileno())
        _put(beside, path, force=force)
    except OSError as error:
        raise Refused(f"{path}: the backup cannot be written: {error.strerror or error}") from error
    finally:
        beside.unlink(missing_ok=True)


def _put(beside: Path, path: Path, *, force: bool) -> None:
    """Give the file its name; without `force` never over another one that came meanwhile."""
    try:
        if force:
            beside.replace(path)
        else:
            os.link(beside, path)
    except FileExistsError:
        raise Taken(f"{path}: is there already; --force replaces it") from None
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.ENOTSUP):  # a file system without hard links
            raise
        beside.rename(path)
    folder = os.open(path.parent, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


class BackupReader:
    """Reads one backup; `Refused` names the file and says what is wrong with it."""

    def __init__(self, path: Path, archive: zipfile.ZipFile) -> None:
        self.path = path
        self._zip = archive
        head = self._decoded("manifest.json", _Head)
        if head.product != PRODUCT:
            raise self._refused("it is no backup of acmehub")
        if head.format != FORMAT:
            raise self._refused(f"it has format {head.format}, and this acmehub reads {FORMAT}: install a newer one")
        self.manifest: Manifest = self._decoded("manifest.json", Manifest)
        self.keys: tuple[str, ...] = self._decoded("keys.json", tuple[str, ...])
        if not self.keys:
            raise self._refused("it has no master key, without which nothing in it can be used")

    def file(self, name: str) -> bytes | None:
        """A file of the data directory, or `acmehub.toml`; None when it was not there."""
        return self._content(f"files/{name}") if name in self.manifest.files else None

    async def pages(self) -> AsyncIterator[TablePage]:
        """All rows, in the order in which they were written."""
        for table, count in self.manifest.rows.items():
            found = 0
            for page in self._table(table):
                found += len(page.rows)
                yield page
            if found != count:
                raise self._refused(f"it has {found} rows of {table} instead of {count}")

    def _table(self, table: str) -> Iterator[TablePage]:
        member = f"rows/{table}.jsonl"
        with self._damage(member), self._zip.open(member) as lines:
            columns = msgspec.json.decode(lines.readline(_LONGEST), type=tuple[TableColumn, ...])
            cells = tuple(_TYPES[column.kind] | None for column in columns)
            decoder: msgspec.json.Decoder[Any] = msgspec.json.Decoder(tuple.__class_getitem__(cells))
            rows: list[Any] = []
            while line := lines.readline(_LONGEST):
                rows.append(decoder.decode(line))
                if len(rows) == _PAGE:
                    yield TablePage(table, columns, rows)
                    rows = []
            yield TablePage(table, columns, rows)

    def _decoded(self, member: str, kind: Any) -> Any:
        with self._damage(member):
            return msgspec.json.decode(self._content(member), type=kind)

    def _content(self, member: str) -> bytes:
        with self._damage(member), self._zip.open(member) as file:
            content = file.read(_LONGEST + 1)
        if len(content) > _LONGEST:
            raise self._refused(f"{member} in it is too large")
        return content

    @contextmanager
    def _damage(self, member: str) -> Iterator[None]:
        try:
            yield
        except KeyError:
            raise self._refused(f"it has no {member}: it is no backup of acmehub, or was cut off") from None
        except (zipfile.BadZipFile, zlib.error, EOFError, msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise self._refused(f"{member} in it is damaged ({error})") from None
        except OSError as error:
            raise self._refused(f"it cannot be read: {error.strerror or error}") from None

    def _refused(self, what: str) -> Refused:
        return Refused(f"{self.path}: {what}")


@contextmanager
def open_backup(path: Path) -> Iterator[BackupReader]:
    """A backup for reading; `Refused` for a file that is none."""
    try:
        archive = zipfile.ZipFile(path)
    except zipfile.BadZipFile:
        raise Refused(f"{path}: it is no backup of acmehub, or was cut off") from None
    except OSError as error:
        raise Refused(f"{path}: it cannot be read: {error.strerror or error}") from None
    with archive:
        yield BackupReader(path, archive)
