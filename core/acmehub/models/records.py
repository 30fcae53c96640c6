"""What is only ever appended: timelines and the audit."""

from datetime import datetime

import msgspec


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """One line of an order's timeline: what happened, when, how long it took, which server said what.

    `what` is a short verb phrase of ours; `detail` the other side's words; `seconds` the duration of the exchange.
    """

    order_id: str
    at: datetime
    what: str
    detail: str = ""
    server: str = ""
    seconds: float | None = None


class AuditEntry(msgspec.Struct, frozen=True, kw_only=True):
    """Who did what to which object, and whether it was allowed; never with a secret in it."""

    at: datetime
    actor: str
    action: str
    object: str
    detail: str = ""
    allowed: bool = True
