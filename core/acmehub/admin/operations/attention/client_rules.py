"""What clients and their tokens lack.

Thresholds are shares of lifetimes, so that a certificate of a week and one of a year are judged alike.
"""

import shlex
from collections.abc import Iterable, Mapping
from datetime import datetime

from acmehub.admin.operations.attention.facts import OF_CLIENT, TRIES, LateRenewal, NamesOf, Trouble
from acmehub.admin.operations.attention.item import AttentionItem, Severity
from acmehub.models import Account, AccountStatus, Order, OrderStatus, Principal, Token, TokenState
from acmehub.rules.eab import token_state

LEAST_OF_LIFE = 0.1
LEAST_OF_TOKEN = 0.1


def failure_items(troubles: Iterable[Trouble], names: NamesOf) -> list[AttentionItem]:
    """Orders that failed of what neither an authority nor a managed challenge lacked: refused by the CA, not validated,
    a right that was taken."""
    found = []
    for trouble in troubles:
        if trouble.failed and (trouble.kind is None or trouble.kind in OF_CLIENT):
            row = names.authorities.get(trouble.authority_id)
            authority = row.name if row is not None else trouble.authority_id
            problem = trouble.problem.rpartition(":")[2]
            found.append(
                AttentionItem(
                    key=f"failed/{trouble.authority_id}/{problem}/{trouble.kind or ''}",
                    severity=Severity.WARN,
                    what=f"{trouble.orders}: {trouble.kind or problem}",
                    since=trouble.since,
                    words=trouble.words,
                    whose=trouble.server,
                    to_do=trouble.to_do(authority),
                    kind="order",
                    id=trouble.order.id if trouble.order is not None else "",
                    count=trouble.failed,
                    principals=names.listed(trouble.principals),
                )
            )
    return found


def renewal_items(late: Iterable[LateRenewal], now: datetime) -> list[AttentionItem]:
    """An account renews nothing any more: its newest certificates are past the end of their renewal window, and no
    order is open. One that was deactivated, or whose token was revoked, is not missed."""
    found = []
    for each in late:
        first = each.certificates[0]
        life = first.not_after - first.not_before
        gone = each.account.status is not AccountStatus.VALID or each.token.revoked is not None
        if gone:
            continue
        count = len(each.certificates)
        shown = ", ".join(first.names[:TRIES]) + (f" and {count - 1} more" if count > 1 else "")
        last = each.last_order
        failed = last is not None and last.status is OrderStatus.INVALID and last.created > first.created
        when = f"ended at {first.not_after:%Y-%m-%d %H:%M}Z" if first.not_after <= now else ""
        found.append(
            AttentionItem(
                key=f"renewal/{each.account.id}",
                severity=Severity.PAGE if first.not_after - now < life * LEAST_OF_LIFE else Severity.WARN,
                what=f"{shown}: not renewed in time, "
                + ("the last order failed" if failed else "the client does not come")
                + f"; {when or f'ends at {first.not_after:%Y-%m-%d %H:%M}Z'}",
                since=max(first.created, first.not_after - life / 3),
                words=last.error.detail if failed and last is not None and last.error is not None else "",
                whose="" if not failed else "the hub",
                to_do=_to_renew(each, last if failed else None, now),
                kind="account",
                id=each.account.id,
                name=each.token.title,
                count=count,
                principals=(each.principal.name,),
            )
        )
    return found


def _to_renew(late: LateRenewal, failed: Order | None, now: datetime) -> str:
    state = token_state(late.token, late.principal, now)
    title = shlex.quote(late.token.title)
    if state in (TokenState.DISABLED, TokenState.EXPIRED):
        return f"its token is {state.value}: `acmehub token show {title}`"
    if failed is not None:
        return f"`acmehub order show {failed.id}` says what it failed of; its client must order again"
    return (
        f"does the client ({late.account.user_agent or 'unknown'}) run, and reach the hub? One that is gone for good:"
        f" `acmehub account deactivate {late.account.id}`"
    )


def looping_items(
    refused: Mapping[str, tuple[int, datetime, str]], actors: Mapping[str, tuple[Account, Token, Principal]]
) -> list[AttentionItem]:
    """A client asks again and again, and is refused by a limit. `refused`: by account, how many entries the audit has,
    since when, and the words of the last one."""
    found = []
    for account_id, (count, since, words) in refused.items():
        if account_id not in actors:
            continue
        account, token, principal = actors[account_id]
        found.append(
            AttentionItem(
                key=f"limit/{account_id}",
                severity=Severity.WARN,
                what=f"the client of token {token.title} asks too often and is refused",
                since=since,
                words=words,
                to_do=f"see what it orders: `acmehub order list --account {account_id}`; mend the device"
                f" ({account.user_agent or 'unknown client'}), or raise the limit of its token",
                kind="account",
                id=account_id,
                name=token.title,
                count=count,
                principals=(principal.name,),
            )
        )
    return found


def token_items(tokens: Iterable[tuple[Token, Principal]], now: datetime) -> list[AttentionItem]:
    """A token with a live account has expired, or will in the last tenth of its life; or its uses are gone, or will be
    within a tenth of its age, at the pace so far."""
    found = []
    for token, principal in tokens:
        if token.revoked is not None or not token.enabled or (why := ends(token, now)) is None:
            continue
        found.append(
            AttentionItem(
                key=f"token/{token.id}",
                severity=Severity.INFO,
                what=f"token {token.title} {why}",
                to_do=f"`acmehub token set {shlex.quote(token.title)} …` gives it more time or uses",
                kind="token",
                id=token.id,
                name=token.title,
                principals=(principal.name,),
            )
        )
    return found


def ends(token: Token, now: datetime) -> str | None:
    """How a token ends, or has ended; None for one that goes on."""
    if token.expires is not None:
        if token.expires <= now:
            return f"has expired at {token.expires:%Y-%m-%d %H:%M}Z"
        if token.expires - now < (token.expires - token.created) * LEAST_OF_TOKEN:
            return f"expires at {token.expires:%Y-%m-%d %H:%M}Z"
    if token.use_limit is not None and token.use_limit > 1:  # one that is for one account is used up by intent
        left = token.use_limit - token.uses
        if left <= 0:
            return f"is used up: it has bound {token.uses} accounts"
        if left < token.uses * LEAST_OF_TOKEN:
            return f"will soon be used up: it may bind {left} more"
    return None
