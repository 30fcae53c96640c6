"""`apply` and `export`: idempotent, by name, all faults at once, secrets left out."""

import tomllib
from pathlib import Path

import pytest

from acmehub.admin.resources.authorities import NewAuthority
from acmehub.admin.resources.document import InvalidFile, read_document
from acmehub.admin.resources.file import Applied, Step
from acmehub.admin.resources.principals import NewPrincipal, PrincipalPatch
from acmehub.admin.resources.tokens import NewToken
from acmehub.admin.resources.with_plugins import Sources
from acmehub.models import Role, RoleAssignment, TokenState
from tests.admin.conftest import ROOT, House

SECRET = "correct horse battery"
FILE = """
[[authority]]
name = "pebble"
plugin = "ca_fake"
default = true
settings = { directory = "https://127.0.0.1:14000/dir", email = "ops@example.test" }

[[managed_challenge]]
name = "corp zone"
plugin = "dns_fake"
match = "corp.test, *.corp.test"
tags = ["production"]
propagation = { mode = "delay", delay = 5 }
settings = { server = "127.0.0.1", port = 5353, key_secret = "env:TSIG" }

[[principal]]
name = "firewall-01"
type = "application"
roles = ["managed_acme_consumer:production"]

[[token]]
title = "Example ACME EAB Credentials"
principal = "firewall-01"
scope = ["managed_acme_consumer"]
names = "*.corp.test"
authorization = "preapproved"
expires = 2099-01-31T12:00:00Z
"""
SOURCES = Sources({"TSIG": SECRET}, Path())


async def apply(house: House, text: str = FILE, *, dry_run: bool = False, sources: Sources = SOURCES) -> Applied:
    return await house.files.apply(read_document(text, "r.toml"), ROOT, sources=sources, dry_run=dry_run)


async def exported(house: House) -> str:
    return await house.files.export(ROOT)


def steps(applied: Applied) -> list[Step]:
    return [change.step for change in applied.changes]


async def test_a_file_is_applied_once_and_then_changes_nothing(house: House) -> None:
    first = await apply(house)
    assert steps(first) == [Step.CREATE] * 4
    assert [item.token.title for item in first.tokens] == ["Example ACME EAB Credentials"]
    audited = len(await house.audited())
    again = await apply(house)
    assert steps(again) == [Step.UNCHANGED] * 4
    assert again.tokens == ()
    assert len(await house.audited()) == audited
    challenge = await house.managed_challenges.show("corp zone", ROOT)
    assert challenge.settings == {"server": "127.0.0.1", "port": 5353, "key_secret": None, "backups": None}
    assert (await house.principals.show("firewall-01", ROOT)).roles == (
        RoleAssignment(Role.MANAGED_ACME_CONSUMER, ("production",)),
    )


async def test_a_dry_run_says_the_same_and_writes_nothing(house: House) -> None:
    assert steps(await apply(house, dry_run=True)) == [Step.CREATE] * 4
    assert await house.principals.list(ROOT) == []
    assert list(await house.audited()) == []


async def test_what_changes_is_named_field_by_field(house: House) -> None:
    await apply(house)
    text = (
        FILE.replace("5353", "53")
        .replace("*.corp.test, ", "")
        .replace('roles = ["managed_acme_consumer:production"]', 'roles = ["managed_acme_consumer"]')
        .replace("preapproved", "accept")
    )
    changes = {change.name: change for change in (await apply(house, text)).changes}
    assert changes["pebble"].step is Step.UNCHANGED
    assert changes["corp zone"].fields == ("settings.port",)
    assert changes["firewall-01"].fields == ("roles",)
    assert changes["Example ACME EAB Credentials"].fields == ("authorization",)
    assert steps(await apply(house, text)) == [Step.UNCHANGED] * 4


async def test_another_secret_is_noticed_without_being_shown(house: House) -> None:
    await apply(house)
    applied = await apply(house, sources=Sources({"TSIG": "other"}, Path()))
    assert applied.changes[1].fields == ("settings.key_secret",)
    assert "other" not in repr(applied)


async def test_a_field_that_is_left_out_goes_back_to_its_default(house: House) -> None:
    await apply(house)
    text = FILE.replace('names = "*.corp.test"\n', "").replace('tags = ["production"]\n', "")
    assert [change.fields for change in (await apply(house, text)).changes] == [(), ("tags",), (), ("names",)]
    assert (await house.tokens.show("Example ACME EAB Credentials", ROOT)).names == ""


async def test_a_setting_that_is_left_out_stays(house: House) -> None:
    await apply(house)
    text = FILE.replace(', key_secret = "env:TSIG"', "").replace(', email = "ops@example.test"', "")
    assert steps(await apply(house, text)) == [Step.UNCHANGED] * 4


async def test_the_default_mark_moves_to_where_the_file_has_it_and_stays_without(house: House) -> None:
    await house.authorities.add(NewAuthority(name="local", plugin="ca_fake"), ROOT)
    await apply(house)
    assert [(item.name, item.default) for item in await house.authorities.list(ROOT)] == [
        ("local", False),
        ("pebble", True),
    ]
    assert steps(await apply(house, FILE.replace("default = true\n", ""))) == [Step.UNCHANGED] * 4


async def test_an_authority_of_another_plugin_begins_anew(house: House) -> None:
    await apply(house)
    applied = await apply(house, FILE.replace('"ca_fake"', '"ca_fake.other"').replace("email", "eab_kid"))
    assert applied.changes[0].fields == ("plugin",)
    assert (await house.authorities.show("pebble", ROOT)).settings["email"] == ""


async def test_a_revoked_token_is_left_alone(house: House) -> None:
    await apply(house)
    await house.tokens.revoke("Example ACME EAB Credentials", ROOT)
    assert steps(await apply(house)) == [Step.UNCHANGED] * 4
    assert (await house.tokens.show("Example ACME EAB Credentials", ROOT)).state is TokenState.REVOKED


async def test_tokens_of_one_title_belong_to_their_principals(house: House) -> None:
    role = (RoleAssignment(Role.MANAGED_ACME_CONSUMER),)
    await house.principals.add(NewPrincipal(name="other", roles=role), ROOT)
    title = "Example ACME EAB Credentials"
    await house.tokens.add(NewToken(title=title, principal="other"), ROOT)
    assert steps(await apply(house)) == [Step.CREATE] * 4
    assert steps(await apply(house)) == [Step.UNCHANGED] * 4
    await house.tokens.add(NewToken(title=title, principal="firewall-01"), ROOT)
    with pytest.raises(InvalidFile, match="several tokens of this title"):
        await apply(house)


async def test_what_an_export_says_is_taken_back_without_a_change(house: House) -> None:
    await apply(house)
    text = await exported(house)
    assert SECRET not in text
    assert "# settings.key_secret is a secret and left out" in text
    assert steps(await apply(house, text)) == [Step.UNCHANGED] * 4
    entries = tomllib.loads(text)
    assert entries["token"] == [
        {
            "title": "Example ACME EAB Credentials",
            "principal": "firewall-01",
            "names": "*.corp.test",
            "authorization": "preapproved",
            "expires": entries["token"][0]["expires"],
        }
    ]
    assert entries["managed_challenge"][0]["settings"] == {"server": "127.0.0.1", "port": 5353}


async def test_an_export_of_odd_rows_is_still_a_file(house: House) -> None:
    await house.principals.add(NewPrincipal(name='say "hi" \\ \u00fc', enabled=False), ROOT)
    role = (RoleAssignment(Role.MANAGED_ACME_CONSUMER, ("a", "b")),)
    await house.principals.add(NewPrincipal(name="app", roles=role), ROOT)
    await house.tokens.add(NewToken(title="used", principal="app", use_limit=3, networks=("192.0.2.0/24",)), ROOT)
    await house.tokens.add(NewToken(title="gone", principal="app"), ROOT)
    await house.tokens.revoke("gone", ROOT)
    applied = await apply(house, await exported(house))
    assert [(change.name, change.step) for change in applied.changes] == [
        ('say "hi" \\ \u00fc', Step.UNCHANGED),
        ("app", Step.UNCHANGED),
        ("used", Step.UNCHANGED),
    ]


async def test_an_export_outlives_a_plugin(house: House) -> None:
    import msgspec

    view = await house.authorities.add(NewAuthority(name="ca", plugin="ca_fake"), ROOT)
    row = await house.store.authorities.get(view.id)
    assert row is not None
    await house.store.authorities.replace(msgspec.structs.replace(row, plugin="ca_nowhere"))
    text = await exported(house)
    assert "# plugin 'ca_nowhere' is not installed" in text
    assert tomllib.loads(text)["authority"] == [{"name": "ca", "plugin": "ca_nowhere", "default": True}]


# -------------------------------------------------------------------------------------------------------- faults


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("[[authority]\n", "^r.toml: not TOML: .*line 1"),
        ("a = 1\n[[tokn]]", "r.toml:2: tokn: unknown table; did you mean 'token'"),
        ("[[token]]\ntitel = 'x'", r"^r.toml:2: \[\[token\]\] number 1: titel: unknown key; did you mean 'title'"),
        ("[[token]]\ntitle = 'x'", r"^r.toml:1: \[\[token\]\] 'x': entry: object missing required field `principal`"),
        (
            "[[token]]\ntitle = 'x'\nprincipal = 'p'\nscope = ['root']",
            r"^r.toml:4: .* 'x': scope\[0\]: 'root' is not one of administrator, ",
        ),
        ("[[token]]\ntitle = 'x'\nprincipal = 'p'\nexpires = 2027-01-01", "expires: expected `datetime.*`, got `date`"),
        ("[[principal]]\nname = 'p'\nroles = ['root']", ".*:3: .* 'p': roles: 'root' is not one of administrator, "),
        ("[[principal]]\nname = 'p'\nroles = 'root'", "'p': roles: expected `array`, got `str`"),
        ("[[principal]]\nname = 'p'\n[[principal]]\nname = 'p'", "'p': declared twice"),
        ("authority = 5", r"\[\[authority\]\] number 1: entry: must be a table"),
        (
            "[[authority]]\nname='a'\nplugin='x'\ndefault=true\n[[authority]]\nname='b'\nplugin='x'\ndefault=true",
            "only one can be the default, not a and b",
        ),
    ],
)
def test_a_file_that_cannot_be_read_names_place_and_cure(text: str, fault: str) -> None:
    with pytest.raises(InvalidFile, match=fault):
        read_document(text, "r.toml")


def test_one_table_with_single_brackets_is_taken_as_meant() -> None:
    assert read_document("[principal]\nname = 'p'", "r.toml").principals == (NewPrincipal(name="p"),)


async def test_all_faults_are_found_before_anything_is_written(house: House) -> None:
    text = (
        FILE.replace('"dns_fake"', '"dns_cloudfare"')
        .replace('"https://127.0.0.1:14000/dir"', "5")
        .replace('principal = "firewall-01"', 'principal = "nobody"')
        .replace('name = "firewall-01"', 'name = " "')
    )
    with pytest.raises(InvalidFile) as caught:
        await apply(house, text)
    lines = text.splitlines()
    found = [fault.split(": ")[:3] for fault in caught.value.errors]
    assert [
        (place, lines[int(where.removeprefix("r.toml:")) - 1].split(" = ")[0], key) for where, place, key in found
    ] == [
        ("[[authority]] 'pebble'", "settings", "settings.directory"),
        ("[[managed_challenge]] 'corp zone'", "plugin", "plugin"),
        ("[[principal]] ' '", "name", "name"),
        ("[[token]] 'Example ACME EAB Credentials'", "principal", "there is no principal 'nobody'"),
    ]
    assert list(await house.audited()) == []


async def test_a_scope_beyond_the_roles_that_the_file_gives_is_a_fault(house: House) -> None:
    await apply(house)
    text = FILE.replace('roles = ["managed_acme_consumer:production"]', 'roles = ["auditor"]')
    with pytest.raises(InvalidFile, match="'firewall-01' has not the role managed_acme_consumer"):
        await apply(house, text)


async def test_a_missing_environment_variable_is_a_fault(house: House) -> None:
    with pytest.raises(InvalidFile, match=r"settings.key_secret: the environment has no variable TSIG"):
        await apply(house, sources=Sources({}, Path()))


MINE = '[[principal]]\nname = "app"\nroles = ["auditor"]\n'


async def test_what_a_file_sets_bears_its_owner_and_another_owner_changes_it_only_when_it_takes_over(
    house: House,
) -> None:
    await house.principals.add(NewPrincipal(name="by hand"), ROOT)
    mine, hers = read_document(MINE, "a.toml"), read_document(MINE.replace("auditor", "operator"), "b.toml")
    await house.files.apply(mine, ROOT, owner="a.toml")
    assert (await house.principals.show("app", ROOT)).managed_by == "a.toml"
    assert (await house.principals.show("by hand", ROOT)).managed_by == ""
    [planned] = (await house.files.apply(hers, ROOT, owner="b.toml", dry_run=True)).changes
    assert (planned.step, planned.fields, planned.managed_by) == (Step.CHANGE, ("roles",), "a.toml")
    for owner in ("b.toml", ""):
        with pytest.raises(InvalidFile, match=r"b.toml:1: \[\[principal\]\] 'app': it is managed by 'a.toml': "):
            await house.files.apply(hers, ROOT, owner=owner)
    assert (await house.principals.show("app", ROOT)).roles == (RoleAssignment(Role.AUDITOR),)
    await house.files.apply(hers, ROOT, owner="b.toml", take_over=True)
    changed = await house.principals.show("app", ROOT)
    assert (changed.roles, changed.managed_by) == ((RoleAssignment(Role.OPERATOR),), "b.toml")


async def test_a_change_by_hand_leaves_the_owner_who_lists_and_mends_it(house: House) -> None:
    mine = read_document(MINE, "a.toml")
    await house.files.apply(mine, ROOT, owner="a.toml")
    by_hand = await house.principals.set("app", PrincipalPatch(enabled=False), ROOT)
    assert by_hand.managed_by == "a.toml"
    [planned] = (await house.files.apply(mine, ROOT, owner="a.toml", dry_run=True)).changes
    assert (planned.fields, planned.managed_by) == (("enabled",), "")
    await house.files.apply(mine, ROOT, owner="a.toml")
    assert (await house.principals.show("app", ROOT)).enabled


async def test_a_file_that_makes_another_authority_the_default_does_not_own_the_one_before(house: House) -> None:
    await house.authorities.add(NewAuthority(name="first", plugin="ca_fake"), ROOT)
    text = '[[authority]]\nname = "second"\nplugin = "ca_fake"\ndefault = true\n'
    await house.files.apply(read_document(text, "a.toml"), ROOT, owner="a.toml")
    owners = {item.name: (item.managed_by, item.default) for item in await house.authorities.list(ROOT)}
    assert owners == {"first": ("", False), "second": ("a.toml", True)}
