"""The HTTP client: one deadline for an exchange, a largest body, the environment's proxies, own trusted roots."""

import asyncio
import importlib
import os
import ssl
import time
import weakref
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from acmehub.http_client.messages import HttpError, HttpResponse, HttpTimeout
from acmehub.rules.urls import UrlOrigin, origin

if TYPE_CHECKING:
    from acmehub.http_client.session import AiohttpSession

LARGEST_BODY = 1 << 20


class HttpClient:
    """Requests to HTTP servers over kept connections, for one event loop.

    `timeout`: seconds that an exchange may take, from the connection to the last octet of the response; `silence`:
    seconds in them without an octet, or until there is a connection (default: `timeout`). `connections`: exchanges at
    once; others wait for their turn, and their time begins with it. `largest_body`: octets of a response. `ca_file`:
    PEM with the roots that are trusted instead of REQUESTS_CA_BUNDLE, SSL_CERT_FILE or the system's.

    `refusal` says of an address why the client must not connect to it, None when it may (as `Egress.refusal` does for
    validation). It is asked for each address right before the connection, and no proxy is used then.

    No cookies, no .netrc, no redirects, no compression. A request whose kept connection was lost is sent again only if
    its method is idempotent (RFC 9110 section 9.2.2): never a POST.
    """

    def __init__(
        self,
        *,
        user_agent: str,
        ca_file: str = "",
        timeout: float = 30.0,
        silence: float | None = None,
        connections: int = 32,
        largest_body: int = LARGEST_BODY,
        refusal: Callable[[str], str | None] | None = None,
    ) -> None:
        self._user_agent = user_agent
        self._ca_file = ca_file
        self._timeout = timeout
        self._silence = timeout if silence is None else silence
        self._largest_body = largest_body
        self._refusal = refusal
        self._places = asyncio.Semaphore(connections)
        self._preparing = asyncio.Lock()
        self._session: AiohttpSession | None = None
        self._tls: ssl.SSLContext | None = None
        self._proxies: dict[str, str] = {}
        self._running: set[asyncio.Timeout] = set()
        self._closed = False

    def __repr__(self) -> str:
        return f"HttpClient({self._user_agent!r})"

    @property
    def closed(self) -> bool:
        """Whether `aclose` was called."""
        return self._closed

    async def send(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        end: float | None = None,
    ) -> HttpResponse:
        """Send a request; `end` (of `time.monotonic`) is a deadline before that of `timeout`.

        Raises `HttpTimeout` if there is no response in time, and `HttpError` if there is none for another reason or if
        it is too big. A response is one whatever its status says.
        """
        place = origin(url)
        if place is None:
            raise HttpError("the URL is no plain http:// or https:// URL")
        async with self._places:
            self._check_open()
            left = self._timeout if end is None else min(self._timeout, end - time.monotonic())
            try:
                async with asyncio.timeout(left) as deadline:
                    self._running.add(deadline)
                    try:
                        return await self._exchange(method, url, place, headers or {}, body)
                    finally:
                        self._running.discard(deadline)
            except TimeoutError:
                self._check_open()
                raise HttpTimeout(f"took more than {self._timeout:g} s") from None
            except HttpError:
                self._check_open()
                raise

    async def aclose(self) -> None:
        """End the exchanges under way with an `HttpError`, and close the connections."""
        self._closed = True
        now = asyncio.get_running_loop().time()
        for deadline in self._running:
            if not deadline.expired():
                deadline.reschedule(now)
        if self._session is not None:
            await self._session.aclose()

    def _check_open(self) -> None:
        if self._closed:
            raise HttpError("the client was closed")

    async def _exchange(
        self, method: str, url: str, place: UrlOrigin, headers: Mapping[str, str], body: bytes | None
    ) -> HttpResponse:
        session = self._session or await self._connected()
        proxy = self._proxy(session, place)
        tls = self._tls
        if tls is None and (place.scheme == "https" or proxy.lower().startswith("https:")):
            tls = await self._trusting()
        self._check_open()
        return await session.exchange(method, url, headers, body, proxy=proxy, tls=tls, largest=self._largest_body)

    def _proxy(self, session: "AiohttpSession", place: UrlOrigin) -> str:
        """The proxy for a place, computed once."""
        key = f"{place.scheme}://{place.place}"
        proxy = self._proxies.get(key)
        if proxy is None:
            proxy = self._proxies[key] = session.proxy(place) if self._refusal is None else ""
        return proxy

    async def _connected(self) -> "AiohttpSession":
        """The session; aiohttp is imported in a thread, which takes some tenths of a second."""
        async with self._preparing:
            if self._session is None:
                module = await asyncio.to_thread(importlib.import_module, "acmehub.http_client.session")
                session: AiohttpSession = module.AiohttpSession(self._user_agent, self._silence, self._refusal)
                self._session = session
                weakref.finalize(self, session.abandon).atexit = False
            return self._session

    async def _trusting(self) -> ssl.SSLContext:
        """The TLS context; reading the roots takes some 20 ms, so a thread makes it, once."""
        async with self._preparing:
            if self._tls is None:
                self._tls = await asyncio.to_thread(_trusted, self._ca_file)
            return self._tls


def _trusted(ca_file: str) -> ssl.SSLContext:
    place = ca_file or os.environ.get("REQUESTS_CA_BUNDLE", "")
    try:
        if not place:
            context = ssl.create_default_context()  # SSL_CERT_FILE and SSL_CERT_DIR, or what the system trusts
        elif Path(place).is_dir():
            context = ssl.create_default_context(capath=place)
        else:
            context = ssl.create_default_context(cafile=place)
    except OSError as error:
        raise HttpError(f"the trusted roots in {place} cannot be read: {error.strerror or error}") from error
    context.set_alpn_protocols(["http/1.1"])
    return context
