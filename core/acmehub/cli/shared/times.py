"""Times and durations as options take them: one spelling for all."""

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import click

_DURATION = re.compile(r"(\d{1,6})([smhdw])")
_FROM_NOW = re.compile(r"([+-]?)(\d{1,6}[smhdw])")
_SIGNS = {"+": 1, "-": -1}
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
    """A time: a duration from now or before now, a date (its begin, UTC), or RFC 3339; UTC where no zone is named.

    `sign` is for a duration without one: 1 is from now (`+3d`), -1 before now (`-12h`).
    """

    name = "WHEN"

    def __init__(self, sign: int) -> None:
        self._sign = sign

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        if isinstance(value, datetime):
            return value
        from_now = _FROM_NOW.fullmatch(value)
        try:
            if from_now is not None:
                away = (duration_of(from_now[2]) or timedelta()) * _SIGNS.get(from_now[1], self._sign)
                return datetime.now(UTC).replace(microsecond=0) + away
            at = datetime.fromisoformat(value)
        except (ValueError, OverflowError):
            self.fail(f"{value!r} is not like 30d, 2027-01-31 or 2027-01-31T12:00:00Z", param, ctx)
        return at.astimezone(UTC) if at.tzinfo else at.replace(tzinfo=UTC)


DURATION = Duration()
MOMENT = Moment(1)
"""A time to come."""
PAST = Moment(-1)
"""A time that is over."""
