"""What authorities and managed challenges lack, with the orders that wait for it, or have failed of it."""

import shlex
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from acmehub.admin.operations.attention.facts import OF_CLIENT, OF_PROVIDER, TRIES, NamesOf, Trouble
from acmehub.admin.operations.attention.item import AttentionItem, Severity
from acmehub.models import Authority, EventKind, TxtRecord, TxtState

TXT_TRIES = 5  # as the log tells of them
UNUSABLE = frozenset(
    {
        EventKind.CA_PAUSED,
        EventKind.CA_RATE_LIMITED,
        EventKind.CA_UNAVAILABLE,
        EventKind.NEEDS_OPERATOR,
        EventKind.UPSTREAM_ACCOUNT_LOST,
    }
)
"""With these an authority serves nobody."""


def pause_items(authorities: Iterable[Authority]) -> list[AttentionItem]:
    """A CA has paused the hub's account, or names."""
    return [
        AttentionItem(
            key=f"authority/{row.id}/paused" + ("" if not pause.names else f"/{','.join(pause.names)}"),
            severity=Severity.PAGE if row.default and not pause.names else Severity.WARN,
            what=f"authority {row.name} takes no orders for "
            + (", ".join(pause.names) if pause.names else "the hub's account"),
            since=pause.since,
            words=pause.detail,
            whose=row.name,
            to_do=f"do at the CA what it asks for, then `acmehub authority clear-pause {shlex.quote(row.name)}`",
            kind="authority",
            id=row.id,
            name=row.name,
        )
        for row in authorities
        for pause in row.pauses
    ]


def authority_items(
    troubles: Iterable[Trouble], names: NamesOf, successes: Mapping[str, datetime]
) -> list[AttentionItem]:
    """Orders wait for an authority, or have failed of it. `successes`: when an authority issued its last
    certificate."""
    found = []
    for trouble in troubles:
        row = names.authorities.get(trouble.authority_id)
        kind = trouble.kind
        if kind is None or kind in OF_PROVIDER or kind in OF_CLIENT or not trouble.is_no_slip:
            continue
        name = row.name if row is not None else trouble.authority_id
        issued = successes.get(trouble.authority_id)
        dead = kind in UNUSABLE and trouble.waiting > 0 and (issued is None or issued < trouble.since)
        until = _until(trouble)
        found.append(
            AttentionItem(
                key=f"authority/{trouble.authority_id}/{kind.value}",
                severity=Severity.PAGE if dead and row is not None and row.default else Severity.WARN,
                what=f"authority {name}: {kind.value}{until}: {trouble.orders}",
                since=trouble.since,
                words=trouble.words,
                whose=trouble.server or name,
                to_do=trouble.to_do(name),
                kind="authority",
                id=trouble.authority_id,
                name=name,
                count=trouble.count,
                principals=names.listed(trouble.principals),
            )
        )
    return found


def _until(trouble: Trouble) -> str:
    """When an order that waits for the end of a CA's limit is tried again."""
    run_at = trouble.order.run_at if trouble.order is not None else None
    if trouble.kind is not EventKind.CA_RATE_LIMITED or run_at is None:
        return ""
    return f" until {run_at:%Y-%m-%d %H:%M}Z"


def challenge_items(troubles: Iterable[Trouble], records: Iterable[TxtRecord], names: NamesOf) -> list[AttentionItem]:
    """A managed challenge's provider refuses or is silent, its records are not seen, or cannot be removed: one item for
    each managed challenge."""
    standing: dict[str, list[TxtRecord]] = {}
    for record in records:
        if record.state is TxtState.REMOVE and record.attempts >= TXT_TRIES:
            standing.setdefault(record.managed_challenge_id, []).append(record)
    failing: dict[str, list[Trouble]] = {}
    for trouble in troubles:
        if trouble.kind in OF_PROVIDER and trouble.is_no_slip:
            failing.setdefault(trouble.managed_challenge_id, []).append(trouble)
    return [
        _of_challenge(id, failing.get(id, []), standing.get(id, []), names)
        for id in dict.fromkeys([*failing, *standing])
    ]


def _of_challenge(id: str, troubles: Sequence[Trouble], records: Sequence[TxtRecord], names: NamesOf) -> AttentionItem:
    row = names.managed_challenges.get(id)
    name = row.name if row is not None else id
    parts = [f"{trouble.kind}: {trouble.orders}" for trouble in troubles]
    if records:
        shown = ", ".join(sorted({record.name for record in records})[:TRIES])
        parts.append(f"{len(records)} TXT record{'s' if len(records) > 1 else ''} cannot be removed ({shown})")
    worst = max(troubles, key=lambda trouble: trouble.count, default=None)
    words = worst.words if worst is not None else records[0].last_error
    known = f"`acmehub challenge set {shlex.quote(name)} …`"
    if worst is not None and name:
        to_do = worst.to_do("").replace("`acmehub challenge set NAME …`", known)
    else:
        to_do = f"mend the credentials or rights at the provider: {known}; the hub tries again by itself"
    return AttentionItem(
        key=f"challenge/{id}",
        severity=Severity.WARN,
        what=(f"managed challenge {name}: " if name else "DNS: ") + "; ".join(parts),
        since=min([trouble.since for trouble in troubles] + [record.created for record in records]),
        words=words,
        whose=(worst.server if worst is not None else "") or (row.plugin if row is not None else ""),
        to_do=to_do,
        kind="challenge",
        id=id,
        name=name,
        count=sum(trouble.count for trouble in troubles) + len(records),
        principals=names.listed({id for trouble in troubles for id in trouble.principals}),
    )
