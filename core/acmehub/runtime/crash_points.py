"""Crash points: places where a test kills this process (docs/reliability.md, "Crashes").

None is armed unless a process starts with `ACMEHUB_CRASH_POINTS`: `after_add_txt`, or `after_add_txt:2` for the second
passage.
"""

import enum
import os
import signal
from collections.abc import Mapping


class CrashPoint(enum.StrEnum):
    """The gaps in the way of an order, in the order in which it passes them."""

    AFTER_NEW_ORDER_STORED = "after_new_order_stored"  # the order stands, the client has no answer
    BEFORE_UPSTREAM_NEW_ORDER = "before_upstream_new_order"  # nothing exists upstream
    AFTER_UPSTREAM_NEW_ORDER = "after_upstream_new_order"  # the upstream order exists, its URL is not stored
    BEFORE_ADD_TXT = "before_add_txt"  # the TXT row stands, the record does not
    AFTER_ADD_TXT = "after_add_txt"  # the record exists, its row does not say so
    BEFORE_CHALLENGE_RESPONSE = "before_challenge_response"  # the record is seen, the challenge is not answered
    AFTER_CHALLENGE_RESPONSE = "after_challenge_response"  # the challenge is answered, nothing says so
    AFTER_CSR_STORED = "after_csr_stored"  # the CSR stands, the upstream is not ready
    AFTER_UPSTREAM_FINALIZE = "after_upstream_finalize"  # the upstream has the CSR, nothing says so
    BEFORE_CHAIN_DOWNLOAD = "before_chain_download"  # the certificate exists upstream
    AFTER_CHAIN_DOWNLOAD = "after_chain_download"  # the chain is here, but not stored
    AFTER_VALID_STORED = "after_valid_stored"  # the order is valid, its TXT records exist


class CrashPoints:
    """The armed points, each with the passage at which the process kills itself."""

    def __init__(self, armed: Mapping[CrashPoint, int] | None = None) -> None:
        self._left = dict(armed or {})

    @classmethod
    def parse(cls, text: str) -> "CrashPoints":
        """From `NAME[:PASSAGE]`, comma separated; an empty text arms nothing. Raises `ValueError`."""
        armed = {}
        for item in filter(None, (part.strip() for part in text.split(","))):
            name, _, passage = item.partition(":")
            armed[CrashPoint(name)] = int(passage or 1)
        return cls(armed)

    def hit(self, point: CrashPoint) -> None:
        """Passes a point: SIGKILL when it is the armed one."""
        if point not in self._left:
            return
        self._left[point] -= 1
        if self._left[point] <= 0:
            os.kill(os.getpid(), signal.SIGKILL)
