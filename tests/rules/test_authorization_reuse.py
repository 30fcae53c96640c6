"""What an account has proven counts for a while, and for nothing else than it proves (`[verify] remember_days`)."""

from datetime import datetime, timedelta
from typing import Any

import pytest
from msgspec.structs import replace

from acmehub.models import Authorization, AuthorizationMode, AuthorizationStatus, ChallengeType, OrderStatus, Stage
from acmehub.models.identifiers import Identifier
from acmehub.rules.authorization_reuse import LEAST, names_of, with_earlier_proofs
from acmehub.rules.orders import Lifetimes, OrderBundle, open_order
from tests.rules.samples import NOW, actor

VERIFY = AuthorizationMode.VERIFY
DAYS = timedelta(days=30)
HTTP, DNS, ALPN = ChallengeType.HTTP_01, ChallengeType.DNS_01, ChallengeType.TLS_ALPN_01


def opened(*names: str, signing: bool = True, **fields: Any) -> OrderBundle:
    identifiers = [Identifier("ip" if name[0].isdigit() else "dns", name) for name in names]
    given = {"mode": VERIFY, "authority_id": "ca", "signing": signing, "now": NOW, **fields}
    return open_order(actor(), identifiers, **given)


def proof(name: str, kind: ChallengeType | None = HTTP, seen: datetime = NOW - timedelta(days=1)) -> Authorization:
    (pending,) = opened(name).authorizations
    return replace(
        pending, status=AuthorizationStatus.VALID, answered=kind, validated=seen, expires=seen + DAYS, order_id="old"
    )


def recall(bundle: OrderBundle, *proofs: Authorization, mode: AuthorizationMode = VERIFY) -> OrderBundle:
    return with_earlier_proofs(bundle, [(item, mode) for item in proofs], DAYS, NOW)[0]


def test_what_was_proven_is_valid_at_once_and_the_order_ready() -> None:
    bundle, events = with_earlier_proofs(opened("a.test"), [(proof("a.test"), VERIFY)], DAYS, NOW)
    assert (bundle.order.status, bundle.order.run_at) == (OrderStatus.READY, None)
    assert bundle.authorizations[0].status is AuthorizationStatus.VALID
    assert [(event.kind, event.detail[:15]) for event in events] == [("authorization reused", "a.test: http-01")]
    assert names_of(bundle) == ("a.test",)


def test_with_a_relaying_authority_the_upstream_order_begins_at_once() -> None:
    bundle = recall(opened("a.test", signing=False), proof("a.test"))
    assert (bundle.order.status, bundle.order.stage, bundle.order.run_at) == (OrderStatus.READY, Stage.ORDERING, NOW)


def test_what_is_left_is_to_be_proven() -> None:
    bundle = recall(opened("a.test", "b.test"), proof("a.test"))
    assert bundle.order.status is OrderStatus.PENDING
    assert [item.status.value for item in bundle.authorizations] == ["valid", "pending"]


def test_nothing_remembered_leaves_the_order_as_it_is() -> None:
    fresh = opened("a.test")
    assert with_earlier_proofs(fresh, [(proof("b.test"), VERIFY)], DAYS, NOW) == (fresh, ())


def test_remembering_does_not_prolong_itself() -> None:
    first = proof("a.test", seen=NOW - timedelta(days=20))
    (copy,) = recall(opened("a.test"), first).authorizations
    assert (copy.validated, copy.answered, copy.expires) == (first.validated, HTTP, first.expires)
    assert copy.token != first.token
    later = NOW + timedelta(days=11)
    fresh = opened("a.test", now=later)
    assert with_earlier_proofs(fresh, [(copy, VERIFY), (first, VERIFY)], DAYS, later) == (fresh, ())


def test_an_order_ends_with_the_first_of_its_proofs() -> None:
    soon, late = proof("a.test", seen=NOW - timedelta(days=29)), proof("b.test")
    bundle = recall(opened("a.test", "b.test", lifetimes=Lifetimes(issuance_timeout=timedelta(days=6))), soon, late)
    assert bundle.order.expires == bundle.order.deadline == NOW + timedelta(days=1)


@pytest.mark.parametrize(
    "other",
    [
        proof("b.test"),
        replace(proof("a.test"), identifier=Identifier("ip", "a.test")),
        replace(proof("a.test"), status=AuthorizationStatus.DEACTIVATED),
        replace(proof("a.test"), status=AuthorizationStatus.INVALID),
        replace(proof("a.test"), expires=NOW + LEAST),
        proof("a.test", seen=NOW - DAYS),
        replace(proof("a.test", seen=NOW - DAYS), expires=NOW + DAYS),  # remembered for longer once, not any more
        proof("a.test", None),  # valid, but the hub has seen no proof
        replace(proof("a.test"), validated=None),
    ],
    ids=["name", "kind", "deactivated", "invalid", "over soon", "too old", "longer once", "unanswered", "unseen"],
)
def test_what_is_no_proof_does_not_count(other: Authorization) -> None:
    assert recall(opened("a.test"), other).order.status is OrderStatus.PENDING


@pytest.mark.parametrize("mode", [AuthorizationMode.ACCEPT, AuthorizationMode.PREAPPROVED])
def test_what_another_mode_let_pass_does_not_count(mode: AuthorizationMode) -> None:
    assert recall(opened("a.test"), proof("a.test"), mode=mode).order.status is OrderStatus.PENDING


@pytest.mark.parametrize(
    ("proven", "kind", "wanted", "counts"),
    [
        ("a.test", HTTP, "a.test", True),
        ("A.Test", ALPN, "a.tEST", True),
        ("*.a.test", DNS, "*.a.test", True),
        ("*.a.test", DNS, "a.test", True),
        ("a.test", DNS, "*.a.test", True),  # the record is the same
        ("a.test", HTTP, "*.a.test", False),
        ("a.test", ALPN, "*.a.test", False),
        ("*.a.test", DNS, "b.a.test", False),
        ("a.test", DNS, "b.a.test", False),
        ("192.0.2.1", HTTP, "192.0.2.1", True),
        ("192.0.2.1", HTTP, "192.0.2.2", False),
    ],
)
def test_a_proof_counts_for_its_name_and_only_dns_01_for_its_wildcard(
    proven: str, kind: ChallengeType, wanted: str, counts: bool
) -> None:
    status = recall(opened(wanted), proof(proven, kind)).order.status
    assert status is (OrderStatus.READY if counts else OrderStatus.PENDING)


def test_the_proof_that_lasts_longest_is_not_needed_any_that_holds_does() -> None:
    old, new = proof("a.test", seen=NOW - DAYS), proof("a.test", seen=NOW - timedelta(days=3))
    assert recall(opened("a.test"), old, new).authorizations[0].validated == new.validated
