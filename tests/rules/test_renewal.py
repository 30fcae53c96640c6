"""When to renew (RFC 9773): identifiers, and windows that keep within their bounds and apart from each other."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from acmehub.models import Campaign, Certificate, new_id
from acmehub.rules.renewal import (
    STALE,
    Window,
    WindowOrigin,
    advise,
    campaign_window,
    cert_id,
    cert_id_in,
    clamped,
    concerns,
    default_window,
    identifier,
    retry_after,
    serial_in,
    serial_or_none,
)
from acmehub.testing.fake_ca import FakeCa, make_csr

NOW = datetime(2026, 11, 24, 6, tzinfo=UTC)
DAY = timedelta(days=1)
SECOND = timedelta(seconds=1)
RFC_KEY = bytes.fromhex("69885B6B87464041E1B37B847BA0AE2CDE01C8D4")  # the example of RFC 9773 section 4.1
RFC_ID = "aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE"

times = st.timedeltas(timedelta(days=-300), timedelta(days=700)).map(lambda away: NOW + away)
spans = st.timedeltas(timedelta(minutes=1), timedelta(days=400))


def a_certificate(**fields: object) -> Certificate:
    usual: dict[str, object] = {
        "order_id": "o",
        "account_id": "a",
        "authority_id": "ca",
        "names": ("www.corp.test",),
        "serial": "0a",
        "issuer": "CN=CA",
        "spki_sha256": "",
        "not_before": NOW - 10 * DAY,
        "not_after": NOW + 80 * DAY,
        "chain": "",
        "created": NOW - 10 * DAY,
        "principal_id": "device",
        "cert_id": RFC_ID,
    }
    return Certificate(**{**usual, **fields})  # type: ignore[arg-type]


def a_campaign(**fields: object) -> Campaign:
    usual: dict[str, object] = {"name": "c", "starts": NOW, "renew_by": NOW + 3 * DAY, "created": NOW}
    return Campaign(**{**usual, **fields})  # type: ignore[arg-type]


# ------------------------------------------------------------------------------------------------- identifiers


def test_the_identifier_is_that_of_the_example_in_the_rfc() -> None:
    assert cert_id(RFC_KEY, 0x8765_4321) == RFC_ID
    assert serial_in(RFC_ID) == "87654321"


def test_a_certificate_that_does_not_name_its_issuers_key_has_no_identifier() -> None:
    assert cert_id(b"", 1) == ""
    assert cert_id_in("no certificate") == ""


def test_the_identifier_is_found_in_a_chain_where_it_was_not_stored() -> None:
    ca = FakeCa(NOW)
    chain = ca.chains(make_csr(["a.test"]), ["a.test"], NOW)[0]
    found = cert_id_in(chain)
    assert serial_in(found) == f"{ca.issued[0].serial_number:040x}".lstrip("0").zfill(len(serial_in(found)))
    assert identifier(a_certificate(cert_id="", chain=chain)) == found


@given(st.binary(min_size=1, max_size=32), st.integers(1, 2**159 - 1))
def test_a_serial_number_comes_out_of_an_identifier_as_it_went_in(key: bytes, serial: int) -> None:
    text = cert_id(key, serial)
    assert int(serial_in(text), 16) == serial
    assert len(serial_in(text)) % 2 == 0
    assert set(text) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.")


@pytest.mark.parametrize(
    "text",
    ["", ".", "abc", "abc.", ".abc", "a.b.c", "YWJj.YWJj=", "YWJj.YW Jj", "YWJj.gA", "YWJj.é", f"YWJj.{'AA' * 20}"],
)
def test_what_is_no_identifier_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        serial_in(text)


@given(st.text(max_size=60))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        assert bytes.fromhex(serial_in(text))
    except ValueError:
        return


# ---------------------------------------------------------------------------------------------- without a campaign


@given(times, st.timedeltas(timedelta(hours=1), timedelta(days=3650)))
def test_the_computed_window_lies_within_the_life_and_before_its_last_quarter(start: datetime, life: timedelta) -> None:
    window = default_window(start, start + life)
    assert start < window.start < window.end < start + life * 0.75
    assert timedelta(0) < window.end - window.start <= life * 0.04 + SECOND


def test_the_computed_window_opens_for_the_last_third_and_for_short_lives_at_the_half() -> None:
    assert default_window(NOW, NOW + 90 * DAY).start == NOW + 60 * DAY
    assert default_window(NOW, NOW + 6 * DAY).start == NOW + 3 * DAY


def test_what_the_ca_said_counts_while_it_is_fresh() -> None:
    said = a_certificate(
        window_start=NOW + DAY, window_end=NOW + 2 * DAY, window_until=NOW, explanation_url="https://ca.test/why"
    )
    advice = advise(said, (), NOW)
    assert advice.origin is WindowOrigin.UPSTREAM
    assert advice.window == Window(NOW + DAY, NOW + 2 * DAY)
    assert advice.explanation_url == "https://ca.test/why"
    assert advise(said, (), NOW + STALE).origin is WindowOrigin.DATES
    assert advise(replace(said, window_until=None), (), NOW).origin is WindowOrigin.DATES


def test_a_revoked_certificate_is_to_be_renewed_now_whatever_else_is_said() -> None:
    said = a_certificate(revoked=NOW - DAY, window_start=NOW + DAY, window_end=NOW + 2 * DAY, window_until=NOW + DAY)
    advice = advise(said, (a_campaign(starts=NOW + DAY),), NOW)
    assert advice.origin is WindowOrigin.REVOCATION
    assert advice.window.start < advice.window.end < NOW


# ------------------------------------------------------------------------------------------------- campaigns


@given(times, spans, spans, spans, st.integers(0, 10**6))
def test_a_campaigns_window_lies_in_its_time_and_never_ends_behind_the_ordinary_one(
    starts: datetime, length: timedelta, before: timedelta, ordinary: timedelta, number: int
) -> None:
    campaign = a_campaign(starts=starts, renew_by=starts + length)
    usual = Window(starts - before, starts - before + ordinary)
    window = campaign_window(campaign, f"certificate {number}", usual)
    if usual.end <= starts:
        assert window is None
        return
    assert window is not None
    assert window.start < window.end
    assert window.end <= min(campaign.renew_by, usual.end)
    assert window.start >= starts - 2 * SECOND


def test_windows_are_spread_evenly_over_the_time_of_a_campaign_and_stay_as_they_are() -> None:
    campaign = a_campaign(renew_by=NOW + 10 * DAY)
    usual = Window(NOW + 50 * DAY, NOW + 52 * DAY)
    ids = [new_id() for _ in range(20_000)]
    windows = [campaign_window(campaign, id, usual) for id in ids]
    assert windows == [campaign_window(campaign, id, usual) for id in ids]
    middles = [window.start + (window.end - window.start) / 2 for window in windows if window]
    per_day = [sum(NOW + day * DAY <= item < NOW + (day + 1) * DAY for item in middles) for day in range(10)]
    assert all(0.9 < count / (20_000 / (10 * 11 / 12)) < 1.1 for count in per_day[1:-1])
    assert sum(per_day) == 20_000


@pytest.mark.parametrize(
    ("criteria", "meant"),
    [
        ({}, True),
        ({"authority_id": "ca"}, True),
        ({"authority_id": "other"}, False),
        ({"profile": "short"}, False),
        ({"principal_id": "device"}, True),
        ({"principal_id": "other"}, False),
        ({"names": "*.corp.test"}, True),
        ({"names": "corp.test, www.corp.test"}, True),
        ({"names": "*.orp.test"}, False),
        ({"authority_id": "ca", "names": "*.other.test"}, False),
        ({"created": NOW - 10 * DAY}, False),  # not issued before it
        ({"ended": NOW}, False),
    ],
)
def test_a_campaign_is_for_what_fits_all_its_criteria_and_was_issued_before_it(
    criteria: dict[str, object], meant: bool
) -> None:
    campaign = a_campaign(**criteria)
    assert concerns(campaign, a_certificate()) is meant
    assert (advise(a_certificate(), (campaign,), NOW).origin is WindowOrigin.CAMPAIGN) is meant


def test_of_several_campaigns_the_earliest_counts_and_its_page_is_told() -> None:
    late = a_campaign(starts=NOW + 5 * DAY, renew_by=NOW + 6 * DAY, explanation_url="https://a.test/late")
    early = a_campaign(renew_by=NOW + DAY, explanation_url="https://a.test/early")
    for order in ((late, early), (early, late)):
        advice = advise(a_certificate(), order, NOW)
        assert advice.explanation_url == "https://a.test/early"
        assert advice.window.end <= NOW + DAY


def test_a_certificate_that_the_ca_wants_renewed_sooner_keeps_the_cas_window_and_page() -> None:
    urgent = a_certificate(
        window_start=NOW - DAY, window_end=NOW - DAY / 2, window_until=NOW + DAY, explanation_url="https://ca.test/x"
    )
    advice = advise(urgent, (a_campaign(explanation_url="https://a.test"),), NOW)
    assert (advice.origin, advice.explanation_url) == (WindowOrigin.UPSTREAM, "https://ca.test/x")


def test_clients_come_back_sooner_in_a_campaign_and_when_there_may_be_news() -> None:
    certificate = a_certificate()
    ordinary = advise(certificate, (), NOW)
    urged = advise(certificate, (a_campaign(),), NOW)
    assert retry_after(certificate, ordinary, 21_600, NOW) == 21_600
    assert retry_after(certificate, urged, 21_600, NOW) == 3600
    soon = replace(certificate, window_until=NOW + timedelta(minutes=30))
    assert retry_after(soon, ordinary, 21_600, NOW) == 1800
    assert retry_after(replace(certificate, window_until=NOW + SECOND), ordinary, 21_600, NOW) == 900
    assert retry_after(replace(certificate, window_until=NOW - DAY), ordinary, 21_600, NOW) == 21_600
    assert retry_after(soon, urged, 60, NOW) == 60


@pytest.mark.parametrize(("retry", "asked"), [(None, 3600), (5.0, 60), (7200.0, 7200), (1e9, 86_400)])
def test_the_ca_is_asked_again_within_the_limits_of_the_rfc(retry: float | None, asked: float) -> None:
    assert clamped(retry, 3600) == asked


def test_what_is_no_identifier_has_no_serial_number() -> None:
    assert serial_or_none("no identifier") is None
    assert serial_or_none("AAAA.AQ") == "01"
