"""What operators may do: one table from action to roles, and how far a role that tags narrow reaches.

An operator runs the hub day by day but cannot raise rights: only an administrator handles principals and tokens that
have, or get, another role than those of `CONSUMERS`. A narrowed operator or auditor may do what the table allows to
what bears one of its tags; everything else is not there for it. docs/security.md has the table for people.
"""

from collections.abc import Collection, Iterable

import msgspec

from acmehub.models import Principal, Role, RoleAssignment
from acmehub.models.audit import ActorKind, AuditActor, Origin, Via

CONSUMERS = frozenset({Role.MANAGED_ACME_CONSUMER, Role.MANAGED_CHALLENGE_CONSUMER})
NARROWABLE = frozenset({Role.OPERATOR, Role.AUDITOR})
"""The roles over which tags decide: a consumer's tags are for managed challenges, an administrator has none."""


class Permission(msgspec.Struct, frozen=True):
    """A row of the table: who may do the action; an `audited` one changes or reveals something, so it leaves an entry
    when it is done and when it fails. A refusal leaves one in any case.

    `tagged`: narrowed roles may do it to what their tags reach; else they may not do it. `step_up`: it takes a token
    with `reveal`, or a person who has proved again who they are; a shell on the hub's machine needs neither. `own`: the
    roles that it shows only what they have done themselves.
    """

    roles: frozenset[Role]
    audited: bool
    tagged: bool = False
    step_up: bool = False
    own: frozenset[Role] = frozenset()


_ALL = frozenset({Role.ADMINISTRATOR, Role.OPERATOR, Role.AUDITOR})
_WRITERS = frozenset({Role.ADMINISTRATOR, Role.OPERATOR})
_READ = Permission(_ALL, audited=False, tagged=True)
_CHANGE = Permission(_WRITERS, audited=True, tagged=True)
_GRAVE = Permission(_WRITERS, audited=True, tagged=True, step_up=True)
_REVEAL = _GRAVE
_SECRETS = Permission(frozenset({Role.ADMINISTRATOR}), audited=True, step_up=True)
_AUDIT = Permission(_ALL, audited=False, own=frozenset({Role.OPERATOR}))

PERMISSIONS: dict[str, Permission] = {
    "order.list": _READ,
    "order.show": _READ,
    "order.retry": _CHANGE,
    "order.cancel": _CHANGE,
    "account.list": _READ,
    "account.show": _READ,
    "account.set": _CHANGE,
    "account.deactivate": _GRAVE,
    "certificate.list": _READ,
    "certificate.show": _READ,
    "certificate.revoke": _GRAVE,
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
    "principal.forget": _SECRETS,
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
    "attention.list": _READ,
    "plugin.list": _READ,
    "plugin.show": _READ,
    "audit.list": _AUDIT,
    "audit.show": _AUDIT,
    "audit.follow": _AUDIT,
    "audit.export": Permission(_ALL, audited=False, step_up=True, own=_AUDIT.own),
    "audit.verify": Permission(frozenset({Role.ADMINISTRATOR, Role.AUDITOR}), audited=False),
    "check": _READ,
    "check.live": _CHANGE,
    "export": _READ,
    "apply": Permission(_WRITERS, audited=False, tagged=True),  # the verbs it calls leave the entries
    "reseal": _SECRETS,
    "backup.create": _SECRETS,
    "storage.copy": _SECRETS,
}


class Forbidden(Exception):
    """None of the actor's roles may do this."""


class Acting(msgspec.Struct, frozen=True):
    """Who acts: the name that the audit keeps, the role assignments that this session has, where it comes from, and
    the principal's id ("" for a person with a shell on the hub's machine).

    `proven`: it may do what takes `step_up`: a token with `reveal`, a person who has just proved who they are.
    `delegates`: it may make tokens; each person may, an API token only with its flag of this name. `managing`: who owns
    the resources file that it applies, which what it changes bears as `managed_by` (empty: nobody).
    """

    name: str
    roles: frozenset[RoleAssignment]
    origin: Origin = Origin()
    principal_id: str = ""
    proven: bool = False
    delegates: bool = False
    managing: str = ""

    @classmethod
    def machine(cls, name: str) -> "Acting":
        """Who has a shell with access to the hub's data is its administrator."""
        return cls(name, frozenset({RoleAssignment(Role.ADMINISTRATOR)}), proven=True, delegates=True)

    @property
    def actor(self) -> AuditActor:
        """As the audit names who acts; what comes by the API has an API token."""
        kind = ActorKind.TOKEN if self.origin.via is Via.API else ActorKind.PERSON
        return AuditActor(self.name, kind, self.principal_id, self.origin)

    @property
    def unrestricted(self) -> frozenset[Role]:
        """The roles that nothing narrows: a narrowed one never counts as the whole role."""
        return frozenset(item.role for item in self.roles if not (item.tags or item.names))


def effective_tags(principal: Principal) -> frozenset[str]:
    """The tags that a principal bears, and with it its orders, accounts and certificates: its own, and those that its
    consumer roles are narrowed by."""
    given = (tag for item in principal.roles if item.role in CONSUMERS for tag in item.tags)
    return frozenset((*principal.tags, *given))


def reach(acting: Acting, action: str) -> frozenset[str] | None:
    """The tags of what the actor may do `action` to; None: to everything. Empty: it may not do it at all."""
    row = PERMISSIONS[action]
    if not acting.unrestricted.isdisjoint(row.roles) or any(item.role in row.own for item in acting.roles):
        return None
    narrowed = (item for item in acting.roles if item.role in row.roles & NARROWABLE and not item.names)
    return frozenset(tag for item in narrowed for tag in item.tags) if row.tagged else frozenset()


def require(acting: Acting, action: str, tags: Collection[str] | None = None) -> None:
    """`Forbidden` unless one of the actor's roles may do `action`, and to something that bears `tags`, where given."""
    row, reached = PERMISSIONS[action], reach(acting, action)
    if reached is not None and (not reached or (tags is not None and reached.isdisjoint(tags))):
        needed = " or ".join(sorted(role.value for role in row.roles))
        raise Forbidden(f"{acting.name} may not do {action}: it takes the role {needed}{_unhelpful(acting, row)}")
    if row.step_up:
        require_proof(acting, action)


def entries_of(acting: Acting, action: str) -> frozenset[str] | None:
    """The principals whose entries of the audit the actor may see: None for all, else its own id."""
    row = PERMISSIONS[action]
    return frozenset({acting.principal_id}) if acting.unrestricted.isdisjoint(row.roles - row.own) else None


def require_proof(acting: Acting, what: str) -> None:
    """`Forbidden` unless the actor has proved again who it is, or is a token that may do without."""
    if not acting.proven:
        raise Forbidden(
            f"{acting.name} may not do {what} like this: it takes a fresh sign-in, or an API token with 'reveal'"
        )


def require_over(acting: Acting, roles: Iterable[Role], what: str) -> None:
    """`Forbidden` unless the actor may handle something that has these roles; `what` names it in the message."""
    beyond = sorted(role.value for role in set(roles) - CONSUMERS)
    if not beyond:
        return
    if Role.ADMINISTRATOR not in acting.unrestricted:
        raise Forbidden(
            f"{acting.name} may not handle {what}: only an administrator may, because of {', '.join(beyond)}"
        )
    require_proof(acting, f"this to {what}")


def require_assignments(acting: Acting, action: str, assignments: Iterable[RoleAssignment], what: str) -> None:
    """`Forbidden` unless the actor may handle something that has these role assignments: one whose role tags narrow
    may not handle what reaches further than its own tags."""
    assignments = tuple(assignments)
    require_over(acting, (item.role for item in assignments), what)
    reached = reach(acting, action)
    if reached is None:
        return
    for item in assignments:
        if not item.tags or not reached.issuperset(item.tags):
            far = f"those with the tags {', '.join(item.tags)}" if item.tags else "all managed challenges"
            raise Forbidden(
                f"{acting.name} may not handle {what}: its role {item.role} reaches {far}, and the role of"
                f" {acting.name} only what has the tags {_listed(reached)}"
            )


def require_tags(acting: Acting, action: str, before: Collection[str], after: Collection[str], what: str) -> None:
    """`Forbidden` unless the actor may give and take the tags by which `before` and `after` differ."""
    reached = reach(acting, action)
    beyond = (set(before) ^ set(after)) - reached if reached is not None else set()
    if beyond:
        raise Forbidden(
            f"{acting.name} may not do this to {what}: it takes more than the role of {acting.name} to give or take"
            f" the tags {_listed(beyond)}; it may those with {_listed(reached or ())}"
        )


def require_reached(acting: Acting, action: str, tags: Collection[str], what: str) -> None:
    """`Forbidden` unless something that is made, or changed, bears a tag that the actor reaches it by."""
    reached = reach(acting, action)
    if reached is not None and reached.isdisjoint(tags):
        raise Forbidden(f"{acting.name} may not leave {what} without a tag of its own role: {_listed(reached)}")


def require_unnarrowed(acting: Acting, action: str, what: str) -> None:
    """`Forbidden` for a role that tags narrow: `what` concerns the whole hub."""
    if reach(acting, action) is not None:
        raise Forbidden(f"{acting.name} may not {what}: it concerns the whole hub, and tags narrow the role")


def require_flags(acting: Acting, *, delegates: bool, what: str) -> None:
    """`Forbidden` unless the actor may give a token, or take from it, the flags `reveal` and `delegates`: nobody gives
    what it has not."""
    if Role.ADMINISTRATOR not in acting.unrestricted:
        raise Forbidden(f"{acting.name} may not set 'reveal' or 'delegates' of {what}: only an administrator may")
    require_proof(acting, f"this to {what}")
    if delegates and not acting.delegates:
        raise Forbidden(f"{acting.name} may not set 'delegates' of {what}: it may not make tokens itself")


def require_delegation(acting: Acting, what: str) -> None:
    """`Forbidden` for an API token that may not make tokens."""
    if not acting.delegates:
        raise Forbidden(f"{acting.name} may not make {what}: it takes an API token with 'delegates'")


def _listed(tags: Collection[str]) -> str:
    return ", ".join(sorted(tags)) or "none"


def _unhelpful(acting: Acting, row: Permission) -> str:
    """What a role that the actor has lacks."""
    return ", not narrowed by tags" if any(item.role in row.roles for item in acting.roles) else ""
