"""Nonces of a CA that are left from earlier responses (RFC 8555 section 6.5)."""

from collections import deque
from collections.abc import Callable

LIFETIME = 300.0
_MOST = 64


class UpstreamNonces:
    """Keeps nonces for `LIFETIME` seconds, and gives the newest first."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._kept: deque[tuple[str, float]] = deque(maxlen=_MOST)

    def keep(self, nonce: str) -> None:
        """Keep a nonce that has just come."""
        self._kept.append((nonce, self._monotonic()))

    def take(self) -> str:
        """The newest nonce; empty when none is left."""
        if not self._kept:
            return ""
        nonce, came = self._kept.pop()
        if self._monotonic() - came < LIFETIME:
            return nonce
        self.forget()  # the others are older
        return ""

    def forget(self) -> None:
        """Drop all: the CA may have forgotten them."""
        self._kept.clear()
