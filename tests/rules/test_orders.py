"""The state machine of orders: every move of the tables, every rule in every state that can be reached."""

import enum
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any

import pytest
from msgspec.structs import replace

from acmehub.models import (
    Authorization,
    AuthorizationMode,
    AuthorizationStatus,
    Certificate,
    ChallengeType,
    Order,
    OrderStatus,
    Stage,
)
from acmehub.models.identifiers import Identifier
from acmehub.models.problems import Problem, ProblemDocument, ProblemType
from acmehub.rules.finalizing import Handover, finalize
from acmehub.rules.orders import (
    AUTHORIZATION_MOVES,
    ORDER_MOVES,
    STAGE_MOVES,
    UPSTREAM_VALIDATED,
    Change,
    IllegalMove,
    Lease,
    Lifetimes,
    OrderBundle,
    answer,
    approve,
    as_of,
    deactivate,
    expired,
    failed,
    issued,
    open_order,
    verified,
    with_authorization_status,
    with_client_status,
    with_stage,
    with_status,
)
from tests.rules.samples import NOW, actor

LATER = NOW + timedelta(minutes=5)
NAMES = ("a.test", "*.a.test")
REASON = ProblemDocument(type="urn:x", detail="because", status=403)
ACCEPT, PREAPPROVED, VERIFY = AuthorizationMode.ACCEPT, AuthorizationMode.PREAPPROVED, AuthorizationMode.VERIFY


def opened(mode: AuthorizationMode = ACCEPT, names: tuple[str, ...] = NAMES, **fields: Any) -> OrderBundle:
    identifiers = [Identifier("dns", name) for name in names]
    given = {"mode": mode, "authority_id": "ca", "signing": False, "now": NOW, **fields}
    return open_order(actor(), identifiers, **given)


def after(bundle: OrderBundle, change: Change) -> OrderBundle:
    new = {item.id: item for item in change.authorizations}
    return OrderBundle(change.order, tuple(new.get(item.id, item) for item in bundle.authorizations))


def ended() -> OrderBundle:
    bundle = opened()
    return after(bundle, failed(bundle, REASON, NOW))


def at(bundle: OrderBundle, stage: Stage, **fields: Any) -> OrderBundle:
    return replace(bundle, order=replace(bundle.order, stage=stage, **fields))


def certificate(order: Order) -> Certificate:
    return Certificate(
        order_id=order.id,
        account_id=order.account_id,
        authority_id=order.authority_id,
        names=NAMES,
        serial="0a",
        issuer="CN=x",
        spki_sha256="",
        not_before=NOW,
        not_after=LATER,
        chain="",
        created=NOW,
    )


# --------------------------------------------------------------------------------------------------- the tables


def pairs(table: Mapping[Any, frozenset[Any]]) -> Iterator[tuple[Any, Any]]:
    states: type[enum.Enum] = type(next(iter(table)))
    yield from ((one, other) for one in states for other in states)


def test_each_status_and_stage_has_a_row() -> None:
    assert set(ORDER_MOVES) == set(OrderStatus)
    assert set(AUTHORIZATION_MOVES) == set(AuthorizationStatus)
    assert set(STAGE_MOVES) == set(Stage)


@pytest.mark.parametrize(("one", "other"), list(pairs(ORDER_MOVES)))
def test_an_order_moves_by_the_table_only(one: OrderStatus, other: OrderStatus) -> None:
    order = replace(opened().order, status=one)
    if other in ORDER_MOVES[one]:
        assert with_status(order, other).status is other
    else:
        with pytest.raises(IllegalMove, match=f"{one} to {other}"):
            with_status(order, other)


@pytest.mark.parametrize(("one", "other"), list(pairs(AUTHORIZATION_MOVES)))
def test_an_authorization_moves_by_the_table_only(one: AuthorizationStatus, other: AuthorizationStatus) -> None:
    authorization = replace(opened().authorizations[0], status=one, validated=NOW)
    if other in AUTHORIZATION_MOVES[one]:
        moved = with_authorization_status(authorization, other, LATER)
        assert moved.status is other
        assert moved.validated == (LATER if other is AuthorizationStatus.VALID else NOW)
    else:
        with pytest.raises(IllegalMove, match=f"{one} to {other}"):
            with_authorization_status(authorization, other, LATER)


@pytest.mark.parametrize(("one", "other"), list(pairs(STAGE_MOVES)))
def test_issuance_moves_by_the_table_only(one: Stage, other: Stage) -> None:
    order = replace(opened().order, stage=one, attempts=3)
    if other in STAGE_MOVES[one]:
        moved = with_stage(order, other)
        assert (moved.stage, moved.attempts) == (other, 0)
    else:
        with pytest.raises(IllegalMove, match=f"stage {one} to {other}"):
            with_stage(order, other)


def reachable(table: Mapping[Any, frozenset[Any]], start: Any) -> set[Any]:
    found, todo = {start}, [start]
    while todo:
        new = table[todo.pop()] - found
        found |= new
        todo += new
    return found


def test_the_tables_say_what_rfc_8555_section_7_1_6_says() -> None:
    assert reachable(ORDER_MOVES, OrderStatus.PENDING) == set(OrderStatus)
    assert {state for state, moves in ORDER_MOVES.items() if not moves} == {OrderStatus.VALID, OrderStatus.INVALID}
    assert reachable(AUTHORIZATION_MOVES, AuthorizationStatus.PENDING) == set(AuthorizationStatus)
    assert OrderStatus.VALID not in ORDER_MOVES[OrderStatus.READY]  # never without a CSR
    assert AuthorizationStatus.VALID not in AUTHORIZATION_MOVES[AuthorizationStatus.INVALID]


def test_every_stage_can_be_reached_and_can_still_fail_or_end() -> None:
    assert reachable(STAGE_MOVES, Stage.ORDERING) == set(Stage)
    for stage in Stage:
        assert reachable(STAGE_MOVES, stage) & {Stage.DONE, Stage.FAILED}
    assert set(Stage) >= UPSTREAM_VALIDATED


# ----------------------------------------------------------------------------------------------- opening an order


@pytest.mark.parametrize(
    ("mode", "signing", "status", "stage", "runs"),
    [
        (PREAPPROVED, False, OrderStatus.READY, Stage.ORDERING, True),
        (PREAPPROVED, True, OrderStatus.READY, Stage.AUTHORIZED, False),
        (ACCEPT, False, OrderStatus.PENDING, Stage.ORDERING, True),
        (ACCEPT, True, OrderStatus.PENDING, Stage.AUTHORIZED, False),
        (VERIFY, False, OrderStatus.PENDING, Stage.ORDERING, False),
        (VERIFY, True, OrderStatus.PENDING, Stage.AUTHORIZED, False),
    ],
)
def test_an_order_begins_as_its_mode_asks(
    mode: AuthorizationMode, signing: bool, status: OrderStatus, stage: Stage, runs: bool
) -> None:
    bundle = opened(mode, signing=signing)
    order = bundle.order
    assert (order.status, order.stage, order.run_at) == (status, stage, NOW if runs else None)
    valid = status is OrderStatus.READY
    for item in bundle.authorizations:
        assert item.status is (AuthorizationStatus.VALID if valid else AuthorizationStatus.PENDING)
        assert item.validated == (NOW if valid else None)
        assert item.expires == order.expires == NOW + timedelta(days=7)


def test_each_identifier_has_its_authorization_in_the_same_sequence() -> None:
    bundle = opened(names=("b.test", "*.a.test", "a.test"))
    assert [(item.identifier.value, item.wildcard, item.position) for item in bundle.authorizations] == [
        ("b.test", False, 0),
        ("a.test", True, 1),
        ("a.test", False, 2),
    ]
    assert len({item.token for item in bundle.authorizations}) == 3
    assert {item.order_id for item in bundle.authorizations} == {bundle.order.id}


def test_names_that_are_equal_for_dns_are_ordered_once_as_they_came_first() -> None:
    bundle = opened(names=("A.test", "a.test", "b.test", "A.TEST", "b.test"))
    assert [item.value for item in bundle.order.identifiers] == ["A.test", "b.test"]
    assert [item.identifier.value for item in bundle.authorizations] == ["A.test", "b.test"]


def test_what_the_client_asked_for_is_kept() -> None:
    order = opened(profile="short", not_before=NOW, not_after=LATER, replaces="x.y").order
    assert (order.profile, order.not_before, order.not_after, order.replaces) == ("short", NOW, LATER, "x.y")
    assert (order.account_id, order.token_id, order.principal_id) == ("a1", "token1", "p1")


def test_the_deadline_is_within_the_orders_lifetime() -> None:
    short = Lifetimes(order=timedelta(hours=1), issuance_timeout=timedelta(hours=24))
    assert opened(lifetimes=short).order.deadline == NOW + timedelta(hours=1)
    assert opened().order.deadline == NOW + timedelta(hours=24)


# ------------------------------------------------------------------------------------------- mode accept, settle


def validated_upstream(bundle: OrderBundle, *positions: int) -> OrderBundle:
    changed = tuple(
        replace(item, upstream_status="valid") if item.position in positions else item for item in bundle.authorizations
    )
    return replace(bundle, authorizations=changed)


def answered(bundle: OrderBundle, *positions: int, kind: ChallengeType = ChallengeType.HTTP_01) -> OrderBundle:
    for position in positions:
        bundle = after(bundle, answer(bundle, bundle.authorizations[position].id, kind, NOW))
    return bundle


def statuses(bundle: OrderBundle) -> list[str]:
    return [item.status.value for item in bundle.authorizations]


def test_an_answered_authorization_turns_valid_with_its_counterpart_upstream() -> None:
    bundle = with_client_status(answered(validated_upstream(opened(), 0), 0), LATER)
    assert (bundle.order.status, statuses(bundle)) == (OrderStatus.PENDING, ["valid", "pending"])


def test_the_order_turns_ready_with_the_last_authorization_in_one_change() -> None:
    bundle = validated_upstream(answered(opened(), 0, 1), 0, 1)
    assert bundle.order.status is OrderStatus.PENDING
    done = with_client_status(bundle, LATER)
    assert (done.order.status, statuses(done)) == (OrderStatus.READY, ["valid", "valid"])
    assert with_client_status(done, LATER) is done


def test_what_was_not_answered_or_not_validated_stays_pending() -> None:
    for bundle in (validated_upstream(opened(), 0, 1), answered(opened(), 0, 1)):
        assert statuses(with_client_status(bundle, LATER)) == ["pending", "pending"]


@pytest.mark.parametrize("stage", Stage)
def test_the_stage_stands_for_all_authorizations_upstream(stage: Stage) -> None:
    bundle = with_client_status(at(answered(opened(), 0, 1), stage), LATER)
    assert (bundle.order.status is OrderStatus.READY) == (stage in UPSTREAM_VALIDATED)


def test_an_answer_after_the_upstream_turns_valid_at_once() -> None:
    bundle = opened(names=("a.test",))
    change = answer(at(bundle, Stage.AUTHORIZED), bundle.authorizations[0].id, ChallengeType.DNS_01, LATER)
    assert change.order.status is OrderStatus.READY
    assert [item.status.value for item in change.authorizations] == ["valid"]
    assert [event.detail for event in change.events] == ["dns-01 for a.test"]


@pytest.mark.parametrize("position", [0, 1])
def test_the_addressed_authorization_is_answered_and_no_other(position: int) -> None:
    bundle = answered(opened(), position)
    expected: list[ChallengeType | None] = [None, None]
    expected[position] = ChallengeType.HTTP_01
    assert [item.answered for item in bundle.authorizations] == expected


def test_a_second_answer_changes_nothing() -> None:
    once = answered(opened(), 0)
    for kind in ChallengeType:
        assert answer(once, once.authorizations[0].id, kind, LATER) == Change(order=once.order)


def test_an_answer_where_nothing_is_pending_changes_nothing() -> None:
    for bundle in (opened(PREAPPROVED), ended()):
        for item in bundle.authorizations:
            assert answer(bundle, item.id, ChallengeType.HTTP_01, LATER) == Change(order=bundle.order)


@pytest.mark.parametrize("stage", sorted(UPSTREAM_VALIDATED - {Stage.DONE}))
def test_an_order_that_was_only_offered_challenges_is_approved_when_the_upstream_is_quicker(stage: Stage) -> None:
    bundle = at(answered(opened(), 0), stage)
    change = approve(bundle, LATER)
    done = after(bundle, change)
    assert (done.order.status, done.order.mode, statuses(done)) == (OrderStatus.READY, PREAPPROVED, ["valid", "valid"])
    assert [event.kind for event in change.events] == ["approved"]
    assert approve(done, LATER) == Change(order=done.order)


@pytest.mark.parametrize(
    "bundle",
    [
        opened(),
        at(opened(VERIFY), Stage.AUTHORIZED),
        at(opened(PREAPPROVED), Stage.AUTHORIZED),
        at(opened(ACCEPT), Stage.VALIDATING),
    ],
    ids=["upstream not begun", "verify", "preapproved", "upstream validates"],
)
def test_nothing_else_is_approved(bundle: OrderBundle) -> None:
    assert approve(bundle, LATER) == Change(order=bundle.order)


# ---------------------------------------------------------------------------------------------------- mode verify


@pytest.mark.parametrize(
    ("mode", "identifier", "possible"),
    [
        (VERIFY, Identifier("dns", "a.test"), set(ChallengeType)),
        (VERIFY, Identifier("dns", "*.a.test"), {ChallengeType.DNS_01}),
        (VERIFY, Identifier("ip", "192.0.2.1"), {ChallengeType.HTTP_01, ChallengeType.TLS_ALPN_01}),
        (ACCEPT, Identifier("dns", "a.test"), set(ChallengeType)),
        (ACCEPT, Identifier("dns", "*.a.test"), set(ChallengeType)),
        (ACCEPT, Identifier("ip", "2001:db8::1"), {ChallengeType.HTTP_01, ChallengeType.TLS_ALPN_01}),
    ],
)
def test_a_wildcard_is_proven_by_dns_01_alone_and_an_address_never_by_it(
    mode: AuthorizationMode, identifier: Identifier, possible: set[ChallengeType]
) -> None:
    bundle = open_order(actor(), [identifier], mode=mode, authority_id="ca", signing=True, now=NOW)
    (authorization,) = bundle.authorizations
    for kind in ChallengeType:
        if kind in possible:
            assert answer(bundle, authorization.id, kind, LATER).authorizations[0].answered is kind
        else:
            with pytest.raises(Problem, match=f"not by {kind.value}") as caught:
                answer(bundle, authorization.id, kind, LATER)
            assert caught.value.type is ProblemType.MALFORMED


def test_a_proof_that_is_remembered_is_good_for_as_long() -> None:
    bundle = opened(VERIFY, names=("a.test",))
    target = bundle.authorizations[0]
    for remember, good_until in ((timedelta(days=30), LATER + timedelta(days=30)), (timedelta(), target.expires)):
        (proven,) = verified(bundle, target.id, LATER, remember).authorizations
        assert proven.expires == good_until


def test_in_verify_an_answer_wakes_the_worker_and_the_proof_makes_it_valid() -> None:
    bundle = replace(opened(VERIFY), order=replace(opened(VERIFY).order, attempts=4))
    first, second = bundle.authorizations
    change = answer(bundle, first.id, ChallengeType.DNS_01, LATER)
    assert (change.order.run_at, change.order.attempts) == (LATER, 0)
    assert [item.status.value for item in change.authorizations] == ["pending"]
    bundle = after(bundle, change)
    bundle = after(bundle, verified(bundle, first.id, LATER))
    assert (bundle.order.status, statuses(bundle)) == (OrderStatus.PENDING, ["valid", "pending"])
    assert verified(bundle, first.id, LATER) == Change(order=bundle.order)
    change = verified(bundle, second.id, LATER + timedelta(1))
    assert (change.order.status, change.order.run_at) == (OrderStatus.READY, LATER + timedelta(1))
    assert [event.kind for event in change.events] == ["validated"]


def test_in_verify_with_a_signing_authority_ready_waits_for_the_csr() -> None:
    bundle = opened(VERIFY, names=("a.test",), signing=True)
    change = verified(bundle, bundle.authorizations[0].id, LATER)
    assert (change.order.status, change.order.run_at) == (OrderStatus.READY, None)


# -------------------------------------------------------------------------------------------------------- finalize


def test_finalize_takes_the_csr_while_the_upstream_still_validates() -> None:
    bundle = opened(PREAPPROVED)
    change = finalize(bundle, b"csr", LATER, Handover(Lease("me", LATER)))
    assert (change.order.status, change.order.csr) == (OrderStatus.PROCESSING, b"csr")
    assert (change.order.run_at, change.order.lease_owner) == (NOW, None)  # the worker that has the lease continues
    assert [event.kind for event in change.events] == ["finalize requested"]


def test_finalize_wakes_an_order_that_only_waited_for_it() -> None:
    bundle = at(opened(PREAPPROVED), Stage.AUTHORIZED, run_at=None)
    assert finalize(bundle, b"csr", LATER).order.run_at == LATER


@pytest.mark.parametrize(
    ("lease_until", "claimed"), [(None, True), (LATER, True), (LATER + timedelta(seconds=1), False)]
)
def test_finalize_claims_what_nobody_works_on(lease_until: datetime | None, claimed: bool) -> None:
    bundle = at(opened(PREAPPROVED), Stage.AUTHORIZED, lease_owner="other", lease_until=lease_until, fence=6)
    mine = Lease("me", LATER + timedelta(30))
    order = finalize(bundle, b"csr", LATER, Handover(mine)).order
    assert (order.lease_owner, order.fence) == (("me", 7) if claimed else ("other", 6))
    assert order.lease_until == (mine.until if claimed else lease_until)


def test_the_same_csr_again_changes_nothing_another_one_is_refused() -> None:
    bundle = opened(PREAPPROVED)
    bundle = after(bundle, finalize(bundle, b"csr", LATER))
    valid = replace(bundle, order=replace(bundle.order, status=OrderStatus.VALID))
    for finalized in (bundle, valid):
        assert finalize(finalized, b"csr", LATER) == Change(order=finalized.order)
        with pytest.raises(Problem, match="another CSR") as caught:
            finalize(finalized, b"other", LATER)
        assert caught.value.type is ProblemType.ORDER_NOT_READY


@pytest.mark.parametrize(
    ("bundle", "now", "word"),
    [
        (opened(), LATER, "not all valid yet"),
        (opened(), NOW + timedelta(days=7), "has expired"),
        (opened(PREAPPROVED), NOW + timedelta(days=7), "has expired"),
        (ended(), LATER, "invalid: because"),
        (replace(opened(), order=replace(opened().order, status=OrderStatus.INVALID)), LATER, "the order is invalid"),
    ],
)
def test_an_order_that_is_not_ready_says_why(bundle: OrderBundle, now: datetime, word: str) -> None:
    with pytest.raises(Problem, match=word) as caught:
        finalize(bundle, b"csr", now)
    assert (caught.value.type, caught.value.status) == (ProblemType.ORDER_NOT_READY, 403)


# ------------------------------------------------------------------------------------------------------- the ends

JOB = {"lock_key": "f", "lease_owner": "me", "lease_until": LATER, "run_at": LATER}


def test_an_issued_order_is_valid_and_its_job_is_done() -> None:
    bundle = at(opened(PREAPPROVED), Stage.DOWNLOADING, **JOB)
    order = after(bundle, finalize(bundle, b"csr", NOW)).order
    made = certificate(order)
    change = issued(order, made, LATER)
    done = change.order
    assert (done.status, done.stage, done.certificate_id) == (OrderStatus.VALID, Stage.DONE, made.id)
    assert (done.lock_key, done.run_at, done.lease_owner, done.lease_until) == (None, None, None, None)
    assert (change.certificate, change.schedule_removal) == (made, True)


def test_a_chain_before_finalize_is_a_defect() -> None:
    with pytest.raises(IllegalMove):
        issued(opened(PREAPPROVED).order, certificate(opened().order), LATER)


def test_a_failed_order_is_invalid_with_its_pending_authorizations() -> None:
    bundle = at(with_client_status(answered(validated_upstream(opened(), 0), 0), NOW), Stage.VALIDATING, **JOB)
    change = failed(bundle, REASON, LATER)
    done = after(bundle, change)
    assert (done.order.status, done.order.stage, done.order.error) == (OrderStatus.INVALID, Stage.FAILED, REASON)
    assert (done.order.lock_key, done.order.run_at, done.order.lease_owner) == (None, None, None)
    assert statuses(done) == ["valid", "invalid"]
    assert [item.error for item in change.authorizations] == [REASON]
    assert change.schedule_removal


def test_an_order_that_lapsed_is_invalid() -> None:
    change = expired(opened(), LATER)
    assert change.order.status is OrderStatus.INVALID
    assert change.order.error is not None
    assert "expired" in change.order.error.detail


@pytest.mark.parametrize("mode", [ACCEPT, PREAPPROVED, VERIFY])
def test_giving_up_an_authorization_ends_an_order_that_needed_it(mode: AuthorizationMode) -> None:
    bundle = opened(mode)
    change = deactivate(bundle, bundle.authorizations[1].id, LATER)
    done = after(bundle, change)
    other = "valid" if mode is PREAPPROVED else "pending"
    assert (done.order.status, statuses(done)) == (OrderStatus.INVALID, [other, "deactivated"])
    assert done.order.error is not None
    assert done.order.error.type.endswith("unauthorized")
    assert deactivate(done, bundle.authorizations[1].id, LATER) == Change(order=done.order)


def test_giving_up_an_authorization_after_finalize_leaves_the_order() -> None:
    bundle = opened(PREAPPROVED)
    bundle = after(bundle, finalize(bundle, b"csr", NOW))
    change = deactivate(bundle, bundle.authorizations[0].id, LATER)
    assert change.order == bundle.order
    assert statuses(after(bundle, change)) == ["deactivated", "valid"]


@pytest.mark.parametrize("mode", [ACCEPT, VERIFY])
def test_the_siblings_of_a_given_up_authorization_stay_pending_until_they_are_given_up_or_expire(
    mode: AuthorizationMode,
) -> None:
    bundle = at(answered(opened(mode), 0), Stage.ORDERING, **JOB)
    change = deactivate(bundle, bundle.authorizations[1].id, LATER)
    assert change.schedule_removal
    done = after(bundle, change)
    job = done.order.stage, done.order.lock_key, done.order.run_at, done.order.lease_owner
    assert job == (Stage.FAILED, None, None, None)
    assert statuses(done) == ["pending", "deactivated"]
    left = done.authorizations[0].id
    assert answer(done, left, ChallengeType.DNS_01, LATER) == Change(order=done.order)
    expires = done.authorizations[0].expires
    lapsed = as_of(done.authorizations[0], expires, done.order.status)
    assert lapsed.status is AuthorizationStatus.INVALID
    assert lapsed.error is not None
    assert deactivate(done, left, expires) == Change(order=done.order)
    both = after(done, deactivate(done, left, LATER))
    assert (both.order.status, statuses(both)) == (OrderStatus.INVALID, ["deactivated", "deactivated"])


def test_an_authorization_that_is_over_stays_as_it_is() -> None:
    bundle = ended()
    assert deactivate(bundle, bundle.authorizations[0].id, LATER) == Change(order=bundle.order)
    ready = opened(PREAPPROVED)
    assert deactivate(ready, ready.authorizations[0].id, ready.order.expires) == Change(order=ready.order)


# --------------------------------------------------------------------------- every rule in every state there is

Rule = Callable[[OrderBundle], Change]


def acts(bundle: OrderBundle) -> Iterator[Rule]:
    """What client and worker may do to an order at any time."""
    for item in bundle.authorizations:
        yield lambda b, one=item: answer(b, one.id, ChallengeType.DNS_01, LATER)  # type: ignore[misc]
        yield lambda b, one=item: deactivate(b, one.id, LATER)  # type: ignore[misc]
        if bundle.order.mode is VERIFY and item.answered:
            yield lambda b, one=item: verified(b, one.id, LATER)  # type: ignore[misc]
        yield lambda b, one=item: seen_upstream(b, one)  # type: ignore[misc]
    yield lambda b: finalize(b, b"csr", LATER, Handover(Lease("me", LATER)))
    yield lambda b: finalize(b, b"other", LATER)
    yield lambda b: approve(b, LATER)
    yield lambda b: failed(b, REASON, LATER)
    yield lambda b: expired(b, LATER)
    for stage in Stage:
        if stage not in (Stage.DONE, Stage.FAILED) and ORDER_MOVES[bundle.order.status]:
            yield lambda b, to=stage: moved_on(b, to)  # type: ignore[misc]
    yield lambda b: issued(b.order, certificate(b.order), LATER)


def seen_upstream(bundle: OrderBundle, item: Authorization) -> Change:
    now = next(one for one in bundle.authorizations if one.id == item.id)
    swapped = tuple(replace(one, upstream_status="valid") if one is now else one for one in bundle.authorizations)
    settled = with_client_status(replace(bundle, authorizations=swapped), LATER)
    return Change(order=settled.order, authorizations=settled.authorizations)


def moved_on(bundle: OrderBundle, stage: Stage) -> Change:
    settled = with_client_status(replace(bundle, order=with_stage(bundle.order, stage)), LATER)
    return Change(order=settled.order, authorizations=settled.authorizations)


def key(bundle: OrderBundle) -> tuple[object, ...]:
    order = bundle.order
    parts = tuple((item.status, item.answered is None, item.upstream_status) for item in bundle.authorizations)
    return (order.status, order.stage, order.mode, order.csr, order.run_at is None, order.lease_owner, parts)


def assert_sound(before: OrderBundle, now: OrderBundle) -> None:
    order, valid = now.order, [item.status is AuthorizationStatus.VALID for item in now.authorizations]
    assert order.status is before.order.status or order.status in ORDER_MOVES[before.order.status]
    if before.order.csr is not None:
        assert order.csr == before.order.csr  # never another CSR's (rule 5)
    match order.status:
        case OrderStatus.PENDING:
            assert not all(valid)  # never "authorizations valid, order pending" (docs/client-rules.md rule 2)
            assert order.csr is None
        case OrderStatus.READY:
            assert all(valid)
            assert order.csr is None
        case OrderStatus.PROCESSING:
            assert order.csr is not None  # never before finalize (rule 3)
        case OrderStatus.VALID:
            assert order.certificate_id
            assert order.csr is not None
            assert order.stage is Stage.DONE
        case OrderStatus.INVALID:
            assert order.error is not None
            assert order.stage is Stage.FAILED
            assert "pending" not in statuses(now) or "deactivated" in statuses(now)
    if order.status in (OrderStatus.VALID, OrderStatus.INVALID):
        assert (order.run_at, order.lock_key, order.lease_owner) == (None, None, None)


@pytest.mark.parametrize("signing", [False, True])
@pytest.mark.parametrize("mode", [ACCEPT, PREAPPROVED, VERIFY])
def test_whatever_client_and_worker_do_the_order_stays_sound(mode: AuthorizationMode, signing: bool) -> None:
    start = opened(mode, signing=signing)
    assert_sound(start, start)
    seen, todo = {key(start)}, [start]
    ends: set[OrderStatus] = set()
    while todo:
        bundle = todo.pop()
        ends.add(bundle.order.status)
        for rule in acts(bundle):
            try:
                change = rule(bundle)
            except (IllegalMove, Problem):
                continue
            new = after(bundle, change)
            assert_sound(bundle, new)
            assert change.certificate or rule(bundle).order == change.order  # a rule may run again
            if key(new) not in seen:
                seen.add(key(new))
                todo.append(new)
    assert ends == set(OrderStatus) - ({OrderStatus.PENDING} if mode is PREAPPROVED else set())
    assert len(seen) > 50


def test_a_valid_authorization_is_read_as_expired_from_its_time_on() -> None:
    valid = replace(opened().authorizations[0], status=AuthorizationStatus.VALID, expires=LATER)
    assert as_of(valid, NOW, OrderStatus.VALID) is valid
    assert as_of(valid, LATER, OrderStatus.VALID).status is AuthorizationStatus.EXPIRED
    pending = replace(valid, status=AuthorizationStatus.PENDING)
    assert as_of(pending, LATER, OrderStatus.PENDING) is pending
    assert as_of(pending, NOW, OrderStatus.INVALID) is pending
