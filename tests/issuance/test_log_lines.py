"""What the log says of issuance: each order's end once, an outage twice, a defect once, a record that stays once."""

from datetime import timedelta

import pytest

from acmehub.models import OrderStatus
from acmehub.models.problems import ProblemDocument
from acmehub.ports.authority import UpstreamRateLimited, UpstreamUnavailable
from acmehub.ports.dns import DnsProviderRefused
from tests.issuance.rig import Rig

DOWN = UpstreamUnavailable("connection refused", server="https://ca.test")


def lines(caplog: pytest.LogCaptureFixture, *texts: str) -> list[dict[str, object]]:
    return [vars(record) for record in caplog.records if record.message in texts]


async def test_an_order_that_is_issued_is_one_line(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    order_id = await rig.open("www.corp.test", finalize=True)
    rig.clock.advance(2.5)
    await rig.go()
    await rig.assert_valid(order_id)
    assert [record.message for record in caplog.records] == ["order finished"]
    (line,) = lines(caplog, "order finished")
    assert (line["order"], line["names"], line["authority"]) == (order_id, ("www.corp.test",), "fake.relay")
    assert isinstance(line["seconds"], float)
    assert line["seconds"] >= 2.5


async def test_an_order_that_the_ca_refuses_is_one_line_with_the_problem(
    rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    rig.relay.refused["www.corp.test"] = ProblemDocument("urn:ietf:params:acme:error:caa", "CAA forbids it", 403)
    order_id = await rig.open("www.corp.test", finalize=True)
    await rig.go()
    assert (await rig.order(order_id)).status is OrderStatus.INVALID
    (line,) = lines(caplog, "order failed", "order finished")
    assert (line["order"], line["problem"], line["reason"]) == (order_id, "caa", "CAA forbids it")
    assert "todo" not in line


async def test_a_failed_order_says_what_the_operator_has_to_do(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    paused = UpstreamRateLimited("paused: see https://ca.test/unpause", server="https://ca.test", paused=True)
    rig.relay.fail("new_order", paused)
    order_id = await rig.open(finalize=True)
    await rig.go()
    (line,) = lines(caplog, "order failed")
    assert line["order"] == order_id
    assert "`acmehub authority clear-pause fake.relay`" in str(line["todo"])


async def test_a_failed_order_whose_time_is_up_says_what_to_mend(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    rig.relay.fail("new_order", DOWN, times=1000)
    order_id = await rig.open(finalize=True, issuance_timeout=timedelta(minutes=5))
    await rig.go(3600)
    (line,) = lines(caplog, "order failed")
    assert line["order"] == order_id
    assert str(line["todo"]).startswith("is the CA reachable from here?")
    assert str(line["todo"]).endswith("its client must order again")


async def test_an_outage_of_the_ca_is_two_lines_whatever_waits_for_it(
    rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    orders = [await rig.open(f"n{number}.corp.test", finalize=True) for number in range(8)]
    rig.relay.fail("new_order", DOWN, times=60)
    await rig.go(3600)
    await rig.assert_valid(*orders)
    said = [record.message for record in caplog.records if record.message != "order finished"]
    assert said == ["authority cannot be used", "authority works again"]
    begin, end = lines(caplog, *said)
    assert (begin["authority"], begin["server"]) == ("fake.relay", "https://ca.test")
    assert end["failures"] == 60
    assert len(lines(caplog, "order finished")) == 8


async def test_a_dns_provider_that_refuses_is_two_lines(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    orders = [await rig.open(f"n{number}.corp.test", finalize=True) for number in range(4)]
    rig.provider.fail("add_txt", DnsProviderRefused("wrong key"), times=12)
    await rig.go(3600)
    await rig.assert_valid(*orders)
    assert [record.message for record in caplog.records] == [
        "managed challenge cannot be used",
        "managed challenge works again",
    ]


async def test_a_record_that_cannot_be_removed_is_named_once_and_once_more_when_it_is_gone(
    rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    rig.provider.fail("remove_txt", DnsProviderRefused("wrong key"), times=12)
    order_id = await rig.open(finalize=True)
    await rig.go(86_400)
    await rig.assert_valid(order_id)
    stays, gone = lines(caplog, "TXT record cannot be removed", "TXT record removed after all")
    assert (stays["order"], stays["record"], stays["zone"]) == (order_id, "_acme-challenge.www.corp.test", "corp.test")
    assert "wrong key" in str(stays["reason"])
    assert (gone["record"], gone["attempts"]) == (stays["record"], 13)


async def test_a_defect_is_told_once_however_often_and_by_whom_it_is_met(
    rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    orders = [await rig.open(f"n{number}.corp.test", finalize=True) for number in range(3)]
    rig.relay.fail("new_order", ZeroDivisionError("a plugin's"), times=9)
    await rig.go(1800)
    await rig.assert_valid(*orders)
    (told,) = [record for record in caplog.records if record.levelname == "ERROR"]
    assert "failed in an unexpected way" in told.message
    assert told.exc_info is not None
