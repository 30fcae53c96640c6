"""`policy_default`: which authority fulfils an order, unless another policy has chosen one."""

from collections.abc import Sequence

from acmehub import Candidate, OrderRequest, Selection, hookimpl


@hookimpl(trylast=True)
def select_authority(request: OrderRequest, candidates: Sequence[Candidate]) -> Selection | None:
    """The default authority, else the oldest; one whose last exchanges failed only if all others did, too.

    A profile that the client names narrows the choice to the authorities that it leads to, when there are any. What is
    asked of the authority is the profile's own affair.
    """
    offering = [item for item in candidates if request.profile is not None and request.profile in item.profiles]
    suitable = offering or list(candidates)
    usable = [item for item in suitable if item.healthy] or suitable
    if not usable:
        return None
    chosen = min(usable, key=lambda item: (not item.default, item.created, item.id))
    reason = [f"{chosen.name} is {_why(chosen, usable)}"]
    if offering:
        reason.append(f"it offers the profile {request.profile}")
    skipped = sorted(item.name for item in suitable if item not in usable)
    if skipped:
        reason.append(f"{', '.join(skipped)} passed over: last exchanges failed")
    elif not chosen.healthy:
        reason.append("its last exchanges failed, as did those of all others")
    return Selection(authority_id=chosen.id, reason="; ".join(reason))


def _why(chosen: Candidate, usable: Sequence[Candidate]) -> str:
    if chosen.default:
        return "the default authority"
    return "the only authority" if len(usable) == 1 else "the oldest authority"
