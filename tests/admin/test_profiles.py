"""Profiles as operators keep them: checked, found by name, in files, and who needs them."""

from typing import Any

import pytest

from acmehub.acme.orders.profiles import advertised
from acmehub.admin.access.errors import InUse, Invalid, ServiceError, Taken
from acmehub.admin.resources.authorities import AuthorityPatch, NewAuthority
from acmehub.admin.resources.document import InvalidFile, read_document
from acmehub.admin.resources.file import Step
from acmehub.admin.resources.principals import NewPrincipal, PrincipalPatch
from acmehub.admin.resources.profiles import NewProfile, ProfilePatch, ProfileView
from acmehub.models import Principal, PrincipalType, Profile
from acmehub.models.problems import Problem
from acmehub.rules.rights import named_profile
from acmehub.runtime.snapshot import Snapshots
from tests.admin.conftest import ROOT, House
from tests.admin.test_resources_file import exported


@pytest.fixture
async def two(house: House) -> House:
    """With an authority that grants lifetimes up to 90 days, and one that relays."""
    await house.authorities.add(NewAuthority(name="local", plugin="ca_local"), ROOT)
    await house.authorities.add(NewAuthority(name="relay", plugin="ca_fake"), ROOT)
    return house


async def add(house: House, name: str = "short", **fields: Any) -> ProfileView:
    return await house.profiles.add(NewProfile(name=name, **{"description": "Six days", **fields}), ROOT)


async def stored(house: House, name: str) -> Profile:
    return (await house.store.profiles.named(name))[0]


async def test_a_profile_leads_to_an_authority_by_its_name(two: House) -> None:
    made = await add(two, authority="relay", upstream_profile="shortlived", key_types=("P-256", "RSA", "P-256"))
    assert (made.authority, made.upstream_profile, made.key_types) == ("relay", "shortlived", ("P-256", "RSA"))
    row = await stored(two, "short")
    assert row.authority_id == (await two.authorities.show("relay", ROOT)).id
    assert await two.profiles.show(made.id, ROOT) == made
    assert [one.name for one in await two.profiles.list(ROOT)] == ["short"]


async def test_a_renamed_authority_is_still_the_one(two: House) -> None:
    await add(two, authority="relay")
    await two.authorities.set("relay", AuthorityPatch(name="public"), ROOT)
    assert (await two.profiles.show("short", ROOT)).authority == "public"


@pytest.mark.parametrize(
    ("fields", "field", "words"),
    [
        ({"name": "two words"}, "name", "letters, digits"),
        ({"name": "-x"}, "name", "letters, digits"),
        ({"name": "x" * 65}, "name", "at most 64"),
        ({"description": ""}, "description", "printable"),
        ({"description": "a\nb"}, "description", "printable"),
        ({"authority": "nowhere"}, "authority", "there is no authority 'nowhere'"),
        ({"upstream_profile": ""}, "upstream_profile", "leave it out"),
        ({"key_types": ("P-255",)}, "key_types", "RSA-3072"),
        ({"key_types": ("RSA-1024",)}, "key_types", "RSA-2048"),
        ({"authority": "local", "lifetime_days": 0}, "lifetime_days", "1 to"),
        ({"authority": "local", "lifetime_days": 91}, "lifetime_days", "signs for 90 days at most"),
        ({"authority": "relay", "lifetime_days": 6}, "lifetime_days", "sets lifetimes itself"),
        ({"lifetime_days": 6}, "lifetime_days", "needs an authority that grants it"),
    ],
)
async def test_what_does_not_fit_names_its_field(two: House, fields: dict[str, Any], field: str, words: str) -> None:
    with pytest.raises(Invalid, match=words) as refusal:
        await add(two, **fields)
    assert refusal.value.field == field
    assert await two.profiles.list(ROOT) == []


async def test_a_lifetime_holds_for_the_authority_that_it_has_after_a_change(two: House) -> None:
    await add(two, authority="local", lifetime_days=6)
    with pytest.raises(Invalid, match="'relay' \\(ca_fake\\) sets lifetimes itself"):
        await two.profiles.set("short", ProfilePatch(authority="relay"), ROOT)
    changed = await two.profiles.set("short", ProfilePatch(authority="relay", lifetime_days=None), ROOT)
    assert (changed.authority, changed.lifetime_days) == ("relay", None)
    with pytest.raises(Invalid, match="needs an authority"):
        await two.profiles.set("short", ProfilePatch(authority="", lifetime_days=6), ROOT)


async def test_a_change_is_audited_field_by_field(two: House) -> None:
    await add(two)
    await two.profiles.set("short", ProfilePatch(description="Ten", enabled=False), ROOT)
    entry = (await two.audited())[0]
    assert (entry.action, entry.object) == ("profile.set", "short")
    assert entry.difference == 'description: "Six days" -> "Ten"; enabled: true -> false'


async def test_a_name_is_taken_once(two: House) -> None:
    await add(two)
    with pytest.raises(Taken, match="there is a profile 'short' already"):
        await add(two)


async def test_a_profile_whose_authority_cannot_be_used_says_so(two: House) -> None:
    await add(two, authority="relay")
    await two.authorities.set("relay", AuthorityPatch(enabled=False), ROOT)
    assert (await two.profiles.show("short", ROOT)).problem == "its authority 'relay' is disabled"


async def test_an_authority_that_a_profile_leads_to_is_not_removed(two: House) -> None:
    await add(two, authority="relay")
    with pytest.raises(InUse, match="is where profile 'short' leads"):
        await two.authorities.remove("relay", ROOT)
    await two.profiles.remove("short", ROOT)
    await two.authorities.remove("relay", ROOT)


async def test_a_profile_that_a_principal_is_limited_to_is_neither_removed_nor_renamed(two: House) -> None:
    await add(two)
    await two.principals.add(NewPrincipal(name="app", profiles=("short", "short")), ROOT)
    with pytest.raises(InUse, match="in use by principal 'app', which may ask for no other"):
        await two.profiles.remove("short", ROOT)
    with pytest.raises(InUse, match="cannot be renamed"):
        await two.profiles.set("short", ProfilePatch(name="brief"), ROOT)
    freed = await two.principals.set("app", PrincipalPatch(profiles=()), ROOT)
    assert freed.profiles == ()
    assert (await two.profiles.set("short", ProfilePatch(name="brief"), ROOT)).name == "brief"
    await two.profiles.remove("brief", ROOT)


async def test_a_principal_is_limited_to_profiles_that_there_are(two: House) -> None:
    with pytest.raises(Invalid, match="there is no profile 'shrot'"):
        await two.principals.add(NewPrincipal(name="app", profiles=("shrot",)), ROOT)
    await two.principals.add(NewPrincipal(name="app"), ROOT)
    with pytest.raises(Invalid, match="there is no profile 'shrot'"):
        await two.principals.set("app", PrincipalPatch(profiles=("shrot",)), ROOT)


# ------------------------------------------------------------------------------------------------ what clients see


async def test_clients_see_what_is_enabled_and_open_to_them(two: House) -> None:
    for name in ("a", "b", "c"):
        await add(two, name, enabled=name != "c")
    snapshots = Snapshots(two.store)
    limited = Principal(
        name="x", type=PrincipalType.USER, profiles=("b", "c"), created=(await stored(two, "a")).created
    )
    free = Principal(name="y", type=PrincipalType.USER, created=limited.created)
    enabled = (await (await snapshots.current()).profiles()).enabled
    assert list(advertised(enabled)) == ["a", "b"]
    assert list(advertised(enabled, limited)) == ["b"]
    assert named_profile(enabled, "a", free).name == "a"
    for name, who, offered in (("c", free, "there are: a, b"), ("a", limited, "there are: b"), ("\u00fc\n", free, "a")):
        with pytest.raises(Problem, match=offered) as refusal:
            named_profile(enabled, name, who)
        assert refusal.value.detail.isascii()
        assert refusal.value.detail.isprintable()
    await two.profiles.set("a", ProfilePatch(enabled=False), ROOT)
    assert list(advertised((await (await snapshots.current()).profiles()).enabled)) == ["b"]


# ------------------------------------------------------------------------------------------------------------ files

FILE = """
[[authority]]
name = "inside"
plugin = "ca_local"
settings = { lifetime_days = 30 }

[[profile]]
name = "internal"
description = "Our own CA"
authority = "inside"
lifetime_days = 14
key_types = ["P-256"]

[[profile]]
name = "any"
description = "What the policy says"

[[principal]]
name = "app"
roles = ["managed_acme_consumer"]
profiles = ["internal"]
"""


async def apply(house: House, text: str) -> list[Step]:
    applied = await house.files.apply(read_document(text, "r.toml"), ROOT)
    return [change.step for change in applied.changes]


async def test_a_file_makes_profiles_and_an_export_gives_them_back(house: House) -> None:
    assert await apply(house, FILE) == [Step.CREATE] * 4
    assert await apply(house, FILE) == [Step.UNCHANGED] * 4
    text = await exported(house)
    assert 'authority = "inside"' in text
    assert 'profiles = [\n    "internal",\n]' in text
    assert await apply(house, text) == [Step.UNCHANGED] * 4


async def test_a_field_of_a_profile_that_a_file_changes_is_named(house: House) -> None:
    await apply(house, FILE)
    changed = FILE.replace('authority = "inside"\nlifetime_days = 14\n', "").replace('"P-256"', '"P-384"')
    plan = await house.files.apply(read_document(changed, "r.toml"), ROOT)
    assert [change.fields for change in plan.changes if change.step is Step.CHANGE] == [
        ("key_types", "lifetime_days", "authority")
    ]
    assert (await house.profiles.show("internal", ROOT)).authority == ""


@pytest.mark.parametrize(
    ("before", "after", "fault"),
    [
        ("lifetime_days = 14", "lifetime_days = 31", "'inside' (ca_local) signs for 30 days at most"),
        ('authority = "inside"', 'authority = "insde"', "there is no authority 'insde'"),
        ('profiles = ["internal"]', 'profiles = ["intern"]', "there is no profile 'intern'"),
        ('description = "Our own CA"', "", "missing required field `description`"),
        ('plugin = "ca_local"\nsettings = { lifetime_days = 30 }', 'plugin = "ca_fake"', "sets lifetimes itself"),
    ],
)
async def test_a_fault_of_a_profile_is_found_before_anything_is_written(
    house: House, before: str, after: str, fault: str
) -> None:
    with pytest.raises(InvalidFile) as refusal:
        await apply(house, FILE.replace(before, after))
    assert any(fault in line.lower() or fault in line for line in refusal.value.errors)
    assert await house.store.authorities.list() == ()


async def test_a_lifetime_is_checked_against_settings_that_a_file_leaves_as_they_are(house: House) -> None:
    await apply(house, FILE)
    kept = FILE.replace("settings = { lifetime_days = 30 }\n", "")
    assert Step.CHANGE not in await apply(house, kept)
    with pytest.raises(ServiceError, match="signs for 30 days at most"):
        await apply(house, kept.replace("lifetime_days = 14", "lifetime_days = 40"))
