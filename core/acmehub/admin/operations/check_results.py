"""What `acmehub check` has found."""

import msgspec

from acmehub.dns01 import Explanation, Rehearsal


class AuthorityCheck(msgspec.Struct, frozen=True, kw_only=True):
    """Which authority would take the order: `reason` is the policy's, `server` the CA's directory, `account` the hub's
    account there (empty: made on first use), `addresses` whether it issues for IP addresses, `live` what `--live` saw
    of it, `error` why it would not take the order."""

    name: str = ""
    plugin: str = ""
    reason: str = ""
    signing: bool = False
    addresses: bool = False
    server: str = ""
    account: str = ""
    live: str = ""
    error: str = ""


class ProfileCheck(msgspec.Struct, frozen=True, kw_only=True):
    """The profile that the order would name, and what it asks for; `error` why the order would be refused."""

    name: str
    description: str = ""
    upstream_profile: str | None = None
    key_types: tuple[str, ...] = ()
    lifetime_days: int | None = None
    error: str = ""


class TokenCheck(msgspec.Struct, frozen=True, kw_only=True):
    """A token that the order might be made with: whether it fits all names, or `why` not; `warning`: what it cannot do
    apart from the order, such as to bind another account."""

    title: str
    id: str
    principal: str
    fits: bool
    why: str = ""
    warning: str = ""


class NameCheck(msgspec.Struct, frozen=True, kw_only=True):
    """One name: `rule` is the part of the managed challenge's match rule that covers it, `others` the managed
    challenges that cover it less well, `refusal` why the order would be refused, `dns` what DNS says (None when no
    record is needed), `rehearsal` what `--live` saw. `principals` are those that could have it, where none was named.
    """

    name: str
    managed_challenge: str = ""
    plugin: str = ""
    rule: str = ""
    others: tuple[str, ...] = ()
    principals: tuple[str, ...] | None = None
    refusal: str = ""
    dns: Explanation | None = None
    rehearsal: Rehearsal | None = None
    rehearsal_error: str = ""

    @property
    def good(self) -> bool:
        """Whether an order could have the name."""
        dns_error = self.dns is not None and bool(self.dns.error)
        unseen = self.rehearsal is not None and not self.rehearsal.seen
        return not (self.refusal or dns_error or unseen or self.rehearsal_error)


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """What an order for the names would meet.

    `tokens`: those of the principal that was named, or the one token, best first. `requester_error`: why none of them
    can order at all. `objection`: the policy's.
    """

    authority: AuthorityCheck
    names: tuple[NameCheck, ...]
    profile: ProfileCheck | None = None
    tokens: tuple[TokenCheck, ...] = ()
    requester_error: str = ""
    objection: str = ""

    @property
    def good(self) -> bool:
        """Whether the hub would take an order for the names."""
        refused = self.profile is not None and bool(self.profile.error)
        stopped = refused or self.authority.error or self.requester_error or self.objection
        return not stopped and all(item.good for item in self.names)
