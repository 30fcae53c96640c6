"""The fields of a token, checked and in their stored form: for tokens themselves and for resources files."""

from collections.abc import Iterable, Sequence
from typing import Any

from acmehub.admin.access.errors import Invalid
from acmehub.admin.resources.service import checked_name, checked_rule, checked_tags
from acmehub.models import Principal, Role
from acmehub.models.addresses import parse_network

_MOST_USES = 2**31 - 1  # what an INTEGER of PostgreSQL holds


def checked_fields(values: dict[str, Any], owner: str, roles: Iterable[Role]) -> dict[str, Any]:
    """The fields of a token that are given, each checked and in its stored form; `Invalid`.

    `owner` and `roles` are the name and the roles of its principal.
    """
    checked = dict(values)
    if "title" in checked:
        checked_name(checked["title"], "title")
    if "scope" in checked:
        checked["scope"] = _checked_scope(checked["scope"], owner, frozenset(roles))
    if checked.get("names"):
        checked["names"] = checked_rule(checked["names"], "names")
    if "tags" in checked:
        checked["tags"] = checked_tags(checked["tags"])
    if "networks" in checked:
        checked["networks"] = tuple(_checked_network(text) for text in checked["networks"])
    if checked.get("use_limit") is not None and not 1 <= checked["use_limit"] <= _MOST_USES:
        raise Invalid("use_limit", f"must be 1 to {_MOST_USES}; leave it out for no limit")
    if checked.get("expires") is not None and checked["expires"].tzinfo is None:
        raise Invalid("expires", "needs a time zone (2027-01-31T12:00:00Z)")
    return checked


def roles_of(principal: Principal) -> frozenset[Role]:
    """The roles that a principal has, narrowed or not."""
    return frozenset(item.role for item in principal.roles)


def _checked_scope(scope: Sequence[Role], owner: str, roles: frozenset[Role]) -> tuple[Role, ...]:
    if not scope:
        raise Invalid("scope", "needs at least one role")
    for role in scope:
        if role not in roles:
            has = ", ".join(sorted(roles)) or "none"
            raise Invalid("scope", f"principal {owner!r} has not the role {role} (it has: {has})")
    return tuple(dict.fromkeys(scope))


def _checked_network(text: str) -> str:
    try:
        return str(parse_network(text.strip()))
    except ValueError as error:
        raise Invalid("networks", f"{error}; write 192.0.2.0/24 or 2001:db8::/32") from None
