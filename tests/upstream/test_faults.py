"""`AcmeRelay` and faults of an upstream (docs/reliability.md, F13 to F28)."""

import email.utils
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509

from acmehub import (
    AcmeRelay,
    UpstreamAccount,
    UpstreamAccountLost,
    UpstreamObjectLost,
    UpstreamRateLimited,
    UpstreamRefused,
    UpstreamUnavailable,
)
from acmehub.testing.authority_contract import request_for
from acmehub.testing.fault_proxy import FaultProxy
from acmehub.testing.upstream_faults import (
    answers,
    bad_nonce,
    chain,
    changed,
    cut_after_request,
    cut_before_request,
    cut_mid_answer,
    headers,
    html,
    leaf_alone,
    problem,
    rate_limited,
    redirect,
    silence,
    with_text,
)
from tests.upstream.conftest import MakeRelay
from tests.upstream.orders import fresh_csr, fresh_name, ready_order, settled, valid_order


async def test_f13_a_refused_connection_is_unavailable_and_soon_forgotten(
    relay: AcmeRelay, account: UpstreamAccount, proxy: FaultProxy
) -> None:
    with proxy.refusing(), pytest.raises(UpstreamUnavailable, match="refused"):
        await relay.new_order(account, request_for(fresh_name()))
    assert (await relay.new_order(account, request_for(fresh_name()))).status == "pending"


@pytest.mark.parametrize("fault", [cut_before_request, cut_after_request, cut_mid_answer])
async def test_f14_f15_a_cut_connection_is_unavailable(
    relay: AcmeRelay, account: UpstreamAccount, proxy: FaultProxy, fault: object
) -> None:
    proxy.play(fault, path="/order-plz")  # type: ignore[arg-type]
    with pytest.raises(UpstreamUnavailable):
        await relay.new_order(account, request_for(fresh_name()))
    assert proxy.played() == 1
    assert len([call for call in proxy.calls if call.path == "/order-plz"]) == 1, "a POST is not repeated blindly"


@pytest.mark.parametrize("fault", [cut_after_request, cut_mid_answer])
async def test_f14_f15_a_finalize_whose_answer_was_lost_can_be_asked_again_and_issues_once(
    relay: AcmeRelay, account: UpstreamAccount, proxy: FaultProxy, fault: object
) -> None:
    name = fresh_name()
    order = await ready_order(relay, account, name)
    csr, key = fresh_csr(name)
    proxy.play(fault, path="/finalize-order/")  # type: ignore[arg-type]
    with pytest.raises(UpstreamUnavailable):
        await relay.finalize(account, order.finalize, order.url, csr)
    again = await relay.finalize(account, order.finalize, order.url, csr)
    assert again.status in ("processing", "valid")
    done = await settled(relay, account, order.url, "valid")
    assert done.certificate is not None
    await relay.certificate(account, done.certificate)
    assert proxy.certificates_of(key) == 1


async def test_f15_a_chain_cut_in_the_middle_is_not_taken_for_a_chain(
    relay: AcmeRelay, account: UpstreamAccount, proxy: FaultProxy
) -> None:
    done = await valid_order(relay, account)
    assert done.certificate is not None
    proxy.play(cut_mid_answer, path="/certZ/")
    with pytest.raises(UpstreamUnavailable):
        await relay.certificate(account, done.certificate)
    assert (await relay.certificate(account, done.certificate)).chain.count("BEGIN CERTIFICATE") == 2


@pytest.mark.parametrize("status", [500, 502, 503])
async def test_f16_a_page_of_html_is_unavailable(
    relay: AcmeRelay, account: UpstreamAccount, proxy: FaultProxy, status: int
) -> None:
    proxy.play(html(status, retry_after="17"), path="/order-plz")
    with pytest.raises(UpstreamUnavailable, match=str(status)) as caught:
        await relay.new_order(account, request_for(fresh_name()))
    assert caught.value.retry_after == 17
    assert caught.value.server == relay.server


@pytest.mark.parametrize("status", [200, 301, 400, 403, 404])
async def test_f16_html_of_any_status_says_nothing_about_an_order(
    relay: AcmeRelay, account: UpstreamAccount, proxy: FaultProxy, status: int
) -> None:
    order = await relay.new_order(account, request_for(fresh_name()))
    proxy.play(html(status), path="/my-order/")
    with pytest.raises(UpstreamUnavailable):
        await relay.order(account, order.url)
    assert (await relay.order(account, order.url)).status == "pending"


@pytest.mark.parametrize("body", [b"", b"null", b"[]", b'{"status": 7}', b'{"status": "valid"}', b"\xff\xfe", b"{"])
async def test_answers_that_are_not_acme_are_unavailable(
    relay: AcmeRelay, account: UpstreamAccount, proxy: FaultProxy, body: bytes
) -> None:
    order = await relay.new_order(account, request_for(fresh_name()))
    for path, verb, url in (
        ("/my-order/", relay.order, order.url),
        ("/authZ/", relay.authorization, order.authorizations[0]),
        ("/order-plz", relay.certificate, order.url.replace("my-order", "order-plz")),
    ):
        proxy.play(answers(body), path=path)
        with pytest.raises(UpstreamUnavailable):
            await verb(account, url)


@pytest.mark.parametrize(("status", "type"), [(500, "serverInternal"), (503, "malformed"), (400, "serverInternal")])
async def test_a_server_error_as_a_problem_document_is_unavailable_in_its_words(
    relay: AcmeRelay, account: UpstreamAccount, proxy: FaultProxy, status: int, type: str
) -> None:
    proxy.play(problem(status, type, "the HSM is asleep"), path="/order-plz")
    with pytest.raises(UpstreamUnavailable, match="the HSM is asleep"):
        await relay.new_order(account, request_for(fresh_name()))


NOW = datetime.now(UTC)
IN_TEN_MINUTES = "in ten minutes"


@pytest.mark.parametrize(
    ("retry_after", "date", "expected"),
    [
        ("90", "", 90),
        ("0", "", 0),
        ("999999", "", 3600),
        (IN_TEN_MINUTES, "", 600),
        (email.utils.format_datetime(NOW - timedelta(days=1), usegmt=True), "", 0),
        # F28: the CA's clock is two hours ahead, and so are both of its dates
        (
            email.utils.format_datetime(NOW + timedelta(hours=2, minutes=10), usegmt=True),
            email.utils.format_datetime(NOW + timedelta(hours=2), usegmt=True),
            600,
        ),
        ("soon", "", None),
        ("-5", "", None),
        ("\u0663", "", None),
        ("", "", None),
    ],
)
async def test_f17_a_rate_limit_says_when_to_come_back(
    relay: AcmeRelay,
    account: UpstreamAccount,
    proxy: FaultProxy,
    retry_after: str,
    date: str,
    expected: float | None,
) -> None:
    if retry_after == IN_TEN_MINUTES:
        retry_after = email.utils.format_datetime(datetime.now(UTC) + timedelta(minutes=10), usegmt=True)
    proxy.play(rate_limited(retry_after.encode().decode("latin-1"), date=date), path="/order-plz")
    with pytest.raises(UpstreamRateLimited, match="too many new orders recently") as caught:
        await relay.new_order(account, request_for(fresh_name()))
    if expected is None:
        assert caught.value.retry_after is None
    else:
        assert caught.value.retry_after == pytest.approx(expected, abs=30)


async def test_f17_a_429_of_a_front_end_and_a_rate_limit_with_503_are_rate_limits_too(
    relay: AcmeRelay, account: UpstreamAccount, proxy: FaultProxy
) -> None:
    for fault in (html(429, retry_after="5"), problem(503, "rateLimited", "busy", retry_after="5")):
        proxy.play(fault, path="/order-plz")
        with pytest.raises(UpstreamRateLimited) as caught:
            await relay.new_order(account, request_for(fresh_name()))
        assert caught.value.retry_after == 5


async def test_the_retry_after_of_a_processing_order_is_read(
    relay: AcmeRelay, account: UpstreamAccount, proxy: FaultProxy
) -> None:
    order = await relay.new_order(account, request_for(fresh_name()))
    proxy.play(headers({"Retry-After": "3"}), path="/my-order/", times=None)
    assert (await relay.order(account, order.url)).retry_after == 3
    proxy.play(headers({"Retry-After": "4"}), path="/authZ/")
    assert (await relay.authorization(account, order.authorizations[0])).retry_after == 4


async def test_f18_an_order_gets_through_although_each_third_nonce_is_rejected(
    relay: AcmeRelay, account: UpstreamAccount, proxy: FaultProxy
) -> None:
    proxy.play(bad_nonce(proxy), method="POST", every=3, times=None)
    done = await valid_order(relay, account)
    assert done.certificate is not None
    assert (await relay.certificate(account, done.certificate)).chain
    assert proxy.played() >= 3


async def test_f18_a_ca_that_takes_no_nonce_is_unavailable_after_eight_attempts(
    relay: AcmeRelay, account: UpstreamAccount, proxy: FaultProxy
) -> None:
    proxy.play(bad_nonce(proxy), method="POST", times=None)
    with pytest.raises(UpstreamUnavailable, match="does not like this nonce"):
        await relay.new_order(account, request_for(fresh_name()))
    assert proxy.played() == 8


async def test_f19_a_refusal_keeps_its_document_with_subproblems(
    relay: AcmeRelay, account: UpstreamAccount, proxy: FaultProxy
) -> None:
    parts = [
        {
            "type": "urn:ietf:params:acme:error:caa",
            "detail": "CAA forbids it",
            "identifier": {"type": "dns", "value": "a.corp.test"},
        },
        {"type": "urn:ietf:params:acme:error:rejectedIdentifier", "detail": "not this one either"},
    ]
    proxy.play(problem(403, "rejectedIdentifier", "two names are refused", subproblems=parts), path="/order-plz")
    with pytest.raises(UpstreamRefused) as caught:
        await relay.new_order(account, request_for("a.corp.test"))
    document = caught.value.problem
    assert (document.type, document.status) == ("urn:ietf:params:acme:error:rejectedIdentifier", 403)
    assert document.detail == "two names are refused"
    assert [(part.type.rpartition(":")[2], part.detail) for part in document.subproblems] == [
        ("caa", "CAA forbids it"),
        ("rejectedIdentifier", "not this one either"),
    ]
    assert document.subproblems[0].identifier is not None
    assert document.subproblems[0].identifier.value == "a.corp.test"


async def test_f19_f20_errors_of_orders_and_authorizations_are_read(
    relay: AcmeRelay, account: UpstreamAccount, proxy: FaultProxy
) -> None:
    order = await relay.new_order(account, request_for(fresh_name()))
    error = {"type": "urn:ietf:params:acme:error:caa", "detail": "CAA record forbids issuance", "status": 403}
    proxy.play(changed({"status": "invalid", "error": error}), path="/my-order/")
    read = await relay.order(account, order.url)
    assert (read.status, read.error and read.error.detail) == ("invalid", "CAA record forbids issuance")
    proxy.play(changed({"status": "invalid", "error": error, "challenges": []}), path="/authZ/")
    found = await relay.authorization(account, order.authorizations[0])
    assert (found.status, found.dns01_url, found.error and found.error.detail) == (
        "invalid",
        None,
        "CAA record forbids issuance",
    )


async def test_f21_an_order_that_stays_processing_is_read_as_that(
    relay: AcmeRelay, account: UpstreamAccount, proxy: FaultProxy
) -> None:
    order = await relay.new_order(account, request_for(fresh_name()))
    proxy.play(changed({"status": "processing"}), path="/my-order/")
    assert (await relay.order(account, order.url)).status == "processing"


async def test_f22_an_account_that_does_not_exist_is_lost(
    relay: AcmeRelay, account: UpstreamAccount, proxy: FaultProxy
) -> None:
    proxy.play(problem(400, "accountDoesNotExist", "never heard of it"), path="/order-plz")
    with pytest.raises(UpstreamAccountLost, match="never heard of it"):
        await relay.new_order(account, request_for(fresh_name()))


async def test_f22_unauthorized_is_a_refusal_while_the_account_is_alive(
    relay: AcmeRelay, account: UpstreamAccount, proxy: FaultProxy
) -> None:
    proxy.play(problem(403, "unauthorized", "not for you"), path="/order-plz")
    with pytest.raises(UpstreamRefused, match="not for you"):
        await relay.new_order(account, request_for(fresh_name()))
    assert proxy.calls[-1].path.startswith("/my-account/"), "the CA was asked for the account"


async def test_f22_unauthorized_while_the_ca_cannot_say_more_is_unavailable(
    relay: AcmeRelay, account: UpstreamAccount, proxy: FaultProxy
) -> None:
    proxy.play(problem(403, "unauthorized", "not for you"), path="/order-plz")
    proxy.play(html(502), path="/my-account/")
    with pytest.raises(UpstreamUnavailable):
        await relay.new_order(account, request_for(fresh_name()))


async def test_f22_a_binding_that_is_not_authorized_is_no_lost_account(relay: AcmeRelay, proxy: FaultProxy) -> None:
    proxy.play(problem(403, "unauthorized", "wrong MAC"), path="/sign-me-up")
    proxy.play(problem(403, "externalAccountRequired", "bind first"), path="/sign-me-up")
    with pytest.raises(UpstreamRefused, match="wrong MAC"):
        await relay.register(relay.new_account_key())


async def test_f25_text_around_the_certificates_is_left_out(
    relay: AcmeRelay, account: UpstreamAccount, proxy: FaultProxy
) -> None:
    done = await valid_order(relay, account)
    assert done.certificate is not None
    clean = await relay.certificate(account, done.certificate)
    proxy.play(chain(with_text), path="/certZ/")
    assert await relay.certificate(account, done.certificate) == clean
    proxy.play(chain(lambda pem: pem.replace("\n", "\r\n")), path="/certZ/")
    assert await relay.certificate(account, done.certificate) == clean


async def test_f25_a_leaf_alone_and_another_chain_are_handed_on_as_they_are(
    relay: AcmeRelay, account: UpstreamAccount, proxy: FaultProxy
) -> None:
    done, other = await valid_order(relay, account), await valid_order(relay, account)
    assert done.certificate is not None
    assert other.certificate is not None
    strange = (await relay.certificate(account, other.certificate)).chain
    proxy.play(chain(leaf_alone), path="/certZ/")
    assert (
        len(x509.load_pem_x509_certificates((await relay.certificate(account, done.certificate)).chain.encode())) == 1
    )
    proxy.play(chain(lambda _: strange), path="/certZ/")
    assert (await relay.certificate(account, done.certificate)).chain == strange


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"no PEM at all",
        b"-----BEGIN CERTIFICATE-----\n=a=\n-----END CERTIFICATE-----\n",
        b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
        b"\xff" * 100,
    ],
    ids=["empty", "words", "broken base64", "a key", "binary"],
)
async def test_f25_what_is_no_chain_is_unavailable(
    relay: AcmeRelay, account: UpstreamAccount, proxy: FaultProxy, body: bytes
) -> None:
    done = await valid_order(relay, account)
    assert done.certificate is not None
    proxy.play(answers(body, content_type="application/pem-certificate-chain"), path="/certZ/")
    with pytest.raises(UpstreamUnavailable):
        await relay.certificate(account, done.certificate)
    assert (await relay.certificate(account, done.certificate)).chain


async def test_f25_five_megabytes_of_good_certificates_are_too_many(
    relay: AcmeRelay, account: UpstreamAccount, proxy: FaultProxy
) -> None:
    done = await valid_order(relay, account)
    assert done.certificate is not None
    proxy.play(chain(lambda pem: pem * (5 * 2**20 // len(pem))), path="/certZ/")
    with pytest.raises(UpstreamUnavailable, match="more than 1048576 octets"):
        await relay.certificate(account, done.certificate)


async def test_f26_a_directory_that_has_moved_its_resources_is_read_again(
    relay: AcmeRelay, account: UpstreamAccount, proxy: FaultProxy, make_relay: MakeRelay
) -> None:
    later = make_relay()
    proxy.play(changed({"newOrder": f"{proxy.url}/where-it-was-once"}), path="/dir")
    assert (await later.new_order(account, request_for(fresh_name()))).status == "pending"
    paths = [call.path for call in proxy.calls if call.path in ("/dir", "/where-it-was-once", "/order-plz")]
    assert paths[-4:] == ["/dir", "/where-it-was-once", "/dir", "/order-plz"]


async def test_f26_a_resource_that_is_gone_from_where_the_directory_says_is_unavailable(
    account: UpstreamAccount, proxy: FaultProxy, make_relay: MakeRelay
) -> None:
    later = make_relay()
    proxy.play(changed({"newOrder": f"{proxy.url}/nowhere"}), path="/dir", times=None)
    with pytest.raises(UpstreamUnavailable, match=r"/nowhere: HTTP 404 .*, although the directory names it"):
        await later.new_order(account, request_for(fresh_name()))


async def test_f26_a_new_nonce_resource_that_has_moved_is_found_again(
    account: UpstreamAccount, proxy: FaultProxy, make_relay: MakeRelay
) -> None:
    later = make_relay()
    proxy.play(changed({"newNonce": f"{proxy.url}/no-nonce-here"}), path="/dir")
    assert (await later.new_order(account, request_for(fresh_name()))).status == "pending"


async def test_f26_a_redirected_directory_is_followed_but_never_away_from_https(
    account: UpstreamAccount, proxy: FaultProxy, make_relay: MakeRelay
) -> None:
    for target, works in (("/dir?moved", True), ("http://127.0.0.1:1/dir", False), ("/loop", False)):
        later = make_relay(directory=f"{proxy.url}/loop")
        proxy.play(redirect(target), path="/loop", times=None)
        if works:
            assert (await later.new_order(account, request_for(fresh_name()))).status == "pending"
        else:
            with pytest.raises(UpstreamUnavailable):
                await later.new_order(account, request_for(fresh_name()))
        proxy.heal()


@pytest.mark.parametrize("type", ["malformed", "unauthorized", "accountDoesNotExist"])
async def test_f26_a_directory_that_is_gone_says_nothing_about_our_account_and_orders(
    account: UpstreamAccount, proxy: FaultProxy, make_relay: MakeRelay, type: str
) -> None:
    later = make_relay()
    proxy.play(problem(404, type, "no directory today"), path="/dir")
    with pytest.raises(UpstreamUnavailable, match="no directory today"):
        await later.new_order(account, request_for(fresh_name()))
    assert (await later.new_order(account, request_for(fresh_name()))).status == "pending"


async def test_f26_an_object_of_ours_that_is_gone_is_lost(
    relay: AcmeRelay, account: UpstreamAccount, proxy: FaultProxy
) -> None:
    order = await relay.new_order(account, request_for(fresh_name()))
    proxy.play(problem(404, "malformed", "no such authorization"), path="/authZ/")
    with pytest.raises(UpstreamObjectLost, match="no such authorization"):
        await relay.authorization(account, order.authorizations[0])


async def test_addresses_that_are_not_https_are_not_followed(
    account: UpstreamAccount, proxy: FaultProxy, make_relay: MakeRelay
) -> None:
    later = make_relay()
    proxy.play(changed({"newOrder": proxy.url.replace("https", "http") + "/order-plz"}), path="/dir", times=None)
    with pytest.raises(UpstreamUnavailable, match="not https"):
        await later.new_order(account, request_for(fresh_name()))


async def test_a_ca_that_says_nothing_is_unavailable_when_the_timeout_is_over(
    account: UpstreamAccount, proxy: FaultProxy, make_relay: MakeRelay
) -> None:
    quick = make_relay(timeout=1)
    proxy.play(silence(3), path="/order-plz")
    started = datetime.now(UTC)
    with pytest.raises(UpstreamUnavailable, match="no answer in time"):
        await quick.new_order(account, request_for(fresh_name()))
    assert datetime.now(UTC) - started < timedelta(seconds=10)


@pytest.mark.parametrize(
    "body", [b"{}", b'{"message": "no route"}', b'{"detail": "Not Found"}', b'{"title": "Not Found", "status": 404}']
)
@pytest.mark.parametrize("status", [404, 410, 403, 400])
async def test_json_of_a_web_framework_says_nothing_about_an_order(
    relay: AcmeRelay, account: UpstreamAccount, proxy: FaultProxy, body: bytes, status: int
) -> None:
    """Of a proxy, say, while the CA is away: an order that may have cost a certificate is not gone, nor refused."""
    order = await relay.new_order(account, request_for(fresh_name()))
    proxy.play(answers(body, status=status), path="/my-order/")
    with pytest.raises(UpstreamUnavailable, match=f"HTTP {status}"):
        await relay.order(account, order.url)


async def test_the_retry_after_of_a_server_error_with_a_problem_document_is_kept(
    relay: AcmeRelay, account: UpstreamAccount, proxy: FaultProxy
) -> None:
    proxy.play(problem(503, "serverInternal", "the HSM is asleep", retry_after="77"), path="/order-plz")
    with pytest.raises(UpstreamUnavailable) as caught:
        await relay.new_order(account, request_for(fresh_name()))
    assert caught.value.retry_after == 77
