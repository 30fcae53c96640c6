"""Responses of the ACME server: status, headers, body."""

from typing import Any

import msgspec

from acmehub.models.wire import Wire

JSON = b"application/json"
PROBLEM = b"application/problem+json"
CHAIN = b"application/pem-certificate-chain"

_ENCODER = msgspec.json.Encoder()


class AcmeResponse(msgspec.Struct, kw_only=True):
    """A resource's response; `app` adds `Replay-Nonce`, `Content-Length` and `Link: rel="index"`.

    `links` are (URL, relation), `retry_after` is in seconds, `cache` is the value of `Cache-Control`, `more` are
    further headers.
    """

    status: int = 200
    body: bytes = b""
    content_type: bytes = b""
    location: str = ""
    links: tuple[tuple[str, str], ...] = ()
    retry_after: int | None = None
    allow: str = ""
    cache: str = ""
    more: tuple[tuple[bytes, bytes], ...] = ()

    def headers(self) -> list[tuple[bytes, bytes]]:
        """The headers as ASGI takes them; each link is a line of its own."""
        headers = []
        if self.content_type:
            headers.append((b"content-type", self.content_type))
        if self.location:
            headers.append((b"location", self.location.encode()))
        headers += [(b"link", f'<{url}>;rel="{relation}"'.encode()) for url, relation in self.links]
        if self.retry_after is not None:
            headers.append((b"retry-after", b"%d" % self.retry_after))
        if self.allow:
            headers.append((b"allow", self.allow.encode()))
        if self.cache:
            headers.append((b"cache-control", self.cache.encode()))
        headers += self.more
        return headers


def encode(item: Wire | msgspec.Struct) -> bytes:
    """An object as compact ASCII JSON without `#` and control characters (docs/client-rules.md rule 17)."""
    body = _ENCODER.encode(item)
    if not body.isascii():
        body = _escaped(body)
    return body.replace(b"#", b"\\u0023").replace(b"\x7f", b"\\u007f")  # these stand in strings only


def json_response(item: Wire, **rest: Any) -> AcmeResponse:
    """A response with a JSON object; `rest` are other fields of it."""
    return AcmeResponse(body=encode(item), content_type=JSON, **rest)


def _escaped(body: bytes) -> bytes:
    """The same JSON with every character beyond ASCII escaped; such characters stand in strings only."""
    units = body.decode().encode("utf-16-be", "surrogatepass")
    codes = (int.from_bytes(units[at : at + 2], "big") for at in range(0, len(units), 2))
    return b"".join(b"%c" % code if code < 128 else b"\\u%04x" % code for code in codes)
