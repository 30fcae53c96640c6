"""Principals: names, roles, the last administrator, and what is kept of refusals."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from acmehub.admin.access.errors import InUse, Invalid, NotFound, Refused, Taken
from acmehub.admin.resources.principals import NewPrincipal, PrincipalPatch, parse_role, role_text
from acmehub.admin.resources.tokens import NewToken
from acmehub.models import Principal, PrincipalType, Role, RoleAssignment
from acmehub.rules.permissions import Forbidden
from tests.admin.conftest import OPERATOR, ROOT, House

CONSUMER = RoleAssignment(Role.MANAGED_ACME_CONSUMER)
ADMINISTRATOR = RoleAssignment(Role.ADMINISTRATOR)


def new(name: str = "firewall-01", *roles: RoleAssignment) -> NewPrincipal:
    return NewPrincipal(name=name, roles=roles or (CONSUMER,))


async def test_a_principal_is_made_listed_shown_changed_and_removed(house: House) -> None:
    made = await house.principals.add(new(), ROOT)
    assert (made.type, made.roles, made.enabled) == (PrincipalType.APPLICATION, (CONSUMER,), True)
    assert await house.principals.list(ROOT) == [made]
    assert await house.principals.show("firewall-01", ROOT) == await house.principals.show(made.id, ROOT) == made
    changed = await house.principals.set(made.id, PrincipalPatch(name="printer", enabled=False), ROOT)
    assert (changed.name, changed.enabled, changed.roles) == ("printer", False, (CONSUMER,))
    await house.principals.remove("printer", ROOT)
    assert await house.principals.list(ROOT) == []


async def test_a_name_that_is_taken_is_refused_with_the_cure(house: House) -> None:
    await house.principals.add(new(), ROOT)
    with pytest.raises(Taken, match="principal 'firewall-01' already; choose another name"):
        await house.principals.add(new(), ROOT)
    await house.principals.add(new("other"), ROOT)
    with pytest.raises(Taken):
        await house.principals.set("other", PrincipalPatch(name="firewall-01"), ROOT)


@pytest.mark.parametrize("name", ["", " a", "a ", "a\nb", "x" * 101, "0" * 32, "\u202e"])
async def test_names_that_people_or_scripts_stumble_over_are_refused(house: House, name: str) -> None:
    with pytest.raises(Invalid, match=r"^name: "):
        await house.principals.add(new(name), ROOT)


async def test_an_unknown_name_says_where_to_look(house: House) -> None:
    with pytest.raises(NotFound, match="no principal 'nobody'; `acmehub principal list`"):
        await house.principals.show("nobody", ROOT)
    with pytest.raises(NotFound):
        await house.principals.show("f" * 32, ROOT)


async def test_one_with_tokens_is_not_removed_and_they_are_named(house: House) -> None:
    await house.principals.add(new(), ROOT)
    await house.tokens.add(NewToken(title="EAB", principal="firewall-01"), ROOT)
    with pytest.raises(InUse, match=r"principal 'firewall-01' is in use by token 'EAB'.*disable it"):
        await house.principals.remove("firewall-01", ROOT)
    assert (await house.principals.show("firewall-01", ROOT)).tokens == ("EAB",)


async def test_the_last_administrator_cannot_be_lost(house: House) -> None:
    await house.principals.add(new("root", ADMINISTRATOR), ROOT)
    await house.principals.add(new("off", ADMINISTRATOR), ROOT)
    await house.principals.set("off", PrincipalPatch(enabled=False), ROOT)
    for patch in (PrincipalPatch(enabled=False), PrincipalPatch(roles=(CONSUMER,))):
        with pytest.raises(Refused, match="last administrator"):
            await house.principals.set("root", patch, ROOT)
    with pytest.raises(Refused, match="last administrator"):
        await house.principals.remove("root", ROOT)
    await house.principals.set("off", PrincipalPatch(enabled=True), ROOT)
    await house.principals.remove("root", ROOT)


async def test_an_operator_cannot_raise_rights_nor_touch_those_who_have_more(house: House) -> None:
    made = await house.principals.add(new("app"), OPERATOR)
    with pytest.raises(Forbidden, match="because of administrator"):
        await house.principals.add(new("evil", ADMINISTRATOR), OPERATOR)
    with pytest.raises(Forbidden, match="because of operator"):
        await house.principals.set(made.id, PrincipalPatch(roles=(RoleAssignment(Role.OPERATOR),)), OPERATOR)
    await house.principals.add(new("root", ADMINISTRATOR), ROOT)
    for attempt in (
        house.principals.set("root", PrincipalPatch(name="gone"), OPERATOR),
        house.principals.remove("root", OPERATOR),
        house.tokens.add(NewToken(title="t", principal="root", scope=(Role.ADMINISTRATOR,)), OPERATOR),
    ):
        with pytest.raises(Forbidden):
            await attempt
    assert [item.name for item in await house.principals.list(ROOT)] == ["app", "root"]


async def test_roles_are_kept_once_and_their_tags_checked(house: House) -> None:
    made = await house.principals.add(new("app", CONSUMER, CONSUMER), ROOT)
    assert made.roles == (CONSUMER,)
    with pytest.raises(Invalid, match=r"^roles: 'a b'"):
        await house.principals.set("app", PrincipalPatch(roles=(RoleAssignment(CONSUMER.role, ("a b",)),)), ROOT)


@pytest.mark.parametrize(
    "text",
    [
        "auditor",
        "managed_acme_consumer:production",
        "operator:a,b.c",
        "managed_acme_consumer@*.a.test",
        "managed_challenge_consumer:a,b@*.a.test, b.test",
    ],
)
def test_roles_are_written_as_they_are_read(text: str) -> None:
    assert role_text(parse_role(text)) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "root",
        "auditor:",
        "auditor:a,",
        "auditor:a b",
        "Auditor",
        "managed_acme_consumer@",
        "managed_acme_consumer@a b",
        "auditor@a.test",
        "administrator:a",
    ],
)
def test_what_is_no_role_is_refused(text: str) -> None:
    with pytest.raises(Invalid, match=r"^roles: "):
        parse_role(text)


async def test_changes_and_refusals_are_audited_reading_is_not(house: House) -> None:
    await house.principals.add(new("app"), ROOT)
    await house.principals.show("app", ROOT)
    await house.principals.list(ROOT)
    with pytest.raises(Forbidden):
        await house.principals.add(new("evil", ADMINISTRATOR), OPERATOR)
    refused, added = await house.audited()
    assert (added.actor, added.action, added.object, added.allowed) == ("cli:root", "principal.add", "app", True)
    assert (refused.actor, refused.action, refused.object, refused.allowed) == ("olga", "principal.add", "evil", False)
    assert "administrator" in refused.detail


async def test_the_audit_says_what_a_change_changed(house: House) -> None:
    await house.principals.add(new("app"), ROOT)
    await house.principals.set("app", PrincipalPatch(name="printer", enabled=False), ROOT)
    await house.principals.set("printer", PrincipalPatch(enabled=False), ROOT)
    nothing, changed, _ = await house.audited()
    assert changed.difference == 'name: "app" -> "printer"; enabled: true -> false'
    assert nothing.difference == ""


async def test_of_two_administrators_at_most_one_is_lost_at_the_same_moment(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each looks for another administrator before either writes."""
    patch = PrincipalPatch(enabled=False)
    for number in range(4):
        names = [f"root {number}", f"other {number}"]
        for name in names:
            await house.principals.add(new(name, ADMINISTRATOR), ROOT)
        for item in await house.principals.list(ROOT):
            if item.name not in names:
                await house.principals.set(item.id, patch, ROOT)
        both, rows = asyncio.Barrier(2), house.principals.rows
        first: list[object] = []
        listed = rows.list

        async def list_together(
            both: asyncio.Barrier = both, first: list[object] = first, listed: Callable[[], Any] = listed
        ) -> Sequence[Principal]:
            found: Sequence[Principal] = await listed()
            first.append(found)
            if len(first) <= 2:
                await both.wait()
            return found

        monkeypatch.setattr(rows, "list", list_together)
        attempts = [house.principals.set(names[0], patch, ROOT), house.principals.remove(names[1], ROOT)]
        results = await asyncio.gather(*(attempts if number % 2 else reversed(attempts)), return_exceptions=True)
        monkeypatch.setattr(rows, "list", listed)
        assert [type(result) for result in results if isinstance(result, Exception)] == [Refused]
        left = [item for item in await rows.list() if item.enabled and item.name in names]
        assert len(left) == 1
