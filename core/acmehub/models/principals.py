"""Principals: users and applications, and their roles."""

import enum
from datetime import datetime

import msgspec

from acmehub.models.base import Model


class Role(enum.StrEnum):
    """What a principal may do (docs/vocabulary.md, "Who and what")."""

    ADMINISTRATOR = "administrator"
    OPERATOR = "operator"
    AUDITOR = "auditor"
    MANAGED_ACME_CONSUMER = "managed_acme_consumer"
    MANAGED_CHALLENGE_CONSUMER = "managed_challenge_consumer"


class RoleAssignment(msgspec.Struct, frozen=True):
    """A role of a principal; with `tags`, only for things that bear at least one of them.

    `names`: a domain match rule, for consumers: only names that it covers, too. Empty: it narrows nothing.
    """

    role: Role
    tags: tuple[str, ...] = ()
    names: str = ""


class PrincipalType(enum.StrEnum):
    """A person, or an ACME client (or a group of them)."""

    USER = "user"
    APPLICATION = "application"


class Principal(Model, frozen=True, kw_only=True):
    """A user or an application that may use the hub.

    `profiles` are the names of the only profiles its clients may request; empty: any. `tags`: what narrowed roles of
    operators and auditors find it by, with the tags of its consumer roles (`rules.permissions.effective_tags`).
    `managed_by`: which resources file has set it last; empty: none.
    """

    name: str
    type: PrincipalType
    roles: tuple[RoleAssignment, ...] = ()
    enabled: bool = True
    created: datetime
    profiles: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    managed_by: str = ""

    def assignments(self, role: Role) -> tuple[RoleAssignment, ...]:
        """The principal's assignments of `role`; empty when it does not have the role."""
        return tuple(item for item in self.roles if item.role is role)
