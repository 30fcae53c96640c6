"""What a CA has paused: the hub's account there, or names (an answer `rateLimited` that asks for a person)."""

import re
from collections.abc import Sequence
from datetime import datetime

from acmehub.models.authorities import Pause
from acmehub.models.identifiers import Identifier, base_name, canonical

MOST_PAUSES = 100
LONGEST_DETAIL = 2000  # it may have the address of a page, which is long


def pause_for(detail: str, identifiers: Sequence[Identifier], now: datetime) -> Pause:
    """The pause that a CA's words are about: those of the order's names that stand in them, else the account."""
    words = detail.lower()
    names = {canonical(item.value) for item in identifiers}
    named = {name for name in names if _stands_in(name, words) or _stands_in(base_name(name), words)}
    return Pause(now, detail[:LONGEST_DETAIL], tuple(sorted(named)))


def with_pause(pauses: tuple[Pause, ...], pause: Pause) -> tuple[Pause, ...]:
    """The pauses with another one, unless one of the same names is there; the oldest are forgotten first."""
    if any(item.names == pause.names for item in pauses):
        return pauses
    return (*pauses, pause)[-MOST_PAUSES:]


def pause_of(pauses: Sequence[Pause], identifiers: Sequence[Identifier]) -> Pause | None:
    """The pause that an order for these names would run into."""
    if not pauses:
        return None
    names = {canonical(item.value) for item in identifiers}
    return next((item for item in pauses if not item.names or not names.isdisjoint(item.names)), None)


def _stands_in(name: str, words: str) -> bool:
    return re.search(rf"(?<![\w.*-]){re.escape(name)}(?!\.?[\w-])", words) is not None
