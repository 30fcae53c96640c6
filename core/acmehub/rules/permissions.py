"""What operators may do: one table from action to roles.

An operator runs the hub day by day but cannot raise rights: only an administrator handles principals and tokens that
have, or get, another role than those of `CONSUMERS`.
"""

from collections.abc import Iterable

import msgspec

from acmehub.models import Role, RoleAssignment
from acmehub.models.audit import Origin

CONSUMERS = frozenset({Role.MANAGED_ACME_CONSUMER, Role.MANAGED_CHALLENGE_CONSUMER})


class Permission(msgspec.Struct, frozen=True):
    """A row of the table: who may do the action; an `audited` one changes or reveals something, so it leaves an entry
    when it is done and when it fails. A refusal leaves one in any case."""

    roles: frozenset[Role]
    audited: bool


_READ = Permission(frozenset({Role.ADMINISTRATOR, Role.OPERATOR, Role.AUDITOR}), audited=False)
_CHANGE = Permission(frozenset({Role.ADMINISTRATOR, Role.OPERATOR}), audited=True)
_REVEAL = _CHANGE
_SECRETS = Permission(frozenset({Role.ADMINISTRATOR}), audited=True)

PERMISSIONS: dict[str, Permission] = {
    "order.list": _READ,
    "order.show": _READ,
    "order.retry": _CHANGE,
    "order.cancel": _CHANGE,
    "account.list": _READ,
    "account.show": _READ,
    "account.set": _CHANGE,
    "account.deactivate": _CHANGE,
    "certificate.list": _READ,
    "certificate.show": _READ,
    "certificate.revoke": _CHANGE,
    "campaign.list": _READ,
    "campaign.show": _READ,
    "campaign.plan": _READ,
    "campaign.advice": _READ,
    "campaign.in_use": _READ,
    "campaign.add": _CHANGE,
    "campaign.end": _CHANGE,
    "principal.list": _READ,
    "principal.show": _READ,
    "principal.add": _CHANGE,
    "principal.set": _CHANGE,
    "principal.remove": _CHANGE,
    "token.list": _READ,
    "token.show": _READ,
    "token.add": _CHANGE,
    "token.set": _CHANGE,
    "token.revoke": _CHANGE,
    "token.remove": _CHANGE,
    "token.eab": _REVEAL,
    "token.eab_of": _REVEAL,
    "token.directory": _REVEAL,
    "challenge.list": _READ,
    "challenge.show": _READ,
    "challenge.add": _CHANGE,
    "challenge.set": _CHANGE,
    "challenge.remove": _CHANGE,
    "authority.list": _READ,
    "authority.show": _READ,
    "authority.add": _CHANGE,
    "authority.set": _CHANGE,
    "authority.clear_pause": _CHANGE,
    "authority.remove": _CHANGE,
    "profile.list": _READ,
    "profile.show": _READ,
    "profile.add": _CHANGE,
    "profile.set": _CHANGE,
    "profile.remove": _CHANGE,
    "plugin.list": _READ,
    "plugin.show": _READ,
    "audit.list": _READ,
    "audit.show": _READ,
    "audit.export": _READ,
    "check": _READ,
    "check.live": _CHANGE,
    "export": _READ,
    "apply": Permission(_CHANGE.roles, audited=False),  # the verbs it calls leave the entries
    "reseal": _SECRETS,
    "backup.create": _SECRETS,
    "storage.copy": _SECRETS,
}


class Forbidden(Exception):
    """None of the actor's roles may do this."""


class Acting(msgspec.Struct, frozen=True):
    """Who acts: the name that the audit keeps, the role assignments that this session has, where it comes from, and
    the principal's id ("" for a person with a shell on the hub's machine)."""

    name: str
    roles: frozenset[RoleAssignment]
    origin: Origin = Origin()
    principal_id: str = ""

    @classmethod
    def machine(cls, name: str) -> "Acting":
        """Who has a shell with access to the hub's data is its administrator."""
        return cls(name, frozenset({RoleAssignment(Role.ADMINISTRATOR)}))

    @property
    def unrestricted(self) -> frozenset[Role]:
        """The roles that no tags narrow: a narrowed one never counts as the whole role."""
        return frozenset(item.role for item in self.roles if not item.tags)


def require(acting: Acting, action: str) -> None:
    """`Forbidden` unless one of the actor's roles may do `action`."""
    allowed = PERMISSIONS[action].roles
    if acting.unrestricted.isdisjoint(allowed):
        needed = " or ".join(sorted(role.value for role in allowed))
        raise Forbidden(f"{acting.name} may not do {action}: it takes the role {needed}")


def require_over(acting: Acting, roles: Iterable[Role], what: str) -> None:
    """`Forbidden` unless the actor may handle something that has these roles; `what` names it in the message."""
    beyond = sorted(role.value for role in set(roles) - CONSUMERS)
    if beyond and Role.ADMINISTRATOR not in acting.unrestricted:
        raise Forbidden(
            f"{acting.name} may not handle {what}: only an administrator may, because of {', '.join(beyond)}"
        )
