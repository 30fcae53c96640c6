"""Managed challenges and authorities: settings of plugins checked, sealed, shown without secrets; the default."""

import hashlib
from pathlib import Path
from typing import Any

import msgspec
import pytest

from acmehub.admin.access.errors import InUse, Invalid, NotFound, Refused, Taken
from acmehub.admin.access.gate import Passage
from acmehub.admin.access.reach import Reach
from acmehub.admin.resources.authorities import AuthorityPatch, NewAuthority
from acmehub.admin.resources.document import InvalidFile, read_document
from acmehub.admin.resources.fields import Patch
from acmehub.admin.resources.file import Step
from acmehub.admin.resources.managed_challenges import ManagedChallengePatch, NewManagedChallenge
from acmehub.admin.resources.principals import NewPrincipal
from acmehub.admin.resources.tokens import NewToken
from acmehub.admin.resources.with_plugins import SecretState, Sources
from acmehub.models import (
    AuthorizationMode,
    ManagedChallenge,
    Propagation,
    PropagationMode,
    Role,
    RoleAssignment,
    TxtRecord,
)
from acmehub.models.identifiers import Identifier
from acmehub.rules.orders import open_order
from acmehub.testing.store_samples import NOW
from tests.admin.conftest import ROOT, House

SECRET = "correct horse battery"


def zone(name: str = "zone", **fields: Any) -> NewManagedChallenge:
    settings = {"server": "192.0.2.1", "key_secret": SECRET}
    return NewManagedChallenge(
        **{"name": name, "plugin": "dns_fake", "match": "corp.test", "settings": settings, **fields}
    )


def ca(name: str = "ca", **fields: Any) -> NewAuthority:
    return NewAuthority(name=name, plugin="ca_fake", **fields)


# ------------------------------------------------------------------------------------------- managed challenges


async def test_a_managed_challenge_is_made_changed_and_removed(house: House) -> None:
    made = await house.managed_challenges.add(
        zone(match="*.Corp.test, corp.test", tags=("a", "a"), cname_zones=("Acme.test.", "*")), ROOT
    )
    assert (made.match, made.tags, made.cname_zones) == ("*.corp.test, corp.test", ("a",), ("acme.test", "*"))
    assert made.settings == {"server": "192.0.2.1", "key_secret": None, "port": 53, "backups": None}
    assert await house.managed_challenges.list(ROOT) == [made]
    waiting = Propagation(mode=PropagationMode.DELAY, delay=5)
    patch = ManagedChallengePatch(name="other", propagation=waiting, enabled=False, settings={"port": 5353})
    changed = await house.managed_challenges.set("zone", patch, ROOT)
    assert (changed.name, changed.propagation, changed.enabled) == ("other", waiting, False)
    assert changed.settings["port"] == 5353
    await house.managed_challenges.remove("other", ROOT)
    with pytest.raises(NotFound, match="acmehub challenge list"):
        await house.managed_challenges.show("other", ROOT)


async def test_secrets_are_sealed_and_never_shown(house: House) -> None:
    new = zone(settings={"server": "s", "key_secret": SECRET, "backups": [SECRET]})
    view = await house.managed_challenges.add(new, ROOT)
    row = await house.store.managed_challenges.get(view.id)
    assert row is not None
    assert SECRET.encode() not in msgspec.json.encode(row) + row.sealed_settings
    assert SECRET not in repr(view) + repr(new) + repr(ManagedChallengePatch(settings=new.settings))
    assert view.settings["backups"] is view.settings["key_secret"] is None
    assert house.managed_challenges.unsealed(row)["key_secret"] == SECRET
    assert all(SECRET not in repr(entry) for entry in await house.audited())


async def test_a_setting_is_changed_without_the_others_and_set_back_with_none(house: House) -> None:
    made = await house.managed_challenges.add(zone(settings={"server": "s", "key_secret": SECRET, "port": 1}), ROOT)
    await house.managed_challenges.set("zone", ManagedChallengePatch(settings={"server": "t", "port": None}), ROOT)
    row = await house.store.managed_challenges.get(made.id)
    assert row is not None
    kept = house.managed_challenges.unsealed(row)
    assert (kept["server"], kept["port"], kept["key_secret"]) == ("t", 53, SECRET)


async def test_the_audit_names_changed_settings_without_their_values(house: House) -> None:
    await house.managed_challenges.add(zone(), ROOT)
    patch = ManagedChallengePatch(settings={"key_secret": "another"}, match="b.test, " + ", ".join(["*.c.test"] * 40))
    await house.managed_challenges.set("zone", patch, ROOT)
    difference = (await house.audited())[0].difference
    assert difference == 'match: "corp.test" -> "b.test, *.c.test"; settings'


@pytest.mark.parametrize(
    "fields",
    [
        {"zone": "Corp.test."},
        {"zone": "test"},
        {"zone": "lab.corp.test", "match": "*.corp.test"},
        {"zone": "lan", "match": "a.test, *.lan"},
        {"zone": "acme.far.test", "cname_zones": ("acme.far.test",)},
        {"zone": "acme.far.test", "cname_zones": ("*",)},
    ],
)
async def test_a_zone_that_names_can_lie_in_is_taken(house: House, fields: dict[str, Any]) -> None:
    made = await house.managed_challenges.add(zone(**fields), ROOT)
    assert made.zone == fields["zone"].rstrip(".").lower()
    changed = await house.managed_challenges.set("zone", ManagedChallengePatch(zone="", resolvers=("::1",)), ROOT)
    assert (changed.zone, changed.resolvers) == ("", ("::1",))


async def test_a_match_that_leaves_the_zone_behind_is_refused(house: House) -> None:
    await house.managed_challenges.add(zone(zone="corp.test"), ROOT)
    with pytest.raises(Invalid, match=r"no name of 'a\.test'"):
        await house.managed_challenges.set("zone", ManagedChallengePatch(match="a.test"), ROOT)


async def test_writing_what_stands_there_changes_nothing(house: House) -> None:
    made = await house.managed_challenges.add(zone(), ROOT)
    before = await house.store.managed_challenges.get(made.id)
    patch = ManagedChallengePatch(settings={"server": "192.0.2.1", "key_secret": SECRET}, match="corp.test")
    await house.managed_challenges.set("zone", patch, ROOT)
    assert await house.store.managed_challenges.get(made.id) == before


@pytest.mark.parametrize(
    ("fields", "field", "word"),
    [
        ({"name": " "}, "name", "printable"),
        ({"plugin": "dns_nowhere"}, "plugin", "install the distribution"),
        ({"plugin": "dns_cloudfare"}, "plugin", "did you mean 'dns_cloudflare'"),
        ({"match": ""}, "match", "empty"),
        ({"match": "a.test,*.*.test"}, "match", "part '*.*.test'"),
        ({"tags": ("a,b",)}, "tags", "a,b"),
        ({"cname_zones": ("a..b",)}, "cname_zones", "empty label"),
        ({"zone": "a..b"}, "zone", "empty label"),
        ({"zone": "crop.test"}, "zone", "no name of 'corp.test' lies in 'crop.test'"),
        ({"resolvers": ("ns1.corp.test",)}, "resolvers", "not an address"),
        ({"resolvers": ("192.0.2.53:0",)}, "resolvers", "no port"),
        ({"propagation": Propagation(limit=-1)}, "propagation.limit", "3600"),
        ({"settings": {"server": "s"}}, "settings", "key_secret"),
        ({"settings": {"server": 1, "key_secret": "k"}}, "settings.server", "str"),
        ({"settings": {"server": "s", "key_secret": "k", "prot": 1}}, "settings", "prot"),
        ({"settings": {"server": "s", "key_secret": 5}}, "settings.key_secret", ""),
    ],
)
async def test_values_that_do_not_fit_name_field_and_cure(
    house: House, fields: dict[str, Any], field: str, word: str
) -> None:
    with pytest.raises(Invalid) as caught:
        await house.managed_challenges.add(zone(**fields), ROOT)
    assert caught.value.field == field
    assert word in caught.value.message


async def test_env_and_file_are_looked_up_for_secrets_only(house: House, tmp_path: Path) -> None:
    (tmp_path / "key").write_text(f"{SECRET}\n")
    sources = Sources({"TSIG": SECRET}, tmp_path)
    for number, text in enumerate(("env:TSIG", "file:key")):
        made = await house.managed_challenges.add(
            zone(f"z{number}", settings={"server": "env:TSIG", "key_secret": text, "backups": [text]}),
            ROOT,
            sources=sources,
        )
        row = await house.store.managed_challenges.get(made.id)
        assert row is not None
        kept = house.managed_challenges.unsealed(row)
        assert (kept["server"], kept["key_secret"], kept["backups"]) == ("env:TSIG", SECRET, [SECRET])


@pytest.mark.parametrize(
    ("text", "word"), [("env:NOWHERE", "no variable NOWHERE"), ("file:nowhere", "nowhere cannot be read")]
)
async def test_a_missing_variable_or_file_is_named(house: House, tmp_path: Path, text: str, word: str) -> None:
    new = zone(settings={"server": "s", "key_secret": text})
    with pytest.raises(Invalid, match=f"settings.key_secret: .*{word}"):
        await house.managed_challenges.add(new, ROOT, sources=Sources({}, tmp_path))


async def test_a_caller_from_elsewhere_cannot_have_our_files_read(house: House) -> None:
    with pytest.raises(Invalid, match="for the command line"):
        await house.managed_challenges.add(zone(settings={"server": "s", "key_secret": "file:/etc/shadow"}), ROOT)


async def test_one_with_a_record_in_dns_is_not_removed(house: House) -> None:
    made = await house.managed_challenges.add(zone(), ROOT)

    async def txt_records() -> list[TxtRecord]:
        return [
            TxtRecord(
                order_id="o1",
                authorization_id="z1",
                managed_challenge_id=made.id,
                zone="corp.test",
                name="_acme-challenge.corp.test",
                value="v",
                created=NOW,
            )
        ]

    house.store.txt_records.list = txt_records  # type: ignore[method-assign]
    with pytest.raises(InUse, match=r"TXT record _acme-challenge.corp.test of order o1"):
        await house.managed_challenges.remove("zone", ROOT)


# -------------------------------------------------------------------------------------------------- authorities


async def test_the_first_authority_is_the_default_and_then_exactly_one(house: House) -> None:
    assert (await house.authorities.add(ca("one"), ROOT)).default
    assert not (await house.authorities.add(ca("two"), ROOT)).default
    assert (await house.authorities.add(ca("three", default=True), ROOT)).default
    assert [item.default for item in await house.authorities.list(ROOT)] == [False, False, True]
    await house.authorities.set("two", AuthorityPatch(default=True), ROOT)
    assert [(item.name, item.default) for item in await house.authorities.list(ROOT)] == [
        ("one", False),
        ("two", True),
        ("three", False),
    ]


async def test_the_default_is_handed_on_not_taken_away(house: House) -> None:
    await house.authorities.add(ca("one"), ROOT)
    await house.authorities.add(ca("two"), ROOT)
    with pytest.raises(Refused, match="make another one the default"):
        await house.authorities.set("one", AuthorityPatch(default=False), ROOT)
    with pytest.raises(Refused, match="make another one the default"):
        await house.authorities.remove("one", ROOT)
    await house.authorities.remove("two", ROOT)
    await house.authorities.remove("one", ROOT)


async def test_two_defaults_after_a_crash_are_made_one_by_the_next_change(house: House) -> None:
    one = await house.authorities.add(ca("one"), ROOT)
    await house.authorities.add(ca("two"), ROOT)
    row = await house.store.authorities.get((await house.authorities.show("two", ROOT)).id)
    assert row is not None
    await house.store.authorities.replace(msgspec.structs.replace(row, default=True))
    await house.authorities.set("one", AuthorityPatch(tags=("x",)), ROOT)
    assert [item.name for item in await house.authorities.list(ROOT) if item.default] == [one.name]


async def with_account(house: House, name: str = "ca") -> str:
    view = await house.authorities.add(ca(name, settings={"email": "a@corp.test", "eab_key": SECRET}), ROOT)
    row = await house.store.authorities.get(view.id)
    assert row is not None
    registered = msgspec.structs.replace(row, account_url="https://ca.test/a/1", sealed_account_key=b"sealed")
    await house.store.authorities.replace(registered)
    return view.id


@pytest.mark.parametrize(
    ("patch", "url", "key"),
    [
        (AuthorityPatch(name="other", tags=("x",), enabled=False), "https://ca.test/a/1", b"sealed"),
        (AuthorityPatch(settings={"email": "a@corp.test"}), "https://ca.test/a/1", b"sealed"),
        (AuthorityPatch(settings={"email": "b@corp.test"}), "", b"sealed"),
        (AuthorityPatch(plugin="ca_fake.other"), "", b""),
    ],
)
async def test_the_account_there_is_forgotten_with_other_settings_and_its_key_with_another_plugin(
    house: House, patch: Patch[NewAuthority], url: str, key: bytes
) -> None:
    id = await with_account(house)
    await house.authorities.set("ca", patch, ROOT)
    row = await house.store.authorities.get(id)
    assert row is not None
    assert (row.account_url, row.sealed_account_key) == (url, key)


async def test_settings_begin_anew_with_another_plugin(house: House) -> None:
    id = await with_account(house)
    await house.authorities.set("ca", AuthorityPatch(plugin="ca_fake.other", settings={"eab_kid": "k"}), ROOT)
    row = await house.store.authorities.get(id)
    assert row is not None
    assert house.authorities.unsealed(row) == {
        "directory": "https://ca.test/dir",
        "email": "",
        "eab_kid": "k",
        "eab_key": "",
    }


async def test_a_plugin_that_is_gone_hides_the_settings_but_not_the_row(house: House) -> None:
    view = await house.authorities.add(ca(), ROOT)
    row = await house.store.authorities.get(view.id)
    assert row is not None
    await house.store.authorities.replace(msgspec.structs.replace(row, plugin="ca_zerosl"))
    shown = await house.authorities.show("ca", ROOT)
    assert shown.settings == {}
    assert "did you mean 'ca_zerossl'" in shown.problem
    with pytest.raises(Invalid, match="plugin: "):
        await house.authorities.set("ca", AuthorityPatch(settings={"email": "x"}), ROOT)
    assert not (await house.authorities.set("ca", AuthorityPatch(enabled=False), ROOT)).enabled


async def test_a_managed_challenge_is_not_for_addresses(house: House) -> None:
    for match in ("10.0.0.0/8", "a.test, 192.0.2.1", "2001:db8::1"):
        with pytest.raises(Invalid, match=r"^match: an address cannot be proven by dns-01"):
            await house.managed_challenges.add(zone(match=match), ROOT)


async def test_an_authority_name_that_is_taken_is_refused(house: House) -> None:
    await house.authorities.add(ca(), ROOT)
    with pytest.raises(Taken):
        await house.authorities.add(ca(), ROOT)
    with pytest.raises(Invalid, match=r"^name: "):
        await house.authorities.set("ca", AuthorityPatch(name=""), ROOT)
    assert SECRET not in repr(ca(settings={"eab_key": SECRET})) + repr(AuthorityPatch(settings={"eab_key": SECRET}))


async def test_an_authority_that_orders_went_to_is_not_removed(house: House) -> None:
    view = await house.authorities.add(ca(), ROOT)
    role = (RoleAssignment(Role.MANAGED_ACME_CONSUMER),)
    await house.principals.add(NewPrincipal(name="app", roles=role), ROOT)
    token = (await house.tokens.add(NewToken(title="EAB", principal="app"), ROOT)).token
    account = await house.bind(token.id)
    actor = await house.store.accounts.actor(account.id)
    assert actor is not None
    names = [Identifier("dns", "a.test")]
    mode = AuthorizationMode.PREAPPROVED
    await house.store.orders.add(open_order(actor, names, mode=mode, authority_id=view.id, signing=True, now=NOW))
    with pytest.raises(InUse, match="authority 'ca' is in use by orders, which are kept for the record: disable it"):
        await house.authorities.remove("ca", ROOT)
    await house.authorities.add(ca("other", default=True), ROOT)
    assert not (await house.authorities.set("ca", AuthorityPatch(enabled=False), ROOT)).enabled


async def test_a_removal_is_tried_again_when_the_row_changed_meanwhile(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    view = await house.managed_challenges.add(zone(), ROOT)
    find = house.managed_challenges.rows.find
    asked: list[str] = []

    async def find_then_change(
        ref: str, reach: Reach | None = None, passage: Passage | None = None
    ) -> ManagedChallenge:
        item = await find(ref, reach, passage)
        if not asked:
            await house.store.managed_challenges.replace(msgspec.structs.replace(item, tags=("x",)))
        asked.append(item.id)
        return item

    monkeypatch.setattr(house.managed_challenges.rows, "find", find_then_change)
    await house.managed_challenges.remove("zone", ROOT)
    assert asked == [view.id, view.id]
    assert await house.managed_challenges.list(ROOT) == []


async def test_a_secret_is_shown_as_a_digest_that_changes_with_it_and_is_another_one_in_each_row(house: House) -> None:
    made = await house.managed_challenges.add(zone(settings={"server": "s", "key_secret": SECRET}), ROOT)
    assert made.secrets["backups"] == SecretState(set=False)
    shown = made.secrets["key_secret"]
    assert (shown.set, len(shown.digest)) == (True, 64)
    assert (await house.managed_challenges.show("zone", ROOT)).secrets == made.secrets
    other = await house.managed_challenges.add(zone("other", settings={"server": "s", "key_secret": SECRET}), ROOT)
    changed = await house.managed_challenges.set("zone", ManagedChallengePatch(settings={"key_secret": "new"}), ROOT)
    digests = {shown.digest, other.secrets["key_secret"].digest, changed.secrets["key_secret"].digest}
    assert len(digests) == 3
    assert hashlib.sha256(SECRET.encode()).hexdigest() not in digests


@pytest.mark.parametrize("placeholder", ["(secret)", " (secret) ", "Secret(…)"])
async def test_what_is_shown_instead_of_a_secret_is_refused_as_one(house: House, placeholder: str) -> None:
    await house.managed_challenges.add(zone(settings={"server": "s", "key_secret": SECRET}), ROOT)
    row = await house.managed_challenges.rows.find("zone")
    for settings in ({"key_secret": placeholder}, {"backups": [SECRET, placeholder]}):
        with pytest.raises(Invalid, match=r"^settings\.(key_secret|backups): .*is shown instead of a secret"):
            await house.managed_challenges.set("zone", ManagedChallengePatch(settings=settings), ROOT)
        with pytest.raises(Invalid, match="is shown instead of a secret"):
            await house.managed_challenges.add(zone("other", settings={"server": "s", **settings}), ROOT)
    file = f'[[managed_challenge]]\nname = "zone"\nplugin = "dns_fake"\nmatch = "{row.match}"\n'
    document = read_document(f'{file}[managed_challenge.settings]\nkey_secret = "{placeholder}"\n', "f.toml")
    with pytest.raises(InvalidFile, match=r"f.toml:6: .*is shown instead of a secret"):
        await house.files.apply(document, ROOT)
    assert await house.managed_challenges.rows.find("zone") == row


async def test_an_export_with_secrets_left_out_can_be_applied(house: House) -> None:
    await house.managed_challenges.add(zone(settings={"server": "s", "key_secret": SECRET}), ROOT)
    text = await house.files.export(ROOT)
    assert "# settings.key_secret is a secret and left out" in text
    applied = await house.files.apply(read_document(text, "f.toml"), ROOT)
    assert {item.step for item in applied.changes} == {Step.UNCHANGED}
