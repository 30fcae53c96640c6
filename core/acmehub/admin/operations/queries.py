"""What operators look for, in their words: names or ids, or beginnings of ids; and the store's filters for it."""

from datetime import datetime, timedelta

import msgspec

from acmehub.admin.access.errors import Invalid
from acmehub.admin.access.names import whole_id
from acmehub.admin.resources.rows import ResourceRows
from acmehub.models import Authority, ManagedChallenge, OrderStatus, Principal, Stage, Token
from acmehub.models.identifiers import canonical
from acmehub.ports.clock import Clock
from acmehub.ports.lists import CertificateFilter, OrderFilter
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

    async def orders(self, query: OrderQuery) -> OrderFilter:
        """The filter of a list of orders."""
        return OrderFilter(
            status=query.status,
            stage=query.stage,
            account_id=await whole_id(self._store.accounts, query.account, "account"),
            principal_id=(await self._principals.find(query.principal)).id if query.principal else "",
            token_id=(await self._tokens.find(query.token)).id if query.token else "",
            authority_id=(await self._authorities.find(query.authority)).id if query.authority else "",
            challenge_id=(await self._challenges.find(query.challenge)).id if query.challenge else "",
            name=canonical(query.name),
            since=query.since,
            failing=query.failing,
        )

    async def certificates(self, query: CertificateQuery) -> CertificateFilter:
        """The filter of a list of certificates."""
        within = query.expires_within
        if query.uncovered and within is None:
            raise Invalid("uncovered", "within which time do they end? Say that, too (--expires-within 30d)")
        return CertificateFilter(
            name=canonical(query.name),
            principal_id=(await self._principals.find(query.principal)).id if query.principal else "",
            token_id=(await self._tokens.find(query.token)).id if query.token else "",
            authority_id=(await self._authorities.find(query.authority)).id if query.authority else "",
            ends_before=self._clock.now() + within if within is not None else None,
            uncovered=query.uncovered,
        )
