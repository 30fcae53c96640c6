"""`HttpClient`: the environment's proxies, and addresses that it must not connect to."""

import base64

import pytest

from acmehub import HttpClient, HttpError
from acmehub.http_client.proxies import environment_proxy
from acmehub.rules.urls import origin
from tests.http_client.conftest import MakeClient
from tests.http_client.servers import Answering, Authority, Proxy, ok, serving

P = "http://proxy.test:3128"
REFUSAL = ok(b"", "Proxy-Authenticate: Basic", status="407 Proxy Authentication Required")


@pytest.mark.parametrize(
    ("environment", "url", "proxy"),
    [
        ({}, "https://ca.test/", ""),
        ({"HTTPS_PROXY": P}, "https://ca.test/", P),
        ({"https_proxy": P, "HTTPS_PROXY": "http://other.test"}, "https://ca.test/", P),
        ({"HTTPS_PROXY": P}, "http://ca.test/", ""),
        ({"HTTP_PROXY": P}, "http://ca.test/", P),
        ({"HTTP_PROXY": P}, "https://ca.test/", ""),
        ({"ALL_PROXY": P}, "https://ca.test/", P),
        ({"ALL_PROXY": "http://other.test", "HTTPS_PROXY": P}, "https://ca.test/", P),
        ({"HTTPS_PROXY": "proxy.test:3128"}, "https://ca.test/", P),
        ({"HTTPS_PROXY": "https://user:pw@proxy.test"}, "https://ca.test/", "https://user:pw@proxy.test"),
        ({"HTTPS_PROXY": P, "NO_PROXY": "*"}, "https://ca.test/", ""),
        ({"HTTPS_PROXY": P, "NO_PROXY": "other.test, ca.test"}, "https://ca.test/", ""),
        ({"HTTPS_PROXY": P, "no_proxy": ".ca.test"}, "https://acme.ca.test/", ""),
        ({"HTTPS_PROXY": P, "NO_PROXY": "ca.test"}, "https://acme.CA.test/", ""),
        ({"HTTPS_PROXY": P, "NO_PROXY": "ca.test"}, "https://another-ca.test/", P),
        ({"HTTPS_PROXY": P, "NO_PROXY": "ca.test:8443"}, "https://ca.test:8443/", ""),
        ({"HTTPS_PROXY": P, "NO_PROXY": "ca.test:8443"}, "https://ca.test/", P),
        ({"HTTPS_PROXY": P, "NO_PROXY": "127.0.0.1"}, "https://127.0.0.1:14000/", ""),
        ({"HTTPS_PROXY": P, "NO_PROXY": "10.1.0.0/16"}, "https://10.1.2.3/", ""),
        ({"HTTPS_PROXY": P, "NO_PROXY": "10.1.0.0/16"}, "https://10.2.2.3/", P),
        ({"HTTPS_PROXY": P, "NO_PROXY": "10.1.2.3:8443"}, "https://10.1.2.3:8443/", ""),
        ({"HTTPS_PROXY": P, "NO_PROXY": "10.1.2.3:8443"}, "https://10.1.2.3/", P),
        ({"HTTPS_PROXY": P, "NO_PROXY": "localhost,::1"}, "https://[::1]:14000/", ""),
        ({"HTTPS_PROXY": P, "NO_PROXY": "[::1]:14000"}, "https://[::1]:14000/", ""),
        ({"HTTPS_PROXY": P, "NO_PROXY": "[::1]:1"}, "https://[::1]:14000/", P),
        ({"HTTPS_PROXY": P, "NO_PROXY": "2001:db8::/32"}, "https://[2001:db8::7]/", ""),
        ({"HTTPS_PROXY": P, "NO_PROXY": "ca.test,*"}, "https://127.0.0.1/", ""),
    ],
)
def test_the_environment_says_which_proxy_a_place_has(
    environment: dict[str, str], url: str, proxy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    place = origin(url)
    assert place is not None
    assert environment_proxy(place) == proxy


async def test_a_proxy_of_another_kind_is_refused_without_its_password(
    client: HttpClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ALL_PROXY", "socks5://user:secret@proxy.test")
    with pytest.raises(HttpError, match="a proxy with socks5://") as caught:
        await client.send("GET", "https://ca.test/")
    assert "secret" not in caught.value.detail


@pytest.mark.parametrize("url", ["http://user:secret@proxy.test:port", "http://user:secret@[proxy", "http://:secret@"])
async def test_a_proxy_whose_url_is_not_valid_is_named_without_its_password(
    client: HttpClient, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", url)
    with pytest.raises(HttpError, match="proxy") as caught:
        await client.send("GET", "https://ca.test/")
    assert "secret" not in caught.value.detail


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_https_goes_through_a_tunnel_of_the_proxy_which_is_kept(
    make_client: MakeClient, authority: Authority, scheme: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy, server = Proxy(), Answering(ok(b"through"))
    tls = authority.server_tls if scheme == "https" else None
    async with serving(server, authority.server_tls) as port, serving(proxy, tls) as proxy_port:
        monkeypatch.setenv("HTTPS_PROXY", f"{scheme}://user:p%40ss@127.0.0.1:{proxy_port}")
        client = make_client(ca_file=str(authority.file))
        for _ in range(2):
            found = await client.send("POST", f"https://127.0.0.1:{port}/", body=b"x")
            assert found.body == b"through"
    assert [request.line for request in proxy.requests] == [f"CONNECT 127.0.0.1:{port} HTTP/1.1"]
    assert proxy.requests[0].headers["proxy-authorization"] == f"Basic {base64.b64encode(b'user:p@ss').decode()}"
    assert "proxy-authorization" not in server.requests[0].headers


async def test_http_is_asked_of_the_proxy(client: HttpClient, monkeypatch: pytest.MonkeyPatch) -> None:
    proxy = Proxy()
    async with serving(proxy) as proxy_port:
        monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{proxy_port}")
        assert (await client.send("GET", "http://ca.test/x")).body == b"from the proxy"
    assert [request.line for request in proxy.requests] == ["GET http://ca.test/x HTTP/1.1"]


async def test_a_proxy_that_wants_credentials_is_an_error_that_says_so(
    client: HttpClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy = Proxy(REFUSAL)
    async with serving(proxy) as proxy_port:
        monkeypatch.setenv("HTTPS_PROXY", f"http://user:wrong@127.0.0.1:{proxy_port}")
        with pytest.raises(HttpError, match=r"the proxy refuses .* 407 Proxy Authentication Required") as caught:
            await client.send("POST", "https://ca.test/", body=b"")
    assert "wrong" not in caught.value.detail
    assert len(proxy.requests) == 1


async def test_a_proxy_that_is_not_trusted_or_not_there_is_an_error(
    client: HttpClient, authority: Authority, make_client: MakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving(Proxy(), authority.server_tls) as proxy_port:
        monkeypatch.setenv("HTTPS_PROXY", f"https://127.0.0.1:{proxy_port}")
        with pytest.raises(HttpError, match="certificate verify failed"):
            await client.send("GET", "https://ca.test/")
    with pytest.raises(HttpError, match="no connection to the proxy: Connection refused"):
        await make_client().send("GET", "https://ca.test/")


# --------------------------------------------------------------------------------------------------- addresses


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_an_address_that_is_refused_is_not_connected_to(
    make_client: MakeClient, host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")  # would be another address
    asked: list[str] = []

    def refusal(address: str) -> str | None:
        asked.append(address)
        return f"{address} is outside the allowed networks"

    server = Answering()
    async with serving(server) as port:
        with pytest.raises(HttpError, match=r"127\.0\.0\.1 is outside the allowed networks"):
            await make_client(refusal=refusal).send("GET", f"http://{host}:{port}/")
        assert server.connections == 0
        assert "127.0.0.1" in asked
        found = await make_client(refusal=lambda _address: None).send("GET", f"http://127.0.0.1:{port}/")
        assert found.status == 200


async def test_a_name_that_has_no_address_is_an_error(client: HttpClient) -> None:
    with pytest.raises(HttpError, match="no connection to it: "):
        await client.send("GET", "http://does-not-exist.invalid/")
