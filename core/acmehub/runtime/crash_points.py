"""Fault points: places where a test has this process die, as RELIABILITY.md section 3 numbers them (F1 to F12).

Off unless a process is started with `ACMEHUB_FAULTS`, for instance `F3` or `F3:2` (at the second passage).
"""

import os
import signal


class FaultPoints:
    """What is armed: each name with the passage at which the process kills itself."""

    def __init__(self, armed: dict[str, int] | None = None) -> None:
        self._left = dict(armed or {})

    @classmethod
    def parse(cls, text: str) -> "FaultPoints":
        """From `NAME[:PASSAGE]`, comma separated; an empty text arms nothing."""
        armed = {}
        for item in filter(None, (part.strip() for part in text.split(","))):
            name, _, passage = item.partition(":")
            armed[name] = int(passage or 1)
        return cls(armed)

    def hit(self, name: str) -> None:
        """A passage of the point `name`: SIGKILL when it is the armed one."""
        if name not in self._left:
            return
        self._left[name] -= 1
        if self._left[name] <= 0:
            os.kill(os.getpid(), signal.SIGKILL)
