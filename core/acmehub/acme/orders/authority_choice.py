"""Which profile and which authority an order gets: asked by newOrder, and by `acmehub check`."""

from collections.abc import Sequence

from msgspec.structs import replace

from acmehub.models import Profile
from acmehub.models.identifiers import Identifier
from acmehub.models.problems import Problem, ProblemType
from acmehub.ports.plugins import OrderRequest, Selection
from acmehub.ports.store import Missing
from acmehub.rules.pauses import pause_of
from acmehub.rules.rights import named_profile
from acmehub.runtime.plugin_objects import PLUGIN_UNUSABLE, AuthorityObject, PluginObjects
from acmehub.runtime.plugins import Registry
from acmehub.runtime.snapshot import Snapshot

_RETRY_AFTER = 60
_RETRY_AFTER_PAUSE = 3600  # when a pause ends depends on a person


async def choose_profile(snapshot: Snapshot, request: OrderRequest) -> Profile | None:
    """The profile that an order names, None when it names none; `invalidProfile` says which ones are offered."""
    if request.profile is None:
        return None
    return named_profile((await snapshot.profiles()).enabled, request.profile, request.principal)


async def choose_authority(
    registry: Registry, snapshot: Snapshot, request: OrderRequest, profile: Profile | None
) -> Selection:
    """The authority for an order, and why: the profile's, else the policy's; a Problem when none takes the order."""
    if profile is not None and profile.authority_id:
        return Selection(profile.authority_id, f"the client named {profile.name}", profile.upstream_profile)
    candidates = (await snapshot.authorities()).candidates
    if profile is not None:
        leading = (await snapshot.profiles()).by_authority
        candidates = tuple(replace(item, profiles=leading.get(item.id, ())) for item in candidates)
    selection: Selection | None = registry.hook.select_authority(request=request, candidates=candidates)
    if selection is None:
        raise Problem(
            ProblemType.REJECTED_IDENTIFIER,
            "no certificate authority of this hub takes the order"
            if candidates
            else "this hub has no certificate authority yet; its operator adds one with 'acmehub authority add'",
        )
    if profile is not None and profile.upstream_profile is not None:
        selection = replace(selection, profile=profile.upstream_profile)
    return selection


async def chosen_authority(plugin_objects: PluginObjects, snapshot: Snapshot, selection: Selection) -> AuthorityObject:
    """The chosen authority; a Problem with status 503, caused by what is wrong with it, when it cannot be used."""
    try:
        found = await plugin_objects.authority(selection.authority_id, snapshot)
        if not found.row.enabled:
            raise Missing(f"authority {found.row.name!r} is disabled")
    except PLUGIN_UNUSABLE as error:
        raise Problem(
            ProblemType.SERVER_INTERNAL,
            "the certificate authority for this order cannot be used at present; the hub's log says why",
            status=503,
            retry_after=_RETRY_AFTER,
        ) from error
    return found


def refuse_paused(identifiers: Sequence[Identifier], authority: AuthorityObject) -> None:
    """Raise `rateLimited`, in the CA's words, for an order that the CA has paused."""
    pause = pause_of(authority.row.pauses, identifiers)
    if pause is not None:
        message = f"the certificate authority has paused orders like this one: {pause.detail}"
        raise Problem(ProblemType.RATE_LIMITED, message, retry_after=_RETRY_AFTER_PAUSE)
