"""Defects, of the hub or of a plugin: told with their traceback once an hour for their place, however often they are
met (a step is tried again, a notifier is asked with every order)."""

import time
from collections.abc import Callable

from acmehub.runtime.lru import Lru

TELL_AGAIN = 3600.0  # seconds
_MOST = 256


class Defects:
    """What was told lately; `monotonic` gives seconds."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._told: Lru[tuple[object, ...], float] = Lru(_MOST)

    def is_news(self, error: BaseException, *of: str) -> bool:
        """Whether this kind of error, raised at this place in the code, was not told lately; `of` is what had it."""
        last, now = error.__traceback__, self._monotonic()
        while last is not None and last.tb_next is not None:
            last = last.tb_next
        place = (last.tb_frame.f_code.co_filename, last.tb_lineno) if last is not None else ()
        key = (type(error), *place, *of)
        told = self._told.get(key)
        if told is not None and now - told < TELL_AGAIN:
            return False
        self._told.put(key, now)
        return True
