"""A field of a resource is said once: what is stored can be written, changed, seen and exported."""

import tomllib
from datetime import UTC, datetime
from typing import Annotated, Any

import msgspec
import pytest
from msgspec import UNSET

from acmehub.admin.resources.authorities import AuthorityPatch, AuthorityView, NewAuthority
from acmehub.admin.resources.campaigns import CampaignView, NewCampaign
from acmehub.admin.resources.fields import described, meta_of, patch_of, view_of
from acmehub.admin.resources.managed_challenges import ManagedChallengePatch, ManagedChallengeView, NewManagedChallenge
from acmehub.admin.resources.principals import NewPrincipal, PrincipalPatch, PrincipalView
from acmehub.admin.resources.profiles import NewProfile, ProfilePatch, ProfileView
from acmehub.admin.resources.tokens import NewToken, TokenPatch, TokenView
from acmehub.models import (
    Authority,
    AuthorizationMode,
    Campaign,
    ManagedChallenge,
    Model,
    Principal,
    PrincipalType,
    Profile,
    Propagation,
    Role,
    RoleAssignment,
    Token,
    TokenLimits,
)
from tests.admin.conftest import ROOT, House

Struct = type[msgspec.Struct]

# what the hub writes by itself: operators see it (but for `HIDDEN`) and cannot set it
OWN = {"id", "created", "uses", "revoked", "account_url", "pauses", "ended", "managed_by"}
HIDDEN = {"version", "secret_hash", "sealed_hmac_key", "directory_hash", "sealed_account_key"}
RENAMED = {"sealed_settings": "settings", "sealed_directory_key": "secret_directory"}

KINDS: list[tuple[type[Model], Struct, Struct]] = [
    (Principal, NewPrincipal, PrincipalView),
    (Token, NewToken, TokenView),
    (ManagedChallenge, NewManagedChallenge, ManagedChallengeView),
    (Authority, NewAuthority, AuthorityView),
    (Profile, NewProfile, ProfileView),
    (Campaign, NewCampaign, CampaignView),
]


def written_names(model: type[Model]) -> set[str]:
    """The fields of a stored model, as operators call them."""
    return {RENAMED.get(name, name).removesuffix("_id") for name in model.__struct_fields__} - HIDDEN


@pytest.mark.parametrize(("model", "new", "view"), KINDS)
def test_every_stored_field_can_be_seen_and_written_unless_it_is_the_hubs_own(
    model: type[Model], new: Struct, view: Struct
) -> None:
    assert written_names(model) - set(view.__struct_fields__) == set()
    assert written_names(model) - OWN == set(new.__struct_fields__)


@pytest.mark.parametrize(
    ("new", "patch", "fixed", "more"),
    [
        (NewPrincipal, PrincipalPatch, set(), set()),
        (NewToken, TokenPatch, {"principal"}, {"new_directory"}),
        (NewManagedChallenge, ManagedChallengePatch, set(), set()),
        (NewAuthority, AuthorityPatch, set(), set()),
        (NewProfile, ProfilePatch, set(), set()),
    ],
)
def test_every_field_can_be_changed_and_stays_when_it_is_unset(
    new: Struct, patch: Struct, fixed: set[str], more: set[str]
) -> None:
    assert set(patch.__struct_fields__) == set(new.__struct_fields__) - fixed | more
    assert all(getattr(patch(), name) is UNSET for name in patch.__struct_fields__)


@pytest.mark.parametrize("new", [NewPrincipal, NewToken, NewManagedChallenge, NewAuthority, NewProfile])
def test_every_field_describes_itself_but_those_with_options_of_their_own(new: Struct) -> None:
    silent = {field.name for field in msgspec.structs.fields(new) if not meta_of(field)[1]}
    assert silent <= {"settings", "propagation", "principal", "limits"}


async def test_an_export_has_every_field_that_is_not_at_its_default(house: House) -> None:
    settings = {"server": "s", "key_secret": "k", "port": 5353}
    everything: list[tuple[str, msgspec.Struct]] = [
        (
            "authority",
            NewAuthority(
                name="ca",
                plugin="ca_fake",
                settings={"email": "a@b.test"},
                default=True,
                enabled=False,
                tags=("lab",),
            ),
        ),
        (
            "managed_challenge",
            NewManagedChallenge(
                name="zone",
                plugin="dns_fake",
                match="b.test",
                settings=settings,
                tags=("lab",),
                cname_zones=("c.test",),
                zone="b.test",
                resolvers=("127.0.0.1:5353",),
                propagation=Propagation(limit=7.0),
                enabled=False,
            ),
        ),
        (
            "profile",
            NewProfile(
                name="short",
                description="Short",
                authority="ca",
                upstream_profile="six",
                key_types=("RSA",),
                enabled=False,
                tags=("lab",),
            ),
        ),
        (
            "principal",
            NewPrincipal(
                name="app",
                type=PrincipalType.USER,
                roles=(RoleAssignment(Role.OPERATOR), RoleAssignment(Role.AUDITOR)),
                enabled=False,
                profiles=("short",),
                tags=("lab",),
            ),
        ),
        (
            "token",
            NewToken(
                title="EAB",
                principal="app",
                scope=(Role.AUDITOR,),
                names="b.test",
                authorization=AuthorizationMode.ACCEPT,
                networks=("192.0.2.0/24",),
                use_limit=3,
                limits=TokenLimits(new_orders=5),
                expires=datetime(2099, 1, 1, tzinfo=UTC),
                enabled=False,
                secret_directory=True,
                tags=("lab",),
                reveal=True,
                delegates=True,
            ),
        ),
    ]
    services: dict[str, Any] = {
        "authority": house.authorities,
        "managed_challenge": house.managed_challenges,
        "profile": house.profiles,
        "principal": house.principals,
        "token": house.tokens,
    }
    for kind, new in everything:
        await services[kind].add(new, ROOT)
    document = tomllib.loads(await house.files.export(ROOT))
    for kind, new in everything:
        [entry] = document[kind]
        assert set(entry) == set(new.__struct_fields__) - ({"lifetime_days"} if kind == "profile" else set())


class Labelled(NewProfile, frozen=True, kw_only=True):
    label: Annotated[str, described("A label.", change="Another label.")] = ""


class LabelledView(Labelled, frozen=True, kw_only=True):
    id: str


class LabelledRow(Model, frozen=True, kw_only=True):
    name: str
    description: str
    label: str
    authority: str = ""
    upstream_profile: str | None = None
    key_types: tuple[str, ...] = ()
    lifetime_days: int | None = None
    enabled: bool = True
    tags: tuple[str, ...] = ()


def test_a_new_field_is_changed_and_seen_without_another_line() -> None:
    patch = patch_of("LabelledPatch", Labelled)
    assert patch(label="x").given() == {"label": "x"}
    assert msgspec.json.decode(b'{"label":"x"}', type=patch).given() == {"label": "x"}
    row = LabelledRow(name="short", description="Short", label="x")
    assert view_of(LabelledView, row) == LabelledView(name="short", description="Short", label="x", id=row.id)


def test_a_patch_refuses_unknown_fields_and_shows_no_values() -> None:
    with pytest.raises(TypeError):
        ProfilePatch(nmae="x")
    assert repr(AuthorityPatch(settings={"eab_key": "hunter2"})) == "AuthorityPatch(settings)"
