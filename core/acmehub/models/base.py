"""What every stored thing has: an id and a version."""

import secrets
import time
from datetime import UTC, datetime

import msgspec


def new_id() -> str:
    """A fresh id: 44 hexadecimal digits, the milliseconds since 1970 and then 128 random bits.

    Nobody guesses one, and what is made together lies together in every index: with wholly random ids an order costs
    a third more in a database of 100 000.
    """
    return f"{time.time_ns() // 1_000_000:012x}{secrets.token_hex(16)}"


def made_at(id: str) -> datetime:
    """When `new_id` made this id, to the millisecond."""
    return datetime.fromtimestamp(int(id[:12], 16) / 1000, UTC)


class Model(msgspec.Struct, frozen=True, kw_only=True):
    """Base of everything that is stored."""

    id: str = msgspec.field(default_factory=new_id)
    version: int = 1
