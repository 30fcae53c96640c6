"""http-01 (RFC 8555 section 8.3) against real servers on loopback, friendly and not."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from acmehub.models.problems import ProblemType
from acmehub.testing.dns_server import DnsServer, FaultKind
from acmehub.validation import Validator
from acmehub.validation.egress import Egress
from tests.validation.conftest import NAME, THUMBPRINT, Make, authorization, flaw_of, path_of, proof_of
from tests.validation.servers import HttpServer, http_server, identity, names

ITEM = authorization()
PATH, PROOF = path_of(ITEM), proof_of(ITEM)


@pytest_asyncio.fixture
async def server() -> AsyncIterator[HttpServer]:
    async with http_server() as made:
        yield made


@pytest.fixture
def validator(make_validator: Make, server: HttpServer) -> Validator:
    return make_validator(http_port=server.port)


async def look(validator: Validator) -> str:
    return await validator.validate(ITEM, THUMBPRINT)


async def test_the_key_authorization_at_its_place_is_the_proof(validator: Validator, server: HttpServer) -> None:
    server.serve(PATH, PROOF)
    assert await look(validator) == f"http://{NAME}:{server.port}{PATH} at 127.0.0.1:{server.port}"
    (head,) = server.seen
    lines = head.strip().split("\r\n")
    assert lines[0] == f"GET {PATH} HTTP/1.1"
    assert f"Host: {NAME}:{server.port}" in lines
    assert not any(line.lower().startswith(("cookie", "authorization", "proxy")) for line in lines)


@pytest.mark.parametrize("tail", ["\n", "\r\n", " \t\r\n\n"])
async def test_white_space_behind_it_does_not_matter(validator: Validator, server: HttpServer, tail: str) -> None:
    server.serve(PATH, PROOF + tail)
    await look(validator)


@pytest.mark.parametrize(
    "answer",
    [
        f"HTTP/1.0 200 OK\r\n\r\n{PROOF}",
        f"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{len(PROOF):x}\r\n{PROOF}\r\n0\r\n\r\n",
        f"HTTP/1.1 103 Early\r\nLocation: /x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: {len(PROOF)}\r\n\r\n{PROOF}",
        f"HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\nSet-Cookie: a=b\r\n\r\n{PROOF}",
    ],
    ids=["until the end", "chunked", "after an interim answer", "with other headers"],
)
async def test_each_form_of_an_answer_is_read(validator: Validator, server: HttpServer, answer: str) -> None:
    server.answers[PATH] = answer.encode()
    await look(validator)


async def test_the_environment_has_no_say(
    validator: Validator, server: HttpServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    server.serve(PATH, PROOF)
    await look(validator)


# --------------------------------------------------------------------------------------------------- wrong answers


@pytest.mark.parametrize(
    ("body", "status", "type", "word"),
    [
        ("<html>nothing here</html>", "404 Not Found", ProblemType.INCORRECT_RESPONSE, "status 404, '<html>nothing"),
        (PROOF, "201 Created", ProblemType.INCORRECT_RESPONSE, "status 201"),
        (PROOF, "500 Oops", ProblemType.INCORRECT_RESPONSE, "status 500"),
        ("", "200 OK", ProblemType.INCORRECT_RESPONSE, "an empty body"),
        (f" {PROOF}", "200 OK", ProblemType.INCORRECT_RESPONSE, "not the key authorization"),
        (PROOF[:-1], "200 OK", ProblemType.UNAUTHORIZED, "another account key"),
        (f"{ITEM.token}.{'x' * 43}", "200 OK", ProblemType.UNAUTHORIZED, "another account key"),
        (PROOF + "x", "200 OK", ProblemType.UNAUTHORIZED, "another account key"),
        ("\u00fc\x00\x1b[2J" * 50, "200 OK", ProblemType.INCORRECT_RESPONSE, r"\x1b[2J"),
    ],
)
async def test_another_answer_is_told_and_proves_nothing(
    validator: Validator, server: HttpServer, body: str, status: str, type: ProblemType, word: str
) -> None:
    server.serve(PATH, body, status=status)
    flaw = await flaw_of(validator, ITEM)
    assert flaw.type is type
    assert word in flaw.detail
    assert f"127.0.0.1:{server.port}" in flaw.detail


async def test_an_answer_that_is_too_long_is_not_read_to_its_end(make_validator: Make, server: HttpServer) -> None:
    validator = make_validator(http_port=server.port, response_bytes=200)
    server.serve(PATH, PROOF)
    await look(validator)
    server.serve(PATH, PROOF + " " * 10_000_000)
    flaw = await flaw_of(validator, ITEM)
    assert flaw.type is ProblemType.INCORRECT_RESPONSE
    assert "longer than 200 bytes" in flaw.detail


@pytest.mark.parametrize(
    ("answer", "word"),
    [
        (b"SSH-2.0-OpenSSH_9.2\r\n", "no HTTP answer"),
        (b"", "ended before"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n" + PROOF.encode(), "ended before"),
        (b"HTTP/1.1 200 OK\r\nContent-Le", "ended before"),
        (b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 10_000, "too long"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1;" + b"e" * 60_000, "too long"),
        (b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n", "no HTTP answer"),
    ],
)
async def test_what_is_no_whole_http_answer_is_told(
    validator: Validator, server: HttpServer, answer: bytes, word: str
) -> None:
    server.answers[PATH] = answer
    flaw = await flaw_of(validator, ITEM)
    assert flaw.type in (ProblemType.CONNECTION, ProblemType.INCORRECT_RESPONSE)
    assert word in flaw.detail


async def test_a_server_that_keeps_silent_is_given_up_and_named(make_validator: Make, server: HttpServer) -> None:
    server.silent = True
    validator = make_validator(http_port=server.port, timeout=1.0)
    async with asyncio.timeout(15):
        flaw = await flaw_of(validator, ITEM)
    assert flaw.type is ProblemType.CONNECTION
    assert f"within 1 s (last tried: 127.0.0.1:{server.port})" in flaw.detail


async def test_a_port_where_nobody_listens_is_named(make_validator: Make, server: HttpServer) -> None:
    flaw = await flaw_of(make_validator(http_port=1), ITEM)
    assert flaw.type is ProblemType.CONNECTION
    assert flaw.detail.startswith(f"{NAME} cannot be reached: 127.0.0.1:1: ")
    assert "refused" in flaw.detail


# ------------------------------------------------------------------------------------------------------- redirects


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "303 See Other", "307 Temporary", "308 Permanent"])
async def test_redirects_are_followed(validator: Validator, server: HttpServer, dns: DnsServer, status: str) -> None:
    dns.zones.add("www.far.test", "CNAME", NAME + ".")
    server.redirect(PATH, "/elsewhere?x=1#part", status)
    server.redirect("/elsewhere?x=1", f"http://WWW.far.test:{server.port}/there", status)
    server.serve("/there", PROOF)
    assert await look(validator) == f"http://WWW.far.test:{server.port}/there at 127.0.0.1:{server.port}"
    assert f"\r\nHost: www.far.test:{server.port}\r\n" in server.seen[-1]


async def test_a_redirect_to_https_is_followed_whatever_the_certificate(make_validator: Make, tmp_path: Path) -> None:
    async with (
        http_server() as server,
        http_server(tls=identity(tmp_path, (names("other.test"), False))) as secure,
    ):
        validator = make_validator(http_port=server.port, tls_port=secure.port)
        server.redirect(PATH, f"https://{NAME}:{secure.port}{PATH}")
        secure.serve(PATH, PROOF)
        assert await look(validator) == f"https://{NAME}:{secure.port}{PATH} at 127.0.0.1:{secure.port}"


async def test_redirects_end_with_the_tenth(validator: Validator, server: HttpServer) -> None:
    for number in range(10):
        server.redirect(PATH if number == 0 else f"/{number}", f"/{number + 1}")
    server.serve("/10", PROOF)
    await look(validator)
    server.redirect("/10", "/11")
    server.serve("/11", PROOF)
    flaw = await flaw_of(validator, ITEM)
    assert flaw.type is ProblemType.CONNECTION
    assert "more than 10 redirects" in flaw.detail


async def test_a_redirect_to_itself_ends(validator: Validator, server: HttpServer) -> None:
    server.redirect(PATH, PATH)
    assert "more than 10 redirects" in (await flaw_of(validator, ITEM)).detail
    assert len(server.seen) == 11


@pytest.mark.parametrize(
    ("location", "word"),
    [
        ("ftp://www.corp.test/", "only http and https"),
        ("file:///etc/passwd", "only http and https"),
        ("gopher://www.corp.test:80/", "only http and https"),
        ("http://www.corp.test:22/", "only ports"),
        ("http://www.corp.test:8080/", "only ports"),
        ("https://www.corp.test:8443/", "only ports"),
        ("http://www.corp.test:99999/", "no URL"),
        ("http://[::1/", "no URL"),
        ("http://user:secret@www.corp.test/", "credentials"),
        ("http://user@www.corp.test/", "credentials"),
        ("http://[2001:db8::1%25eth0]/", "no name"),
        ("http://2130706433/", "no resolver could answer for"),
        ("http://0x7f.1/", "no resolver could answer for"),
        ("http://a_b.corp.test/", "no name"),
        ("http://corp..test/", "no name"),
        ("", "without a good Location"),
        ("/a b", "without a good Location"),
        ("/\u00e9", "without a good Location"),
        ("/" + "a" * 5000, "without a good Location"),
    ],
)
async def test_redirects_to_odd_places_are_not_followed(
    validator: Validator, server: HttpServer, location: str, word: str
) -> None:
    server.answers[PATH] = f"HTTP/1.1 302 Found\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n".encode("latin-1")
    flaw = await flaw_of(validator, ITEM)
    assert flaw.type in (ProblemType.CONNECTION, ProblemType.DNS)
    assert word in flaw.detail
    assert len(server.seen) == 1


async def test_what_a_redirect_leads_to_is_never_told(validator: Validator, server: HttpServer) -> None:
    server.redirect(PATH, "/private")
    server.serve("/private", "the secret of an inner machine")
    flaw = await flaw_of(validator, ITEM)
    assert "status 200" in flaw.detail
    assert "secret" not in flaw.detail


async def test_words_of_a_server_are_quoted_only_from_networks_that_the_operator_listed(
    validator: Validator, server: HttpServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Egress, "listed", lambda _self, _host: False)
    server.serve(PATH, "the secret of an inner machine", status="401 Unauthorized")
    flaw = await flaw_of(validator, ITEM)
    assert "status 401" in flaw.detail
    assert "secret" not in flaw.detail
    server.serve(PATH, f"{ITEM.token}.secret")
    assert "secret" not in (await flaw_of(validator, ITEM)).detail
    for location in ("ftp://secret.corp.test/", "http://u:secret@www.corp.test/", "http://[::secret/", "/secret"):
        server.redirect(PATH, location)
        server.redirect("/secret", "/secret")
        flaw = await flaw_of(validator, ITEM)
        assert "redirect" in flaw.detail
        assert "secret" not in flaw.detail


# ------------------------------------------------------------------------------------------ where it may connect to


async def test_connections_to_one_server_come_sixteen_at_a_time(
    make_validator: Make, server: HttpServer, dns: DnsServer
) -> None:
    server.silent = True
    validator = make_validator(http_port=server.port, timeout=60.0, asked_timeout=60.0)
    attempts = asyncio.gather(*(flaw_of(validator, ITEM) for _ in range(40)))
    while len(server.seen) < 16 or sum(item.rdtype == "A" for item in dns.seen) < 40:
        await asyncio.sleep(0.02)
    await asyncio.sleep(0.1)
    attempts.cancel()
    await asyncio.wait([attempts])
    assert len(server.seen) == 16


async def test_by_default_loopback_is_not_asked(make_validator: Make, server: HttpServer) -> None:
    server.serve(PATH, PROOF)
    validator = make_validator(http_port=server.port, networks=("0.0.0.0/0", "::/0"))
    flaw = await flaw_of(validator, ITEM)
    assert flaw.type is ProblemType.CONNECTION
    assert flaw.detail == f"{NAME}: 127.0.0.1 (loopback) is not allowed"
    assert server.seen == []


@pytest.mark.parametrize("location", ["http://inner.corp.test:{}/", "http://127.0.1.9:{}/", "http://[::1]:{}/"])
async def test_a_redirect_to_a_forbidden_network_is_not_followed(
    make_validator: Make, dns: DnsServer, location: str
) -> None:
    dns.zones.add("inner.corp.test", "A", "127.0.1.9")
    async with http_server("127.0.0.1", "127.0.1.9", "::1") as server:
        validator = make_validator(http_port=server.port, networks=("127.0.0.0/24",))
        server.redirect(PATH, location.format(server.port))
        server.serve("/", PROOF)
        flaw = await flaw_of(validator, ITEM)
        assert flaw.type is ProblemType.CONNECTION
        assert "127.0.1.9" in flaw.detail or "::1" in flaw.detail
        assert len(server.seen) == 1


async def test_addresses_that_are_not_asked_are_passed_over(
    make_validator: Make, dns: DnsServer, server: HttpServer
) -> None:
    dns.zones.add(NAME, "A", "169.254.169.254")
    dns.zones.add(NAME, "AAAA", "fe80::1")
    server.serve(PATH, PROOF)
    assert "127.0.0.1" in await look(make_validator(http_port=server.port))


async def test_the_address_that_was_checked_is_the_one_that_is_asked(
    validator: Validator, dns: DnsServer, server: HttpServer
) -> None:
    """A name is resolved once per hop: a second answer of another kind would not be seen."""
    server.serve(PATH, PROOF)
    await look(validator)
    assert [(item.name, item.rdtype) for item in dns.seen if item.name == NAME] == [(NAME, "AAAA"), (NAME, "A")]


# ------------------------------------------------------------------------------------------------------ addresses


async def test_ipv6_is_asked_first_and_ipv4_when_it_cannot_be_reached(make_validator: Make, dns: DnsServer) -> None:
    dns.zones.add(NAME, "AAAA", "::1")
    async with http_server("127.0.0.1") as server:
        validator = make_validator(http_port=server.port)
        server.serve(PATH, PROOF)
        assert (await look(validator)).endswith(f"at 127.0.0.1:{server.port}")
        async with http_server("::1", port=server.port, server=server):
            assert (await look(validator)).endswith(f"at [::1]:{server.port}")


async def test_a_wrong_answer_over_ipv6_is_not_mended_by_ipv4(make_validator: Make, dns: DnsServer) -> None:
    dns.zones.add(NAME, "AAAA", "::1")
    wrong = HttpServer()
    async with http_server("127.0.0.1") as server, http_server("::1", port=server.port, server=wrong):
        server.serve(PATH, PROOF)
        assert "[::1]" in (await flaw_of(make_validator(http_port=server.port), ITEM)).detail
        assert server.seen == []


@pytest.mark.parametrize(("address", "host"), [("127.0.0.1", "127.0.0.1"), ("::1", "[::1]")])
async def test_an_address_is_asked_as_such_without_dns(
    make_validator: Make, dns: DnsServer, address: str, host: str
) -> None:
    """RFC 8738 section 4."""
    item = authorization(address)
    async with http_server(address) as server:
        server.serve(path_of(item), proof_of(item))
        seen = await make_validator(http_port=server.port).validate(item, THUMBPRINT)
        assert seen == f"http://{host}:{server.port}{path_of(item)} at {host}:{server.port}"
        assert f"\r\nHost: {host}:{server.port}\r\n" in server.seen[0]
        assert dns.seen == []


async def test_a_name_without_an_address_and_dns_that_fails_are_told_apart(
    validator: Validator, dns: DnsServer
) -> None:
    flaw = await flaw_of(validator, authorization("none.corp.test"))
    assert (flaw.type, flaw.detail) == (ProblemType.DNS, "none.corp.test has no address in DNS (A, AAAA)")
    with dns.fault(FaultKind.SERVFAIL):
        flaw = await flaw_of(validator, ITEM)
    assert flaw.type is ProblemType.DNS
    assert "SERVFAIL" in flaw.detail


async def test_dns_that_keeps_silent_is_told_as_such(make_validator: Make, dns: DnsServer) -> None:
    with dns.fault(FaultKind.DROP):
        flaw = await flaw_of(make_validator(timeout=0.1), ITEM)
    assert (flaw.type, flaw.detail) == (ProblemType.DNS, f"{NAME}: no answer from DNS within 0.1 s")


async def test_an_ipv6_answer_that_fails_does_not_hide_the_ipv4_address(
    validator: Validator, dns: DnsServer, server: HttpServer
) -> None:
    server.serve(PATH, PROOF)
    with dns.fault(FaultKind.SERVFAIL, rdtype="AAAA"):
        await look(validator)


async def test_resolvers_of_its_own_are_asked_instead_of_those_of_dns(
    make_validator: Make, dns: DnsServer, server: HttpServer
) -> None:
    server.serve(PATH, PROOF)
    async with DnsServer(["corp.test"]) as own:
        own.zones.add(NAME, "A", "127.0.0.1")
        await look(make_validator(http_port=server.port, resolvers=(f"127.0.0.1:{own.port}",)))
    assert dns.seen == []
