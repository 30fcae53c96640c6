"""Times from outside: timestamps (RFC 3339), HTTP dates and Retry-After (RFC 9110 section 10.2.3).

Every result can be stored, compared, and moved by some months without an overflow: it lies from `EARLIEST` to `LATEST`.
"""

import email.utils
import re
from datetime import UTC, datetime, timedelta

EARLIEST = datetime(1970, 1, 1, tzinfo=UTC)
LATEST = datetime(9999, 1, 1, tzinfo=UTC)
LONGEST_RETRY_AFTER = 366 * 86_400.0

_LONGEST_TEXT = 128
_TIMESTAMP = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[Tt ](\d\d):(\d\d):(\d\d)(?:\.(\d+))?(?:[Zz]|([+-])([01]\d|2[0-3]):([0-5]\d))", re.ASCII
)


def parse_time(text: str) -> datetime | None:
    """A timestamp with its offset (RFC 3339 section 5.6) in UTC; None for any other text.

    A second 60 counts as 59. A time before `EARLIEST` or after `LATEST` becomes that limit.
    """
    found = _TIMESTAMP.fullmatch(text) if len(text) <= _LONGEST_TEXT else None
    if found is None:
        return None
    year, month, day, hour, minute, second = map(int, found.groups()[:6])
    fraction, sign, hours, minutes = found.groups()[6:]
    microsecond = int((fraction or "0")[:6].ljust(6, "0"))
    try:
        local = datetime(max(year, 1), month, day, hour, minute, min(second, 59), microsecond, tzinfo=UTC)
    except ValueError:
        return None
    if second > 60:
        return None
    offset = timedelta(hours=int(hours or 0), minutes=int(minutes or 0))
    return _moved(local, offset if sign == "-" else -offset)


def parse_http_date(text: str) -> datetime | None:
    """A date of an HTTP header in UTC, within the limits; None for any other text. Without an offset it is in UTC."""
    if len(text) > _LONGEST_TEXT:
        return None
    try:
        when = email.utils.parsedate_to_datetime(text)
    except (ValueError, OverflowError, IndexError, TypeError):  # what the standard library raises for damaged dates
        return None
    offset = when.utcoffset()
    return _moved(when.replace(tzinfo=UTC), -offset if offset is not None else timedelta())


def parse_retry_after(text: str, now: datetime) -> float | None:
    """Retry-After in seconds after `now`, from 0 to `LONGEST_RETRY_AFTER`; None for a text that is none.

    `now` is the time on the clock of the sender, as its Date header tells it.
    """
    value = text.strip()
    if value.isascii() and value.isdigit():
        seconds = float(value)
    else:
        when = parse_http_date(value)
        if when is None:
            return None
        seconds = (when - now).total_seconds()
    return min(max(seconds, 0.0), LONGEST_RETRY_AFTER)


def _moved(moment: datetime, by: timedelta) -> datetime:
    """`moment` moved and clamped; an offset is shorter than a day."""
    if moment <= EARLIEST + timedelta(days=-1):
        return EARLIEST
    if moment >= LATEST + timedelta(days=1):
        return LATEST
    return min(max(moment + by, EARLIEST), LATEST)
