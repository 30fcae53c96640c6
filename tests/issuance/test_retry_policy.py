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
    WrongCertificate,
    decide,
)
from acmehub.models import Event, EventKind, Stage
from acmehub.models.problems import URN, Problem, ProblemDocument, ProblemType
from acmehub.ports.authority import (
    UpstreamAccountLost,
    UpstreamAccountRefused,
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
    stage: Stage = Stage.AUTHORIZING,
    attempts: int = 0,
    *timeline: EventKind,
    sent: bool = False,
    csr: bool = False,
    left: float = 3600.0,
) -> Facts:
    events = tuple(Event(order_id="o", at=NOW, kind=kind, detail=f"words of {kind.name}") for kind in timeline)
    deadline = NOW + timedelta(seconds=left)
    return Facts(
        stage=stage,
        attempts=attempts,
        now=NOW,
        deadline=deadline,
        sent_replaces=sent,
        sent_csr=csr,
        certificate=f"{URL}/certificate",
        timeline=events,
    )


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
        facts(Stage.FINALIZING, sent=True, csr=True),
        Fail(CAA, Note(K.CA_REFUSED, "CAA forbids")),
    ),
    # a refusal to read an order whose CSR may have been sent is none of the CSR
    ("reading refused", UpstreamRefused(CAA), facts(Stage.FINALIZING), Retry(2.0, Note(K.CA_REFUSED, "CAA forbids"))),
    ("poll refused", UpstreamRefused(CAA), facts(Stage.ISSUING, 2), Retry(8.0, Note(K.CA_REFUSED, "CAA forbids"))),
    (
        "account refused",
        UpstreamAccountRefused(CAA),
        facts(Stage.ORDERING, 20, sent=True),
        Retry(300.0, Note(K.NEEDS_OPERATOR, "the CA refuses the hub's account: CAA forbids")),
    ),
    (
        "paused",
        UpstreamRateLimited("paused, see https://ca.test/unpause", paused=True),
        facts(Stage.ORDERING),
        Fail(
            problem(ProblemType.RATE_LIMITED, "paused, see https://ca.test/unpause"),
            Note(K.CA_PAUSED, "paused, see https://ca.test/unpause"),
        ),
    ),
    # the certificate exists: whatever is answered, it is asked for again
    *(
        (f"downloading: {kind}", error, facts(Stage.DOWNLOADING, 3), Retry(16.0, Note(kind, words)))
        for error, kind, words in (
            (UpstreamRefused(CAA), K.CA_REFUSED, "CAA forbids"),
            (UpstreamUnavailable("502"), K.CA_UNAVAILABLE, "502"),
            (UpstreamRateLimited("paused", paused=True), K.CA_PAUSED, "paused"),
            (WrongCertificate("the leaf alone"), K.WRONG_CERTIFICATE, "the leaf alone"),
            (WrongCertificate("another key", b"der"), K.WRONG_CERTIFICATE, "another key"),
            (UpstreamOrderUnusable(K.CERTIFICATE_WITHOUT_URL, URL), K.CERTIFICATE_WITHOUT_URL, URL),
            (SettingsError("no plugin"), K.NEEDS_OPERATOR, "no plugin"),
            (KeyError("secret"), K.UNEXPECTED_ERROR, "KeyError"),
            (Problem(ProblemType.UNAUTHORIZED, "no"), K.NEEDS_OPERATOR, "no"),
        )
    ),
    (
        "downloading, a limit beyond the deadline",
        UpstreamRateLimited("too many", retry_after=200_000.0),
        facts(Stage.DOWNLOADING),
        Retry(3600.0, Note(K.CA_RATE_LIMITED, "too many")),
    ),
    (
        "downloading, after the deadline",
        UpstreamRefused(CAA),
        facts(Stage.DOWNLOADING, left=0),
        Fail(
            problem(
                ProblemType.SERVER_INTERNAL,
                f"the certificate could not be fetched from {URL}/certificate: CA refused: CAA forbids",
            ),
            Note(K.CERTIFICATE_NOT_FETCHED, f"{URL}/certificate: CA refused: CAA forbids"),
        ),
    ),
    (
        "signed, but wrong",
        WrongCertificate("another key"),
        facts(Stage.AUTHORIZED, 20),
        Retry(3600.0, Note(K.WRONG_CERTIFICATE, "another key")),
    ),
    (
        "not ready",
        UpstreamRefused(NOT_READY),
        facts(Stage.FINALIZING, 4),
        Retry(32.0, Note(K.CA_NOT_READY, "not yet")),
    ),
    (
        "not ready after an outage",
        UpstreamRefused(NOT_READY),
        facts(Stage.FINALIZING, 50, *[K.CA_UNAVAILABLE] * 50, csr=True),
        Retry(300.0, Note(K.CA_NOT_READY, "not yet")),
    ),
    (
        "not ready for the seventh time",
        UpstreamRefused(NOT_READY),
        facts(Stage.FINALIZING, 6, *[K.CA_NOT_READY] * 6, csr=True),
        Retry(128.0, Note(K.CA_NOT_READY, "not yet")),
    ),
    (
        "not ready for the eighth time",
        UpstreamRefused(NOT_READY),
        facts(Stage.FINALIZING, 7, *[K.CA_NOT_READY] * 7, csr=True),
        Fail(NOT_READY, Note(K.CA_NOT_READY, "not yet")),
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
        "the fifth upstream order is lost",
        LOST,
        facts(Stage.VALIDATING, 2, *[K.UPSTREAM_ORDER_LOST] * 4, K.CA_NOT_FOUND, K.CA_NOT_FOUND),
        RestartUpstreamOrder(32.0, Note(K.UPSTREAM_ORDER_LOST, "404")),
    ),
    (
        "third 404, what others write between",
        LOST,
        facts(Stage.VALIDATING, 2, K.CA_NOT_FOUND, K.TXT_REMOVED, K.ORDER_REUSED, K.CA_NOT_FOUND, K.FINALIZE_REQUESTED),
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
            problem(ProblemType.SERVER_INTERNAL, "given up at stage ordering: CA unavailable: words of CA_UNAVAILABLE"),
            trouble=K.CA_UNAVAILABLE,
        ),
    ),
    (
        "deadline, and an operator's name in the timeline",
        DeadlinePassed(),
        facts(Stage.ORDERING, 9, K.DNS_PROVIDER_REFUSED, K.RETRIED),
        Fail(
            problem(
                ProblemType.DNS,
                "given up at stage ordering: DNS provider refused: words of DNS_PROVIDER_REFUSED",
            ),
            trouble=K.DNS_PROVIDER_REFUSED,
        ),
    ),
    (
        "the last try, after the deadline",
        UpstreamUnavailable("503"),
        facts(Stage.ISSUING, left=-1),
        Fail(
            problem(ProblemType.SERVER_INTERNAL, "given up at stage issuing: CA unavailable: 503"),
            Note(K.CA_UNAVAILABLE, "503"),
            K.CA_UNAVAILABLE,
        ),
    ),
    # DNS
    (
        "provider away",
        DnsProviderUnavailable("502", retry_after=20.0),
        facts(attempts=1),
        Retry(20.0, Note(K.DNS_PROVIDER_UNAVAILABLE, "502")),
    ),
    # the hub's own side: with growing pauses, until the deadline
    ("provider refuses", DnsProviderRefused("401"), facts(), Retry(2.0, Note(K.DNS_PROVIDER_REFUSED, "401"))),
    (
        "provider refuses, long",
        DnsProviderRefused("401"),
        facts(attempts=250),
        Retry(300.0, Note(K.DNS_PROVIDER_REFUSED, "401")),
    ),
    ("DNS unclear", DnsUnclear("SERVFAIL"), facts(), Retry(2.0, Note(K.DNS_UNCLEAR, "SERVFAIL"))),
    (
        "DNS unclear, long",
        DnsUnclear("SERVFAIL"),
        facts(attempts=250),
        Retry(300.0, Note(K.DNS_UNCLEAR, "SERVFAIL")),
    ),
    ("DNS wrong", DnsWrong("CNAME loop"), facts(), Fail(problem(ProblemType.DNS, "CNAME loop"))),
    # the hub's own
    ("problem", Problem(ProblemType.UNAUTHORIZED, "no"), facts(), Fail(problem(ProblemType.UNAUTHORIZED, "no"))),
    *(
        (f"for an operator: {type(error).__name__}", error, facts(), Retry(2.0, Note(K.NEEDS_OPERATOR, str(error))))
        for error in (Missing("gone"), PluginMissing("gone"), SettingsError("gone"), VaultError("gone"))
    ),
    (
        "for an operator, long",
        SettingsError("no port"),
        facts(attempts=250),
        Retry(300.0, Note(K.NEEDS_OPERATOR, "no port")),
    ),
    ("unexpected", KeyError("secret"), facts(attempts=10), Retry(300.0, Note(K.UNEXPECTED_ERROR, "KeyError"))),
    (
        "unexpected, long",
        KeyError("secret"),
        facts(Stage.ISSUING, 250),
        Retry(300.0, Note(K.UNEXPECTED_ERROR, "KeyError")),
    ),
]


@pytest.mark.parametrize(("error", "known", "decision"), [row[1:] for row in TABLE], ids=[row[0] for row in TABLE])
def test_the_table(error: Exception, known: Facts, decision: Decision) -> None:
    assert decide(error, known) == decision


def test_the_table_has_every_expected_exception() -> None:
    tried = {type(row[1]) for row in TABLE}
    for kind in EXPECTED:
        assert any(issubclass(item, kind) for item in tried), kind
    for counted in COUNTED:
        assert counted in tried


@pytest.mark.parametrize("stage", set(Stage) - {Stage.DONE, Stage.FAILED})
def test_nothing_is_retried_at_once_except_to_forget_replaces(stage: Stage) -> None:
    for name, error, known, _decision in TABLE:
        for attempts in range(15):
            other = facts(stage, attempts, *(event.kind for event in known.timeline), sent=known.sent_replaces)
            decision = decide(error, other)
            if isinstance(decision, Retry) and not decision.forget_replaces:
                assert decision.seconds >= 2.0, name


@pytest.mark.parametrize("stage", set(Stage) - {Stage.DONE, Stage.FAILED})
def test_past_the_deadline_every_failure_ends_the_order_with_a_reason(stage: Stage) -> None:
    for name, error, known, _decision in TABLE:
        decision = decide(error, facts(stage, 1, *(event.kind for event in known.timeline), left=-1.0))
        assert isinstance(decision, Fail), name


def test_before_the_deadline_nothing_ends_an_order_whose_certificate_exists() -> None:
    for name, error, _known, _decision in TABLE:
        if not isinstance(error, DeadlinePassed):
            assert isinstance(decide(error, facts(Stage.DOWNLOADING, 500)), Retry), name
