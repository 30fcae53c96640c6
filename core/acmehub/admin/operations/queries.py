"""What operators look for, in their words: names or ids, or beginnings of ids; and the store's filters for it."""

from collections.abc import Sequence
from datetime import datetime, timedelta

import msgspec

from acmehub.admin.access.errors import Invalid
from acmehub.admin.access.reach import SEARCHED, Reach
from acmehub.admin.resources.rows import ResourceRows
from acmehub.models import Account, Authority, ManagedChallenge, OrderStatus, Principal, Stage, Token
from acmehub.models.identifiers import canonical
from acmehub.ports.clock import Clock
from acmehub.ports.lists import AccountFilter, CertificateFilter, OrderFilter
from acmehub.ports.store import Store


class OrderQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Which orders; see `OrderFilter` for the fields of the same names."""

    status: OrderStatus | None = None
    stage: Stage | None = None
    account: str = ""
    principal: str = ""
    token: str = ""
    authority: str = ""
    challenge: str = ""
    name: str = ""
    since: datetime | None = None
    failing: bool = False


class CertificateQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Which certificates; see `CertificateFilter` for the fields of the same names. `expires_within`: from now."""

    name: str = ""
    principal: str = ""
    token: str = ""
    authority: str = ""
    expires_within: timedelta | None = None
    uncovered: bool = False


class CheckRequest(msgspec.Struct, frozen=True, kw_only=True):
    """An order that might be made: for these `names`, with this `token`, or the best one of this `principal`, naming
    this `profile`; all but the names may be empty.

    `challenge` is tried instead of the managed challenge that the order would use. `live`: also write a TXT record for
    each name, wait until it is seen, and remove it.
    """

    names: tuple[str, ...]
    principal: str = ""
    token: str = ""
    profile: str = ""
    challenge: str = ""
    live: bool = False


class Queries:
    """Makes filters of queries; `NotFound` and `Invalid` for what names nothing, or several."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._principals = ResourceRows[Principal](store.principals, "principal", "acmehub principal list")
        self._tokens = ResourceRows[Token](store.tokens, "token", "acmehub token list", "title")
        self._authorities = ResourceRows[Authority](store.authorities, "authority", "acmehub authority list")
        self._challenges = ResourceRows[ManagedChallenge](
            store.managed_challenges, "managed challenge", "acmehub challenge list"
        )

    async def orders(self, query: OrderQuery, reach: Reach) -> OrderFilter:
        """The filter of a list of orders within `reach`."""
        return OrderFilter(
            status=query.status,
            stage=query.stage,
            account_id=await whole_account_id(self._store, query.account, "account", reach),
            principal_id=(await self._principals.find(query.principal, reach)).id if query.principal else "",
            token_id=(await self._tokens.find(query.token, reach)).id if query.token else "",
            authority_id=(await self._authorities.find(query.authority, reach)).id if query.authority else "",
            challenge_id=(await self._challenges.find(query.challenge, reach)).id if query.challenge else "",
            name=canonical(query.name),
            since=query.since,
            failing=query.failing,
            principal_ids=await reach.principal_ids(),
        )

    async def certificates(self, query: CertificateQuery, reach: Reach) -> CertificateFilter:
        """The filter of a list of certificates within `reach`."""
        within = query.expires_within
        if query.uncovered and within is None:
            raise Invalid("uncovered", "within which time do they end? Say that, too (--expires-within 30d)")
        return CertificateFilter(
            name=canonical(query.name),
            principal_id=(await self._principals.find(query.principal, reach)).id if query.principal else "",
            token_id=(await self._tokens.find(query.token, reach)).id if query.token else "",
            authority_id=(await self._authorities.find(query.authority, reach)).id if query.authority else "",
            ends_before=self._clock.now() + within if within is not None else None,
            uncovered=query.uncovered,
            principal_ids=await reach.principal_ids(),
        )


async def whole_account_id(store: Store, ref: str, label: str, reach: Reach) -> str:
    """The id of an ACME account that is reached, given by how it begins; see `Reach.whole_id`."""

    async def page(principal_ids: frozenset[str]) -> Sequence[Account]:  # by id: those that begin so come first
        return await store.accounts.list(AccountFilter(principal_ids=principal_ids), after=ref, limit=SEARCHED)

    return await reach.whole_id(ref, label, store.accounts, page)
