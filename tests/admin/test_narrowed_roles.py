"""Roles that tags narrow: each verb with each of them, on what bears their tag and on what bears another one, driven by
the table of permissions."""

import ast
import inspect
from pathlib import Path
from typing import Any

import msgspec
import pytest

from acmehub.admin.access.errors import Invalid, NotFound, ServiceError
from acmehub.admin.operations.queries import CheckRequest
from acmehub.admin.resources.authorities import AuthorityPatch
from acmehub.admin.resources.principals import PrincipalPatch
from acmehub.admin.services import Admin
from acmehub.models import Role, RoleAssignment
from acmehub.models.problems import Problem
from acmehub.ports.store import Store
from acmehub.rules.permissions import NARROWABLE, PERMISSIONS, Acting, Forbidden
from tests.admin.conftest import House
from tests.admin.rights_cases import CASES, ELSEWHERE, LAB, ROOT, Case, Side, furnish, ordered
from tests.admin.test_rights import state

NARROWED = [role for role in Role if role in NARROWABLE]


def named(case: Case) -> str:
    return f"{case.action}-{case.noun}-{CASES.index(case)}"


def of_lab(role: Role) -> Acting:
    return Acting("olga", frozenset({RoleAssignment(role, (LAB,))}), proven=True, delegates=True)


def may(case: Case, role: Role) -> bool:
    row = PERMISSIONS[case.action]
    return role in row.own or (row.tagged and role in row.roles & NARROWABLE)


def told(found: object) -> str:
    """All that an answer says."""
    return repr(found) if isinstance(found, str) else f"{found!r} {msgspec.json.encode(found, enc_hook=repr).decode()}"


async def refusal(case: Case, house: House, role: Role, side: Side, ref: str = "") -> Exception:
    """What the verb raises; it leaves everything as it is."""
    before = state(house)
    with pytest.raises((ServiceError, Forbidden, Problem)) as caught:
        await case.call(house.admin, of_lab(role), side, ref)
    assert state(house) == before
    return caught.value


@pytest.fixture
async def sides(house: House) -> tuple[Side, Side]:
    return await furnish(house.admin, house.store)


def test_every_row_of_the_table_has_a_case() -> None:
    assert {case.action for case in CASES} | ELSEWHERE == set(PERMISSIONS)


@pytest.mark.parametrize("role", NARROWED)
@pytest.mark.parametrize("case", CASES, ids=named)
async def test_what_bears_the_tag_is_reached_and_nothing_of_the_other_side_is_seen(
    house: House, sides: tuple[Side, Side], case: Case, role: Role
) -> None:
    lab, production = sides
    ref = case.refs(lab)[-1] if case.noun else ""
    if not may(case, role):
        assert isinstance(await refusal(case, house, role, lab, ref), Forbidden)
        return
    if case.action == "certificate.revoke":  # it is found; what revokes it is the authority
        assert isinstance(await refusal(case, house, role, lab, ref), Invalid)
        return
    found = told(await case.call(house.admin, of_lab(role), lab, ref))
    assert [word for word in production.words if word in found] == []
    if case.verb == "list" and case.service != "audit" and "zone" not in repr(case.query(lab)):  # no TXT record stands
        assert any(word in found for word in lab.words)
    for noun, rows in state(house).items():  # nothing of the other side was changed
        assert {row for row in rows if any(word in repr(row) for word in production.words)} == {
            row for row in BEFORE[noun] if any(word in repr(row) for word in production.words)
        }


BEFORE: dict[str, list[tuple[object, ...]]] = {}


@pytest.fixture(autouse=True)
async def remembered(house: House, sides: tuple[Side, Side]) -> None:
    BEFORE.clear()
    BEFORE.update(state(house))


@pytest.mark.parametrize("role", Role)
async def test_what_bears_another_tag_is_not_there(house: House, sides: tuple[Side, Side], role: Role) -> None:
    _, production = sides
    for case in CASES:
        if not may(case, role):
            assert isinstance(await refusal(case, house, role, production, *case.refs(production)[:1]), Forbidden)
            continue
        for ref in case.refs(production):
            missing = "0" * len(ref) if ref[:1] in "0123456789abcdef" and len(ref) > 20 else "not-there"
            error = await refusal(case, house, role, production, ref)
            assert type(error) is NotFound, case.action
            unknown = await refusal(case, house, role, production, missing)
            assert str(error).replace(ref, "") == str(unknown).replace(missing, ""), case.action


@pytest.mark.parametrize("role", NARROWED)
async def test_nothing_is_made_of_or_asked_by_what_bears_another_tag(
    house: House, sides: tuple[Side, Side], role: Role
) -> None:
    _, production = sides
    for case in CASES:
        if case.noun or not may(case, role) or case.action in ("audit.list", "audit.export"):
            continue
        before = state(house)
        try:
            found: Any = await case.call(house.admin, of_lab(role), production)
        except (ServiceError, Forbidden) as error:
            found = error
        assert state(house) == before, case.action
        written = {"app-production", "eab-production", "ca-production", "zone-production", production.certificate.id}
        words = production.words - (written if isinstance(found, Exception) else set())
        assert [word for word in words if word in (str(found) if isinstance(found, Exception) else told(found))] == []
        if case.action.endswith((".add", ".plan", ".advice")) or case.action == "apply":
            assert isinstance(found, Exception), case.action


async def test_without_tags_of_its_own_a_thing_is_outside_of_every_narrowed_role(
    house: House, sides: tuple[Side, Side]
) -> None:
    del sides
    assert "untagged" not in told(await house.authorities.list(of_lab(Role.AUDITOR)))
    with pytest.raises(NotFound):
        await house.authorities.show("untagged", of_lab(Role.OPERATOR))


async def test_a_storage_that_does_not_narrow_a_list_is_an_error_and_no_leak(
    house: House, sides: tuple[Side, Side], monkeypatch: pytest.MonkeyPatch
) -> None:
    del sides
    store: Store = house.store
    for noun in (store.orders, store.certificates, store.accounts):
        plain = noun.list

        async def every(*_: object, plain: Any = plain, **others: Any) -> Any:
            return await plain(**others)

        monkeypatch.setattr(noun, "list", every)
    for service in (house.admin.orders, house.admin.certificates, house.admin.accounts):
        with pytest.raises(RuntimeError, match="has not narrowed"):
            await service.list(of_lab(Role.AUDITOR))


async def test_a_check_names_no_principal_and_no_authority_that_is_not_reached(
    house: House, sides: tuple[Side, Side]
) -> None:
    _, production = sides
    everywhere = RoleAssignment(Role.MANAGED_ACME_CONSUMER)
    wide = PrincipalPatch(roles=(RoleAssignment(everywhere.role, (production.tag,)), everywhere))
    await house.principals.set("app-production", wide, ROOT)
    check, asked = house.admin.check.check, CheckRequest(names=("www.lab.test",))
    [whole] = (await check(asked, ROOT)).names
    assert set(whole.principals or ()) == {"app-lab", "app-production"}
    found = await check(asked, of_lab(Role.AUDITOR))
    assert (found.good, found.names[0].principals) == (True, ("app-lab",))
    assert (found.authority.name, found.authority.plugin, found.authority.signing) == ("", "", True)
    await house.authorities.set("ca-lab", AuthorityPatch(default=True), ROOT)
    assert (await check(asked, of_lab(Role.AUDITOR))).authority.name == "ca-lab"
    await house.authorities.set("ca-production", AuthorityPatch(default=True, enabled=False), ROOT)
    stopped = await check(asked, of_lab(Role.AUDITOR))
    assert not [word for word in production.words if word in told(stopped)]


async def test_certificates_in_use_are_counted_of_the_principals_that_are_reached(
    house: House, sides: tuple[Side, Side]
) -> None:
    lab, production = sides
    ids = production.ids
    await ordered(house.admin, house.store, ids["app"], ids["eab"], lab.ids["ca"], ids["zone"], "elsewhere")
    await house.store.certificates.list()
    counted = [(await house.campaigns.in_use("ca-lab", who)).count for who in (ROOT, of_lab(Role.OPERATOR))]
    assert counted == [2, 1]


def test_what_is_looked_up_for_an_actor_is_looked_up_within_its_reach() -> None:
    """`ResourceRows.find` without a reach is for the hub itself."""
    admin = Path(inspect.getfile(Admin)).parent
    calls = [
        (path.name, node.lineno)
        for path in sorted(admin.rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr == "find"
        and ast.unparse(node.func).endswith(("rows.find", "_principals.find", "_tokens.find", "_challenges.find"))
        and len(node.args) < 2
    ]
    assert calls == []
