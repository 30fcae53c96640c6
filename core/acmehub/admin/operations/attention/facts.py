"""What the rules of attention judge."""

import shlex
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

import msgspec

from acmehub.admin.operations.attention.item import MOST_PRINCIPALS
from acmehub.models import (
    Account,
    Authority,
    Certificate,
    Event,
    EventKind,
    ManagedChallenge,
    Order,
    Principal,
    Token,
)
from acmehub.runtime.advice import advice

TRIES = 3  # failures of a step in a row, or orders that wait for the same reason, until it is no slip
OF_PROVIDER = frozenset(
    {
        EventKind.DNS_PROVIDER_REFUSED,
        EventKind.DNS_PROVIDER_UNAVAILABLE,
        EventKind.DNS_UNCLEAR,
        EventKind.TXT_NOT_VISIBLE,
    }
)
"""Troubles of a managed challenge."""

OF_CLIENT = frozenset({EventKind.WAITS_FOR_LOCK, EventKind.VALIDATION_FAILED, EventKind.WAITS_FOR_TXT})
"""Troubles of a client; all others are those of the authority."""


class Trouble(msgspec.Struct, frozen=True, kw_only=True):
    """Orders with one cause: those that have failed of it, and those that wait. `event` is the last word about one of
    them, `order` that one; `managed_challenge_id` of its names, where the cause is a provider's."""

    waiting: int
    failed: int
    since: datetime
    authority_id: str
    managed_challenge_id: str = ""
    problem: str = ""
    kind: EventKind | None
    principals: Mapping[str, int]
    order: Order | None = None
    event: Event | None = None

    @property
    def is_no_slip(self) -> bool:
        """Whether it is more than one failure that the next try may mend."""
        attempts = self.order.attempts if self.order is not None else 0
        return self.failed > 0 or self.waiting >= TRIES or attempts >= TRIES

    @property
    def count(self) -> int:
        """Of orders."""
        return self.waiting + self.failed

    @property
    def orders(self) -> str:
        """How many of them wait and have failed, in words."""
        counts = [(self.waiting, "waiting"), (self.failed, "failed")]
        said = " and ".join(f"{count} {word}" for count, word in counts if count)
        return f"{said} order{'s' if self.count > 1 else ''}"

    @property
    def words(self) -> str:
        """The last ones about one of them."""
        if self.event is not None and self.event.detail:
            return self.event.detail
        error = self.order.error if self.order is not None else None
        return error.detail if error is not None else ""

    @property
    def server(self) -> str:
        """The server that said them; empty where none did."""
        return self.event.server if self.event is not None else ""

    def to_do(self, authority: str) -> str:
        """One line; `authority` is its name."""
        order = self.order.id if self.order is not None else ""
        said = advice(self.kind, order=order, authority=shlex.quote(authority), failed=not self.waiting)
        return said or f"`acmehub order show {order}` has its whole course"


class LateRenewal(msgspec.Struct, frozen=True, kw_only=True):
    """Certificates of an account that nobody renews, the one that ends first first; and its last order for its
    names."""

    account: Account
    token: Token
    principal: Principal
    certificates: Sequence[Certificate]
    last_order: Order | None = None


class NamesOf(msgspec.Struct, frozen=True):
    """Names by id."""

    authorities: Mapping[str, Authority]
    managed_challenges: Mapping[str, ManagedChallenge]
    principals: Mapping[str, str]

    def listed(self, principals: Iterable[str]) -> tuple[str, ...]:
        """Some of these principals by name."""
        return tuple(sorted(self.principals.get(id, id) for id in principals)[:MOST_PRINCIPALS])
