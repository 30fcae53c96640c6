"""Who may do what with the hub's own resources: one table from action to roles.

An operator runs the hub day by day but cannot raise rights: only an administrator touches principals and tokens that
have, or are to have, another role than those of `CONSUMERS`.
"""

from collections.abc import Iterable

import msgspec

from acmehub.admin.errors import Refused
from acmehub.models import Role

CONSUMERS = frozenset({Role.MANAGED_ACME_CONSUMER, Role.MANAGED_CHALLENGE_CONSUMER})

_KEEPERS = frozenset({Role.ADMINISTRATOR, Role.OPERATOR})
_READERS = _KEEPERS | {Role.AUDITOR}
_WRITES = ("add", "set", "remove")
_READS = ("list", "show")
_NOUNS = ("principal", "token", "challenge", "authority", "profile")

RIGHTS: dict[str, frozenset[Role]] = {
    **{f"{noun}.{verb}": _KEEPERS for noun in _NOUNS for verb in _WRITES},
    **{f"{noun}.{verb}": _READERS for noun in _NOUNS for verb in _READS},
    "campaign.add": _KEEPERS,
    "campaign.end": _KEEPERS,
    **{f"campaign.{verb}": _READERS for verb in _READS},
    "token.revoke": _KEEPERS,
    "token.eab": _KEEPERS,
    "token.directory": _KEEPERS,
    "account.set": _KEEPERS,
    "apply": _KEEPERS,
    "export": _READERS,
    "reseal": frozenset({Role.ADMINISTRATOR}),
}


class Acting(msgspec.Struct, frozen=True):
    """Who acts: the name that the audit keeps, and the roles that this session has."""

    name: str
    roles: frozenset[Role]

    @classmethod
    def machine(cls, name: str) -> "Acting":
        """Who has a shell with access to the hub's data is its administrator."""
        return cls(name, frozenset({Role.ADMINISTRATOR}))


def require(actor: Acting, action: str) -> None:
    """`Refused` unless one of the actor's roles may do `action`."""
    if actor.roles.isdisjoint(RIGHTS[action]):
        needed = " or ".join(sorted(role.value for role in RIGHTS[action]))
        raise Refused(f"{actor.name} may not do {action}: it takes the role {needed}")


def require_over(actor: Acting, roles: Iterable[Role], what: str) -> None:
    """`Refused` unless the actor may handle something that has these roles."""
    beyond = sorted(role.value for role in set(roles) - CONSUMERS)
    if beyond and Role.ADMINISTRATOR not in actor.roles:
        raise Refused(f"{actor.name} may not handle {what}: only an administrator may, because of {', '.join(beyond)}")
