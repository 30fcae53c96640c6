"""CAs that answer differently: relative URLs, other hosts, accounts without a body, pages, pauses, wildcards, words."""

import json
from typing import Any

import pytest
from msgspec.structs import replace

from acmehub import (
    IssueRequest,
    RelaySettings,
    SettingsError,
    UpstreamRateLimited,
    UpstreamRefused,
    UpstreamUnavailable,
)
from acmehub.models.identifiers import Identifier
from acmehub.models.text import escape_controls
from acmehub.ports.authority import UpstreamAuthorization, UpstreamOrder
from acmehub.ports.settings import read_settings
from tests.upstream.scripted_ca import CSR, KEY, NAME, PROBLEM, URN, Failed, Refusal, ScriptedCa

ORDER = IssueRequest((Identifier("dns", NAME),))


@pytest.fixture
def ca() -> ScriptedCa:
    return ScriptedCa()


def relative(value: Any) -> Any:
    """The document with each URL of the CA as a relative reference."""
    if isinstance(value, dict):
        return {name: relative(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [relative(inner) for inner in value]
    return value.replace(f"{ScriptedCa.base}/", "/") if isinstance(value, str) else value


# ------------------------------------------------------------------------------------------------- URLs


def test_relative_urls_are_resolved_everywhere(ca: ScriptedCa) -> None:
    verbs = ("register", "new_order", "order", "authorization", "renewal_info", "headers")
    whole = {verb: ca.outcome(verb) for verb in verbs}
    info = ca.document["renewalInfo"]
    ca.document, ca.header = {**relative(ca.document), "renewalInfo": info}, relative(ca.header)
    ca.steps = ca.new_steps()
    for verb in verbs:
        assert ca.outcome(verb) == whole[verb], verb
    order = ca.run("order")
    assert isinstance(order, UpstreamOrder)
    assert order.finalize == "https://ca.test/finalize"


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_every_kind_of_redirect_of_a_get_is_followed_and_none_of_a_post(ca: ScriptedCa, status: int) -> None:
    ca.redirects = {"/dir": (status, "/moved"), "/moved": (status, "/dir/there")}
    assert ca.outcome("order") == ScriptedCa().outcome("order")
    ca.redirects = {"/order": (status, "/moved")}
    assert isinstance(ca.outcome("order"), Failed)
    assert "/moved" not in ca.calls[-1]


def test_redirects_do_not_prolong_the_deadline(ca: ScriptedCa) -> None:
    ca.redirects = {"/dir": (302, "/moved"), "/moved": (302, "/dir/there")}
    ca.outcome("order")
    assert ca.calls == ["/dir", "/moved", "/dir/there", "/nonce", "/order"]
    assert ca.ends[0] is not None
    assert ca.ends == [ca.ends[0]] * 3 + [None, None]


FOREIGN = "https://10.0.0.5/admin"
PLACES = [
    ("directory", "newNonce"),
    ("directory", "newAccount"),
    ("directory", "newOrder"),
    ("directory", "revokeCert"),
    ("directory", "renewalInfo"),
    ("order", "authorizations"),
    ("order", "finalize"),
    ("order", "certificate"),
    ("authorization", "challenges"),
    ("headers", "Location"),
]
VERB = {"directory": "new_order", "order": "order", "authorization": "authorization", "headers": "headers"}


@pytest.mark.parametrize(("document", "name"), PLACES)
@pytest.mark.parametrize("url", [FOREIGN, "//10.0.0.5/admin", "https://ca.test:22/x", "https://ca.test@10.0.0.5/"])
def test_a_url_that_leads_to_another_host_is_never_followed(ca: ScriptedCa, document: str, name: str, url: str) -> None:
    ca.run("order")
    if document == "headers":
        ca.header[name] = url
    elif name == "challenges":
        ca.document[document][name][0]["url"] = url
    else:
        ca.document[document][name] = [url] if name == "authorizations" else url
    with pytest.raises(UpstreamUnavailable, match=r"url_hosts = \[|no URL"):
        ca.run(VERB[document])
    assert not any("10.0.0.5" in call or ":22" in call for call in ca.calls)


@pytest.mark.parametrize(("document", "name"), PLACES)
def test_hosts_of_the_setting_are_the_cas(document: str, name: str) -> None:
    ca = ScriptedCa(url_hosts=("Other.test", "other.test:8443"))
    for host in ("other.test", "other.test:8443"):
        ca.reset()
        holder = ca.header if document == "headers" else ca.document[document]
        holder[name] = json.loads(json.dumps(holder[name]).replace("ca.test", host))
        ca.run(VERB[document])


def test_an_alternate_on_another_host_is_left_out(ca: ScriptedCa) -> None:
    ca.header["Link"] = f'<{FOREIGN}>;rel="alternate", </cert/1>; rel="alternate", <https://[bad>;rel="alternate"'
    chain = ca.steps.certificate(ca.account, f"{ca.base}/cert")
    assert chain.alternates == ("https://ca.test/cert/1",)


def test_an_open_order_keeps_the_host_it_has(ca: ScriptedCa) -> None:
    old = "https://old.test"
    ca.document["order"] = {**ca.document["order"], "certificate": f"{old}/cert", "authorizations": ["/authz"]}
    order = ca.steps.order(ca.account, f"{old}/order")
    assert (order.certificate, order.authorizations) == (f"{old}/cert", (f"{old}/authz",))
    ca.document["order"]["certificate"] = "https://third.test/cert"
    with pytest.raises(UpstreamUnavailable, match=r"third\.test is not the host"):
        ca.steps.order(ca.account, f"{old}/order")


@pytest.mark.parametrize("member", ["authorizations", "finalize", "certificate", "error"])
def test_one_member_of_an_order_is_enough_to_tell_it_from_a_status_alone(ca: ScriptedCa, member: str) -> None:
    ca.document["order"] = {name: ca.document["order"][name] for name in ("status", member)}
    assert ca.steps.order(ca.account, f"{ca.base}/order").status == "invalid"
    del ca.document["order"][member]
    with pytest.raises(UpstreamUnavailable, match="is not an order: it has only a status"):
        ca.steps.order(ca.account, f"{ca.base}/order")


def test_an_order_with_more_authorizations_than_names_is_not_taken(ca: ScriptedCa) -> None:
    ca.document["order"]["authorizations"] = [f"{ca.base}/authz/{number}" for number in range(2)]
    with pytest.raises(UpstreamUnavailable, match="2 authorizations for 1 name"):
        ca.steps.new_order(ca.account, ORDER)
    two = replace(ORDER, identifiers=(*ORDER.identifiers, Identifier("dns", "*.corp.test")))
    assert len(ca.steps.new_order(ca.account, two).authorizations) == 2


@pytest.mark.parametrize(
    ("raw", "field"),
    [
        ({"directory": "http://127.evil.test/dir"}, r"\$\.directory"),
        ({"directory": "http://localhost.evil.test/dir"}, r"\$\.directory"),
        ({"directory": "https://user:secret@ca.test/dir"}, r"\$\.directory"),
        ({"directory": "https://ca.test/dir", "url_hosts": ["https://other.test"]}, r"\$\.url_hosts"),
    ],
)
def test_settings_that_lead_elsewhere_are_refused(raw: dict[str, object], field: str) -> None:
    with pytest.raises(SettingsError, match=field):
        read_settings(raw, RelaySettings)


# ---------------------------------------------------------------------------------------------- accounts


@pytest.mark.parametrize("body", [b"", b"  \n"])
def test_an_account_answer_without_a_body_is_enough_if_it_has_a_location(
    ca: ScriptedCa, body: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    ca.bodies["/new-account"] = body
    assert ca.steps.register(KEY).url == f"{ca.base}/order"
    del ca.header["Location"]
    with pytest.raises(UpstreamUnavailable, match="newAccount returned no URL"):
        ca.steps.register(KEY)


# ---------------------------------------------------------------------------------------- authorizations


@pytest.mark.parametrize(
    ("value", "flag"), [("*.corp.test", True), ("*.corp.test", None), ("corp.test", True), ("*.corp.test", False)]
)
def test_a_wildcard_authorization_is_read_alike_in_either_dress(ca: ScriptedCa, value: str, flag: bool | None) -> None:
    ca.document["authorization"].update(identifier={"type": "dns", "value": value}, wildcard=flag)
    found = ca.run("authorization")
    assert isinstance(found, UpstreamAuthorization)
    assert (found.identifier, found.wildcard) == (Identifier("dns", "corp.test"), True)


# ---------------------------------------------------------------------------------------------- problems


def refused(ca: ScriptedCa, **members: Any) -> Any:
    ca.document["problem"] = {**PROBLEM, **members}
    with pytest.raises((UpstreamRefused, UpstreamRateLimited)) as caught:
        ca.run("refused")
    return caught.value


def test_pages_of_user_action_required_stand_in_the_problem_and_its_words(ca: ScriptedCa) -> None:
    ca.header["Link"] = '</terms/2>; rel="terms-of-service", </dir>;rel="index"'
    error = refused(ca, type=f"{URN}userActionRequired", detail="terms have changed", instance="/agree?id=7")
    assert error.problem.instance == "https://ca.test/agree?id=7"
    assert error.detail == (
        "terms have changed (see https://ca.test/agree?id=7) (terms of service: https://ca.test/terms/2)"
    )
    error = refused(ca, type=f"{URN}userActionRequired", detail="terms have changed", instance=None)
    assert error.problem.instance == "https://ca.test/terms/2", "the page to agree to is all there is"
    assert error.detail == error.problem.detail == "terms have changed (see https://ca.test/terms/2)"


@pytest.mark.parametrize("instance", ["javascript:alert(1)", "https://ca.test/\u202e", "https://[bad"])
def test_an_instance_that_is_no_page_is_not_passed_on(ca: ScriptedCa, instance: str) -> None:
    assert refused(ca, instance=instance).problem.instance == ""


PAUSED = (
    "Your account is temporarily prevented from requesting certificates for www.corp.test and possibly others. "
    "Please visit: https://portal.test/sfe/v1/unpause?jwt=abc"
)


@pytest.mark.parametrize(
    ("members", "retry_after", "paused"),
    [
        ({"detail": PAUSED}, "", True),
        ({"detail": "this account is paused"}, "", True),
        ({"detail": "limit", "instance": "https://portal.test/sfe/v1/unpause?jwt=abc"}, "", True),
        ({"detail": "limit", "subproblems": [{"detail": "www.corp.test is PAUSED"}]}, "", True),
        ({"detail": PAUSED}, "60", False),
        ({"detail": "too many certificates; no pauses"}, "", False),
        ({"detail": "too many certificates", "type": f"{URN}serverInternal"}, "60", None),
    ],
)
def test_a_pause_is_told_from_a_rate_limit(
    ca: ScriptedCa, members: dict[str, Any], retry_after: str, paused: bool | None
) -> None:
    ca.header["Retry-After"] = retry_after
    ca.document["problem"] = {**PROBLEM, "type": f"{URN}rateLimited", "instance": None, "subproblems": None, **members}
    with pytest.raises((UpstreamRateLimited, UpstreamUnavailable)) as caught:
        ca.run("refused")
    assert getattr(caught.value, "paused", None) is paused


def test_the_download_names_the_certificates_url(ca: ScriptedCa) -> None:
    url = f"{ca.base}/refused"
    with pytest.raises(UpstreamRefused) as caught:
        ca.steps.certificate(ca.account, url)
    assert caught.value.detail == caught.value.problem.detail == str(caught.value) == f"{url}: this CSR is bad"


# ------------------------------------------------------------------------------------------------- words


def test_control_characters_of_a_ca_are_escaped_at_the_entrance(ca: ScriptedCa) -> None:
    for code in (
        *range(0x20),
        *range(0x7F, 0xA0),
        0x61C,
        0x200E,
        0x200F,
        *range(0x2028, 0x202F),
        *range(0x2066, 0x206A),
    ):
        text = f"a{chr(code)}b"
        shown = f"a\\x{code:02x}b" if code < 0x100 else f"a\\u{code:04x}b"
        part = {"type": text, "detail": text, "title": text, "identifier": {"type": text, "value": text}}
        problem = refused(ca, **{**part, "subproblems": [part], "algorithms": [text]}).problem
        assert (problem.type, problem.detail, problem.algorithms) == (shown, shown, (shown,))
        assert problem.identifier == Identifier(shown, shown)
        assert (problem.subproblems[0].type, problem.subproblems[0].detail) == (shown, shown)
        ca.document["order"]["status"] = text
        order = ca.run("order")
        assert isinstance(order, UpstreamOrder)
        assert order.status == shown
    assert refused(ca, detail="half \ud800 of a pair").detail == "half \\ud800 of a pair"
    assert escape_controls("Grüße, 日本 🔒") == "Grüße, 日本 🔒"


# ------------------------------------------------------------------------------------------------ nonces


def bad_nonce(ca: ScriptedCa, times: int) -> None:
    """The CA refuses so many POSTs, without a nonce, as one does that has lost its memory."""
    ca.refusals += [(400, {"type": f"{URN}badNonce", "detail": "unknown nonce"}, {})] * times


def fill(ca: ScriptedCa, count: int) -> None:
    """Let as many nonces be kept as requests at once leave behind."""
    for number in range(count):
        ca.kept.keep(f"c3RhbGU{number:04d}")


def test_a_ca_that_has_forgotten_its_nonces_costs_one_refusal(ca: ScriptedCa) -> None:
    ca.steps.order(ca.account, f"{ca.base}/order")
    fill(ca, 24)
    bad_nonce(ca, 1)
    ca.calls.clear()
    ca.steps.order(ca.account, f"{ca.base}/order")
    assert ca.calls == ["/order", "/nonce", "/order"]


def test_a_failed_request_without_a_nonce_empties_the_store(ca: ScriptedCa) -> None:
    refusals: list[Refusal | None] = [(500, {}, {}), (403, {"type": f"{URN}unauthorizedx", "detail": "no"}, {}), None]
    for refusal in refusals:
        ca.steps.order(ca.account, f"{ca.base}/order")
        fill(ca, 24)
        ca.refusals.append(refusal)
        with pytest.raises((UpstreamUnavailable, UpstreamRefused)):
            ca.steps.order(ca.account, f"{ca.base}/order")
        ca.calls.clear()
        ca.steps.order(ca.account, f"{ca.base}/order")
        assert ca.calls == ["/nonce", "/order"], refusal


def test_a_refusal_that_brings_a_nonce_leaves_the_store(ca: ScriptedCa) -> None:
    ca.steps.order(ca.account, f"{ca.base}/order")
    fill(ca, 3)
    ca.refusals.append((403, {"type": f"{URN}malformed", "detail": "no"}, {"Replay-Nonce": "bm9uY2U"}))
    with pytest.raises(UpstreamRefused):
        ca.steps.order(ca.account, f"{ca.base}/order")
    ca.calls.clear()
    ca.steps.order(ca.account, f"{ca.base}/order")
    assert ca.calls == ["/order"]


def test_nonces_that_are_old_are_not_used(ca: ScriptedCa, monkeypatch: pytest.MonkeyPatch) -> None:
    ca.steps.order(ca.account, f"{ca.base}/order")
    fill(ca, 24)
    ca.monotonic += 301
    ca.calls.clear()
    ca.steps.order(ca.account, f"{ca.base}/order")
    ca.steps.order(ca.account, f"{ca.base}/order")
    assert ca.calls == ["/nonce", "/order", "/order"]


def test_of_duplicate_lines_the_last_counts(ca: ScriptedCa) -> None:
    ca.more += [("Replay-Nonce", "bGFzdA"), ("Retry-After", "9"), ("Location", f"{ca.base}/last")]
    order = ca.steps.new_order(ca.account, ORDER)
    assert (order.url, order.retry_after) == (f"{ca.base}/last", 9)
    ca.calls.clear()
    ca.steps.finalize(ca.account, f"{ca.base}/order", order.url, CSR)
    assert ca.nonces[-1] == "bGFzdA"
