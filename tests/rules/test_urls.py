"""Which host a URL leads to, for every parser, and which hosts plain http may lead to."""

import pytest

from acmehub.rules.urls import UrlOrigin, https_or_loopback, origin, place_of


@pytest.mark.parametrize(
    ("url", "scheme", "host", "port"),
    [
        ("https://ca.test", "https", "ca.test", 443),
        ("HTTPS://CA.Test./dir?a=b#c", "https", "ca.test", 443),
        ("http://127.0.0.1:14000/dir", "http", "127.0.0.1", 14000),
        ("https://[2001:DB8::1]:8443/", "https", "[2001:db8::1]", 8443),
        ("https://ca_1.test/a%20b;c=(d)", "https", "ca_1.test", 443),
    ],
)
def test_the_origin_of_a_url(url: str, scheme: str, host: str, port: int) -> None:
    assert origin(url) == UrlOrigin(scheme, host, port)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "ca.test",
        "ftp://ca.test",
        "https://",
        "https:///x",
        "https://./x",
        "https://ca.test@evil.test/",
        "https://evil.test\\@ca.test/",
        "https://ca.test:0/",
        "https://ca.test:65536/",
        "https://ca.test:/x",
        "https://ca.test/a b",
        "https://ca.test/\u202e",
        "https://ca.test\n.evil.test/",
        "https://bücher.test/",
        "https://[::1/",
    ],
)
def test_a_text_that_parsers_may_read_in_two_ways_has_no_origin(url: str) -> None:
    assert origin(url) is None


@pytest.mark.parametrize(
    ("url", "fits"),
    [
        ("https://ca.test/dir", True),
        ("http://localhost:14000/dir", True),
        ("http://127.0.0.1/dir", True),
        ("http://127.8.9.1/dir", True),
        ("http://[::1]:14000/dir", True),
        ("http://127.evil.test/dir", False),
        ("http://localhost.evil.test/dir", False),
        ("http://localhostevil.test/dir", False),
        ("http://[::1]evil.test/dir", False),
        ("http://ca.test/dir", False),
        ("http://128.0.0.1/dir", False),
        ("http://127.0.0.1@evil.test/", False),
    ],
)
def test_plain_http_is_for_this_machine_by_its_host(url: str, fits: bool) -> None:
    assert https_or_loopback(url) is fits


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("CA.test", "ca.test"),
        ("ca.test:443", "ca.test"),
        ("ca.test:8443", "ca.test:8443"),
        ("[::1]:14000", "[::1]:14000"),
        ("https://ca.test", ""),
        ("ca.test/x", ""),
        ("*.ca.test", ""),
        ("", ""),
    ],
)
def test_a_place_is_host_and_port(text: str, place: str) -> None:
    assert place_of(text, "https") == place
