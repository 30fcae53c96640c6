"""The one question of who may have names now, and what follows where the answer has changed."""

from datetime import timedelta
from typing import Any

import pytest
from msgspec.structs import replace

from acmehub.models import (
    AccountStatus,
    Actor,
    AuthorizationMode,
    EventKind,
    OrderStatus,
    Profile,
    Role,
    RoleAssignment,
    Stage,
)
from acmehub.models.identifiers import Identifier
from acmehub.models.problems import Problem, ProblemType
from acmehub.rules.finalizing import finalize
from acmehub.rules.orders import OrderBundle, open_order
from acmehub.rules.rights import Claim, end_open_order, require_names, taken
from acmehub.rules.scopes import MatchIndex, Scope
from tests.rules.samples import NOW, actor, managed_challenge

NAME = Identifier("dns", "www.corp.test")
CORP = managed_challenge("*.corp.test")
PROFILES = {name: Profile(name=name, description="d", created=NOW) for name in ("a", "b")}


def judged(
    by: Actor, *, profile: str | None = None, profiles: dict[str, Profile] | None = None, enabled: bool = True
) -> Scope:
    index = MatchIndex([replace(CORP, enabled=enabled)])
    return require_names(by, Claim((NAME,), profile, needs_challenge=True), index, profiles, NOW)


def test_what_may_be_had_has_its_managed_challenge() -> None:
    assert judged(actor(), profile="a", profiles=PROFILES).challenge_of(NAME.value) == CORP


def _with(kind: str, **fields: Any) -> Actor:
    found = actor()
    return replace(found, **{kind: replace(getattr(found, kind), **fields)})


@pytest.mark.parametrize(
    ("by", "type"),
    [
        (_with("account", status=AccountStatus.DEACTIVATED), ProblemType.UNAUTHORIZED),
        (_with("token", enabled=False), ProblemType.UNAUTHORIZED),
        (_with("token", revoked=NOW), ProblemType.UNAUTHORIZED),
        (_with("principal", enabled=False), ProblemType.UNAUTHORIZED),
        (_with("principal", roles=()), ProblemType.UNAUTHORIZED),
        (_with("principal", profiles=("b",)), ProblemType.INVALID_PROFILE),
        (_with("token", names="elsewhere.test"), ProblemType.REJECTED_IDENTIFIER),
        (
            _with("principal", roles=(RoleAssignment(Role.MANAGED_ACME_CONSUMER, ("other",)),)),
            ProblemType.REJECTED_IDENTIFIER,
        ),
    ],
)
@pytest.mark.parametrize("profiles", [PROFILES, None])
def test_each_part_of_a_right_may_be_missing(by: Actor, type: ProblemType, profiles: dict[str, Profile] | None) -> None:
    with pytest.raises(Problem) as refusal:
        judged(by, profile="a", profiles=profiles)
    assert refusal.value.type is type
    later = taken(refusal.value)
    assert (later.type, later.status) == (ProblemType.UNAUTHORIZED, 403)
    assert later.detail == f"no longer allowed: {refusal.value.detail}"
    assert later.subproblems == refusal.value.subproblems


def test_a_disabled_managed_challenge_opens_no_name() -> None:
    with pytest.raises(Problem, match="no managed challenge covers it"):
        judged(actor(), enabled=False)


def test_an_expired_token_keeps_its_right_and_an_open_order_outlives_its_profile() -> None:
    judged(_with("token", expires=NOW - timedelta(days=1)))
    judged(actor(), profile="gone", profiles=None)
    with pytest.raises(Problem, match="not offered to this account; there are: a, b"):
        judged(actor(), profile="gone", profiles=PROFILES)


def _opened(mode: AuthorizationMode) -> OrderBundle:
    return open_order(actor(), [NAME], mode=mode, authority_id="a", signing=False, now=NOW)


@pytest.mark.parametrize("mode", [AuthorizationMode.PREAPPROVED, AuthorizationMode.ACCEPT])
def test_an_open_order_ends_and_a_late_write_of_its_worker_is_void(mode: AuthorizationMode) -> None:
    bundle = _opened(mode)
    reason = taken(Problem(ProblemType.UNAUTHORIZED, "gone"))
    change = end_open_order(bundle, reason, NOW)
    assert (change.order.status, change.order.stage) == (OrderStatus.INVALID, Stage.FAILED)
    assert change.order.error == reason.document()
    assert change.order.fence == bundle.order.fence + 1
    assert change.schedule_removal
    assert [event.kind for event in change.events] == [EventKind.RIGHT_TAKEN, EventKind.ORDER_FAILED]


def test_an_order_that_is_finalized_is_left_to_its_worker() -> None:
    bundle = _opened(AuthorizationMode.PREAPPROVED)
    processing = OrderBundle(finalize(bundle, b"csr", NOW).order, bundle.authorizations)
    change = end_open_order(processing, taken(Problem(ProblemType.UNAUTHORIZED, "gone")), NOW)
    assert change.order == processing.order
    assert not change.events
