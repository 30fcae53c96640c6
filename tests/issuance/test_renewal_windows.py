"""What the CA says of renewals is asked for in the background, and it is told what a renewal replaces (RFC 9773)."""

from datetime import timedelta

import pytest
from msgspec.structs import replace

from acmehub.models import Certificate
from acmehub.ports.authority import UpstreamRateLimited, UpstreamRenewalInfo, UpstreamUnavailable
from tests.issuance.rig import Rig

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)


async def issued(rig: Rig, name: str = "www.corp.test", *, signing: bool = False) -> Certificate:
    order_id = await rig.open(name, finalize=True, signing=signing)
    await rig.go()
    return await of_order(rig, order_id)


async def of_order(rig: Rig, order_id: str) -> Certificate:
    certificate_id = (await rig.order(order_id)).certificate_id
    assert certificate_id is not None
    return await stored(rig, certificate_id)


async def stored(rig: Rig, certificate_id: str) -> Certificate:
    found = await rig.store.certificates.get(certificate_id)
    assert found is not None
    return found


def asked(rig: Rig) -> int:
    return rig.relay.calls.count("renewal_info")


def window(rig: Rig, *, retry_after: float | None = 6 * 3600.0) -> UpstreamRenewalInfo:
    now = rig.clock.now()
    return UpstreamRenewalInfo(now + DAY, now + 2 * DAY, "https://ca.test/why", retry_after)


# ---------------------------------------------------------------------------------------------- what is kept


async def test_a_certificate_is_kept_with_its_identifier_and_the_account_that_has_it(rig: Rig) -> None:
    certificate = await issued(rig)
    assert certificate.cert_id.count(".") == 1
    assert certificate.account_url in rig.relay.accounts.values()
    assert certificate.principal_id == rig.principal.id
    assert certificate.window_until is not None


async def test_an_authority_that_signs_by_itself_is_never_asked(rig: Rig) -> None:
    certificate = await issued(rig, signing=True)
    assert certificate.account_url == ""
    assert certificate.window_until is None
    assert await rig.main.windows.work_off() == 0


# ----------------------------------------------------------------------------------------------- what is asked


async def test_the_cas_window_is_stored_and_asked_for_again_when_the_ca_said(rig: Rig) -> None:
    certificate = await issued(rig)
    said = rig.relay.renewals[certificate.cert_id] = window(rig)
    assert await rig.main.windows.work_off() == 1
    found = await stored(rig, certificate.id)
    assert (found.window_start, found.window_end, found.explanation_url) == (said.start, said.end, said.explanation_url)
    rig.clock.advance(6 * 3600.0 - 60)
    assert await rig.main.windows.work_off() == 0
    rig.clock.advance(1.3 * 3600)
    rig.relay.renewals[certificate.cert_id] = later = window(rig)
    assert await rig.main.windows.work_off() == 1
    assert (await stored(rig, certificate.id)).window_start == later.start
    assert asked(rig) == 2


@pytest.mark.parametrize(("said", "least", "most"), [(1.0, 60, 72), (10.0**6, 86_400, 103_680), (None, 21_600, 25_920)])
async def test_the_time_of_the_next_look_is_kept_within_reason(
    rig: Rig, said: float | None, least: float, most: float
) -> None:
    certificate = await issued(rig)
    rig.relay.renewals[certificate.cert_id] = window(rig, retry_after=said)
    await rig.main.windows.work_off()
    until = (await stored(rig, certificate.id)).window_until
    assert until is not None
    assert least - 1 <= (until - rig.clock.now()).total_seconds() <= most


async def test_a_ca_without_renewal_information_is_asked_once_a_day(rig: Rig) -> None:
    certificate = await issued(rig)
    await rig.store.certificates.replace(replace(certificate, window_start=rig.clock.now()))
    await rig.main.windows.work_off()
    assert (await stored(rig, certificate.id)).window_start is None
    rig.clock.advance(86_000)
    assert await rig.main.windows.work_off() == 0


async def test_of_two_workers_one_asks(rig: Rig) -> None:
    for number in range(4):
        await issued(rig, f"n{number}.corp.test")
    other = rig.worker(owner="other")
    due = await rig.store.certificates.window_due(rig.clock.now(), 10)
    for certificate in due:  # both have read the same rows
        await rig.main.windows.work(certificate)
        await other.windows.work(certificate)
    assert asked(rig) == 4


async def test_a_ca_that_fails_is_left_alone_and_what_it_said_before_is_kept(rig: Rig) -> None:
    first = await issued(rig)
    rig.relay.renewals[first.cert_id] = said = window(rig, retry_after=60)
    await rig.main.windows.work_off()
    others = [await issued(rig, f"n{number}.corp.test") for number in range(9)]
    rig.clock.advance(120)
    rig.relay.fail("renewal_info", UpstreamUnavailable("no answer"), times=100)
    before = asked(rig)
    await rig.main.windows.work_off()
    assert asked(rig) - before <= 4  # as many as are asked side by side
    assert (await stored(rig, first.id)).window_start == said.start
    for _ in range(9):
        rig.clock.advance(60)
        await rig.main.windows.work_off()
    assert asked(rig) - before <= 4
    rig.relay._script.clear()
    rig.relay.renewals = {item.cert_id: window(rig) for item in others}
    for _ in range(100):
        rig.clock.advance(60)
        await rig.main.windows.work_off()
    assert all([(await stored(rig, item.id)).window_start for item in others])


async def test_a_rate_limit_is_kept_to(rig: Rig) -> None:
    await issued(rig)
    rig.relay.fail("renewal_info", UpstreamRateLimited("too many", retry_after=7200))
    await rig.main.windows.work_off()
    await issued(rig, "other.corp.test")
    for _ in range(60):
        rig.clock.advance(119)
        await rig.main.windows.work_off()
    assert asked(rig) == 1


async def test_what_is_over_is_not_asked_for_any_more(rig: Rig) -> None:
    now = rig.clock.now()
    for number, change in enumerate(({"revoked": now}, {"replaced_by": "order"}, {"not_after": now})):
        certificate = await issued(rig, f"n{number}.corp.test")
        await rig.store.certificates.replace(replace(certificate, **change))  # type: ignore[arg-type]
    assert await rig.main.windows.work_off() == 3
    assert await rig.main.windows.work_off() == 0
    assert asked(rig) == 0


async def test_a_certificate_that_is_revoked_while_the_ca_is_asked_stays_revoked(rig: Rig) -> None:
    certificate = await issued(rig)
    rig.relay.renewals[certificate.cert_id] = window(rig)
    look = rig.relay.renewal_info

    async def revoked_meanwhile(cert_id: str) -> UpstreamRenewalInfo | None:
        row = await stored(rig, certificate.id)
        await rig.store.certificates.replace(replace(row, revoked=rig.clock.now()))
        return await look(cert_id)

    rig.relay.renewal_info = revoked_meanwhile  # type: ignore[method-assign]
    await rig.main.windows.work_off()
    assert (await stored(rig, certificate.id)).revoked is not None


# -------------------------------------------------------------------------------------------- what is replaced


async def renewed(rig: Rig, old: Certificate) -> tuple[str | None, str]:
    """A renewal: what the CA was told of it, and the order's id."""
    order_id = await rig.open("www.corp.test", finalize=True, replaces=old.cert_id)
    await rig.go()
    return list(rig.relay.orders.values())[-1].request.replaces, order_id


async def test_the_ca_is_told_what_its_certificate_is_replaced_by(rig: Rig) -> None:
    old = await issued(rig)
    told, order_id = await renewed(rig, old)
    assert told == old.cert_id
    assert (await stored(rig, old.id)).replaced_by == order_id
    assert "`replaces` not sent" not in await rig.whats(order_id)


async def test_another_upstream_account_is_not_told_but_the_hub_knows_what_is_replaced(rig: Rig) -> None:
    old = await issued(rig)
    row = await rig.store.certificates.get(old.id)
    assert row is not None
    await rig.store.certificates.replace(replace(row, account_url="https://ca.test/account/older"))
    told, order_id = await renewed(rig, old)
    assert told is None
    [event] = [item for item in await rig.timeline(order_id) if item.kind == "`replaces` not sent"]
    assert event.detail == "the certificate is another upstream account's"
    await rig.assert_valid(order_id)
    assert (await stored(rig, old.id)).replaced_by == order_id


async def test_another_authority_is_not_told(rig: Rig) -> None:
    old = await issued(rig, signing=True)
    told, order_id = await renewed(rig, old)
    assert told is None
    assert "`replaces` not sent" in await rig.whats(order_id)
    assert (await stored(rig, old.id)).replaced_by == order_id


async def test_a_renewal_that_fails_replaces_nothing(rig: Rig) -> None:
    old = await issued(rig)
    order_id = await rig.open("www.corp.test", replaces=old.cert_id)
    await rig.go()
    await rig.deactivate(order_id)
    assert (await stored(rig, old.id)).replaced_by is None


async def test_who_asks_is_noted_while_it_asks(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a storage knows whose question ended with its process."""
    certificate = await issued(rig)
    seen: list[str | None] = []

    async def renewal_info(_cert_id: str) -> None:
        seen.append((await stored(rig, certificate.id)).lease_owner)

    monkeypatch.setattr(rig.relay, "renewal_info", renewal_info)
    assert await rig.main.windows.work_off() == 1
    assert seen == ["main"]
    assert (await stored(rig, certificate.id)).lease_owner is None
