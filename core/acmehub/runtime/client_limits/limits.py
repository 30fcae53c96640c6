"""Limits on what clients do (`[limits]`, and a token's own): counted per address, account and token.

A request takes its tokens before anything is written for it. Refusals of one limit for one address, account or token
are one line of the log and one audit entry an hour.
"""

import asyncio
import contextlib
import functools
import logging
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager

import msgspec

from acmehub.config import Limits
from acmehub.models import Actor, AuditActor, Token, TokenLimits
from acmehub.models.addresses import address_key
from acmehub.models.problems import Problem, ProblemType
from acmehub.ports.clock import Clock
from acmehub.ports.store import Store
from acmehub.rules.rate_limits import (
    AT_ONCE,
    DAY,
    HOUR,
    SECOND,
    Charge,
    RateLimit,
    TokensLacking,
    charge,
    limit,
    name_set_subject,
    seconds_of,
)
from acmehub.runtime.audit import Audit
from acmehub.runtime.backoff import SteadyClock
from acmehub.runtime.client_limits.buckets import Buckets, LocalBuckets, SharedBuckets
from acmehub.runtime.lru import Lru

TURN_WITHIN = 20.0
"""Seconds that a newOrder waits for its turn; clients give one answer 30 at least (docs/client-rules.md rule 30)."""

COMPANY = 300.0
"""Seconds for which a token that has ordered counts as present: the orders of others wait for their turn then."""

OPEN_RETRY = 3600
"""Seconds after which a client with too many open orders may ask again: an order may end at any moment."""

_BURST = limit("burst", 1, HOUR, "reports")
_NO_LIMITS = TokenLimits()
_MOST_ACCOUNTS = 10_000

_log = logging.getLogger(__name__)


class LimitReached(Problem):
    """429 `rateLimited` by a limit of the hub; `again` when the same caller was refused by it lately."""

    is_told = True

    def __init__(self, text: str, seconds: int, *, again: bool) -> None:
        detail = f"too many {text}; try again in {seconds} s"
        super().__init__(ProblemType.RATE_LIMITED, detail, retry_after=seconds)
        self.again = again


class _Numbers(msgspec.Struct, frozen=True):
    """The limits of an account and of its token; None: no limit."""

    new_orders: RateLimit | None
    names: RateLimit | None
    open_orders: RateLimit | None
    same_names: RateLimit | None
    challenge_answers: RateLimit | None
    revocations: RateLimit | None
    key_changes: RateLimit | None
    token_new_accounts: RateLimit | None
    token_new_orders: RateLimit | None
    token_names: RateLimit | None
    token_orders_per_second: RateLimit | None


class _Caller(msgspec.Struct, frozen=True):
    """Who has used a limit up, and with an order for which names (a `name_set`)."""

    actor: Actor | None = None
    token: Token | None = None
    address: str = ""
    names: str = ""

    def __str__(self) -> str:
        if self.actor is not None:
            return f"account {self.actor.account.id}"
        return f"token {self.token.title}" if self.token is not None else f"address {address_key(self.address)}"

    @property
    def device(self) -> AuditActor:
        """As the audit has it."""
        token = self.actor.token if self.actor is not None else self.token
        account_id = self.actor.account.id if self.actor is not None else ""
        address = address_key(self.address) if self.address else ""
        return AuditActor.device(str(self), id=account_id, address=address, token_id=token.id if token else "")

    @property
    def members(self) -> dict[str, object]:
        """What the line of the log has besides."""
        token = self.actor.token if self.actor is not None else self.token
        found: dict[str, object] = {"names": tuple(self.names.split())} if self.names else {}
        if token is not None:
            found["token"] = token.title
        return found


class ClientLimits:
    """Counts what clients do; verbs raise `LimitReached` when the caller has used a limit up.

    `stopping` ends the wait of a newOrder for its turn.
    """

    def __init__(self, store: Store, clock: Clock, limits: Limits, stopping: asyncio.Event) -> None:
        self._store = store
        self._limits = limits
        self._stopping = stopping
        self._audit = Audit(store, clock)
        self._clock = SteadyClock(clock)
        make = SharedBuckets if store.shared else LocalBuckets
        self.buckets: Buckets = make(store.rate_limits, self._clock)
        self._latest = self._before = ("", -COMPANY)  # the last token that ordered, and the last other one; when
        self._room: Lru[str, int] = Lru(_MOST_ACCOUNTS)
        self._usual = self._numbers_of(_NO_LIMITS)
        self._own = functools.lru_cache(maxsize=1024)(self._numbers_of)
        self._new_accounts = _limit("new_accounts", limits.new_accounts, DAY, "new accounts from this address")
        self._failed_signatures = _limit(
            "failed_signatures", limits.failed_signatures, HOUR, "requests with a wrong signature from this address"
        )
        self._revocations = _limit("revocations", limits.revocations, HOUR, "revocations from this address")

    def kept(self) -> AbstractAsyncContextManager[None]:
        """Inside, limits go on as the process before has left them, and are kept for the next one."""
        return self.buckets.kept()

    # ------------------------------------------------------------------------------------------- what is counted

    async def new_account(self, token: Token, address: str) -> None:
        """A key without an account is about to get one."""
        of_token = self._numbers(token.limits).token_new_accounts
        charges = [*_of_address(self._new_accounts, address), *_charge(of_token, token.id)]
        await self._take(charges, token=token)

    async def new_order(self, actor: Actor, names: str, count: int) -> None:
        """An order for `count` names is about to be made; `names` is its `name_set`. Waits for its turn."""
        account, token = actor.account.id, actor.token
        numbers = self._numbers(token.limits)
        if numbers.open_orders is not None:
            await self._require_room(actor, numbers.open_orders, names)
        charges = [
            charge(number, subject, cost)
            for number, subject, cost in (
                (numbers.new_orders, account, 1),
                (numbers.names, account, count),
                (numbers.token_new_orders, token.id, 1),
                (numbers.token_names, token.id, count),
                (numbers.token_orders_per_second if self._has_company(token.id) else None, token.id, 1),
            )
            if number is not None
        ]
        if numbers.same_names is not None:
            charges.append(charge(numbers.same_names, name_set_subject(account, names)))
        wait = await self._take(charges, actor=actor, names=names)
        if wait and not self._stopping.is_set():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait / SECOND):
                    await self._stopping.wait()

    async def challenge_answer(self, actor: Actor) -> None:
        """A client responds to a challenge."""
        await self._of_account(actor, self._numbers(actor.token.limits).challenge_answers)

    async def revocation(self, actor: Actor) -> None:
        """An account asks for a revocation."""
        await self._of_account(actor, self._numbers(actor.token.limits).revocations)

    async def revocation_by_key(self, address: str) -> None:
        """The key of a certificate asks for a revocation."""
        await self._take(_of_address(self._revocations, address), address=address)

    async def key_change(self, actor: Actor) -> None:
        """An account asks for another key."""
        await self._of_account(actor, self._numbers(actor.token.limits).key_changes)

    async def failed_signature(self, address: str) -> None:
        """A signature was wrong. Right ones are never refused for it: others may have the same address."""
        await self._take(_of_address(self._failed_signatures, address), address=address)

    # ------------------------------------------------------------------------------------------- how

    def _has_company(self, token_id: str) -> bool:
        """Whether another token has ordered lately here: one that is alone takes nobody's time."""
        now = self._clock.monotonic()
        if self._latest[0] != token_id:
            self._before = self._latest
        self._latest = (token_id, now)
        return now - self._before[1] < COMPANY

    async def _of_account(self, actor: Actor, number: RateLimit | None) -> None:
        await self._take(_charge(number, actor.account.id), actor=actor)

    async def _take(
        self,
        charges: Sequence[Charge],
        *,
        actor: Actor | None = None,
        token: Token | None = None,
        address: str = "",
        names: str = "",
    ) -> int:
        """Take the tokens; microseconds to wait for one's turn. The rest says for whom and what."""
        if not charges:
            return 0
        result = await self.buckets.take(charges)
        if isinstance(result, TokensLacking):
            caller = _Caller(actor, token, address, names)
            raise await self._reached(result.charge, caller, seconds_of(result.wait))
        return result.wait

    async def _require_room(self, actor: Actor, most: RateLimit, names: str) -> None:
        """Refuse one more open order. An account that had room for n is not asked for before n more were made."""
        account_id = actor.account.id
        room = self._room.get(account_id)
        if not room or self._store.shared:
            room = most.number - await self._store.orders.open_count(account_id, most.number)
        if room <= 0:
            raise await self._reached(charge(most, account_id), _Caller(actor, names=names), OPEN_RETRY)
        self._room.put(account_id, room - 1)

    async def _reached(self, refused: Charge, caller: "_Caller", seconds: int) -> LimitReached:
        """The refusal; the first one in an hour is told to operators."""
        burst = await self.buckets.take((charge(_BURST, refused.key),))
        again = isinstance(burst, TokensLacking)
        text = refused.limit.text
        if not again:
            _log.warning("%s is refused: too many %s", caller, text, extra=caller.members)
            await self._audit.note(caller.device, "limit.reached", refused.key, f"too many {text}", allowed=False)
        return LimitReached(text, seconds, again=again)

    def _numbers(self, own: TokenLimits) -> _Numbers:
        return self._usual if own == _NO_LIMITS else self._own(own)

    def _numbers_of(self, own: TokenLimits) -> _Numbers:
        """The limits of a token: its own, else the hub's."""
        hub = self._limits

        def number(name: str, seconds: float, words: str, *, turn_within: float = 0.0) -> RateLimit | None:
            given = getattr(own, name)
            return _limit(name, getattr(hub, name) if given is None else given, seconds, words, turn_within=turn_within)

        return _Numbers(
            new_orders=number("new_orders", HOUR, "new orders of this account"),
            names=number("names", HOUR, "names in orders of this account"),
            open_orders=number("open_orders", AT_ONCE, "open orders of this account"),
            same_names=number("same_names", DAY, "orders of this account for the same set of names"),
            challenge_answers=number("challenge_answers", HOUR, "responses to challenges by this account"),
            revocations=number("revocations", HOUR, "revocations by this account"),
            key_changes=number("key_changes", DAY, "key changes of this account"),
            token_new_accounts=number("token_new_accounts", DAY, "new accounts of this API token"),
            token_new_orders=number("token_new_orders", HOUR, "new orders of this API token"),
            token_names=number("token_names", HOUR, "names in orders of this API token"),
            token_orders_per_second=number(
                "token_orders_per_second", 1.0, "new orders of this API token", turn_within=TURN_WITHIN
            ),
        )


def _limit(name: str, number: int, seconds: float, words: str, *, turn_within: float = 0.0) -> RateLimit | None:
    return limit(name, number, seconds, words, turn_within=turn_within) if number else None


def _charge(number: RateLimit | None, subject: str, cost: int = 1) -> tuple[Charge, ...]:
    return () if number is None else (charge(number, subject, cost),)


def _of_address(number: RateLimit | None, address: str) -> tuple[Charge, ...]:
    """Nothing where the address is not known: all clients behind one proxy would share a bucket."""
    subject = address_key(address)
    return _charge(number, subject) if subject else ()
