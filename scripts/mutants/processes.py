"""Time and processes of the trials: a clock that leaves pauses out, and that nothing stays when a run is ended.

On other systems than Linux the clock does not see how busy the machine is, and servers that a test started in a session
of their own stay when its process is ended.
"""

import contextlib
import ctypes
import os
import signal
import sys
import time
from pathlib import Path

PRESSURE = Path("/proc/pressure/cpu")  # how long, in microseconds, processes waited for a processor
PAUSED = 5.0  # seconds; a tick that long was a pause of the machine, or of its processes
LEAST = 0.4  # of a second counts, however busy the machine is
SET_PDEATHSIG, SET_CHILD_SUBREAPER = 1, 36  # <sys/prctl.h>


class Clock:
    """Seconds in which processes could run: less than real ones on a busy machine, hardly any during a pause."""

    TICK = 0.5  # seconds

    def __init__(self) -> None:
        self.now = 0.0
        self._last, self._waited = time.monotonic(), _waited()
        self._paused = -1.0

    def tick(self) -> None:
        """Call it at least once in `TICK`."""
        last, waited = self._last, self._waited
        self._last, self._waited = time.monotonic(), _waited()
        took = self._last - last
        self.now += min(max(took - (self._waited - waited), LEAST * took), 2 * self.TICK)
        if took > PAUSED:
            self._paused = self.now

    def paused_since(self, begun: float) -> bool:
        """Whether there was a pause after this time."""
        return self._paused > begun


def _waited() -> float:
    """Seconds in which some process waited for a processor."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        return int(PRESSURE.read_text().partition("total=")[2].split()[0]) / 1e6
    return 0.0


def _prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


def adopt_orphans() -> None:
    """Processes whose parent ends become children of this one, whatever their session, so that it can end them."""
    _prctl(SET_CHILD_SUBREAPER, 1)


def end_with_parent() -> None:
    """End, with all that was started, on SIGTERM, which also comes when the parent has ended in whatever way."""

    def stop(*_: object) -> None:
        end_orphans(others=set())
        os._exit(128 + signal.SIGTERM)

    signal.signal(signal.SIGTERM, stop)
    _prctl(SET_PDEATHSIG, signal.SIGTERM)


def end(child: int) -> int:
    """End this child and its process group; its status as of `os.waitpid`."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)
    return os.waitpid(child, 0)[1]


def end_orphans(others: set[int]) -> None:
    """End all children of this process but the others, and what becomes its child by that."""
    known = Path(f"/proc/self/task/{os.getpid()}/children")
    while found := {int(it) for it in known.read_text().split()} - others if known.exists() else None:
        for child in found:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
