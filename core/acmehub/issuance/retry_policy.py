"""Retry policy: an exception becomes a retry, a restarted upstream order, or a failed order with a problem.

Pure: `decide` reads and writes nothing, and knows no random numbers; jitter is added where the decision is applied
(docs/reliability.md 2.13).
"""

import itertools
from collections.abc import Sequence
from datetime import datetime, timedelta

import msgspec

from acmehub.dns01 import DnsError, DnsUnclear
from acmehub.models import Event, EventKind, Stage
from acmehub.models.problems import URN, Problem, ProblemDocument, ProblemType
from acmehub.ports.authority import (
    UpstreamAccountLost,
    UpstreamError,
    UpstreamObjectLost,
    UpstreamRateLimited,
    UpstreamRefused,
)
from acmehub.ports.dns import DnsProviderError, DnsProviderUnavailable
from acmehub.rules.rights import RightTaken
from acmehub.runtime.backoff import back_off
from acmehub.runtime.plugin_objects import PLUGIN_UNUSABLE

MOST_ATTEMPTS = 12  # of what an operator has to put right; with pauses up to a minute, about ten minutes
LONGEST_OPERATOR_PAUSE = 60.0
LONGEST_RATE_LIMIT_PAUSE = 3600.0  # when the CA does not say how long its limit lasts
SURE_OF_LOSS = 3  # 404s in a row until an upstream order counts as dead
SURE_OF_LOSS_AFTER_CSR = 6  # when it may have been finalized: about two minutes
MOST_CONTRADICTIONS = 5  # times that an upstream order may contradict itself
MOST_STILLBORN = 3


class UpstreamOrderUnusable(Exception):
    """The upstream order is in a state in which this order cannot use it; `kind` says in which, `detail` is its URL.

    `problem` is what the client gets if the order fails of it; `final` when the CA itself gave that reason.
    """

    def __init__(
        self, kind: EventKind, detail: str, problem: ProblemDocument | None = None, *, final: bool = False
    ) -> None:
        super().__init__(detail)
        self.kind = kind
        self.detail = detail
        self.problem = problem
        self.final = final


class DeadlinePassed(Exception):
    """The order's issuance timeout is over."""


EXPECTED = (  # what a step raises by design; anything else is a defect, which `decide` retries as well
    UpstreamError,
    UpstreamOrderUnusable,
    DeadlinePassed,
    DnsProviderError,
    DnsError,
    Problem,
    *PLUGIN_UNUSABLE,
)
COUNTED = (UpstreamObjectLost, UpstreamOrderUnusable, DeadlinePassed)  # decided by the order's timeline


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of an order whose step failed. `attempts` are the failures of this step before the present one.

    `sent_replaces`: its last newOrder named the certificate that it replaces. `timeline` is needed for `COUNTED` alone.
    """

    stage: Stage
    attempts: int
    deadline: datetime
    now: datetime
    sent_replaces: bool = False
    timeline: Sequence[Event] = ()

    def count(self, kind: EventKind) -> int:
        """How many lines of the timeline are of this kind."""
        return sum(item.kind is kind for item in self.timeline)

    def in_a_row(self, kind: EventKind) -> int:
        """How many lines of this kind the timeline ends with."""
        return sum(1 for _ in itertools.takewhile(lambda item: item.kind is kind, reversed(self.timeline)))


class Note(msgspec.Struct, frozen=True):
    """A line for the order's timeline."""

    kind: EventKind
    detail: str


class Retry(msgspec.Struct, frozen=True):
    """Take the step again in `seconds`, with the upstream account or `replaces` forgotten where that is said."""

    seconds: float
    note: Note | None = None
    forget_account: bool = False
    forget_replaces: bool = False


class RestartUpstreamOrder(msgspec.Struct, frozen=True):
    """Go back to stage `ordering` in `seconds`, without the upstream order, or with `keep` to read it there again."""

    seconds: float
    note: Note
    keep: bool = False


class Fail(msgspec.Struct, frozen=True):
    """The order is invalid, for this reason."""

    problem: ProblemDocument
    note: Note | None = None


Decision = Retry | RestartUpstreamOrder | Fail


def decide(error: Exception, facts: Facts) -> Decision:
    """What follows from an exception of a step."""
    pause = back_off(facts.attempts + 1)
    match error:
        case UpstreamError():
            return _upstream(error, facts)
        case UpstreamOrderUnusable():
            return _unusable(error, facts)
        case DeadlinePassed():
            return Fail(_timed_out(facts))
        case DnsProviderUnavailable():
            asked = back_off(facts.attempts + 1, error.retry_after)
            return Retry(asked, Note(EventKind.DNS_PROVIDER_UNAVAILABLE, error.detail))
        case DnsProviderError():
            return _for_operator(EventKind.DNS_PROVIDER_REFUSED, Problem(ProblemType.DNS, error.detail), facts)
        case DnsUnclear():
            return _for_operator(EventKind.DNS_UNCLEAR, Problem(ProblemType.DNS, error.detail), facts)
        case DnsError():
            return Fail(Problem(ProblemType.DNS, error.detail).document())
        case RightTaken():
            return Fail(error.document(), Note(EventKind.RIGHT_TAKEN, error.detail))
        case Problem():
            return Fail(error.document())
        case _ if isinstance(error, PLUGIN_UNUSABLE):
            problem = Problem(ProblemType.SERVER_INTERNAL, str(error) or type(error).__name__)
            return _for_operator(EventKind.NEEDS_OPERATOR, problem, facts)
    note = Note(EventKind.UNEXPECTED_ERROR, type(error).__name__)  # its text may hold secrets
    if facts.attempts + 1 >= MOST_ATTEMPTS:
        message = f"unexpected error at stage {facts.stage.value}; the hub's log has it"
        return Fail(Problem(ProblemType.SERVER_INTERNAL, message).document(), note)
    return Retry(pause, note)


def _upstream(error: UpstreamError, facts: Facts) -> Decision:
    pause = back_off(facts.attempts + 1)
    match error:
        case UpstreamRateLimited():
            return _rate_limited(error, facts)
        case UpstreamAccountLost():  # the next step finds out whether the CA gives another account
            return Retry(pause, Note(EventKind.UPSTREAM_ACCOUNT_LOST, error.detail), forget_account=True)
        case UpstreamObjectLost():
            return _lost(error, facts)
        case UpstreamRefused() if facts.stage is Stage.ORDERING and facts.sent_replaces:
            # A renewal is worth more than that the CA knows what it renews (docs/client-rules.md rule 29).
            return Retry(0.0, Note(EventKind.CA_REFUSED_REPLACES, error.detail), forget_replaces=True)
        case UpstreamRefused() if _not_ready(error) and facts.attempts < MOST_CONTRADICTIONS:
            return Retry(pause, Note(EventKind.CA_NOT_READY, error.detail))
        case UpstreamRefused():
            return Fail(error.problem, Note(EventKind.CA_REFUSED, error.detail))
    return Retry(back_off(facts.attempts + 1, error.retry_after), Note(EventKind.CA_UNAVAILABLE, error.detail))


def _not_ready(error: UpstreamRefused) -> bool:
    return error.problem.type == f"{URN}orderNotReady"


def _rate_limited(error: UpstreamRateLimited, facts: Facts) -> Decision:
    """Wait where the deadline allows it, else tell the client."""
    seconds = error.retry_after
    if seconds is None:
        seconds = back_off(facts.attempts + 1, longest=LONGEST_RATE_LIMIT_PAUSE)
    note = Note(EventKind.CA_RATE_LIMITED, f"{error.detail} (again in {seconds:.0f} s)")
    if facts.now + timedelta(seconds=seconds) < facts.deadline:
        return Retry(seconds, note)
    return Fail(Problem(ProblemType.RATE_LIMITED, error.detail).document(), note)


def _lost(error: UpstreamObjectLost, facts: Facts) -> Decision:
    """One 404 may be a slip of the CA; a certificate that was issued is never ordered a second time."""
    lost = min(facts.in_a_row(EventKind.CA_NOT_FOUND), facts.attempts) + 1  # a step that worked resets `attempts`
    sure = SURE_OF_LOSS_AFTER_CSR if facts.stage in (Stage.FINALIZING, Stage.ISSUING) else SURE_OF_LOSS
    pause = back_off(facts.attempts + 1)
    if lost < sure or facts.stage is Stage.DOWNLOADING:
        return Retry(pause, Note(EventKind.CA_NOT_FOUND, error.detail))
    return RestartUpstreamOrder(pause, Note(EventKind.UPSTREAM_ORDER_LOST, error.detail))


def _unusable(error: UpstreamOrderUnusable, facts: Facts) -> Decision:
    note = Note(error.kind, error.detail)
    if error.kind is EventKind.UPSTREAM_ORDER_PENDING_AGAIN:
        if facts.attempts < MOST_CONTRADICTIONS:
            return Retry(back_off(facts.attempts + 1))
        return RestartUpstreamOrder(0.0, note, keep=True)
    count = facts.count(error.kind)
    if error.problem is not None and (error.final or count >= MOST_STILLBORN):
        return Fail(error.problem, Note(EventKind.UPSTREAM_ORDER_FAILED, error.detail))
    return RestartUpstreamOrder(back_off(count + 1), note)


def _timed_out(facts: Facts) -> ProblemDocument:
    """The problem of an order whose deadline has passed: with the last line of its timeline that has words."""
    last = next((f": {item.kind}: {item.detail}" for item in reversed(facts.timeline) if item.detail), "")
    return Problem(ProblemType.SERVER_INTERNAL, f"given up at stage {facts.stage.value}{last}").document()


def _for_operator(kind: EventKind, problem: Problem, facts: Facts) -> Decision:
    """Retry for about ten minutes, in which an operator may put it right; then fail with `problem`."""
    note = Note(kind, problem.detail)
    attempts = facts.attempts + 1
    if attempts >= MOST_ATTEMPTS:
        return Fail(problem.document(), note)
    return Retry(back_off(attempts + 1, longest=LONGEST_OPERATOR_PAUSE), note)
