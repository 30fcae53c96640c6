"""Limits on what clients do: token buckets, one number each (GCRA, the generic cell rate algorithm).

A bucket holds `number` tokens and gets one back every `seconds / number`. What is kept of it is when it will be full
again, so that a bucket that is full needs no memory. Times are microseconds since 1970.
"""

from collections.abc import Mapping, Sequence
from hashlib import blake2b

import msgspec

SECOND = 1_000_000
MINUTE = 60.0
HOUR = 3600.0
DAY = 24 * HOUR
AT_ONCE = 0.0
_PERIODS = {HOUR: "an hour", DAY: "a day", MINUTE: "a minute", 1.0: "a second", AT_ONCE: "at once"}
SKEW = 300 * SECOND
"""By how much the clocks of two processes may differ; a bucket that is emptier than that allows was not made so by this
limit (it was lowered, or the clock was put back), and counts as full."""


class RateLimit(msgspec.Struct, frozen=True):
    """At most `number` tokens at once; one comes back every `interval`. `text` says to a client what is limited.

    A request waits up to `turn_within` for its turn before it is refused. Times in microseconds.
    """

    name: str
    number: int
    interval: int
    text: str
    turn_within: int = 0


def limit(name: str, number: int, seconds: float, words: str, *, turn_within: float = 0.0) -> RateLimit:
    """At most `number` at once, and as many in each `seconds` (`AT_ONCE`: what is counted ends by itself, not by time);
    `words` name what is counted."""
    text = f"{words}: at most {number} {_PERIODS[seconds]} (limit {name})"
    return RateLimit(name, number, max(1, round(seconds * SECOND / number)), text, round(turn_within * SECOND))


class Charge(msgspec.Struct, frozen=True):
    """`cost` tokens of a limit's bucket `key`: made by `charge`."""

    limit: RateLimit
    key: str
    cost: int = 1


def charge(limit: RateLimit, subject: str, cost: int = 1) -> Charge:
    """`cost` tokens of the bucket that a limit has for one address, account or token."""
    return Charge(limit, f"{limit.name}/{subject}", cost)


class TokensLacking(msgspec.Struct, frozen=True):
    """Which bucket has not enough tokens, and after how many microseconds it has them, if nothing else is taken."""

    charge: Charge
    wait: int


class TokensTaken(msgspec.Struct, frozen=True):
    """The buckets after the tokens were taken, and the microseconds to wait for one's turn."""

    full_at: dict[str, int]
    wait: int = 0


def take(full_at: Mapping[str, int], charges: Sequence[Charge], now: int) -> TokensTaken | TokensLacking:
    """Take the tokens of all charges, or none; of several that refuse, the one that does for longest is named.

    `full_at` has the buckets that are not full. A charge above the limit's number costs a whole bucket.
    """
    refused: TokensLacking | None = None
    after: dict[str, int] = {}
    longest = 0
    for each in charges:
        limit, key = each.limit, each.key
        interval = limit.interval
        most = now + interval * limit.number  # when a bucket that is emptied now is full
        full = after.get(key) or full_at.get(key, 0)
        if full <= now or full > most + limit.turn_within + SKEW:
            full = now
        full += interval * (each.cost if each.cost < limit.number else limit.number)
        wait = full - most
        if wait <= limit.turn_within:
            after[key] = full
            if wait > longest:
                longest = wait
        elif refused is None or wait - limit.turn_within > refused.wait:
            refused = TokensLacking(each, wait - limit.turn_within)
    return TokensTaken(after, longest) if refused is None else refused


def seconds_of(wait: int) -> int:
    """A wait as `Retry-After` has it: whole seconds, rounded up, at least one."""
    return max(1, -(-wait // SECOND))


def name_set_subject(account_id: str, name_set: str) -> str:
    """An account and a set of names, as short for a hundred names as for one."""
    return f"{account_id}/{blake2b(name_set.encode(), digest_size=16).hexdigest()}"
