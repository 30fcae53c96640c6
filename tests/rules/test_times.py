"""Times from outside: whatever is sent, the result can be stored, compared and moved."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from acmehub.rules.times import (
    EARLIEST,
    LATEST,
    LONGEST_RETRY_AFTER,
    parse_http_date,
    parse_retry_after,
    parse_time,
)

NOON = datetime(2026, 12, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-12-01T12:00:00Z", NOON),
        ("2026-12-01t12:00:00z", NOON),
        ("2026-12-01 12:00:00Z", NOON),
        ("2026-12-01T14:00:00+02:00", NOON),
        ("2026-12-01T06:30:00-05:30", NOON),
        ("2026-12-01T12:00:00-00:00", NOON),
        ("2026-12-01T12:00:00.5Z", NOON + timedelta(seconds=0.5)),
        ("2026-12-01T12:00:00.123456789Z", NOON + timedelta(microseconds=123456)),
        ("2016-12-31T23:59:60Z", datetime(2016, 12, 31, 23, 59, 59, tzinfo=UTC)),
        ("0001-01-01T00:00:00Z", EARLIEST),
        ("0001-01-01T00:00:00+23:59", EARLIEST),
        ("0000-01-01T00:00:00Z", EARLIEST),
        ("9999-12-31T23:59:59Z", LATEST),
        ("9999-12-31T23:59:59-23:59", LATEST),
        ("1970-01-01T00:00:00+23:59", EARLIEST),
        ("9999-01-01T00:00:00-23:59", LATEST),
    ],
)
def test_a_timestamp_is_read_and_kept_within_the_limits(text: str, moment: datetime) -> None:
    assert parse_time(text) == moment


@pytest.mark.parametrize(
    "text",
    [
        "",
        "soon",
        "2026-12-01",
        "2026-12-01T12:00:00",
        "2026-13-01T12:00:00Z",
        "2026-12-01T12:00:61Z",
        "2026-12-01T25:00:00Z",
        "2026-12-01T12:00:00+24:00",
        "2026-12-01T12:00:00Z ",
        "٢٠٢٦-12-01T12:00:00Z",
        "2026-12-01T12:00:00." + "1" * 200 + "Z",
        "10000-01-01T00:00:00Z",
    ],
)
def test_any_other_text_is_no_timestamp(text: str) -> None:
    assert parse_time(text) is None


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90", 90.0),
        (" 0 ", 0.0),
        ("9" * 5000, LONGEST_RETRY_AFTER),
        ("Tue, 01 Dec 2026 12:10:00 GMT", 600.0),
        ("Tue, 01 Dec 2026 12:10:00", 600.0),
        ("Tue, 01 Dec 2026 13:10:00 +0100", 600.0),
        ("Mon, 30 Nov 2026 12:00:00 GMT", 0.0),
        ("Fri, 31 Dec 9999 23:59:59 -2359", LONGEST_RETRY_AFTER),
        ("Mon, 01 Jan 0001 00:00:00 +2359", 0.0),
        ("Mon, 01 Jan 99999 00:00:00 GMT", None),
        ("Mon, 01 Jan 2026 00:00:00 +9999999", None),
        ("-5", None),
        ("1.5", None),
        ("٣", None),
        ("soon", None),
        ("", None),
        ("Tue, " * 100, None),
    ],
)
def test_retry_after_is_seconds_within_the_limits_or_nothing(text: str, seconds: float | None) -> None:
    assert parse_retry_after(text, NOON) == seconds


@given(
    st.text(max_size=40)
    | st.from_regex(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(Z|[+-][0-9]{2}:[0-9]{2})", fullmatch=True)
    | st.from_regex(
        r"[A-Z][a-z]{2}, [0-9]{1,2} (Jan|Feb|Dec) [0-9]{1,5} [0-9:]{1,8} (GMT|[+-][0-9]{1,6}|)", fullmatch=True
    )
)
def test_no_text_makes_an_error_and_every_result_can_be_stored_and_moved(text: str) -> None:
    for moment in (parse_time(text), parse_http_date(text)):
        if moment is not None:
            assert EARLIEST <= moment <= LATEST
            assert (moment + timedelta(days=300)).astimezone(UTC) > moment
    seconds = parse_retry_after(text, NOON)
    assert seconds is None or 0 <= seconds <= LONGEST_RETRY_AFTER
