"""`acmehub order`."""

import shlex
import shutil
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any

import click

from acmehub.admin.access.errors import ServiceError
from acmehub.admin.operations.orders import OrderDetail, OrderSummary
from acmehub.admin.operations.queries import OrderQuery
from acmehub.cli.shared.choices import one_of
from acmehub.cli.shared.exit_status import Exit
from acmehub.cli.shared.session import Result, Session, fields, hub_verb, moment, table
from acmehub.cli.shared.times import PAST
from acmehub.models import Event, OrderStatus, Stage
from acmehub.models.events import TROUBLES
from acmehub.runtime.advice import advice

PAGE = 500


@click.group()
def order() -> None:
    """Orders, and how far the hub is with them."""


LIST = """\b
Examples:
  acmehub order list --failing
  acmehub order list --failing --authority letsencrypt --since 12h
  acmehub order list --status invalid --name www.corp.test --limit 20
"""
RETRY = """\b
Examples:
  acmehub order retry 3f0c…
  acmehub order retry --failing --authority letsencrypt --dry-run
"""
FAILING = "Only orders that are not over and whose present step has failed (not: that wait for another order)."


def filters(function: Callable[..., Any]) -> Callable[..., Any]:
    """The options that say which orders are meant, by the fields of `OrderQuery`."""
    for option in (
        click.option("--account", default="", help="Only orders of this account (its id)."),
        click.option("--since", type=PAST, help="Only orders opened since then: 12h ago, 30d, 2027-01-31, …"),
        click.option("--name", default="", help="Only orders for this name (and others)."),
        click.option("--challenge", default="", help="Only orders with TXT records of this managed challenge."),
        click.option("--authority", default="", help="Only orders that went to this authority."),
        click.option("--token", default="", help="Only orders of accounts that this token (its title) has bound."),
        click.option("--principal", default="", help="Only orders of this principal."),
        one_of("--stage", Stage, "Only orders at this stage."),
        one_of("--status", OrderStatus, "Only orders in this status."),
        click.option("--failing", is_flag=True, help=FAILING),
    ):
        function = option(function)
    return function


@order.command(name="list", epilog=LIST)
@filters
@click.option("--after", default="", help="Go on behind this order (its id).")
@click.option("--limit", default=50, show_default=True, type=click.IntRange(1, 1000))
@hub_verb
async def list_(session: Session, after: str, limit: int, **wanted: Any) -> Result:
    """Orders, newest first; options narrow the list together."""
    found = await session.admin.orders.list(session.acting, filter=OrderQuery(**wanted), after=after, limit=limit)
    return Result(list(found), _table(found))


HEADS = ("ORDER", "STATUS", "STAGE", "NAMES", "PRINCIPAL/TOKEN", "AUTHORITY", "TRIES", "NEXT TRY", "LAST WORDS")
FEWEST = 24  # columns for the last words


def _table(found: Sequence[OrderSummary]) -> list[str]:
    """The orders; their last words have what is left of the terminal's width."""
    rows = [
        (
            item.id,
            item.status,
            item.stage,
            _names(item),
            f"{item.principal}/{item.token}",
            item.authority,
            item.attempts or "",
            moment(item.run_at) if item.run_at else "",
        )
        for item in found
    ]
    widths = [max(map(len, map(str, column))) for column in zip(HEADS, *((*row, "") for row in rows), strict=True)]
    left = max(FEWEST, shutil.get_terminal_size((200, 24)).columns - sum(widths[:-1]) - 2 * len(widths[:-1]))
    words = [item.last_words if len(item.last_words) <= left else f"{item.last_words[: left - 1]}…" for item in found]
    return table(HEADS, [(*row, text) for row, text in zip(rows, words, strict=True)], "no orders")


def _names(item: OrderSummary) -> str:
    first, more = ", ".join(item.names[:2]), len(item.names) - 2
    shown = f"{first} and {more} more" if more > 0 else first
    return f"{shown} (pre-authorization)" if item.preauthorization else shown


@order.command(name="show", epilog="\b\nExample:\n  acmehub order show 3f0c…")
@click.argument("order_id", metavar="ORDER")
@hub_verb
async def show(session: Session, order_id: str) -> Result:
    """One order and its timeline: what happened, when, how long it took, which server said what."""
    found = await session.admin.orders.show(order_id, session.acting)
    return Result(found, [*_head(found), "", *timeline(found.timeline)])


@order.command(epilog=RETRY)
@click.argument("order_id", metavar="[ORDER]", default="")
@filters
@click.option("--dry-run", is_flag=True, help="Only list the orders that would be tried.")
@hub_verb
async def retry(session: Session, order_id: str, dry_run: bool, **wanted: Any) -> Result:
    """Have an unfinished order worked on at once, with the whole issuance timeout again; or, with --failing and options
    as of `order list`, all of these.

    An invalid order stays invalid (RFC 8555 section 7.1.6): its client must order again. Only a certificate that the CA
    has issued and that could not be fetched in time is fetched after all.
    """
    query = OrderQuery(**wanted)
    if order_id and (dry_run or query != OrderQuery()):
        raise click.UsageError("either ORDER, or --failing and options that narrow it")
    if order_id:
        changed = await session.admin.orders.retry(order_id, session.acting)
        return Result(changed, [f"order {changed.id} is due now, at stage {changed.stage}"])
    if not query.failing:
        raise click.UsageError("name an ORDER, or say --failing for all that fail (`acmehub order list --failing`)")
    return await _retry_all(session, query, dry_run)


async def _retry_all(session: Session, query: OrderQuery, dry_run: bool) -> Result:
    """Each is a change, and an entry of the audit, by itself."""
    listed: list[OrderSummary] = []
    retried: list[str] = []
    refused: dict[str, str] = {}
    after = ""
    while page := await session.admin.orders.list(session.acting, filter=query, after=after, limit=PAGE):
        after = page[-1].id
        listed += page
        for item in () if dry_run else page:
            try:
                await session.admin.orders.retry(item.id, session.acting)
                retried.append(item.id)
            except ServiceError as error:
                refused[item.id] = str(error)
    if dry_run:
        return Result(listed, [*_table(listed), f"would be tried: {len(listed)}"])
    lines = [*(f"order {id}: {why}" for id, why in refused.items()), f"due now: {len(retried)}"]
    if refused:
        lines[-1] += f", refused: {len(refused)}"
    return Result({"retried": retried, "refused": refused}, lines, Exit.FAILED if refused else Exit.DONE)


@order.command(epilog="\b\nExample:\n  acmehub order cancel 3f0c…")
@click.argument("order_id", metavar="ORDER")
@hub_verb
async def cancel(session: Session, order_id: str) -> Result:
    """End an unfinished order: its client sees it invalid, its TXT records are removed."""
    changed = await session.admin.orders.cancel(order_id, session.acting)
    return Result(changed, [f"order {changed.id} is {changed.status}"])


def _head(found: OrderDetail) -> list[str]:
    authorizations = [f"{'*.' if item.wildcard else ''}{item.name} {item.status}" for item in found.authorizations]
    records = [
        f"{item.name} {item.state}{f' ({item.last_error})' if item.last_error else ''}" for item in found.records
    ]
    return fields(
        [
            ("order", found.id),
            ("status", f"{found.status} (fulfilment: {found.stage})"),
            ("names", found.names),
            ("principal", f"{found.principal}, by token {found.token!r}"),
            ("authority", found.authority),
            ("profile", found.profile),
            ("asked upstream", f"profile {found.upstream_profile}" if found.upstream_profile else ""),
            ("mode", found.mode),
            ("created", moment(found.created)),
            ("next step", moment(found.run_at) if found.run_at else ""),
            ("failures", f"{found.attempts} of this step" if found.attempts else ""),
            *_trouble(found),
            ("until", moment(found.deadline) if found.attempts else ""),
            ("upstream", found.upstream_order),
            ("certificate", found.certificate),
            ("error", found.error.detail if found.error else ""),
            *(("", part.detail) for part in (found.error.subproblems if found.error else ())),
            ("authorizations", authorizations),
            ("TXT records", records),
        ]
    )


def _trouble(found: OrderDetail) -> list[tuple[str, str]]:
    """What keeps the order from going on, or has ended it, and what to do about it."""
    failed = found.status is OrderStatus.INVALID
    last = next((item for item in reversed(found.timeline) if item.kind in TROUBLES), None)
    if last is None or not (failed or found.attempts):
        return []
    todo = advice(last.kind, order=found.id, authority=shlex.quote(found.authority), failed=failed)
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
