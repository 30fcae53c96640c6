"""Retry policy: an exception becomes a retry, a restarted upstream order, or a failed order with a problem.

Only a refusal by the CA, a policy of the hub or the deadline ends an order; what the hub's own side lacks (credentials,
a plugin, an answer, a defect mended) is waited for with growing pauses, and from stage `downloading` on nothing but
time ends it (docs/reliability.md 2.13).

Pure: `decide` reads and writes nothing, and knows no random numbers; jitter is added where the decision is applied.
"""

import itertools
from collections.abc import Sequence
from datetime import datetime, timedelta

import msgspec
from msgspec.structs import replace

from acmehub.dns01 import DnsError, DnsUnclear
from acmehub.models import Event, EventKind, Stage
from acmehub.models.events import TROUBLES
from acmehub.models.problems import URN, Problem, ProblemDocument, ProblemType
from acmehub.ports.authority import (
    UpstreamAccountLost,
    UpstreamAccountRefused,
    UpstreamError,
    UpstreamObjectLost,
    UpstreamRateLimited,
    UpstreamRefused,
)
from acmehub.ports.dns import DnsProviderError, DnsProviderUnavailable
from acmehub.rules.rights import RightTaken
from acmehub.runtime.backoff import LONGEST_BACK_OFF, back_off, growing
from acmehub.runtime.plugin_objects import PLUGIN_UNUSABLE

LONGEST_RATE_LIMIT_PAUSE = 3600.0  # when the CA does not say how long its limit lasts
LONGEST_SIGNING_PAUSE = 3600.0  # each try at an authority that signs by itself is another certificate
SURE_OF_LOSS = 3  # 404s in a row until an upstream order counts as dead
SURE_OF_LOSS_AFTER_CSR = 6  # when it may have been finalized: about two minutes
MOST_CONTRADICTIONS = 5  # times that an upstream order may contradict itself
MOST_NOT_READY = 8  # tries to send the CSR, within about four minutes
MOST_STILLBORN = 3
MOST_FAILED_VALIDATIONS = 3  # of one name in an hour: Let's Encrypt allows five

_TYPES = {  # of the problem when time runs out; every other is `serverInternal`
    EventKind.CA_RATE_LIMITED: ProblemType.RATE_LIMITED,
    EventKind.DNS_PROVIDER_REFUSED: ProblemType.DNS,
    EventKind.DNS_PROVIDER_UNAVAILABLE: ProblemType.DNS,
    EventKind.DNS_UNCLEAR: ProblemType.DNS,
}


_OF_OTHERS = frozenset(  # lines that the client's requests and the TXT cleanup write between those of steps
    {
        EventKind.CHALLENGE_ANSWERED,
        EventKind.FINALIZE_REQUESTED,
        EventKind.ORDER_REUSED,
        EventKind.TXT_NOT_REMOVED,
        EventKind.TXT_REMOVED,
    }
)
_NEW_UPSTREAM_ORDER = (EventKind.UPSTREAM_ORDER_CREATED, EventKind.UPSTREAM_ORDER_TAKEN)


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


class WrongCertificate(Exception):
    """What the authority gave is not accepted; `detail` says why.

    `leaf` (DER): the certificate, when it has another key or other names than ordered. Only such a one may be revoked.
    """

    def __init__(self, detail: str, leaf: bytes | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        self.leaf = leaf


class DeadlinePassed(Exception):
    """The order's issuance timeout is over."""


EXPECTED = (  # what a step raises by design; anything else is a defect, which `decide` retries as well
    UpstreamError,
    UpstreamOrderUnusable,
    WrongCertificate,
    DeadlinePassed,
    DnsProviderError,
    DnsError,
    Problem,
    *PLUGIN_UNUSABLE,
)
# decided by the order's timeline
COUNTED = (UpstreamObjectLost, UpstreamOrderUnusable, UpstreamRefused, DeadlinePassed)


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of an order whose step failed. `attempts` are the failures of this step before the present one.

    `sent_replaces`: its last newOrder named the certificate that it replaces. `sent_csr`: the step sent the CSR, so a
    refusal is one of the CSR. `certificate`: the URL to fetch it from (the upstream order's while the CA gives none).
    `timeline` is needed for `COUNTED`, and past the deadline.
    """

    stage: Stage
    attempts: int
    deadline: datetime
    now: datetime
    sent_replaces: bool = False
    sent_csr: bool = False
    certificate: str = ""
    timeline: Sequence[Event] = ()

    @property
    def late(self) -> bool:
        """Whether the deadline has passed: nothing is asked again."""
        return self.now >= self.deadline

    @property
    def only_reads(self) -> bool:
        """Whether a certificate may exist and the step asked for it only: a refusal of that is none of the order."""
        if self.stage is Stage.AUTHORIZED:  # with the client's CSR, and nothing sent yet
            return bool(self.certificate)
        if self.stage is Stage.FINALIZING:
            return not self.sent_csr
        return self.stage in (Stage.ISSUING, Stage.DOWNLOADING)

    def count(self, kind: EventKind) -> int:
        """How many lines of the timeline are of this kind."""
        return sum(item.kind is kind for item in self.timeline)

    @property
    def records_were_seen(self) -> bool:
        """Whether no TXT record for the present upstream order was taken on trust."""
        since = itertools.takewhile(lambda item: item.kind not in _NEW_UPSTREAM_ORDER, reversed(self.timeline))
        return all(item.kind is not EventKind.TXT_NOT_CHECKED for item in since)

    def again(self, kind: EventKind) -> int:
        """How many failures of this kind the step has had in a row, with the present one."""
        own = (item.kind for item in reversed(self.timeline) if item.kind not in _OF_OTHERS)
        lines = sum(1 for _ in itertools.takewhile(lambda found: found is kind, own))
        return min(lines, self.attempts) + 1  # a step that worked resets `attempts`


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
    """The order is invalid, for this reason; `trouble` is what kept it from going on until time ran out."""

    problem: ProblemDocument
    note: Note | None = None
    trouble: EventKind | None = None


Decision = Retry | RestartUpstreamOrder | Fail


def decide(error: Exception, facts: Facts) -> Decision:
    """What follows from an exception of a step."""
    decision = _fetch_again(error, facts) if facts.stage is Stage.DOWNLOADING else _decide(error, facts)
    if not facts.late or isinstance(decision, Fail):
        return decision
    return _give_up(facts, _note(error))


def _decide(error: Exception, facts: Facts) -> Decision:
    match error:
        case DeadlinePassed():
            return _give_up(facts, None)
        case UpstreamObjectLost():
            return _lost(error, facts)
        case UpstreamOrderUnusable():
            return _unusable(error, facts)
        case UpstreamError() if not facts.only_reads:
            return _upstream(error, facts)
        case DnsError() if not isinstance(error, DnsUnclear):
            return Fail(Problem(ProblemType.DNS, error.detail).document())
        case RightTaken():
            return Fail(error.document(), Note(EventKind.RIGHT_TAKEN, error.detail))
        case Problem():
            return Fail(error.document())
        case WrongCertificate():  # of an authority that signs by itself
            return Retry(back_off(facts.attempts + 1, longest=LONGEST_SIGNING_PAUSE), _note(error))
    return _again(error, facts)


def _again(error: Exception, facts: Facts) -> Retry:
    asked = error.retry_after if isinstance(error, UpstreamError | DnsProviderError) else None
    lost = isinstance(error, UpstreamAccountLost)  # the next step finds out whether the CA gives another account
    return Retry(back_off(facts.attempts + 1, asked), _note(error), forget_account=lost)


def _fetch_again(error: Exception, facts: Facts) -> Decision:
    """The certificate exists: until the deadline it is asked for again, whatever came of the last try."""
    return _give_up(facts, None) if isinstance(error, DeadlinePassed) else _again(error, facts)


def _note(error: Exception) -> Note:
    """The line for the timeline that shows a failure as what it is."""
    match error:
        case UpstreamRateLimited():
            return Note(EventKind.CA_PAUSED if error.paused else EventKind.CA_RATE_LIMITED, error.detail)
        case UpstreamAccountLost():
            return Note(EventKind.UPSTREAM_ACCOUNT_LOST, error.detail)
        case UpstreamAccountRefused():
            return Note(EventKind.NEEDS_OPERATOR, f"the CA refuses the hub's account: {error.detail}")
        case UpstreamRefused():
            return Note(EventKind.CA_NOT_READY if _not_ready(error) else EventKind.CA_REFUSED, error.detail)
        case UpstreamObjectLost():
            return Note(EventKind.CA_NOT_FOUND, error.detail)
        case UpstreamError():
            return Note(EventKind.CA_UNAVAILABLE, error.detail)
        case UpstreamOrderUnusable():
            return Note(error.kind, error.detail)
        case WrongCertificate():
            return Note(EventKind.WRONG_CERTIFICATE, error.detail)
        case DnsProviderUnavailable():
            return Note(EventKind.DNS_PROVIDER_UNAVAILABLE, error.detail)
        case DnsProviderError():
            return Note(EventKind.DNS_PROVIDER_REFUSED, error.detail)
        case DnsError():
            return Note(EventKind.DNS_UNCLEAR, error.detail)
        case Problem():
            return Note(EventKind.NEEDS_OPERATOR, error.detail)
    if isinstance(error, PLUGIN_UNUSABLE):
        return Note(EventKind.NEEDS_OPERATOR, str(error) or type(error).__name__)
    return Note(EventKind.UNEXPECTED_ERROR, type(error).__name__)  # its text may hold secrets


def _upstream(error: UpstreamError, facts: Facts) -> Decision:
    match error:
        case UpstreamRateLimited():
            return _rate_limited(error, facts)
        case UpstreamAccountRefused():  # an operator has to change the authority's settings
            return _again(error, facts)
        case UpstreamRefused() if facts.stage is Stage.ORDERING and facts.sent_replaces:
            # A renewal is worth more than that the CA knows what it renews (docs/client-rules.md rule 29).
            return Retry(0.0, Note(EventKind.CA_REFUSED_REPLACES, error.detail), forget_replaces=True)
        case UpstreamRefused() if not _not_ready(error) or facts.again(EventKind.CA_NOT_READY) >= MOST_NOT_READY:
            return Fail(error.problem, _note(error))
    return _again(error, facts)


def _not_ready(error: UpstreamRefused) -> bool:
    return error.problem.type == f"{URN}orderNotReady"


def _rate_limited(error: UpstreamRateLimited, facts: Facts) -> Decision:
    """Wait where the deadline allows it, else tell the client; a pause waits for a person at the CA."""
    if error.paused:
        return Fail(Problem(ProblemType.RATE_LIMITED, error.detail).document(), _note(error))
    seconds = error.retry_after
    if seconds is None:
        seconds = back_off(facts.attempts + 1, longest=LONGEST_RATE_LIMIT_PAUSE)
    note = Note(EventKind.CA_RATE_LIMITED, f"{error.detail} (again in {seconds:.0f} s)")
    if facts.now + timedelta(seconds=seconds) < facts.deadline:
        return Retry(seconds, note)
    return Fail(Problem(ProblemType.RATE_LIMITED, error.detail).document(), note)


def _lost(error: UpstreamObjectLost, facts: Facts) -> Decision:
    """One 404 may be a slip of the CA."""
    sure = SURE_OF_LOSS_AFTER_CSR if facts.stage in (Stage.FINALIZING, Stage.ISSUING) else SURE_OF_LOSS
    if facts.again(EventKind.CA_NOT_FOUND) < sure:
        return _again(error, facts)
    pause = back_off(max(facts.attempts, facts.count(EventKind.UPSTREAM_ORDER_LOST)) + 1)
    return RestartUpstreamOrder(pause, Note(EventKind.UPSTREAM_ORDER_LOST, error.detail))


def _unusable(error: UpstreamOrderUnusable, facts: Facts) -> Decision:
    note = _note(error)
    if error.kind is EventKind.UPSTREAM_ORDER_PENDING_AGAIN:
        if facts.attempts < MOST_CONTRADICTIONS:
            return Retry(back_off(facts.attempts + 1))
        return RestartUpstreamOrder(0.0, note, keep=True)
    count = facts.count(error.kind)
    if error.kind is EventKind.UPSTREAM_VALIDATION_FAILED and error.problem is not None:
        if facts.records_were_seen and not error.final and count + 1 < MOST_FAILED_VALIDATIONS:
            return RestartUpstreamOrder(growing(count + 1, first=15.0, factor=4.0, longest=LONGEST_BACK_OFF), note)
        told = replace(error.problem, detail=f"{error.detail} ({count + 1} tries)") if count else error.problem
        return Fail(told, Note(EventKind.UPSTREAM_ORDER_FAILED, told.detail))
    if error.problem is not None and (error.final or count >= MOST_STILLBORN):
        return Fail(error.problem, Note(EventKind.UPSTREAM_ORDER_FAILED, error.detail))
    return RestartUpstreamOrder(back_off(count + 1), note)


def _give_up(facts: Facts, last: Note | None) -> Fail:
    """The end that time makes, in the words of the last failure; `last` is one that the timeline does not have yet."""
    if last is None:
        known = (Note(item.kind, item.detail) for item in reversed(facts.timeline) if item.kind in TROUBLES)
        trouble = next((note for note in known if note.detail), None)
    else:
        trouble = last
    words = f": {trouble.kind}: {trouble.detail}" if trouble is not None else ""
    if facts.stage is Stage.DOWNLOADING:
        detail = f"{facts.certificate}{words}"
        problem = Problem(ProblemType.SERVER_INTERNAL, f"the certificate could not be fetched from {detail}")
        return Fail(problem.document(), Note(EventKind.CERTIFICATE_NOT_FETCHED, detail))
    kind = _TYPES.get(trouble.kind, ProblemType.SERVER_INTERNAL) if trouble else ProblemType.SERVER_INTERNAL
    problem = Problem(kind, f"given up at stage {facts.stage.value}{words}")
    return Fail(problem.document(), last, trouble.kind if trouble else None)
