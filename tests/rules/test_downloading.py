"""An order whose certificate exists at the CA."""

from datetime import timedelta

import pytest
from msgspec.structs import replace

from acmehub.models import AuthorizationMode, Order, OrderStatus, Stage
from acmehub.models.identifiers import Identifier
from acmehub.models.problems import ProblemDocument
from acmehub.rules.downloading import may_be_taken_up, taken_up, to_downloading
from acmehub.rules.orders import IllegalMove, OrderBundle, failed, open_order
from tests.rules.samples import NOW, actor

URL = "https://ca.test/certificate/1"
LATER = NOW + timedelta(days=30)
REASON = ProblemDocument(type="urn:x", detail="because", status=403)


def order(stage: Stage, status: OrderStatus = OrderStatus.PROCESSING) -> Order:
    names, mode = [Identifier("dns", "a.test")], AuthorizationMode.PREAPPROVED
    opened = open_order(actor(), names, mode=mode, authority_id="ca", signing=False, now=NOW).order
    return replace(opened, stage=stage, status=status, attempts=7)


@pytest.mark.parametrize("url", [URL, None])
def test_it_is_downloaded_once_the_upstream_order_is_valid_with_or_without_a_url(url: str | None) -> None:
    moved = to_downloading(order(Stage.ISSUING), url, LATER)
    assert (moved.stage, moved.attempts, moved.run_at) == (Stage.DOWNLOADING, 0, LATER)
    assert moved.upstream_certificate == (url or "")
    with pytest.raises(IllegalMove):
        to_downloading(order(Stage.PUBLISHING), url, LATER)


@pytest.mark.parametrize("url", [URL, None])
def test_what_failed_at_the_download_may_be_taken_up_with_a_deadline_of_its_own(url: str | None) -> None:
    lost = failed(OrderBundle(to_downloading(order(Stage.ISSUING), url, NOW)), REASON, NOW).order
    assert may_be_taken_up(lost)
    again = taken_up(lost, LATER, timedelta(hours=1))
    assert (again.status, again.stage) == (OrderStatus.PROCESSING, Stage.DOWNLOADING)
    assert (again.error, again.attempts, again.run_at) == (None, 0, LATER)
    assert again.deadline == LATER + timedelta(hours=1)
    assert again.upstream_certificate == lost.upstream_certificate


def test_no_other_order_may_be_taken_up() -> None:
    assert not may_be_taken_up(failed(OrderBundle(order(Stage.ISSUING)), REASON, NOW).order)
    assert not may_be_taken_up(to_downloading(order(Stage.ISSUING), URL, NOW))
