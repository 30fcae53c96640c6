"""Events: the lines of an order's timeline, to which lines are only ever added."""

import enum
from datetime import datetime

import msgspec


class EventKind(enum.StrEnum):
    """What an event reports. Code counts and compares kinds, never details."""

    ORDER_OPENED = "order opened"
    PREAUTHORIZATION_OPENED = "pre-authorization opened"
    ORDER_REUSED = "order reused"
    REPLACES_IGNORED = "`replaces` ignored"
    AUTHORIZATION_REUSED = "authorization reused"
    CHALLENGE_ANSWERED = "challenge answered"
    VALIDATED = "validated"
    VALIDATION_FAILED = "validation failed"
    APPROVED = "approved"
    FINALIZE_REQUESTED = "finalize requested"
    CERTIFICATE_REUSED = "certificate reused"
    UPSTREAM_ORDER_CREATED = "upstream order created"
    UPSTREAM_ORDER_READ = "upstream order read"
    UPSTREAM_ORDER_READY = "upstream order ready"
    UPSTREAM_ORDER_VALID = "upstream order valid"
    UPSTREAM_ORDER_FAILED = "upstream order failed"
    UPSTREAM_VALIDATION_FAILED = "upstream validation failed for now"
    UPSTREAM_ORDER_LOST = "upstream order lost"
    UPSTREAM_ORDER_USED_UP = "upstream order used up"
    UPSTREAM_ORDER_STILLBORN = "upstream order invalid at first sight"
    UPSTREAM_ORDER_PENDING_AGAIN = "upstream order pending again"
    UPSTREAM_ORDER_GIVEN = "upstream order given to another order"
    UPSTREAM_ORDER_TAKEN = "upstream order taken from another order"
    UPSTREAM_ORDER_RESTARTED = "upstream order restarted"
    UPSTREAM_ACCOUNT_CHANGED = "upstream account changed"
    UPSTREAM_ACCOUNT_LOST = "upstream account lost"
    WAITS_FOR_LOCK = "waits for another order for the same names"
    AUTHORIZATIONS_READ = "authorizations read"
    AUTHORIZATIONS_VALID = "authorizations valid upstream"
    CHALLENGE_WAS_ANSWERED = "challenge was answered upstream before"
    CHALLENGE_RESPONDED = "challenge answered upstream"
    TXT_CREATED = "TXT record created"
    TXT_VISIBLE = "TXT records visible"
    TXT_NOT_VISIBLE = "TXT records not visible"
    TXT_NOT_CHECKED = "TXT records not checked"
    WAITS_FOR_TXT = "waits for TXT records"
    TXT_REMOVED = "TXT record removed"
    TXT_NOT_REMOVED = "TXT record cannot be removed"
    CSR_SENT = "CSR sent"
    CA_NOT_READY = "CA not ready"
    CERTIFICATE_WITHOUT_URL = "certificate has no URL yet"
    CERTIFICATE_NOT_FETCHED = "certificate could not be fetched"
    CHAIN_DOWNLOADED = "chain downloaded"
    WRONG_CERTIFICATE = "wrong certificate refused"
    WRONG_CERTIFICATE_REVOKED = "wrong certificate revoked"
    WRONG_CERTIFICATE_NOT_REVOKED = "wrong certificate could not be revoked"
    REPLACES_NOT_SENT = "`replaces` not sent"
    CA_REFUSED = "CA refused"
    CA_REFUSED_REPLACES = "CA refused `replaces`"
    CA_UNAVAILABLE = "CA unavailable"
    CA_RATE_LIMITED = "CA rate limit"
    CA_PAUSED = "CA has paused the account or a name"
    CA_NOT_FOUND = "CA does not know the resource"
    DNS_UNCLEAR = "DNS gives no answer"
    DNS_PROVIDER_UNAVAILABLE = "DNS provider unavailable"
    DNS_PROVIDER_REFUSED = "DNS provider refused"
    NEEDS_OPERATOR = "needs an operator"
    UNEXPECTED_ERROR = "unexpected error"
    RETRIED = "retried by an operator"
    RIGHT_TAKEN = "right taken"
    MANAGED_CHALLENGE_CHANGED = "managed challenge changed"
    CERTIFICATE_ISSUED = "certificate issued"
    CERTIFICATE_DOWNLOADED = "certificate downloaded"
    CERTIFICATE_REVOKED = "certificate revoked"
    ORDER_FAILED = "order failed"
    NOTED = "noted"  # free text that an earlier version of the hub wrote


MENDABLE = frozenset(
    {
        EventKind.CA_NOT_FOUND,
        EventKind.CA_REFUSED,
        EventKind.CA_UNAVAILABLE,
        EventKind.DNS_PROVIDER_REFUSED,
        EventKind.DNS_PROVIDER_UNAVAILABLE,
        EventKind.DNS_UNCLEAR,
        EventKind.NEEDS_OPERATOR,
        EventKind.UNEXPECTED_ERROR,
        EventKind.UPSTREAM_ACCOUNT_LOST,
        EventKind.WRONG_CERTIFICATE,
    }
)
"""Failures that a change of an authority or a managed challenge may mend: what waits after one goes on at once."""

MENDED_AT_START = frozenset({EventKind.NEEDS_OPERATOR, EventKind.UNEXPECTED_ERROR})
"""Failures that a start of the hub may mend, because a plugin is installed now or another release runs."""

TROUBLES = MENDABLE | {
    EventKind.CA_NOT_READY,
    EventKind.CA_PAUSED,
    EventKind.CA_RATE_LIMITED,
    EventKind.CERTIFICATE_NOT_FETCHED,
    EventKind.CERTIFICATE_WITHOUT_URL,
    EventKind.TXT_NOT_VISIBLE,
    EventKind.UPSTREAM_ORDER_FAILED,
    EventKind.UPSTREAM_ORDER_LOST,
    EventKind.UPSTREAM_ORDER_PENDING_AGAIN,
    EventKind.UPSTREAM_ORDER_STILLBORN,
    EventKind.UPSTREAM_ORDER_USED_UP,
    EventKind.UPSTREAM_VALIDATION_FAILED,
    EventKind.VALIDATION_FAILED,
    EventKind.WAITS_FOR_LOCK,
    EventKind.WAITS_FOR_TXT,
}
"""What keeps an order from going on, or has ended it."""


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """One line of an order's timeline: what happened, when, how long it took, which server said what.

    `detail`: the server's message, or the hub's own; `seconds`: the duration of the exchange.
    """

    order_id: str
    at: datetime
    kind: EventKind
    detail: str = ""
    server: str = ""
    seconds: float | None = None
