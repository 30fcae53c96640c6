"""Who may do what: roles, narrowed ones, and what only administrators handle."""

import pytest

from acmehub.models import Role, RoleAssignment
from acmehub.rules.permissions import CONSUMERS, PERMISSIONS, Acting, Forbidden, require, require_over


def acting(*roles: RoleAssignment) -> Acting:
    return Acting("olga", frozenset(roles))


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


def test_a_role_with_tags_is_not_the_whole_role() -> None:
    narrowed = RoleAssignment(Role.OPERATOR, ("lab",))
    with pytest.raises(Forbidden):
        require(acting(narrowed), "order.retry")
    require(acting(narrowed, RoleAssignment(Role.OPERATOR)), "order.retry")


def test_only_an_administrator_handles_what_has_more_than_consumer_roles() -> None:
    operator = acting(RoleAssignment(Role.OPERATOR))
    require_over(operator, CONSUMERS, "token 't'")
    with pytest.raises(Forbidden, match="olga may not handle token 't': only an administrator may, because of auditor"):
        require_over(operator, (*CONSUMERS, Role.AUDITOR), "token 't'")
    require_over(acting(RoleAssignment(Role.ADMINISTRATOR)), Role, "token 't'")
    with pytest.raises(Forbidden):
        require_over(acting(RoleAssignment(Role.ADMINISTRATOR, ("lab",))), Role, "token 't'")
