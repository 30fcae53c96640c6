"""When an open order, or a certificate that is there, is what a client asks for (docs/reliability.md 2.14)."""

from datetime import datetime, timedelta
from typing import Annotated, Any

import pytest
from msgspec.structs import replace

from acmehub.models import (
    AuthorizationMode,
    AuthorizationStatus,
    Campaign,
    Certificate,
    Model,
    Order,
    OrderStatus,
    Stage,
    Wish,
)
from acmehub.models.identifiers import Identifier
from acmehub.models.orders import FOR_ORDER
from acmehub.models.problems import Problem
from acmehub.rules.order_reuse import (
    ENOUGH_TIME,
    WISHES,
    is_as_new,
    reuse_certificate,
    same_certificate,
    serves,
    takes_earlier_certificate,
    wishes_of,
)
from acmehub.rules.orders import OrderBundle, open_order
from tests.rules.samples import NOW, actor

AUTO, ACCEPT, PREAPPROVED, VERIFY = (
    AuthorizationMode.AUTO,
    AuthorizationMode.ACCEPT,
    AuthorizationMode.PREAPPROVED,
    AuthorizationMode.VERIFY,
)
OTHER: dict[str, Any] = {
    "account_id": "another",
    "name_set": "another.test",
    "authority_id": "another",
    "profile": "short",
    "client_profile": "short",
    "not_before": NOW,
    "not_after": NOW,
    "identifiers": (Identifier("dns", "B.test"), Identifier("dns", "a.test")),
    "replaces": "AbC.1",
    "preauthorization": True,
}
"""Another value for each field in which two orders can be different wishes."""


def opened(mode: AuthorizationMode = PREAPPROVED, *, signing: bool = False) -> OrderBundle:
    identifiers = [Identifier("dns", "a.test"), Identifier("dns", "b.test")]
    return open_order(actor(), identifiers, mode=mode, authority_id="ca", signing=signing, now=NOW)


def but(bundle: OrderBundle, **fields: Any) -> OrderBundle:
    return OrderBundle(replace(bundle.order, **fields), bundle.authorizations)


def again(bundle: OrderBundle, **fields: Any) -> OrderBundle:
    """The same order asked for once more, not stored."""
    return but(bundle, id="fresh", **fields)


# ------------------------------------------------------------------------------------------------------------ fields


def test_a_field_that_does_not_say_whether_it_counts_is_an_error() -> None:
    class Forgetful(Model, frozen=True, kw_only=True):
        replaces: Annotated[str, FOR_ORDER]
        label: str = ""

    class Twice(Model, frozen=True, kw_only=True):
        label: Annotated[str, FOR_ORDER, FOR_ORDER] = ""

    with pytest.raises(TypeError, match=r"Forgetful\.label does not say"):
        wishes_of(Forgetful)
    with pytest.raises(TypeError, match=r"Twice\.label"):
        wishes_of(Twice)
    assert set(WISHES) == set(Order.__struct_fields__) - set(Model.__struct_fields__)


def test_every_field_that_counts_is_tried_here() -> None:
    assert {name for name, wish in WISHES.items() if wish is not Wish.NONE} == set(OTHER)


@pytest.mark.parametrize("name", OTHER)
def test_orders_that_differ_in_what_the_client_asks_for_are_not_joined(name: str) -> None:
    stored = opened()
    assert serves(stored, again(stored), PREAPPROVED, NOW)
    assert not serves(stored, again(stored, **{name: OTHER[name]}), PREAPPROVED, NOW)


@pytest.mark.parametrize("name", OTHER)
def test_a_certificate_is_reused_for_another_order_but_not_for_another_certificate(name: str) -> None:
    order = opened().order
    assert same_certificate(order, replace(order, **{name: OTHER[name]})) is (WISHES[name] is Wish.ORDER)
    assert same_certificate(order, replace(order, id="other"))


@pytest.mark.parametrize(
    "fields", [{"created": NOW - timedelta(days=1)}, {"fence": 3}, {"lock_key": "x"}, {"attempts": 2}]
)
def test_how_far_an_order_has_come_makes_it_no_other_wish(fields: dict[str, Any]) -> None:
    stored = opened()
    assert serves(but(stored, **fields), again(stored), PREAPPROVED, NOW)


# ------------------------------------------------------------------------------------------------------- open orders


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"expires": NOW + ENOUGH_TIME}, False),
        ({"expires": NOW + 2 * ENOUGH_TIME}, True),
        ({"deadline": NOW + ENOUGH_TIME}, False),
        ({"deadline": NOW, "stage": Stage.AUTHORIZED}, True),  # nothing is left to be done before its CSR
        ({"status": OrderStatus.PROCESSING}, False),
        ({"status": OrderStatus.INVALID}, False),
    ],
)
def test_an_order_is_joined_while_there_is_time_for_its_client(fields: dict[str, Any], expected: bool) -> None:
    stored = opened()
    assert serves(but(stored, **fields), again(stored), PREAPPROVED, NOW) is expected


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"status": AuthorizationStatus.DEACTIVATED}, False),
        ({"status": AuthorizationStatus.INVALID}, False),
        ({"status": AuthorizationStatus.PENDING}, True),
        ({"expires": NOW}, False),
    ],
)
def test_an_order_is_joined_while_its_authorizations_are_good(fields: dict[str, Any], expected: bool) -> None:
    order, (first, second) = opened().order, opened().authorizations
    stored = OrderBundle(order, (first, replace(second, **fields)))
    assert serves(stored, again(stored), PREAPPROVED, NOW) is expected


@pytest.mark.parametrize(
    ("stored", "fresh", "stage", "asked", "expected"),
    [
        (ACCEPT, ACCEPT, Stage.ORDERING, ACCEPT, True),
        (ACCEPT, VERIFY, Stage.ORDERING, AUTO, False),
        (ACCEPT, PREAPPROVED, Stage.ORDERING, AUTO, False),  # the client would have to answer challenges
        (PREAPPROVED, ACCEPT, Stage.ORDERING, AUTO, False),  # the client could not wait for the CA
        (PREAPPROVED, ACCEPT, Stage.AUTHORIZED, AUTO, True),
        (PREAPPROVED, ACCEPT, Stage.AUTHORIZED, ACCEPT, False),  # the token asks for challenges
        (PREAPPROVED, PREAPPROVED, Stage.AUTHORIZED, PREAPPROVED, True),
    ],
)
def test_an_order_of_another_mode_is_joined_where_auto_chose_it_and_the_upstream_has_validated(
    stored: AuthorizationMode, fresh: AuthorizationMode, stage: Stage, asked: AuthorizationMode, expected: bool
) -> None:
    bundle = but(opened(stored), stage=stage)
    new = opened(fresh)
    assert serves(bundle, new, asked, NOW) is expected


def test_a_pending_order_is_not_joined_by_one_that_would_be_ready() -> None:
    """In mode `verify`, where the account has proven everything since."""
    stored = opened(VERIFY)
    assert serves(stored, again(stored), VERIFY, NOW)
    assert not serves(stored, again(stored, status=OrderStatus.READY), VERIFY, NOW)


# ------------------------------------------------------------------------------------------------------ certificates


def a_certificate(order: Order, **fields: Any) -> Certificate:
    given: dict[str, Any] = {
        "order_id": "earlier",
        "account_id": order.account_id,
        "authority_id": "ca",
        "names": ("a.test",),
        "serial": "01",
        "issuer": "",
        "spki_sha256": "",
        "not_before": NOW - timedelta(days=1),
        "not_after": NOW + timedelta(days=9),
        "chain": "",
        "created": NOW - timedelta(minutes=1),
    }
    return Certificate(**{**given, **fields})


def a_campaign(created: datetime, **fields: Any) -> Campaign:
    return Campaign(name="c", starts=NOW, renew_by=NOW, created=created, **fields)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, True),
        ({"stage": Stage.AUTHORIZED}, False),  # the authority signs by itself
        ({"stage": Stage.AUTHORIZED, "upstream_url": "https://ca.test/1"}, True),
        ({"replaces": "AbC.1"}, False),  # the client asks for a renewal
        ({"status": OrderStatus.PENDING}, False),
    ],
)
def test_only_a_ready_order_at_a_relaying_authority_takes_an_earlier_certificate(
    fields: dict[str, Any], expected: bool
) -> None:
    assert takes_earlier_certificate(replace(opened().order, **fields)) is expected


@pytest.mark.parametrize(
    "fields",
    [
        {"account_id": "another"},
        {"created": NOW - timedelta(hours=2)},
        {"replaced_by": "order"},
        {"revoked": NOW},
        {"not_after": NOW + timedelta(hours=23)},  # more than half of its life is over
    ],
)
def test_a_certificate_that_is_not_as_new_is_not_reused(fields: dict[str, Any]) -> None:
    order, since = opened().order, NOW - timedelta(hours=1)
    assert is_as_new(a_certificate(order), order, (), since, NOW)
    assert not is_as_new(a_certificate(order, **fields), order, (), since, NOW)


def test_a_certificate_that_a_campaign_may_replace_is_not_reused() -> None:
    order, since = opened().order, NOW - timedelta(hours=1)
    before, after = a_campaign(NOW - timedelta(days=1)), a_campaign(NOW)
    assert is_as_new(a_certificate(order), order, [before, a_campaign(NOW, ended=NOW)], since, NOW)
    assert not is_as_new(a_certificate(order), order, [before, after], since, NOW)


def test_a_reused_certificate_ends_the_order_and_fences_its_worker_off() -> None:
    bundle = but(opened(), lock_key="x", lease_owner="w", lease_until=NOW, fence=2)
    certificate = a_certificate(bundle.order)
    change = reuse_certificate(bundle, b"csr", certificate, NOW)
    order = change.order
    assert (order.status, order.stage, order.certificate_id) == (OrderStatus.VALID, Stage.DONE, certificate.id)
    assert (order.csr, order.lock_key, order.run_at, order.lease_owner, order.fence) == (b"csr", None, None, None, 3)
    assert change.schedule_removal
    assert [(event.kind, event.detail) for event in change.events] == [
        ("certificate reused", "the one of order earlier, whose CSR was the same")
    ]


def test_an_order_that_is_not_ready_any_more_goes_the_way_of_every_csr() -> None:
    bundle = opened()
    with pytest.raises(Problem, match="expired"):
        reuse_certificate(but(bundle, expires=NOW), b"csr", a_certificate(bundle.order), NOW)
    processing = but(bundle, status=OrderStatus.PROCESSING, csr=b"csr")
    assert reuse_certificate(processing, b"csr", a_certificate(bundle.order), NOW).order == processing.order
