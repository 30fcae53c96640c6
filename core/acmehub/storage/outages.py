"""Log lines about a storage that is away: one when that begins, one a minute while it lasts, one at its end.

Each caller of the storage is told by `StoreUnavailable`; if each of them wrote a line, an outage would fill the log.
"""

import logging
import time
from collections.abc import Callable

EVERY = 60.0  # seconds between two lines of one outage

_log = logging.getLogger(__name__)


class StorageOutages:
    """The outages of one storage, one after the other. `clock` gives seconds, monotonic.

    A storage that comes and goes has one line a minute, too.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._since: float | None = None
        self._is_told = False
        self._next_line_at = float("-inf")
        self._failures = 0

    def failed(self, error: Exception, since: float | None = None) -> None:
        """The storage does not do what it should, as `error` says; `since` when it was found out late."""
        now = self._clock()
        if self._since is None:
            self._since = now if since is None else since
        self._failures += 1
        if now < self._next_line_at:
            return
        if self._is_told:
            lasts = now - self._since
            _log.error("the storage is still unavailable, for %.0f s, %d failures: %s", lasts, self._failures, error)
        else:
            _log.error("the storage is unavailable: %s", error)
        self._is_told = True
        self._next_line_at = now + EVERY

    def answered(self) -> None:
        """The storage does what it should."""
        if self._since is None:
            return
        if self._is_told:
            lasted = self._clock() - self._since
            _log.warning("the storage is available again, after %.0f s and %d failures", lasted, self._failures)
        self._since, self._is_told, self._failures = None, False, 0
