"""Renewal information of a CA (RFC 9773); not every Pebble has ARI, so the proxy answers in its place."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import pytest

from acmehub import AcmeRelay, InformsOfRenewal, UpstreamRateLimited, UpstreamRenewalInfo, UpstreamUnavailable
from acmehub.testing.fault_proxy import Call, Fault, FaultProxy, Forward, ProxyReply
from acmehub.testing.upstream_faults import changed, html, problem
from tests.upstream.conftest import PLAIN, MakeRelay

CERT_ID = "aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE"
WINDOW = {"start": "2026-12-01T12:00:00Z", "end": "2026-12-03T14:00:00.5+02:00"}
START = datetime(2026, 12, 1, 12, tzinfo=UTC)
PATH = "/renewal-info/"


@pytest.fixture
def informing(make_relay: MakeRelay, proxy: FaultProxy) -> AcmeRelay:
    """A relay whose CA has the resource."""
    proxy.play(changed({"renewalInfo": f"{proxy.url}/renewal-info"}), path="/dir", times=None)
    return make_relay()


def says(members: Mapping[str, object], **headers: str) -> Fault:
    def fault(call: Call, forward: Forward) -> ProxyReply:
        given = [
            ("Content-Type", "application/json"),
            *((name.replace("_", "-"), text) for name, text in headers.items()),
        ]
        return ProxyReply(status=200, headers=tuple(given), body=json.dumps(members).encode())

    return fault


async def test_the_window_is_read_with_the_page_and_the_time_to_come_back(
    informing: AcmeRelay, proxy: FaultProxy
) -> None:
    members = {"suggestedWindow": WINDOW, "explanationURL": "https://ca.test/why", "more": [1]}
    proxy.play(says(members, Retry_After="21600"), path=PATH)
    assert isinstance(informing, InformsOfRenewal)
    end = START + timedelta(days=2, seconds=0.5)
    assert await informing.renewal_info(CERT_ID) == UpstreamRenewalInfo(START, end, "https://ca.test/why", 21_600.0)
    assert proxy.calls[-1].path == f"/renewal-info/{CERT_ID}"
    assert proxy.calls[-1].method == "GET"


async def test_a_day_is_the_longest_that_is_waited(informing: AcmeRelay, proxy: FaultProxy) -> None:
    proxy.play(says({"suggestedWindow": WINDOW}, Retry_After="9999999"), path=PATH)
    found = await informing.renewal_info(CERT_ID)
    assert found is not None
    assert (found.explanation_url, found.retry_after) == ("", 86_400.0)


async def test_a_ca_without_the_resource_says_nothing_and_is_not_asked(
    make_relay: MakeRelay, proxy: FaultProxy
) -> None:
    proxy.play(changed(PLAIN), path="/dir", times=None)
    assert await make_relay().renewal_info(CERT_ID) is None
    assert [call.path for call in proxy.calls] == ["/dir"]


@pytest.mark.parametrize("status", [400, 404, 410])
async def test_a_certificate_that_the_ca_does_not_know_has_no_window(
    informing: AcmeRelay, proxy: FaultProxy, status: int
) -> None:
    proxy.play(problem(status, "malformed", "no such certificate"), path=PATH)
    assert await informing.renewal_info(CERT_ID) is None


@pytest.mark.parametrize(
    "members",
    [
        {},
        {"suggestedWindow": {"start": "soon", "end": "later"}},
        {"suggestedWindow": {"start": WINDOW["end"], "end": WINDOW["start"]}},
        {"suggestedWindow": {"start": WINDOW["start"], "end": WINDOW["start"]}},
        {"suggestedWindow": {"start": "2026-12-01T12:00:00", "end": "2026-12-02T12:00:00"}},
    ],
)
async def test_a_window_that_is_none_is_no_answer(
    informing: AcmeRelay, proxy: FaultProxy, members: dict[str, object]
) -> None:
    proxy.play(says(members), path=PATH)
    with pytest.raises(UpstreamUnavailable):
        await informing.renewal_info(CERT_ID)


@pytest.mark.parametrize("page", ["javascript:alert(1)", 7, None, ["https://ca.test"]])
async def test_a_page_that_is_no_web_page_is_not_passed_on(
    informing: AcmeRelay, proxy: FaultProxy, page: object
) -> None:
    proxy.play(says({"suggestedWindow": WINDOW, "explanationURL": page}), path=PATH)
    found = await informing.renewal_info(CERT_ID)
    assert found is not None
    assert found.explanation_url == ""


async def test_a_ca_that_is_down_or_overrun_is_told_from_one_that_does_not_know(
    informing: AcmeRelay, proxy: FaultProxy
) -> None:
    proxy.play(html(503), path=PATH)
    with pytest.raises(UpstreamUnavailable):
        await informing.renewal_info(CERT_ID)
    proxy.play(problem(429, "rateLimited", "too many", retry_after="77"), path=PATH)
    with pytest.raises(UpstreamRateLimited) as caught:
        await informing.renewal_info(CERT_ID)
    assert caught.value.retry_after == 77
