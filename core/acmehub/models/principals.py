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
    """A role of a principal; with `tags`, only for resources that have at least one of them."""

    role: Role
    tags: tuple[str, ...] = ()


class PrincipalType(enum.StrEnum):
    """A person, or an ACME client (or a group of them)."""

    USER = "user"
    APPLICATION = "application"


class Principal(Model, frozen=True, kw_only=True):
    """A user or an application that may use the hub.

    `profiles` are the names of the only profiles its clients may request; empty: any.
    """

    name: str
    type: PrincipalType
    roles: tuple[RoleAssignment, ...] = ()
    enabled: bool = True
    created: datetime
    profiles: tuple[str, ...] = ()

    def assignments(self, role: Role) -> tuple[RoleAssignment, ...]:
        """The principal's assignments of `role`; empty when it does not have the role."""
        return tuple(item for item in self.roles if item.role is role)
