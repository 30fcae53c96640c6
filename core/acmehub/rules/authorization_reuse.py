"""Authorization reuse: what an account has proven to the hub itself counts for some days (mode `verify`).

Only proofs that the hub has seen count, never an authorization that was valid without one. A reused authorization has
the time and the end of the proof it comes from, so that reuse does not prolong itself; one that was deactivated, or is
over, is no proof.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta

from msgspec.structs import replace

from acmehub.models import Authorization, AuthorizationMode, AuthorizationStatus, ChallengeType, Event, EventKind
from acmehub.models.identifiers import canonical
from acmehub.rules.orders import OrderBundle, with_client_status

LEAST = timedelta(hours=1)  # a proof that ends sooner leaves the client no time for its CSR

Earlier = Sequence[tuple[Authorization, AuthorizationMode]]


def with_earlier_proofs(
    bundle: OrderBundle, earlier: Earlier, remember: timedelta, now: datetime
) -> tuple[OrderBundle, tuple[Event, ...]]:
    """A new order in mode `verify` with what its account has proven before already valid, and a line for each.

    `earlier` are the account's valid authorizations with their orders' modes. The order is ready if nothing is left to
    prove; it ends with the first of its proofs.
    """
    proofs = [item for item, mode in earlier if mode is AuthorizationMode.VERIFY and _good(item, remember, now)]
    authorizations = []
    events = []
    for item in bundle.authorizations:
        proof = next((one for one in proofs if _serves(one, item)), None)
        if proof is not None and proof.validated is not None and proof.answered is not None:
            item = replace(
                item,
                status=AuthorizationStatus.VALID,
                validated=proof.validated,
                answered=proof.answered,
                expires=min(proof.expires, proof.validated + remember),
            )
            detail = f"{item.identifier.value}: {proof.answered.value} of {proof.validated:%Y-%m-%d %H:%M} UTC"
            events.append(Event(order_id=bundle.order.id, at=now, kind=EventKind.AUTHORIZATION_REUSED, detail=detail))
        authorizations.append(item)
    if not events:
        return bundle, ()
    end = min(bundle.order.expires, *(item.expires for item in authorizations))
    order = replace(bundle.order, expires=end, deadline=min(bundle.order.deadline, end))
    return with_client_status(OrderBundle(order, tuple(authorizations)), now), tuple(events)


def names_of(bundle: OrderBundle) -> tuple[str, ...]:
    """The names to ask the store for, as `Orders.valid_authorizations` takes them."""
    return tuple(dict.fromkeys(canonical(item.identifier.value) for item in bundle.authorizations))


def _good(proof: Authorization, remember: timedelta, now: datetime) -> bool:
    """Whether a proof was seen, and counts for a while yet."""
    if proof.status is not AuthorizationStatus.VALID or proof.validated is None or proof.answered is None:
        return False
    return min(proof.expires, proof.validated + remember) > now + LEAST


def _serves(proof: Authorization, wanted: Authorization) -> bool:
    """Whether a proof is one for another authorization as well.

    The record of dns-01 is the same for a name and its wildcard; a wildcard has no other proof (RFC 8555 section 8.3).
    """
    same = proof.identifier.type == wanted.identifier.type and canonical(proof.identifier.value) == canonical(
        wanted.identifier.value
    )
    return same and (not wanted.wildcard or proof.answered is ChallengeType.DNS_01)
