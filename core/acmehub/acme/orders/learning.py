"""Mode `auto` learns from what a client did: stored per account, read when it orders.

docs/client-rules.md section 4.4.

Evidence is the account's previous order for the same names. A client that did not outlast a slow upstream is offered
challenges (`accept`), during which it waits longer; one that never answers them is not asked for them again.
"""

import logging
from collections.abc import Sequence
from datetime import datetime, timedelta

import msgspec
from msgspec.structs import replace

from acmehub.models import (
    Account,
    Actor,
    AuthorizationMode,
    Certificate,
    Event,
    EventKind,
    Order,
    OrderStatus,
    made_at,
)
from acmehub.models.identifiers import Identifier, name_set
from acmehub.ports.clock import Clock
from acmehub.ports.store import Conflict, Store, StoreUnavailable
from acmehub.rules.authorization_modes import SET_BY, client_of, family_of, resolve_mode
from acmehub.rules.orders import TIME_TO_ANSWER

SLOW = timedelta(seconds=25)
"""From finalize to the certificate: longer than some clients wait."""

NOTED_FROM = timedelta(seconds=20)
"""From newOrder to the certificate: a quicker order's download is not noted, so that it pays nothing for this."""

DOWNLOADED = EventKind.CERTIFICATE_DOWNLOADED

_log = logging.getLogger(__name__)


class Lesson(msgspec.Struct, frozen=True):
    """The mode that was learned of an account (None: nothing).

    Where it was learned just now, `why` is the reason, `account` the account to be stored, and `fallback` the mode
    where another write to the account comes first.
    """

    mode: AuthorizationMode | None = None
    why: str = ""
    account: Account | None = None
    fallback: AuthorizationMode | None = None


class LearningService:
    """Learns, and stores, the mode that suits the client of each account in mode `auto`."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def lesson(
        self, actor: Actor, identifiers: Sequence[Identifier], user_agent: str, *, signing: bool
    ) -> Lesson:
        """What is known when an account orders these names; writes nothing.

        Reads nothing where it could change nothing: another mode than `auto`, or an authority that signs by itself
        (`signing`).
        """
        account = actor.account
        if signing or actor.token.authorization is not AuthorizationMode.AUTO:
            return Lesson(account.learned)
        if user_agent and family_of(user_agent) != family_of(account.user_agent):  # another client: nothing is known
            return Lesson(account=replace(account, user_agent=user_agent[:256], learned=None, learned_why=""))
        previous = await self._store.orders.previous(account.id, name_set(tuple(identifiers)))
        current = resolve_mode(AuthorizationMode.AUTO, user_agent, signing=False, learned=account.learned)
        if previous is None or previous.mode is not current or account.learned_why.startswith(SET_BY):
            return Lesson(account.learned)
        lesson = await self._learn(account, previous, user_agent)
        if lesson.mode is None:
            return Lesson(account.learned)
        return replace(
            lesson,
            account=replace(account, learned=lesson.mode, learned_why=lesson.why),
            fallback=account.learned,
        )

    async def store(self, lesson: Lesson) -> bool:
        """Write what was learned just now; False when the account has changed meanwhile, and the lesson is void."""
        account = lesson.account
        if account is None:
            return True
        try:
            await self._store.accounts.replace(account)
        except Conflict:  # the next order teaches the same
            return False
        if lesson.mode is not None:
            _log.info("account %s: learned mode %s: %s", account.id, lesson.mode.value, lesson.why)
        return True

    async def downloaded(self, certificate: Certificate) -> None:
        """Note that the account fetches its certificate: once, and only if the certificate was slow in coming."""
        if certificate.created - made_at(certificate.order_id) < NOTED_FROM:
            return
        try:
            timeline = await self._store.records.timeline(certificate.order_id)
            if not any(event.kind == DOWNLOADED for event in timeline):
                event = Event(order_id=certificate.order_id, at=self._clock.now(), kind=DOWNLOADED)
                await self._store.records.note([event])
        except StoreUnavailable as error:  # the client gets its certificate all the same
            _log.debug("a download of certificate %s is not noted: %s", certificate.id, error)

    async def _learn(self, account: Account, previous: Order, user_agent: str) -> Lesson:
        if previous.mode is AuthorizationMode.ACCEPT:
            return await self._from_silence(previous)
        client = client_of(user_agent)
        may_accept = client is None or client.accepts
        if may_accept and account.learned is None:  # one that did not answer challenges is not asked for them again
            return await self._from_impatience(previous)
        return Lesson()

    async def _from_impatience(self, previous: Order) -> Lesson:
        """Did a client that finalized not wait for its certificate?"""
        now = self._clock.now()
        if previous.csr is None:
            return Lesson()
        if previous.status is OrderStatus.PROCESSING and now - previous.created > SLOW:
            seconds = (now - previous.created).total_seconds()
            return _accept(f"it ordered again while the CA was {seconds:.0f} s at work for order {previous.id}")
        if previous.status is OrderStatus.VALID:
            timeline = await self._store.records.timeline(previous.id)
            taken = _between(timeline, EventKind.FINALIZE_REQUESTED, EventKind.CERTIFICATE_ISSUED)
            if taken > SLOW and not any(event.kind == DOWNLOADED for event in timeline):
                waited = f"{taken.total_seconds():.0f} s"
                return _accept(f"after {waited} it did not fetch the certificate of order {previous.id}")
        return Lesson()

    async def _from_silence(self, previous: Order) -> Lesson:
        """Has a client had time to answer a challenge, and answered none?"""
        now = self._clock.now()
        lapsed = previous.status is OrderStatus.INVALID and previous.expires <= now
        waits = previous.status is OrderStatus.PENDING and now - previous.created > TIME_TO_ANSWER
        if not lapsed and not waits:
            return Lesson()
        bundle = await self._store.orders.get(previous.id)
        if bundle is None or any(item.answered is not None for item in bundle.authorizations):
            return Lesson()
        return Lesson(AuthorizationMode.PREAPPROVED, f"it answered no challenge of order {previous.id}")


def _accept(why: str) -> Lesson:
    return Lesson(AuthorizationMode.ACCEPT, why)


def _between(timeline: Sequence[Event], first: str, then: str) -> timedelta:
    """The time between two events; none where one of them is missing."""
    begin: datetime | None = next((event.at for event in timeline if event.kind == first), None)
    end: datetime | None = next((event.at for event in timeline if event.kind == then), None)
    return end - begin if begin is not None and end is not None else timedelta()
