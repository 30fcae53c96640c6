"""Who may do what: each verb of each service with each role, from one table written out by hand."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

import pytest

from acmehub.admin.authorities import AuthorityPatch, NewAuthority
from acmehub.admin.campaigns import NewCampaign
from acmehub.admin.declared_resources import Declared
from acmehub.admin.errors import Refused
from acmehub.admin.export import export
from acmehub.admin.managed_challenges import ManagedChallengePatch, NewManagedChallenge
from acmehub.admin.permissions import RIGHTS, Acting
from acmehub.admin.principals import NewPrincipal, PrincipalPatch
from acmehub.admin.profiles import NewProfile, ProfilePatch
from acmehub.admin.resealing import ResealingService
from acmehub.admin.tokens import NewToken, TokenPatch
from acmehub.models import AuthorizationMode, Role, RoleAssignment
from acmehub.ports.clock import SystemClock
from tests.admin.conftest import ROOT, House

FRIDAY = NewCampaign(renew_by=datetime(2099, 11, 27, tzinfo=UTC))
Verb = Callable[[House, Acting], Awaitable[object]]
CHALLENGE = NewManagedChallenge(
    name="new", plugin="dns_fake", match="a.test", settings={"server": "s", "key_secret": "k"}
)

VERBS: dict[str, Verb] = {
    "principal.add": lambda house, who: house.principals.add(NewPrincipal(name="new"), who),
    "principal.list": lambda house, who: house.principals.list(who),
    "principal.show": lambda house, who: house.principals.show("app", who),
    "principal.set": lambda house, who: house.principals.set("app", PrincipalPatch(enabled=False), who),
    "principal.remove": lambda house, who: house.principals.remove("idle", who),
    "token.add": lambda house, who: house.tokens.add(NewToken(title="new", principal="app"), who),
    "token.list": lambda house, who: house.tokens.list(who),
    "token.show": lambda house, who: house.tokens.show("EAB", who),
    "token.set": lambda house, who: house.tokens.set("EAB", TokenPatch(enabled=False), who),
    "token.revoke": lambda house, who: house.tokens.revoke("EAB", who),
    "token.remove": lambda house, who: house.tokens.remove("EAB", who),
    "token.eab": lambda house, who: house.tokens.eab("EAB", who),
    "token.directory": lambda house, who: house.tokens.directory("EAB", who),
    "challenge.add": lambda house, who: house.managed_challenges.add(CHALLENGE, who),
    "challenge.list": lambda house, who: house.managed_challenges.list(who),
    "challenge.show": lambda house, who: house.managed_challenges.show("zone", who),
    "challenge.set": lambda house, who: house.managed_challenges.set("zone", ManagedChallengePatch(tags=("x",)), who),
    "challenge.remove": lambda house, who: house.managed_challenges.remove("zone", who),
    "authority.add": lambda house, who: house.authorities.add(NewAuthority(name="new", plugin="ca_fake"), who),
    "authority.list": lambda house, who: house.authorities.list(who),
    "authority.show": lambda house, who: house.authorities.show("ca", who),
    "authority.set": lambda house, who: house.authorities.set("ca", AuthorityPatch(enabled=False), who),
    "authority.remove": lambda house, who: house.authorities.remove("ca", who),
    "profile.add": lambda house, who: house.profiles.add(NewProfile(name="new", description="New"), who),
    "profile.list": lambda house, who: house.profiles.list(who),
    "profile.show": lambda house, who: house.profiles.show("short", who),
    "profile.set": lambda house, who: house.profiles.set("short", ProfilePatch(enabled=False), who),
    "profile.remove": lambda house, who: house.profiles.remove("short", who),
    "account.set": lambda house, who: _set_account(house, who),
    "campaign.add": lambda house, who: house.campaigns.add(FRIDAY, who),
    "campaign.list": lambda house, who: house.campaigns.list(who),
    "campaign.show": lambda house, who: house.campaigns.plan(FRIDAY, who),
    "campaign.end": lambda house, who: house.campaigns.end("incident", who),
    "apply": lambda house, who: house.files.apply(Declared(), who),
    "export": lambda house, who: export(
        house.principals, house.tokens, house.managed_challenges, house.authorities, house.profiles, who
    ),
    "reseal": lambda house, who: ResealingService(house.store, house.vault, SystemClock()).reseal(who),
}
READS = {verb for verb in VERBS if verb.endswith((".list", ".show"))} | {"export"}
MAY = {
    Role.ADMINISTRATOR: set(VERBS),
    Role.OPERATOR: set(VERBS) - {"reseal"},
    Role.AUDITOR: READS,
    Role.MANAGED_ACME_CONSUMER: set(),
    Role.MANAGED_CHALLENGE_CONSUMER: set(),
}


async def _set_account(house: House, who: Acting) -> object:
    account = await house.bind((await house.tokens.find("EAB")).id)
    return await house.operations.set_learned(account.id, AuthorizationMode.ACCEPT, who)


@pytest.fixture
async def furnished(house: House) -> House:
    consumer = (RoleAssignment(Role.MANAGED_ACME_CONSUMER),)
    await house.principals.add(NewPrincipal(name="app", roles=consumer), ROOT)
    await house.principals.add(NewPrincipal(name="idle"), ROOT)
    await house.tokens.add(NewToken(title="EAB", principal="app"), ROOT)
    settings = {"server": "s", "key_secret": "k"}
    zone = NewManagedChallenge(name="zone", plugin="dns_fake", match="b.test", settings=settings)
    await house.managed_challenges.add(zone, ROOT)
    await house.authorities.add(NewAuthority(name="ca", plugin="ca_fake"), ROOT)
    await house.profiles.add(NewProfile(name="short", description="Short"), ROOT)
    await house.campaigns.add(NewCampaign(name="incident", renew_by=FRIDAY.renew_by), ROOT)
    return house


def test_each_action_of_the_table_is_tried_here_and_there_is_no_other() -> None:
    assert set(VERBS) == set(RIGHTS)


@pytest.mark.parametrize("role", Role)
@pytest.mark.parametrize("verb", VERBS)
async def test_each_verb_is_refused_to_each_role_that_may_not_do_it(furnished: House, verb: str, role: Role) -> None:
    who = Acting("somebody", frozenset({role}))
    if verb in MAY[role]:
        await VERBS[verb](furnished, who)
        return
    before = await furnished.audited()
    with pytest.raises(Refused, match=f"somebody may not do {verb}: it takes the role"):
        await VERBS[verb](furnished, who)
    written = [entry for entry in await furnished.audited() if entry not in before]
    assert [(entry.action, entry.allowed) for entry in written] == [(verb, False)]


async def test_nobody_without_a_role_may_do_anything(furnished: House) -> None:
    for verb in VERBS.values():
        with pytest.raises(Refused):
            await verb(furnished, Acting("nobody", frozenset()))
