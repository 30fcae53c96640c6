"""`policy_default`: chooses the authority of an order when no other policy has chosen one."""

from collections.abc import Sequence

from acmehub import Candidate, OrderRequest, Selection, hookimpl


@hookimpl(trylast=True)
def select_authority(request: OrderRequest, candidates: Sequence[Candidate]) -> Selection | None:
    """Choose the default authority, else the oldest.

    If the client names a profile that leads to some of the candidates, only those are considered.
    """
    offering = [item for item in candidates if request.profile is not None and request.profile in item.profiles]
    usable = offering or list(candidates)
    if not usable:
        return None
    chosen = min(usable, key=lambda item: (not item.default, item.created, item.id))
    reason = [f"{chosen.name} is {_why(chosen, usable)}"]
    if offering:
        reason.append(f"it offers the profile {request.profile}")
    return Selection(authority_id=chosen.id, reason="; ".join(reason))


def _why(chosen: Candidate, usable: Sequence[Candidate]) -> str:
    if chosen.default:
        return "the default authority"
    return "the only authority" if len(usable) == 1 else "the oldest authority"
