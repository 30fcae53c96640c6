"""Reads what the rules of attention judge: what the storage knows, so that every process and every replica says the
same."""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from acmehub.admin.operations.attention import client_rules, hub_rules, issuance_rules
from acmehub.admin.operations.attention.facts import OF_PROVIDER, LateRenewal, NamesOf, Trouble
from acmehub.admin.operations.attention.item import AttentionItem, ranked
from acmehub.models import Account, AccountStatus, AuditFilter, Certificate, EventKind, Principal, Token
from acmehub.models.identifiers import base_name
from acmehub.ports.clock import Clock
from acmehub.ports.figures import FailureCause
from acmehub.ports.lists import AccountFilter, CertificateFilter
from acmehub.ports.store import Store, StoreUnavailable
from acmehub.runtime.snapshot import Snapshots

DAY = timedelta(days=1)
MOST_LATE = 1000
MOST_ACCOUNTS = 50
MOST_REFUSALS = 500

Dates = tuple[datetime, datetime]
Owner = tuple[Account, Token, Principal]


class Attention:
    """`own_certificate` gives begin and end of the TLS certificate with which the hub answers (None: it has none)."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        snapshots: Snapshots,
        issuance_timeout: timedelta,
        own_certificate: Callable[[], Dates | None] = lambda: None,
    ) -> None:
        self._store = store
        self._clock = clock
        self._snapshots = snapshots
        self._issuance_timeout = issuance_timeout
        self._own_certificate = own_certificate

    async def items(self, principal_ids: frozenset[str] | None = None) -> Sequence[AttentionItem]:
        """All that the rules find, the worst first. Where the storage cannot be read, that alone. With `principal_ids`,
        only of these principals, and nothing of the hub and its authorities themselves."""
        found: list[AttentionItem] = []
        try:
            await self._store.ping()
        except StoreUnavailable as reason:
            found.append(hub_rules.storage_item(str(reason)))
        try:
            found += await self._all(principal_ids)
        except StoreUnavailable:
            if not found:
                raise
        return ranked(found)

    async def _all(self, principal_ids: frozenset[str] | None) -> Sequence[AttentionItem]:
        now = self._clock.now()
        principals = {row.id: row for row in await self._store.principals.list()}
        snapshot = await self._snapshots.current()
        names = NamesOf(
            (await snapshot.authorities()).by_id,
            (await snapshot.managed_challenges()).by_id,
            {id: row.name for id, row in principals.items()},
        )
        troubles = await self._troubles(now, principal_ids)
        records = await self._store.txt_records.list() if principal_ids is None else ()
        found: list[AttentionItem] = []
        if principal_ids is None:
            found += hub_rules.worker_items(await self._store.counts(now), now)
            found += hub_rules.own_certificate_items(self._own_certificate(), now)
            found += issuance_rules.pause_items(names.authorities.values())
        found += issuance_rules.authority_items(troubles, names, await self._successes(troubles))
        found += issuance_rules.challenge_items(troubles, records, names)
        found += client_rules.failure_items(troubles, names)
        found += client_rules.renewal_items(await self._late(now, principal_ids), now)
        found += client_rules.looping_items(*await self._refused(now, principal_ids))
        found += client_rules.token_items(await self._tokens(principals, principal_ids), now)
        return found

    # ------------------------------------------------------------------------------------------------- orders

    async def _troubles(self, now: datetime, principal_ids: frozenset[str] | None) -> Sequence[Trouble]:
        """What orders wait for, and what those failed of that failed within a day, by authority, managed challenge
        and kind."""
        waiting = await self._store.orders.waiting(principal_ids)
        failed = await self._store.orders.causes(now - DAY, now - DAY - self._issuance_timeout, principal_ids)
        groups: dict[tuple[str, ...], tuple[list[FailureCause], list[FailureCause]]] = {}
        for place, causes in enumerate((waiting, failed)):
            for cause in causes:
                challenge = await self._challenge_of(cause)
                problem = cause.problem if cause.trouble is None else ""
                key = (cause.authority_id if not challenge else "", challenge, str(cause.trouble), problem)
                groups.setdefault(key, ([], []))[place].append(cause)
        return [await self._trouble(key[1], *both) for key, both in groups.items()]

    async def _challenge_of(self, cause: FailureCause) -> str:
        """The managed challenge whose trouble it is: that of a TXT record, or of the names; empty for another one."""
        if cause.trouble not in OF_PROVIDER:
            return ""
        if cause.managed_challenge_id:
            return cause.managed_challenge_id
        bundle = await self._store.orders.get(cause.order_id)
        index = (await (await self._snapshots.current()).managed_challenges()).match_index
        for identifier in bundle.order.identifiers if bundle is not None else ():
            if (found := index.best(base_name(identifier.value))) is not None:
                return found.id
        return ""

    async def _trouble(self, challenge: str, waiting: list[FailureCause], failed: list[FailureCause]) -> Trouble:
        both = [*waiting, *failed]
        newest = max(both, key=lambda cause: (cause in waiting, cause.order_id))
        bundle = await self._store.orders.get(newest.order_id)
        kinds = {newest.trouble} if newest.trouble is not None else {EventKind.ORDER_FAILED}
        events = await self._store.records.latest([newest.order_id], kinds)
        principals: dict[str, int] = {}
        for cause in both:
            for id, count in cause.principals.items():
                principals[id] = principals.get(id, 0) + count
        return Trouble(
            waiting=sum(cause.count for cause in waiting),
            failed=sum(cause.count for cause in failed),
            since=min(cause.first for cause in both),
            authority_id=newest.authority_id,
            managed_challenge_id=challenge,
            problem=newest.problem,
            kind=newest.trouble,
            principals=principals,
            order=bundle.order if bundle is not None else None,
            event=events[0] if events else None,
        )

    async def _successes(self, troubles: Sequence[Trouble]) -> dict[str, datetime]:
        """When the authorities that are in trouble issued their last certificate."""
        found: dict[str, datetime] = {}
        for id in {trouble.authority_id for trouble in troubles}:
            newest = await self._store.certificates.list(CertificateFilter(authority_id=id), limit=1)
            if newest:
                found[id] = newest[0].created
        return found

    # ------------------------------------------------------------------------------------------------ clients

    async def _late(self, now: datetime, principal_ids: frozenset[str] | None) -> Sequence[LateRenewal]:
        late = await self._store.certificates.late(now, MOST_LATE, principal_ids)
        by_account: dict[str, list[Certificate]] = {}
        for certificate in late:
            by_account.setdefault(certificate.account_id, []).append(certificate)
        found = []
        for account_id, certificates in by_account.items():
            actor = await self._store.accounts.actor(account_id)
            if actor is None or actor.account.status is not AccountStatus.VALID or actor.token.revoked is not None:
                continue
            last = await self._store.orders.previous(account_id, certificates[0].name_set or "")
            found.append(
                LateRenewal(
                    account=actor.account,
                    token=actor.token,
                    principal=actor.principal,
                    certificates=certificates,
                    last_order=last,
                )
            )
            if len(found) == MOST_ACCOUNTS:
                break
        return found

    async def _refused(
        self, now: datetime, principal_ids: frozenset[str] | None
    ) -> tuple[dict[str, tuple[int, datetime, str]], dict[str, Owner]]:
        """The accounts that limits have refused within a day, from the audit."""
        wanted = AuditFilter(action="limit.reached", since=now - DAY)
        refused: dict[str, tuple[int, datetime, str]] = {}
        for entry in await self._store.records.audited(MOST_REFUSALS, wanted):
            kind, _, account_id = entry.actor.partition(" ")
            if kind == "account":
                count, _, words = refused.get(account_id, (0, entry.at, entry.detail))
                refused[account_id] = (count + 1, entry.at, words)
        owners: dict[str, Owner] = {}
        for account_id in list(refused)[:MOST_ACCOUNTS]:
            actor = await self._store.accounts.actor(account_id)
            if actor is not None and (principal_ids is None or actor.principal.id in principal_ids):
                owners[account_id] = (actor.account, actor.token, actor.principal)
        return refused, owners

    async def _tokens(
        self, principals: dict[str, Principal], principal_ids: frozenset[str] | None
    ) -> Sequence[tuple[Token, Principal]]:
        """Tokens that end some time and have an account that is still used."""
        found = []
        for token in (await (await self._snapshots.current()).tokens()).rows:
            principal = principals.get(token.principal_id)
            if principal is None or not (principal_ids is None or principal.id in principal_ids):
                continue
            if client_rules.ends(token, self._clock.now()) is not None:
                live = AccountFilter(token_id=token.id, status=AccountStatus.VALID)
                if await self._store.accounts.list(live, limit=1):
                    found.append((token, principal))
        return found
