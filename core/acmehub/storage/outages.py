"""Log lines about a storage that is away: one when that begins, one a minute while it lasts, one at its end.

Each caller of the storage is told by `StoreUnavailable`; if each of them wrote a line, an outage would fill the log.
"""

import logging
import time
from collections.abc import Callable

EVERY = 60.0  # seconds between two lines of one outage

_log = logging.getLogger(__name__)


class Outages:
    """The outages of one storage, one after the other. `clock` gives seconds, monotonic."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._since: float | None = None
        self._line_at = 0.0
        self._refused = 0

    def failed(self, error: Exception, since: float | None = None) -> None:
        """The storage does not do what it should, as `error` says; `since` when it was found out late."""
        now = self._clock()
        self._refused += 1
        if self._since is None:
            self._since = now if since is None else since
            _log.error("the storage is unavailable: %s", error)
        elif now < self._line_at:
            return
        else:
            lasts = f"{now - self._since:.0f}"
            _log.error("the storage is unavailable for %s s, %d failures: %s", lasts, self._refused, error)
        self._line_at = now + EVERY

    def answered(self) -> None:
        """The storage does what it should."""
        if self._since is not None:
            lasted = self._clock() - self._since
            self._since, self._refused = None, 0
            _log.warning("the storage is available again, after %.0f s", lasted)
