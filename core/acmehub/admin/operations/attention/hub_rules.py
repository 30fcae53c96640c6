"""What the hub itself lacks: storage, worker, its own TLS certificate."""

from datetime import datetime, timedelta

from acmehub.admin.operations.attention.item import AttentionItem, Severity
from acmehub.ports.figures import Counts

NO_WORKER_AFTER = timedelta(minutes=1)
LEAST_OF_OWN_LIFE = 0.2


def storage_item(reason: str) -> AttentionItem:
    """The storage cannot be written."""
    return AttentionItem(
        key="storage",
        severity=Severity.PAGE,
        what="the storage cannot be written: no order is taken",
        words=reason,
        to_do="mend what it names; the hub goes on by itself",
        kind="storage",
    )


def worker_items(counts: Counts, now: datetime) -> list[AttentionItem]:
    """Orders are due, and no worker has claimed any."""
    due = counts.due_since
    if due is None or counts.claimed or now - due < NO_WORKER_AFTER:
        return []
    return [
        AttentionItem(
            key="worker",
            severity=Severity.PAGE,
            what="no worker works on the orders that are due",
            since=due,
            to_do="does `acmehub serve` or `acmehub worker` run, and reach the storage? Its log says why not",
            kind="worker",
            count=sum(counts.open_orders.values()),
        )
    ]


def own_certificate_items(dates: tuple[datetime, datetime] | None, now: datetime) -> list[AttentionItem]:
    """The TLS certificate with which the hub answers ends soon; `dates` are its begin and its end."""
    if dates is None or (dates[1] - now) >= (dates[1] - dates[0]) * LEAST_OF_OWN_LIFE:
        return []
    when = "has ended" if dates[1] <= now else f"ends at {dates[1]:%Y-%m-%d %H:%M}Z"
    return [
        AttentionItem(
            key="own_certificate",
            severity=Severity.PAGE,
            what=f"the hub's own TLS certificate {when}: clients will refuse the hub",
            since=dates[1] - (dates[1] - dates[0]) * LEAST_OF_OWN_LIFE,
            to_do="replace the files of `[tls]`, or see in the log of `serve` why its authority issues no other",
            kind="tls",
        )
    ]
