"""Times and durations as options take them: one spelling for all."""

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import click

_DURATION = re.compile(r"(\d{1,5})([smhdw])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def duration_of(text: str) -> timedelta | None:
    """`90s`, `15m`, `12h`, `30d`, `2w`; None for another text."""
    found = _DURATION.fullmatch(text)
    return timedelta(**{_UNITS[found[2]]: int(found[1])}) if found else None


class Duration(click.ParamType[timedelta]):
    """A duration."""

    name = "DURATION"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> timedelta:
        if isinstance(value, timedelta):
            return value
        found = duration_of(value)
        if found is None:
            self.fail(f"{value!r} is not like 12h, 30d or 2w", param, ctx)
        return found


class Moment(click.ParamType[datetime]):
    """A time: a duration from now (`sign` 1) or before now (-1), a date (its begin, UTC), or RFC 3339."""

    name = "WHEN"

    def __init__(self, sign: int) -> None:
        self._sign = sign

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        if isinstance(value, datetime):
            return value
        found = duration_of(value)
        if found is not None:
            return datetime.now(UTC).replace(microsecond=0) + self._sign * found
        try:
            at = datetime.fromisoformat(value)
        except ValueError:
            self.fail(f"{value!r} is not like 30d, 2027-01-31 or 2027-01-31T12:00:00Z", param, ctx)
        return at if at.tzinfo else at.replace(tzinfo=UTC)


DURATION = Duration()
MOMENT = Moment(1)
"""A time to come."""
PAST = Moment(-1)
"""A time that is over."""
