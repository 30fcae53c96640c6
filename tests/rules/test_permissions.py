"""Who may do what: roles, narrowed ones, and what only administrators handle."""

from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest

from acmehub.models import Principal, PrincipalType, Role, RoleAssignment
from acmehub.rules.permissions import (
    CONSUMERS,
    NARROWABLE,
    PERMISSIONS,
    Acting,
    Forbidden,
    Permission,
    effective_tags,
    entries_of,
    reach,
    require,
    require_over,
)

NOW = datetime(2026, 11, 28, tzinfo=UTC)


def acting(*roles: RoleAssignment) -> Acting:
    return Acting("olga", frozenset(roles), principal_id="p1", proven=True, delegates=True)


@pytest.mark.parametrize("action", PERMISSIONS)
@pytest.mark.parametrize("role", Role)
def test_a_role_may_do_what_its_row_says(action: str, role: Role) -> None:
    who = acting(RoleAssignment(role))
    if role in PERMISSIONS[action].roles:
        require(who, action)
        return
    with pytest.raises(Forbidden, match=f"olga may not do {action}: it takes the role "):
        require(who, action)


def test_an_administrator_may_do_everything_and_consumers_nothing() -> None:
    assert all(Role.ADMINISTRATOR in permission.roles for permission in PERMISSIONS.values())
    assert not any(permission.roles & CONSUMERS for permission in PERMISSIONS.values())


def test_who_only_reads_never_leaves_an_entry_but_by_a_refusal() -> None:
    assert not any(permission.audited for permission in PERMISSIONS.values() if Role.AUDITOR in permission.roles)


def test_who_has_a_shell_on_the_machine_is_an_administrator() -> None:
    require(Acting.machine("cli:root"), "reseal")


def test_a_role_with_tags_does_what_the_table_allows_to_what_bears_them() -> None:
    narrowed = acting(RoleAssignment(Role.OPERATOR, ("lab", "attic")))
    require(narrowed, "order.retry")
    require(narrowed, "order.retry", ("lab", "production"))
    for tags in (("production",), ()):
        with pytest.raises(Forbidden, match=r"olga may not do order.retry"):
            require(narrowed, "order.retry", tags)
    assert reach(narrowed, "order.retry") == frozenset({"lab", "attic"})
    both = acting(RoleAssignment(Role.OPERATOR, ("lab",)), RoleAssignment(Role.AUDITOR))
    assert (reach(both, "order.list"), reach(both, "order.retry")) == (None, frozenset({"lab"}))


@pytest.mark.parametrize("action", PERMISSIONS)
@pytest.mark.parametrize("role", Role)
def test_a_role_with_tags_is_never_the_whole_role(action: str, role: Role) -> None:
    row, who = PERMISSIONS[action], acting(RoleAssignment(role, ("lab",)))
    if role in row.own:
        assert entries_of(who, action) == frozenset({"p1"})
    elif role in row.roles & NARROWABLE and row.tagged:
        assert reach(who, action) == frozenset({"lab"})
    else:
        assert reach(who, action) == frozenset()
        with pytest.raises(Forbidden):
            require(who, action)


def test_a_role_with_a_domain_rule_that_rows_do_not_know_reaches_nothing() -> None:
    who = acting(RoleAssignment(Role.OPERATOR, ("lab",), "*.lab.test"), RoleAssignment(Role.AUDITOR, (), "*.lab.test"))
    assert reach(who, "order.list") == frozenset()


@pytest.mark.parametrize("action", [action for action, row in PERMISSIONS.items() if row.step_up])
def test_what_takes_a_fresh_proof_is_refused_without_it(action: str) -> None:
    who = Acting("olga", frozenset({RoleAssignment(Role.ADMINISTRATOR)}), delegates=True)
    with pytest.raises(Forbidden, match="it takes a fresh sign-in, or an API token with 'reveal'"):
        require(who, action)
    require(msgspec.structs.replace(who, proven=True), action)


def test_a_principal_bears_its_own_tags_and_those_of_its_consumer_roles() -> None:
    roles = (
        RoleAssignment(Role.MANAGED_ACME_CONSUMER, ("lab",)),
        RoleAssignment(Role.MANAGED_CHALLENGE_CONSUMER, ("attic",)),
        RoleAssignment(Role.OPERATOR, ("production",)),
    )
    app = Principal(name="app", type=PrincipalType.APPLICATION, roles=roles, tags=("own",), created=NOW)
    assert effective_tags(app) == {"own", "lab", "attic"}


def test_only_an_administrator_handles_what_has_more_than_consumer_roles() -> None:
    operator = acting(RoleAssignment(Role.OPERATOR))
    require_over(operator, CONSUMERS, "token 't'")
    with pytest.raises(Forbidden, match="olga may not handle token 't': only an administrator may, because of auditor"):
        require_over(operator, (*CONSUMERS, Role.AUDITOR), "token 't'")
    require_over(acting(RoleAssignment(Role.ADMINISTRATOR)), Role, "token 't'")
    with pytest.raises(Forbidden):
        require_over(acting(RoleAssignment(Role.ADMINISTRATOR, ("lab",))), Role, "token 't'")


# ------------------------------------------------------------------------------------------------ the page


def cell(row: Permission, role: Role) -> str:
    if role in row.own:
        return "own entries"
    if role not in row.roles:
        return "–"
    return "by tags" if row.tagged and role in NARROWABLE else "yes"


def table() -> str:
    """The table of docs/security.md."""
    lines = ["| action | administrator | operator | auditor | takes a fresh proof |", "|---|---|---|---|---|"]
    people = (Role.ADMINISTRATOR, Role.OPERATOR, Role.AUDITOR)
    rows: dict[tuple[str, ...], list[str]] = {}
    for action, row in PERMISSIONS.items():
        rows.setdefault((*(cell(row, role) for role in people), "yes" if row.step_up else ""), []).append(action)
    for cells, actions in rows.items():
        names = ", ".join(f"`{action}`" for action in actions)
        lines.append(f"| {names} | {' | '.join(cells)} |")
    return "\n".join(lines).replace("|  |", "| |")


def test_the_page_for_people_has_the_table() -> None:
    page = (Path(__file__).parents[2] / "docs" / "security.md").read_text()
    assert table() in page, f"docs/security.md needs this table:\n{table()}"
