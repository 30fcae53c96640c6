"""The part of the client that needs aiohttp: its session, one exchange, and its errors in words."""

import asyncio
import os
import socket
import ssl
from collections.abc import Callable, Mapping
from typing import Any

import aiohttp
from aiohttp.connector import Connection
from aiohttp.http_exceptions import HttpProcessingError
from yarl import URL

from acmehub.http_client.messages import HttpError, HttpResponse, HttpTimeout
from acmehub.http_client.proxies import environment_proxy
from acmehub.rules.urls import UrlOrigin

MOST_INTERIM = 8
_LONGEST_LINE = 8190
_MOST_LINES = 128
_CONNECT_SECONDS = 10.0
_KEPT_SECONDS = 60.0
_REPEATED = frozenset({"GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"})  # by aiohttp: the idempotent methods
_ROUNDS = 3  # the end of a connection is read, then the TLS on it ends, then it is closing
_AddressInfo = tuple[int, int, int, str, tuple[Any, ...]]


class _Response(aiohttp.ClientResponse):
    """A response before which at most `MOST_INTERIM` interim responses (RFC 9110 section 15.2) are skipped."""

    async def start(self, connection: Connection) -> aiohttp.ClientResponse:
        protocol = connection.protocol
        assert protocol is not None
        read, interim = protocol.read, 0

        async def counted() -> Any:
            nonlocal interim
            found = await read()
            if 100 <= found[0].code < 200:
                interim += 1
                if found[0].code == 101:
                    raise aiohttp.ClientPayloadError("switches to another protocol")
                if interim > MOST_INTERIM:
                    raise aiohttp.ClientPayloadError(f"more than {MOST_INTERIM} interim responses")
            return found

        protocol.read = counted  # type: ignore[method-assign]
        try:
            return await super().start(connection)
        finally:
            del protocol.read


class AiohttpSession:
    """An aiohttp session without cookies, compression, redirects and .netrc; for the event loop that runs."""

    def __init__(self, user_agent: str, silence: float, refusal: Callable[[str], str | None] | None) -> None:
        self._loop = asyncio.get_running_loop()
        self._refusal = refusal
        connector = aiohttp.TCPConnector(
            limit=0,  # the client counts
            keepalive_timeout=_KEPT_SECONDS,
            use_dns_cache=False,
            resolver=aiohttp.ThreadedResolver(),
            socket_factory=None if refusal is None else self._socket,
        )
        self._session = aiohttp.ClientSession(
            connector=connector,
            headers={"User-Agent": user_agent, "Accept-Encoding": "identity"},
            skip_auto_headers=("Accept", "Content-Type"),
            cookie_jar=aiohttp.DummyCookieJar(),
            response_class=_Response,
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=min(_CONNECT_SECONDS, silence), sock_read=silence),
            auto_decompress=False,
            trust_env=False,
            max_line_size=_LONGEST_LINE,
            max_field_size=_LONGEST_LINE,
            max_headers=_MOST_LINES,
        )

    def proxy(self, place: UrlOrigin) -> str:
        """The environment's proxy for a place; empty when there is none. Raises `HttpError`."""
        return environment_proxy(place)

    async def exchange(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: bytes | None,
        *,
        proxy: str,
        tls: ssl.SSLContext | None,
        largest: int,
    ) -> HttpResponse:
        """Send a request and read the response. Raises `HttpError`."""
        if method not in _REPEATED:
            for _ in range(_ROUNDS):  # the event loop sees which kept connections the server has closed meanwhile
                await asyncio.sleep(0)
        try:
            async with self._session.request(
                method,
                URL(url, encoded=True),  # as it is: a signature may be about it
                headers=headers,
                data=body,
                allow_redirects=False,
                proxy=proxy or None,
                ssl=tls or True,
            ) as response:
                content = await _read(response, largest)
                lines = tuple(
                    (name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in response.raw_headers
                )
                return HttpResponse(url, response.status, lines, content)
        except (aiohttp.ConnectionTimeoutError, aiohttp.ServerTimeoutError) as error:
            what = "connection" if isinstance(error, aiohttp.ConnectionTimeoutError) else "answer"
            raise HttpTimeout(f"no {what} in time") from error
        except (aiohttp.ClientError, HttpProcessingError, OSError, ValueError) as error:
            raise HttpError(_reason(error)) from error

    async def aclose(self) -> None:
        """Close the connections."""
        await self._session.close()

    def abandon(self) -> None:
        """Close the connections of a client that was dropped, in whatever thread that happens."""
        if self._session.closed:
            return
        try:
            self._loop.call_soon_threadsafe(_close_at_once, self._session)
        except RuntimeError:  # the loop is closed
            _close_at_once(self._session)

    def _socket(self, info: _AddressInfo) -> socket.socket:
        """A socket for an address that is about to be connected to."""
        family, kind, protocol, _name, address = info
        why = self._refusal(str(address[0])) if self._refusal is not None else None
        if why is not None:
            raise OSError(why)
        return socket.socket(family, kind, protocol)


async def _read(response: aiohttp.ClientResponse, largest: int) -> bytes:
    if (response.content_length or 0) > largest and not response.content.at_eof():
        raise _too_big(largest)
    parts: list[bytes] = []
    size = 0
    while part := await response.content.readany():
        parts.append(part)
        size += len(part)
        if size > largest:
            raise _too_big(largest)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _too_big(largest: int) -> HttpError:
    return HttpError(f"answers with more than {largest} octets")


def _close_at_once(session: aiohttp.ClientSession) -> None:
    """Close without waiting for the ends of the connections, which `session.close` does after having closed them."""
    closing = session.close()
    try:
        closing.send(None)
    except StopIteration:
        return
    closing.close()


def _reason(error: Exception) -> str:
    """Why an exchange failed. Texts of aiohttp that may have the URL in them, and so a secret, are not used."""
    match error:
        case aiohttp.InvalidURL():  # the request's own URL is a plain one
            return "the URL of the proxy in the environment is not valid"
        case aiohttp.ClientHttpProxyError():
            return f"the proxy refuses the connection: HTTP {error.status} {error.message}"
        case aiohttp.ClientResponseError() | HttpProcessingError():
            return f"the response is not HTTP ({error.message.strip().partition(chr(10))[0].rstrip(':')})"
        case aiohttp.ClientConnectorCertificateError():
            return str(error.certificate_error)
        case aiohttp.ClientConnectorError():
            to = "the proxy" if isinstance(error, aiohttp.ClientProxyConnectionError) else "it"
            return f"no connection to {to}: {_words(error.os_error)}"
        case aiohttp.ClientPayloadError():
            return str(error)
        case aiohttp.ServerDisconnectedError():
            return "the connection was closed before the response"
        case OSError() if error.errno:
            return _words(error)
        case aiohttp.ClientError() | OSError():
            return "the connection was lost"
    return f"it cannot be sent ({type(error).__name__})"


def _words(error: OSError) -> str:
    if error.errno is None or error.errno <= 0 or isinstance(error, ssl.SSLError | socket.gaierror):
        return error.strerror or str(error) or type(error).__name__
    return os.strerror(error.errno)
