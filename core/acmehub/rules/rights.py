"""Rights: may an actor have these names now?

One question, asked wherever the right is used: newOrder, newAuthz, finalize, each step of issuance with an outside
effect, the download, revocation by authorization (docs/security.md).
"""

from collections.abc import Mapping
from datetime import datetime

import msgspec
from msgspec.structs import replace

from acmehub.models import Actor, Event, EventKind, OrderStatus, Principal, Profile
from acmehub.models.identifiers import Identifier
from acmehub.models.problems import Problem, ProblemType
from acmehub.rules.eab import require_active
from acmehub.rules.orders import Change, OrderBundle, failed
from acmehub.rules.scopes import MatchIndex, Scope, decide

_MOST_SHOWN = 64  # characters of a name that a client made up


class Claim(msgspec.Struct, frozen=True):
    """What an actor wants: names, the profile that its client named, and whether the authority needs a managed
    challenge to issue them."""

    identifiers: tuple[Identifier, ...]
    profile: str | None
    needs_challenge: bool


class RightTaken(Problem):
    """`unauthorized`: the actor may not have (any more) what it was given before."""


def require_names(
    actor: Actor, claim: Claim, index: MatchIndex, profiles: Mapping[str, Profile] | None, now: datetime
) -> Scope:
    """Raise the problem of newOrder unless the actor may have the names now; the managed challenge of each name.

    Account, token and principal must be usable (`unauthorized`), the profile open to the principal (`invalidProfile`),
    each name in the scope of the token (`rejectedIdentifier`). `index` has the enabled managed challenges, `profiles`
    the enabled profiles by name; None for an order that is open already, which may outlive its profile.
    """
    require_active(actor, now)
    if claim.profile is not None and profiles is not None:
        named_profile(profiles, claim.profile, actor.principal)
    elif claim.profile is not None and not is_open(claim.profile, actor.principal):
        raise Problem(
            ProblemType.INVALID_PROFILE, f"the profile {claim.profile} is not open to {actor.principal.name!a}"
        )
    return decide(claim.identifiers, actor.token, actor.principal, index, needs_challenge=claim.needs_challenge)


def taken(refusal: Problem) -> RightTaken:
    """A refusal of `require_names` for what was allowed before."""
    detail = f"no longer allowed: {refusal.detail}"
    return RightTaken(ProblemType.UNAUTHORIZED, detail, subproblems=refusal.subproblems)


def end_open_order(bundle: OrderBundle, reason: RightTaken, now: datetime) -> Change:
    """An order whose client asks for what it may not have any more is invalid. One that is finalized already is left
    to the worker, which knows whether its authority has the CSR."""
    if bundle.order.status not in (OrderStatus.PENDING, OrderStatus.READY):
        return Change(order=bundle.order)
    fenced = replace(bundle.order, fence=bundle.order.fence + 1)  # a worker's late write is void
    change = failed(OrderBundle(fenced, bundle.authorizations), reason.document(), now)
    event = Event(order_id=fenced.id, at=now, kind=EventKind.RIGHT_TAKEN, detail=reason.detail)
    return replace(change, events=(event, *change.events))


def named_profile(enabled: Mapping[str, Profile], name: str, principal: Principal) -> Profile:
    """The profile that an order names; `invalidProfile` says which are offered to the principal."""
    found = enabled.get(name)
    if found is None or not is_open(name, principal):
        offered = ", ".join(item for item in enabled if is_open(item, principal))
        have = f"there are: {offered}" if offered else "there is none; leave 'profile' out"
        shown = ascii(name[:_MOST_SHOWN])
        raise Problem(ProblemType.INVALID_PROFILE, f"the profile {shown} is not offered to this account; {have}")
    return found


def is_open(name: str, principal: Principal) -> bool:
    """Whether a principal may have a profile: one that is limited to none may have any."""
    return not principal.profiles or name in principal.profiles
