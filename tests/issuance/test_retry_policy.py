"""The retry policy as a table: which exception, at which stage and after how many failures, leads to which decision."""

from datetime import timedelta

import pytest

from acmehub.dns01 import DnsUnclear, DnsWrong
from acmehub.issuance.retry_policy import (
    COUNTED,
    EXPECTED,
    DeadlinePassed,
    Decision,
    Facts,
    Fail,
    Note,
    RestartUpstreamOrder,
    Retry,
    UpstreamOrderUnusable,
    decide,
)
from acmehub.models import Event, EventKind, Stage
from acmehub.models.problems import URN, Problem, ProblemDocument, ProblemType
from acmehub.ports.authority import (
    UpstreamAccountLost,
    UpstreamObjectLost,
    UpstreamRateLimited,
    UpstreamRefused,
    UpstreamUnavailable,
)
from acmehub.ports.dns import DnsProviderRefused, DnsProviderUnavailable
from acmehub.ports.settings import SettingsError
from acmehub.ports.store import Missing
from acmehub.runtime.plugins import PluginMissing
from acmehub.runtime.vault import VaultError
from acmehub.testing.store_samples import NOW

K = EventKind
CAA = ProblemDocument(f"{URN}caa", "CAA forbids", 403)
NOT_READY = ProblemDocument(f"{URN}orderNotReady", "not yet", 403)
URL = "https://ca.test/order/1"
LOST = UpstreamObjectLost("404")
USED_UP = UpstreamOrderUnusable(K.UPSTREAM_ORDER_USED_UP, URL)
STILLBORN = UpstreamOrderUnusable(K.UPSTREAM_ORDER_STILLBORN, URL, CAA)
PENDING_AGAIN = UpstreamOrderUnusable(K.UPSTREAM_ORDER_PENDING_AGAIN, URL)


def facts(
    stage: Stage = Stage.AUTHORIZING, attempts: int = 0, *timeline: EventKind, sent: bool = False, left: float = 3600.0
) -> Facts:
    events = tuple(Event(order_id="o", at=NOW, kind=kind, detail=f"words of {kind.name}") for kind in timeline)
    deadline = NOW + timedelta(seconds=left)
    return Facts(stage=stage, attempts=attempts, now=NOW, deadline=deadline, sent_replaces=sent, timeline=events)


def problem(type: ProblemType, detail: str) -> ProblemDocument:
    return Problem(type, detail).document()


TABLE: list[tuple[str, Exception, Facts, Decision]] = [
    # the CA does not answer: with growing pauses, not before it asked for
    ("CA away", UpstreamUnavailable("503"), facts(), Retry(2.0, Note(K.CA_UNAVAILABLE, "503"))),
    ("CA away, 4th", UpstreamUnavailable("503"), facts(attempts=3), Retry(16.0, Note(K.CA_UNAVAILABLE, "503"))),
    ("CA away, long", UpstreamUnavailable("503"), facts(attempts=99), Retry(300.0, Note(K.CA_UNAVAILABLE, "503"))),
    ("CA says when", UpstreamUnavailable("503", retry_after=60.0), facts(), Retry(60.0, Note(K.CA_UNAVAILABLE, "503"))),
    # rate limits: waited for within the deadline
    (
        "limit within the deadline",
        UpstreamRateLimited("too many", retry_after=3599.0),
        facts(),
        Retry(3599.0, Note(K.CA_RATE_LIMITED, "too many (again in 3599 s)")),
    ),
    (
        "limit beyond the deadline",
        UpstreamRateLimited("too many", retry_after=3600.0),
        facts(),
        Fail(problem(ProblemType.RATE_LIMITED, "too many"), Note(K.CA_RATE_LIMITED, "too many (again in 3600 s)")),
    ),
    (
        "limit without an end",
        UpstreamRateLimited("too many"),
        facts(attempts=10),
        Retry(2048.0, Note(K.CA_RATE_LIMITED, "too many (again in 2048 s)")),
    ),
    # accounts, refusals
    (
        "account lost",
        UpstreamAccountLost("unknown"),
        facts(attempts=1),
        Retry(4.0, Note(K.UPSTREAM_ACCOUNT_LOST, "unknown"), forget_account=True),
    ),
    (
        "replaces refused",
        UpstreamRefused(CAA),
        facts(Stage.ORDERING, sent=True),
        Retry(0.0, Note(K.CA_REFUSED_REPLACES, "CAA forbids"), forget_replaces=True),
    ),
    (
        "refused, replaces was not sent",
        UpstreamRefused(CAA),
        facts(Stage.ORDERING),
        Fail(CAA, Note(K.CA_REFUSED, "CAA forbids")),
    ),
    (
        "refused later, replaces was sent",
        UpstreamRefused(CAA),
        facts(Stage.FINALIZING, sent=True),
        Fail(CAA, Note(K.CA_REFUSED, "CAA forbids")),
    ),
    (
        "not ready",
        UpstreamRefused(NOT_READY),
        facts(Stage.FINALIZING, 4),
        Retry(32.0, Note(K.CA_NOT_READY, "not yet")),
    ),
    (
        "not ready, five times before",
        UpstreamRefused(NOT_READY),
        facts(Stage.FINALIZING, 5),
        Fail(NOT_READY, Note(K.CA_REFUSED, "not yet")),
    ),
    # 404: one may be a slip
    ("404", LOST, facts(), Retry(2.0, Note(K.CA_NOT_FOUND, "404"))),
    (
        "third 404 in a row",
        LOST,
        facts(Stage.VALIDATING, 2, K.CA_NOT_FOUND, K.CA_NOT_FOUND),
        RestartUpstreamOrder(8.0, Note(K.UPSTREAM_ORDER_LOST, "404")),
    ),
    (
        "third 404, another event between",
        LOST,
        facts(Stage.VALIDATING, 3, K.CA_NOT_FOUND, K.CA_UNAVAILABLE, K.CA_NOT_FOUND),
        Retry(16.0, Note(K.CA_NOT_FOUND, "404")),
    ),
    (
        "third 404, but a poll between has worked",
        LOST,
        facts(Stage.VALIDATING, 1, K.CA_NOT_FOUND, K.CA_NOT_FOUND),
        Retry(4.0, Note(K.CA_NOT_FOUND, "404")),
    ),
    (
        "fifth 404 after the CSR",
        LOST,
        facts(Stage.ISSUING, 4, *[K.CA_NOT_FOUND] * 4),
        Retry(32.0, Note(K.CA_NOT_FOUND, "404")),
    ),
    (
        "sixth 404 after the CSR",
        LOST,
        facts(Stage.FINALIZING, 5, *[K.CA_NOT_FOUND] * 5),
        RestartUpstreamOrder(64.0, Note(K.UPSTREAM_ORDER_LOST, "404")),
    ),
    (
        "404s of a certificate",
        LOST,
        facts(Stage.DOWNLOADING, 50, *[K.CA_NOT_FOUND] * 50),
        Retry(300.0, Note(K.CA_NOT_FOUND, "404")),
    ),
    # upstream orders that cannot be used
    ("used up", USED_UP, facts(), RestartUpstreamOrder(2.0, Note(K.UPSTREAM_ORDER_USED_UP, URL))),
    (
        "used up again",
        USED_UP,
        facts(Stage.AUTHORIZING, 0, K.UPSTREAM_ORDER_USED_UP, K.CSR_SENT, K.UPSTREAM_ORDER_USED_UP),
        RestartUpstreamOrder(8.0, Note(K.UPSTREAM_ORDER_USED_UP, URL)),
    ),
    ("stillborn", STILLBORN, facts(), RestartUpstreamOrder(2.0, Note(K.UPSTREAM_ORDER_STILLBORN, URL))),
    (
        "stillborn, twice before",
        STILLBORN,
        facts(Stage.AUTHORIZING, 0, *[K.UPSTREAM_ORDER_STILLBORN] * 2),
        RestartUpstreamOrder(8.0, Note(K.UPSTREAM_ORDER_STILLBORN, URL)),
    ),
    (
        "stillborn too often",
        STILLBORN,
        facts(Stage.AUTHORIZING, 0, *[K.UPSTREAM_ORDER_STILLBORN] * 3),
        Fail(CAA, Note(K.UPSTREAM_ORDER_FAILED, URL)),
    ),
    (
        "stillborn, and the CA says why",
        UpstreamOrderUnusable(K.UPSTREAM_ORDER_STILLBORN, URL, CAA, final=True),
        facts(),
        Fail(CAA, Note(K.UPSTREAM_ORDER_FAILED, URL)),
    ),
    ("pending again", PENDING_AGAIN, facts(Stage.ISSUING, 4), Retry(32.0)),
    (
        "pending again and again",
        PENDING_AGAIN,
        facts(Stage.ISSUING, 5),
        RestartUpstreamOrder(0.0, Note(K.UPSTREAM_ORDER_PENDING_AGAIN, URL), keep=True),
    ),
    # the deadline
    (
        "deadline",
        DeadlinePassed(),
        facts(),
        Fail(problem(ProblemType.SERVER_INTERNAL, "given up at stage authorizing")),
    ),
    (
        "deadline, with the last words",
        DeadlinePassed(),
        facts(Stage.ORDERING, 9, K.CA_UNAVAILABLE),
        Fail(
            problem(ProblemType.SERVER_INTERNAL, "given up at stage ordering: CA unavailable: words of CA_UNAVAILABLE")
        ),
    ),
    # DNS
    (
        "provider away",
        DnsProviderUnavailable("502", retry_after=20.0),
        facts(attempts=1),
        Retry(20.0, Note(K.DNS_PROVIDER_UNAVAILABLE, "502")),
    ),
    ("provider refuses", DnsProviderRefused("401"), facts(), Retry(4.0, Note(K.DNS_PROVIDER_REFUSED, "401"))),
    (
        "provider refuses, long",
        DnsProviderRefused("401"),
        facts(attempts=10),
        Retry(60.0, Note(K.DNS_PROVIDER_REFUSED, "401")),
    ),
    (
        "provider refuses for good",
        DnsProviderRefused("401"),
        facts(attempts=11),
        Fail(problem(ProblemType.DNS, "401"), Note(K.DNS_PROVIDER_REFUSED, "401")),
    ),
    ("DNS unclear", DnsUnclear("SERVFAIL"), facts(), Retry(4.0, Note(K.DNS_UNCLEAR, "SERVFAIL"))),
    (
        "DNS unclear for good",
        DnsUnclear("SERVFAIL"),
        facts(attempts=11),
        Fail(problem(ProblemType.DNS, "SERVFAIL"), Note(K.DNS_UNCLEAR, "SERVFAIL")),
    ),
    ("DNS wrong", DnsWrong("CNAME loop"), facts(), Fail(problem(ProblemType.DNS, "CNAME loop"))),
    # the hub's own
    ("problem", Problem(ProblemType.UNAUTHORIZED, "no"), facts(), Fail(problem(ProblemType.UNAUTHORIZED, "no"))),
    *(
        (f"for an operator: {type(error).__name__}", error, facts(), Retry(4.0, Note(K.NEEDS_OPERATOR, str(error))))
        for error in (Missing("gone"), PluginMissing("gone"), SettingsError("gone"), VaultError("gone"))
    ),
    (
        "for an operator, for good",
        SettingsError("no port"),
        facts(attempts=11),
        Fail(problem(ProblemType.SERVER_INTERNAL, "no port"), Note(K.NEEDS_OPERATOR, "no port")),
    ),
    ("unexpected", KeyError("secret"), facts(attempts=10), Retry(300.0, Note(K.UNEXPECTED_ERROR, "KeyError"))),
    (
        "unexpected for good",
        KeyError("secret"),
        facts(Stage.ISSUING, 11),
        Fail(
            problem(ProblemType.SERVER_INTERNAL, "unexpected error at stage issuing; the hub's log has it"),
            Note(K.UNEXPECTED_ERROR, "KeyError"),
        ),
    ),
]


@pytest.mark.parametrize(("error", "known", "decision"), [row[1:] for row in TABLE], ids=[row[0] for row in TABLE])
def test_the_table(error: Exception, known: Facts, decision: Decision) -> None:
    assert decide(error, known) == decision


def test_the_table_has_every_expected_exception() -> None:
    tried = {type(row[1]) for row in TABLE}
    for kind in EXPECTED:
        assert any(issubclass(item, kind) for item in tried), kind
    for kind in COUNTED:
        assert kind in tried


@pytest.mark.parametrize("stage", set(Stage) - {Stage.DONE, Stage.FAILED})
def test_nothing_is_retried_at_once_except_to_forget_replaces(stage: Stage) -> None:
    for name, error, known, _decision in TABLE:
        for attempts in range(15):
            other = facts(stage, attempts, *(event.kind for event in known.timeline), sent=known.sent_replaces)
            decision = decide(error, other)
            if isinstance(decision, Retry) and not decision.forget_replaces:
                assert decision.seconds >= 2.0, name
