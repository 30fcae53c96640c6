"""What a storage engine has to offer: run units of work, keep the schema, tell of changes."""

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol, TypeVar

from acmehub.storage.statements import Dialect, Unit

T = TypeVar("T")


class SchemaSession(Protocol):
    """A connection for migrations, held together with the lock that keeps other processes from migrating."""

    async def execute(self, text: str, values: tuple[Any, ...] = ()) -> list[dict[str, Any]]:
        """Run one statement in the engine's own words (`?` or `$1`); rows as dicts."""
        ...

    async def insert(self, table: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        """Append rows, in the engine's quickest way; values are in the dialect's form."""
        ...


class SqlDriver(Protocol):
    """One engine. Every error that comes out is a `StoreError`, or what a unit of work itself raised."""

    @property
    def dialect(self) -> Dialect:
        """The SQL it speaks."""
        ...

    @property
    def shared(self) -> bool: ...

    @property
    def generation(self) -> int:
        """Moves when what was read before may not be stored any more: a database was lost, and another one may have
        come in its place, where a version that was seen stands for other content. Asked for by units of work."""
        return 0

    @property
    def place(self) -> str:
        """Where the database is, for messages; never a password."""
        ...

    def schema(self) -> AbstractAsyncContextManager[SchemaSession]:
        """A session for migrations; entered in an event loop of its own, before or beside `open`."""
        ...

    def snapshot(self) -> AbstractAsyncContextManager[SchemaSession]:
        """A session in a transaction of its own that sees what is committed at its first statement, and writes
        nothing."""
        ...

    async def used_elsewhere(self) -> bool:
        """Whether another process has the database open; asked before `open`."""
        ...

    async def open(self, *, serve: bool) -> None:
        """Connect, and make nothing; `StoreAbsent` where that shows that no hub has been there."""
        ...

    async def close(self) -> None: ...

    async def point_read(self, verb: Callable[..., Unit[T]], *args: Any) -> T:
        """Run a unit that reads a few rows by an index; each of its statements sees what is committed then."""
        ...

    async def read(self, verb: Callable[..., Unit[T]], *args: Any) -> T:
        """Run a unit that reads much; each of its statements sees what is committed then."""
        ...

    async def write(self, verb: Callable[..., Unit[T]], *args: Any) -> T:
        """Run a unit in one transaction; returns when it is durable. An exception rolls it back and comes through.

        A caller that is cancelled does not learn the outcome; the transaction is then either whole or not there.
        """
        ...

    def enter(self, worker: str) -> None:  # noqa: ARG002  for engines that can tell
        """From now until `close` the process claims jobs as `worker`; `StoreUnavailable` when that cannot be noted."""
        return

    def is_dead(self, worker: str) -> bool:  # noqa: ARG002  as above
        """Whether it is certain that the process which claimed jobs as `worker` has ended."""
        return False

    def check(self) -> None:
        """Raise `StoreUnavailable` when it is known without asking the engine that nothing can be written."""
        return

    def subscribe(self, callback: Callable[[str, int], None]) -> Callable[[], None]: ...
