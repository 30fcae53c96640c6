"""Whether the database is away: how that is noticed, how its end is, and who is told meanwhile.

It is away when no connection can be made, or when nothing that was sent has come back and a new connection gets no
answer either. A statement that takes long on a server that answers is none of this.
"""

import asyncio
from collections.abc import Callable

from acmehub import StoreAway
from acmehub.storage_api import StorageOutages
from acmehub_storage_postgres.connecting import Connector
from acmehub_storage_postgres.errors import Errors, translated
from acmehub_storage_postgres.settings import Settings

ASKED_AFTER = 1.0  # seconds without any answer
ASKED_SELDOM = 30.0
PROBE_SECONDS = 1.5
_FIRST_PAUSE = 0.1
_LONGEST_PAUSE = 1.0


class Away:
    """True while the database is away. `expire` is called meanwhile, at least every few seconds."""

    def __init__(self, connector: Connector, settings: Settings, expire: Callable[[], None]) -> None:
        self._connector = connector
        self._settings = settings
        self._expire = expire
        self._loop = asyncio.get_running_loop()
        self._log = StorageOutages(self._loop.time)
        self._answered_at = self._loop.time()
        self._asked_after = ASKED_AFTER
        self._timer: asyncio.TimerHandle | None = None
        self._probe: asyncio.Task[None] | None = None
        self._mending: asyncio.Task[None] | None = None
        self._over = asyncio.Event()
        self._begun_at = self._answered_at
        self._is_busy = False
        self._words = f"PostgreSQL at {settings.place} does not answer"

    def __bool__(self) -> bool:
        return self._mending is not None

    @property
    def error(self) -> StoreAway:
        """What those are told who cannot be served."""
        return StoreAway(self._words)

    @property
    def outlasts_wait(self) -> bool:
        """Whether it is away for so long that nobody is to wait any more."""
        since = max(self._begun_at, self._answered_at)
        return bool(self) and self._loop.time() - since > self._settings.wait

    def busy(self, now: float) -> None:
        """Something is sent to it again."""
        self._is_busy = True
        if not self:
            self._answered_at = now
        if self._timer is None:
            self._timer = self._loop.call_later(self._asked_after, self._look)

    def at_rest(self) -> None:
        """Nothing is under way. The timer is left alone: this happens after most requests."""
        self._is_busy = False

    def answered(self, now: float) -> None:
        """An answer came."""
        self._answered_at = now

    def begin(self, error: BaseException, since: float | None = None) -> None:
        """It cannot be reached, as `error` says, now or `since` then: try again until it can."""
        known = translated(error, self._settings.place)
        self._words = str(known or error)
        if self._mending is None:
            self._begun_at = self._loop.time() if since is None else since
            self._over.clear()
            self._mending = asyncio.create_task(self._mend())
        self._log.failed(self.error, self._begun_at)

    async def ends_within(self, seconds: float) -> bool:
        """Wait for the end; False when that takes longer, or when nobody is to wait any more."""
        if seconds <= 0 or self.outlasts_wait:
            return not self
        try:
            async with asyncio.timeout(seconds):
                await self._over.wait()
        except TimeoutError:
            return False
        return True

    async def close(self) -> None:
        """Stop trying."""
        if self._timer is not None:
            self._timer.cancel()
        tasks = [task for task in (self._probe, self._mending) if task is not None]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    def _look(self) -> None:
        """Ask whether it answers at all when nothing has for a while; less and less often while it does."""
        self._timer = None
        if not self._is_busy:
            return
        silent = self._loop.time() - self._answered_at
        if silent < ASKED_AFTER:
            self._asked_after = ASKED_AFTER
        elif not self and self._probe is None:
            self._probe = asyncio.create_task(self._ask())
        self._timer = self._loop.call_later(self._asked_after, self._look)

    async def _ask(self) -> None:
        seen = self._answered_at
        try:
            await self._connector.close(await self._connector.connect(PROBE_SECONDS))
        except Errors as error:
            if self._answered_at == seen:
                self.begin(error, seen)
        else:
            self._asked_after = min(self._asked_after * 2, ASKED_SELDOM)
        finally:
            self._probe = None

    async def _mend(self) -> None:
        pause = _FIRST_PAUSE
        try:
            while not await self._answers(pause):
                self._expire()
                pause = min(pause * 1.5, _LONGEST_PAUSE)
        finally:
            self._mending = None
        self._answered_at = self._loop.time()
        self._log.answered()
        self._over.set()

    async def _answers(self, pause: float) -> bool:
        """Whether it can be reached, after a pause."""
        await asyncio.sleep(pause)
        try:
            await self._connector.close(await self._connector.connect(PROBE_SECONDS))
        except Errors as error:
            self.begin(error)
            return False
        return True
