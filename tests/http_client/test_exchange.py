"""`HttpClient`: what it sends, what it reads, and when it sends a request again."""

import asyncio
import gzip
import ssl
from pathlib import Path
from typing import Any

import pytest

from acmehub import HttpClient, HttpError
from tests.http_client.conftest import MakeClient
from tests.http_client.servers import Answering, Authority, ok, read_request, serving

LIMIT = 1 << 20


async def test_a_response_has_every_line_in_order_and_its_url_as_it_was_given(client: HttpClient) -> None:
    server = Answering(ok(b"body", "Link: <a>", "X-Name: \xe9", "link: <b>", status="418 No"))
    async with serving(server) as port:
        url = f"http://127.0.0.1:{port}/a%7eb/%C3%a9?x=%2F&y"
        found = await client.send("GET", f"{url}#part", headers={"Accept": "text/plain"})
    assert (found.url, found.status, found.body) == (f"{url}#part", 418, b"body")
    assert found.headers == (("content-length", "4"), ("link", "<a>"), ("x-name", "\xe9"), ("link", "<b>"))
    assert found.lines("LINK") == ["<a>", "<b>"]
    assert (found.header("Link"), found.header("Retry-After")) == ("<b>", "")
    assert repr(found) == "HttpResponse(418)", "URL, headers and body may have secrets"
    assert server.lines == ["GET /a%7eb/%C3%a9?x=%2F&y HTTP/1.1"]
    assert server.requests[0].headers == {
        "host": f"127.0.0.1:{port}",
        "user-agent": "acmehub/test",
        "accept-encoding": "identity",
        "accept": "text/plain",
    }


async def test_a_body_is_sent_and_the_connection_is_kept(client: HttpClient) -> None:
    server = Answering()
    async with serving(server) as port:
        for method, body in (("POST", b"{}"), ("PUT", b"x" * 100_000), ("DELETE", None), ("HEAD", None), ("POST", b"")):
            await client.send(method, f"http://127.0.0.1:{port}", body=body)
    assert [len(request.body) for request in server.requests] == [2, 100_000, 0, 0, 0]
    assert server.lines[0] == "POST / HTTP/1.1"
    assert server.connections == 1


async def test_cookies_netrc_and_redirects_are_not_used(
    client: HttpClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("default login user password secret\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    monkeypatch.setenv("HOME", str(tmp_path))
    server = Answering(ok(b"", "Set-Cookie: a=b", "Location: /there", status="302 Found"))
    async with serving(server) as port:
        for _ in range(2):
            assert (await client.send("GET", f"http://127.0.0.1:{port}/here")).status == 302
    assert server.lines == ["GET /here HTTP/1.1"] * 2
    assert not {"cookie", "authorization"} & set(server.requests[1].headers)


async def test_a_compressed_body_stays_as_it_came(client: HttpClient) -> None:
    body = gzip.compress(b"x" * 100_000)
    async with serving(Answering(ok(body, "Content-Encoding: gzip"))) as port:
        assert (await client.send("GET", f"http://127.0.0.1:{port}/")).body == body


@pytest.mark.parametrize(
    "url", ["ca.test/x", "ftp://ca.test/", "http://user:pw@ca.test/", "http://ca.test/ x", "http:"]
)
async def test_a_url_that_is_not_plain_is_not_asked(client: HttpClient, url: str) -> None:
    with pytest.raises(HttpError, match="no plain http"):
        await client.send("GET", url)


async def test_a_header_cannot_carry_another_one(client: HttpClient) -> None:
    server = Answering()
    async with serving(server) as port:
        with pytest.raises(HttpError):
            await client.send("GET", f"http://127.0.0.1:{port}/", headers={"X-A": "b\r\nX-C: secret"})
    assert server.requests == []


# --------------------------------------------------------------------------------------------- lost connections


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_a_post_whose_kept_connection_is_lost_is_never_sent_again_a_get_once(
    make_client: MakeClient, authority: Authority, scheme: str
) -> None:
    requests: list[str] = []

    async def lost_at_the_second(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for answer in (ok(b"first"), b""):
            request = await read_request(reader)
            if request is None:
                return
            requests.append(request.line.split(" ")[0])
            writer.write(answer)
            await writer.drain()

    client = make_client(ca_file=str(authority.file))
    async with serving(lost_at_the_second, authority.server_tls if scheme == "https" else None) as port:
        url = f"{scheme}://127.0.0.1:{port}/"
        await client.send("POST", url, body=b"1")
        with pytest.raises(HttpError, match="closed before the response"):
            await client.send("POST", url, body=b"2")
        assert requests == ["POST", "POST"]
        await client.send("POST", url, body=b"3")
        assert (await client.send("GET", url)).body == b"first"
        assert requests == ["POST", "POST", "POST", "GET", "GET"]


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("how", ["at its end", "reset"])
async def test_a_kept_connection_that_the_server_has_closed_meanwhile_is_not_used_for_a_post(
    make_client: MakeClient, authority: Authority, scheme: str, how: str
) -> None:
    requests = 0
    closing = asyncio.Event()
    closed = asyncio.Event()

    async def closes(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal requests
        while await read_request(reader) is not None:
            requests += 1
            writer.write(ok())
            await writer.drain()
            await closing.wait()
            closing.clear()
            if how == "reset":
                writer.transport.abort()
            else:
                writer.close()
            closed.set()
            return

    client = make_client(ca_file=str(authority.file))
    async with serving(closes, authority.server_tls if scheme == "https" else None) as port:
        for number in range(1, 4):
            await client.send("POST", f"{scheme}://127.0.0.1:{port}/", body=b"1")
            assert requests == number
            closing.set()
            await closed.wait()
            closed.clear()


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_an_error_does_not_show_the_url_wherever_the_connection_is_lost(
    make_client: MakeClient, authority: Authority, scheme: str
) -> None:
    async def takes_little(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1000)

    client = make_client(ca_file=str(authority.file))
    async with serving(takes_little, authority.server_tls if scheme == "https" else None) as port:
        url = f"{scheme}://127.0.0.1:{port}/secret-path?key=secret"
        for size in (0, 1_000_000):
            with pytest.raises(HttpError) as caught:
                await client.send("POST", url, body=b"x" * size)
            assert "secret" not in caught.value.detail
            assert caught.value.detail.startswith(("the connection was ", "Connection reset", "Broken pipe"))


# ---------------------------------------------------------------------------------------------------- the size


async def test_a_body_may_have_as_many_octets_as_the_largest_and_none_more(make_client: MakeClient) -> None:
    client = make_client(largest_body=1000)
    server = Answering(
        ok(b"x" * 1000),
        ok(b"x" * 1001),
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1f4\r\n" + b"x" * 500 + b"\r\n1f5\r\n" + b"x" * 501,
        ok(b"x"),
    )
    async with serving(server) as port:
        url = f"http://127.0.0.1:{port}/"
        assert len((await client.send("GET", url)).body) == 1000
        for _ in range(2):
            with pytest.raises(HttpError, match="more than 1000 octets"):
                await client.send("GET", url)
        assert (await client.send("GET", url)).body == b"x"


async def test_an_announced_body_that_is_too_big_is_not_read(client: HttpClient) -> None:
    async with serving(Answering(b"HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n")) as port:
        with pytest.raises(HttpError, match=f"more than {LIMIT} octets"):
            await client.send("GET", f"http://127.0.0.1:{port}/")


@pytest.mark.parametrize(
    "answer",
    [
        ok(b"", "X-Long: " + "x" * 9000),
        ok(b"", *[f"X-{number}: x" for number in range(200)]),
        b"HTTP/1.1 200 " + b"x" * 9000 + b"\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
        b"HTTP/1.1 103 Early Hints\r\n\r\n" * 9 + ok(),
        b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
        b"SSH-2.0-OpenSSH\r\n",
        b"\x16\x03\x01\x00\x00",
    ],
)
async def test_what_is_no_response_or_has_too_big_a_head_is_an_error(client: HttpClient, answer: bytes) -> None:
    async with serving(Answering(answer)) as port:
        with pytest.raises(HttpError) as caught:
            await client.send("POST", f"http://127.0.0.1:{port}/?secret", body=b"")
    assert caught.value.detail
    assert "\n" not in caught.value.detail
    assert "secret" not in caught.value.detail


async def test_eight_interim_responses_are_skipped(client: HttpClient) -> None:
    async with serving(Answering(b"HTTP/1.1 103 Early Hints\r\nLink: <a>\r\n\r\n" * 8 + ok(b"this"))) as port:
        found = await client.send("GET", f"http://127.0.0.1:{port}/")
    assert (found.body, found.header("Link")) == (b"this", "")


async def test_a_body_that_ends_with_the_connection_is_read_and_one_that_is_cut_is_an_error(client: HttpClient) -> None:
    async def ends(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await read_request(reader)
        assert request is not None
        whole = "whole" in request.line
        writer.write(b"HTTP/1.1 200 OK\r\n" + (b"" if whole else b"Content-Length: 9\r\n") + b"\r\nbody")
        writer.close()
        await writer.wait_closed()

    async with serving(ends) as port:
        assert (await client.send("POST", f"http://127.0.0.1:{port}/whole", body=b"")).body == b"body"
        with pytest.raises(HttpError):
            await client.send("POST", f"http://127.0.0.1:{port}/half", body=b"")


# --------------------------------------------------------------------------------------------------------- TLS


async def test_own_roots_are_those_of_the_file_or_of_the_environment(
    make_client: MakeClient, authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = Authority(tmp_path / "..")
    async with serving(Answering(), authority.server_tls) as port:
        url = f"https://127.0.0.1:{port}/"
        assert (await make_client(ca_file=str(authority.file)).send("GET", url)).status == 200
        with pytest.raises(HttpError, match="certificate verify failed"):
            await make_client().send("GET", url)
        monkeypatch.setenv("SSL_CERT_FILE", str(authority.file))
        assert (await make_client().send("GET", url)).status == 200
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(other.file))
        with pytest.raises(HttpError, match="certificate verify failed"):
            await make_client().send("GET", url)
        assert (await make_client(ca_file=str(authority.file)).send("GET", url)).status == 200
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(authority.file))
        monkeypatch.delenv("SSL_CERT_FILE")
        assert (await make_client().send("GET", url)).status == 200
        with pytest.raises(HttpError, match="certificate verify failed"):
            await make_client(ca_file=str(other.file)).send("GET", url)


async def test_a_folder_of_roots_is_taken_and_a_file_that_is_none_is_named(
    make_client: MakeClient, authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    damaged = tmp_path / "damaged.pem"
    damaged.write_text("-----BEGIN CERTIFICATE-----\nxx\n-----END CERTIFICATE-----\n")
    async with serving(Answering(), authority.server_tls) as port:
        for place in (str(damaged), str(tmp_path / "missing.pem")):
            with pytest.raises(HttpError, match=f"roots in {place} cannot be read"):
                await make_client(ca_file=place).send("GET", f"https://127.0.0.1:{port}/")
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path))
        with pytest.raises(HttpError, match="certificate verify failed"):
            await make_client().send("GET", f"https://127.0.0.1:{port}/")


async def test_a_certificate_for_another_host_is_refused(make_client: MakeClient, tmp_path: Path) -> None:
    authority = Authority(tmp_path, "other.test")
    async with serving(Answering(), authority.server_tls) as port:
        with pytest.raises(HttpError, match=r"127\.0\.0\.1"):
            await make_client(ca_file=str(authority.file)).send("GET", f"https://127.0.0.1:{port}/")


async def test_the_roots_are_read_once_and_not_by_the_event_loop(
    make_client: MakeClient, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[bool] = []
    create = ssl.create_default_context

    def counted(**options: Any) -> ssl.SSLContext:
        try:
            made.append(asyncio.get_running_loop() is None)
        except RuntimeError:
            made.append(True)
        return create(**options)

    monkeypatch.setattr(ssl, "create_default_context", counted)
    client = make_client(ca_file=str(authority.file))
    async with serving(Answering(), authority.server_tls) as port:
        await asyncio.gather(*(client.send("GET", f"https://127.0.0.1:{port}/") for _ in range(5)))
    assert made == [True]
