"""Opening connections: what each of them is told, and whether it speaks to the database that the others speak to."""

import asyncio
import logging
import secrets
from typing import Any

import asyncpg

from acmehub_storage_postgres.errors import Errors, PoolerRefused
from acmehub_storage_postgres.settings import Settings

log = logging.getLogger(__name__)

CONNECT_SECONDS = 5.0
_POOL_SECONDS = 2.0  # for a statement of which a pooler should have no reason to hold back
_MARK = "acmehub.session"  # a session variable of our own

# Not as startup parameters, which poolers refuse. A process that freezes in a transaction must not keep the others from
# its rows: the server ends such a transaction.
_PREPARE = (
    "SELECT set_config('jit', 'off', false), set_config('idle_in_transaction_session_timeout', '10s', false),"
    " pg_backend_pid(), pg_postmaster_start_time(), (SELECT oid FROM pg_database WHERE datname = current_database())"
)
_READ_MARK = f"SELECT current_setting('{_MARK}', true)"


class DatabaseConnection(asyncpg.Connection):  # type: ignore[misc]  # asyncpg is not generic at run time
    """A connection with the `origin` of what it reads: the start of its server, and its database."""

    __slots__ = ("origin",)

    origin: tuple[Any, ...]


class Connector:
    """Opens connections. `generation` moves when one is lost, and when one speaks to another database than those
    before: what was read then may not be stored any more.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._origin: tuple[Any, ...] | None = None
        self._keeps_sessions = False
        self.generation = 0

    async def connect(
        self, seconds: float = CONNECT_SECONDS, *, command_seconds: float | None = 0
    ) -> DatabaseConnection:
        """A connection that is ready for work, within `seconds` (never more than the settings' timeout); each of its
        statements has `command_seconds` (0: as the settings say).

        Raises one of `Errors`.
        """
        seconds = min(seconds, self._settings.timeout)
        arguments = self._settings.connect_arguments()
        if command_seconds != 0:
            arguments["command_timeout"] = command_seconds
        async with asyncio.timeout(seconds):
            session: DatabaseConnection = await asyncpg.connect(**arguments, connection_class=DatabaseConnection)
            try:
                await self._prepare(session)
            except BaseException:
                session.terminate()
                raise
        session.add_termination_listener(self._lost)
        return session

    def is_current(self, session: DatabaseConnection) -> bool:
        """Whether it can be used, and speaks to the database that the newest connection speaks to."""
        return session.origin == self._origin and not session.is_closed()

    async def close(self, session: DatabaseConnection) -> None:
        """Close a connection that is not needed any more; by force when it does not answer."""
        session.remove_termination_listener(self._lost)
        try:
            await session.close(timeout=CONNECT_SECONDS)
        except Errors as error:
            log.debug("closing a connection: %s", error)
            session.terminate()
            await asyncio.sleep(0)  # the transport closes in the loop's next round

    def _lost(self, _session: object) -> None:
        self.generation += 1

    async def _prepare(self, session: DatabaseConnection) -> None:
        row = await session.fetchrow(_PREPARE)
        assert row is not None
        if row[2] != session.get_server_pid() and not self._keeps_sessions:  # a pooler stands between
            await self._require_session(session)
            self._keeps_sessions = True
        session.origin = (row[3], row[4])
        if session.origin != self._origin:
            self.generation += 1
            self._origin = session.origin

    async def _require_session(self, session: DatabaseConnection) -> None:
        """Raise `PoolerRefused` unless the pooler keeps one server connection for as long as its client is connected.

        A session variable shows it: another client, or this one a moment later, is given this connection's server.
        """
        mark = secrets.token_hex(8)
        await session.execute(f"SET {_MARK} = '{mark}'")
        other = await asyncpg.connect(**self._settings.connect_arguments())
        try:
            try:
                async with asyncio.timeout(_POOL_SECONDS):
                    await other.execute("BEGIN")
            except TimeoutError:
                raise PoolerRefused(
                    f"its pooler gives no second connection: raise the pool's size to {self._settings.connections + 1}"
                    " for each process of the hub at least"
                ) from None
            except asyncpg.ConnectionDoesNotExistError as error:
                if "pooling mode" in str(error):  # pgbouncer's word on BEGIN in statement mode
                    raise PoolerRefused() from error
                raise
            seen = {await other.fetchval(_READ_MARK)}
            try:
                async with asyncio.timeout(_POOL_SECONDS):
                    own = {await session.fetchval(_READ_MARK) for _ in range(3)}
            except TimeoutError:
                own = set()
        finally:
            other.terminate()
            await asyncio.sleep(0)
        if mark in seen or own != {mark}:
            raise PoolerRefused()
