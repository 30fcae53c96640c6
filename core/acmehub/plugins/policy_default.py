"""`policy_default`: which authority fulfils an order, unless another policy has chosen one."""

from collections.abc import Sequence

from acmehub import Candidate, OrderRequest, Selection, hookimpl


@hookimpl(trylast=True)
def select_authority(request: OrderRequest, candidates: Sequence[Candidate]) -> Selection | None:
    """The default authority, else the oldest.

    A profile that the client names narrows the choice to the authorities that it leads to, when there are any. The
    profile itself says what is asked of the authority.
    """
    offering = [item for item in candidates if request.profile is not None and request.profile in item.profiles]
    suitable = offering or candidates
    if not suitable:
        return None
    chosen = min(suitable, key=lambda item: (not item.default, item.created, item.id))
    reason = [f"{chosen.name} is {_why(chosen, suitable)}"]
    if offering:
        reason.append(f"it offers the profile {request.profile}")
    return Selection(authority_id=chosen.id, reason="; ".join(reason))


def _why(chosen: Candidate, suitable: Sequence[Candidate]) -> str:
    if chosen.default:
        return "the default authority"
    return "the only authority" if len(suitable) == 1 else "the oldest authority"
