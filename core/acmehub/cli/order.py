"""`acmehub order`."""

import shlex
from datetime import datetime, timedelta

import click
import msgspec

from acmehub.admin.operations.orders import OrderDetail
from acmehub.cli.shared.session import Result, Session, fields, hub_verb, moment, table
from acmehub.models import Event, Order, OrderStatus
from acmehub.models.events import TROUBLES
from acmehub.runtime.advice import advice


@click.group()
def order() -> None:
    """Orders, and how far the hub is with them."""


@order.command(
    name="list", epilog="\b\nExamples:\n  acmehub order list\n  acmehub order list --status invalid --limit 20"
)
@click.option("--status", type=click.Choice([item.value for item in OrderStatus]), help="Only orders in this status.")
@click.option("--account", "account_id", default="", help="Only orders of this account (its id).")
@click.option("--after", default="", help="Go on behind this order (its id).")
@click.option("--limit", default=50, show_default=True, type=click.IntRange(1, 1000))
@hub_verb
async def list_(session: Session, status: str | None, account_id: str, after: str, limit: int) -> Result:
    """Orders, newest first."""
    found = await session.hub.admin.orders.list(
        session.acting,
        status=OrderStatus(status) if status else None,
        account_id=account_id,
        after=after,
        limit=limit,
    )
    rows = [
        (
            item.id,
            item.status,
            item.stage,
            item.principal,
            moment(item.created),
            ", ".join(item.names) + (" (pre-authorization)" if item.preauthorization else ""),
        )
        for item in found
    ]
    return Result(list(found), table(("ORDER", "STATUS", "STAGE", "PRINCIPAL", "CREATED", "NAMES"), rows, "no orders"))


@order.command(name="show", epilog="\b\nExample:\n  acmehub order show 3f0c…")
@click.argument("order_id", metavar="ORDER")
@hub_verb
async def show(session: Session, order_id: str) -> Result:
    """One order and its timeline: what happened, when, how long it took, which server said what."""
    found = await session.hub.admin.orders.show(order_id, session.acting)
    return Result(_data(found), [*_head(found), "", *timeline(found.timeline)])


@order.command(epilog="\b\nExample:\n  acmehub order retry 3f0c…")
@click.argument("order_id", metavar="ORDER")
@hub_verb
async def retry(session: Session, order_id: str) -> Result:
    """Have an unfinished order worked on at once, with the whole issuance timeout again.

    An invalid order stays invalid (RFC 8555 section 7.1.6): its client must order again. Only a certificate that the CA
    has issued and that could not be fetched in time is fetched after all.
    """
    changed = await session.hub.admin.orders.retry(order_id, session.acting)
    return Result(_changed(changed), [f"order {order_id} is due now, at stage {changed.stage}"])


@order.command(epilog="\b\nExample:\n  acmehub order cancel 3f0c…")
@click.argument("order_id", metavar="ORDER")
@hub_verb
async def cancel(session: Session, order_id: str) -> Result:
    """End an unfinished order: its client sees it invalid, its TXT records are removed."""
    changed = await session.hub.admin.orders.cancel(order_id, session.acting)
    return Result(_changed(changed), [f"order {order_id} is {changed.status}"])


def _changed(order: Order) -> dict[str, object]:
    return {"id": order.id, "status": order.status, "stage": order.stage, "run_at": order.run_at}


def _data(found: OrderDetail) -> dict[str, object]:
    order = found.bundle.order
    return {
        "id": order.id,
        "status": order.status,
        "stage": order.stage,
        "names": [item.value for item in order.identifiers],
        "principal": found.principal,
        "token": found.token,
        "account": order.account_id,
        "authority": found.authority,
        "profile": order.client_profile,
        "mode": order.mode,
        "created": order.created,
        "expires": order.expires,
        "run_at": order.run_at,
        "attempts": order.attempts,
        "deadline": order.deadline,
        "upstream_order": order.upstream_url,
        "certificate": order.certificate_id,
        "error": order.error,
        "authorizations": [
            {
                "name": item.identifier.value,
                "wildcard": item.wildcard,
                "status": item.status,
                "upstream_status": item.upstream_status,
                "error": item.error,
            }
            for item in found.bundle.authorizations
        ],
        "records": [
            {
                "name": item.name,
                "zone": item.zone,
                "state": item.state,
                "attempts": item.attempts,
                "last_error": item.last_error,
            }
            for item in found.records
        ],
        "timeline": [msgspec.structs.asdict(event) for event in found.timeline],
    }


def _head(found: OrderDetail) -> list[str]:
    order = found.bundle.order
    authorizations = [
        f"{'*.' if item.wildcard else ''}{item.identifier.value} {item.status}" for item in found.bundle.authorizations
    ]
    records = [
        f"{item.name} {item.state}{f' ({item.last_error})' if item.last_error else ''}" for item in found.records
    ]
    return fields(
        [
            ("order", order.id),
            ("status", f"{order.status} (fulfilment: {order.stage})"),
            ("names", [item.value for item in order.identifiers]),
            ("principal", f"{found.principal}, by token {found.token!r}"),
            ("authority", found.authority),
            ("profile", order.client_profile),
            ("asked upstream", f"profile {order.profile}" if order.profile else ""),
            ("mode", order.mode),
            ("created", moment(order.created)),
            ("next step", moment(order.run_at) if order.run_at else ""),
            ("failures", f"{order.attempts} of this step" if order.attempts else ""),
            *_trouble(found),
            ("until", moment(order.deadline) if order.attempts else ""),
            ("upstream", order.upstream_url),
            ("certificate", order.certificate_id),
            ("error", order.error.detail if order.error else ""),
            *(("", part.detail) for part in (order.error.subproblems if order.error else ())),
            ("authorizations", authorizations),
            ("TXT records", records),
        ]
    )


def _trouble(found: OrderDetail) -> list[tuple[str, str]]:
    """What keeps the order from going on, or has ended it, and what to do about it."""
    order = found.bundle.order
    failed = order.status is OrderStatus.INVALID
    last = next((item for item in reversed(found.timeline) if item.kind in TROUBLES), None)
    if last is None or not (failed or order.attempts):
        return []
    todo = advice(last.kind, order=order.id, authority=shlex.quote(found.authority), failed=failed)
    return [("ended by" if failed else "waits because", f"{last.kind}: {last.detail}"), ("what to do", todo)]


def timeline(events: tuple[Event, ...]) -> list[str]:
    """The events as lines: time of day, seconds since the first, what happened, for how long, who said what."""
    if not events:
        return ["no events"]
    begin = events[0].at
    lines = [f"timeline (UTC, {begin:%Y-%m-%d})"]
    width = min(32, max(len(event.kind) for event in events))
    for event in events:
        took = f"{event.seconds:.2f} s" if event.seconds is not None else ""
        words = " — ".join(part for part in (event.server, event.detail) if part)
        line = f"  {event.at:%H:%M:%S}.{event.at.microsecond // 1000:03d}  {_since(event.at, begin):>9}"
        lines.append(f"{line}  {event.kind.ljust(width)}  {took:>8}  {words}".rstrip())
    return lines


def _since(at: datetime, begin: datetime) -> str:
    return f"+{(at - begin) / timedelta(seconds=1):.2f} s"
