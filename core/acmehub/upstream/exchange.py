"""One HTTP exchange with a CA: signed, with a fresh nonce, with typed errors.

`acme.client.ClientNetwork` does not serve here: it drops the headers of an error (Retry-After), retries a rejected
nonce only once, reads bodies of any size, fetches a nonce before each step, and logs what it signs.
"""

import re
import time
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Protocol

from acmehub.http_client.messages import HttpError, HttpResponse
from acmehub.models.problems import ProblemType
from acmehub.ports.authority import (
    UpstreamAccountLost,
    UpstreamError,
    UpstreamObjectLost,
    UpstreamRefused,
    UpstreamUnavailable,
)
from acmehub.rules.times import parse_http_date, parse_retry_after
from acmehub.upstream.failures import failure, read_problem
from acmehub.upstream.hosts import Hosts
from acmehub.upstream.keys import UpstreamAccountKey
from acmehub.upstream.members import words
from acmehub.upstream.nonces import UpstreamNonces
from acmehub.upstream.responses import UpstreamResponse

NONCE_ATTEMPTS = 8
LONGEST_RETRY_AFTER = 3600.0
_SPARE_REDIRECTS = 5
_NONCE = re.compile(r"[A-Za-z0-9_-]+")
_REDIRECTS = (301, 302, 303, 307, 308)
_NOTHING = (400, 404, 410)


class Sends(Protocol):
    """What an `Exchanger` needs of an `HttpClient`."""

    @property
    def closed(self) -> bool:
        """Whether no request can be sent any more."""
        ...

    async def send(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        end: float | None = None,
    ) -> HttpResponse:
        """Send a request. Raises `HttpError`."""
        ...


class Exchanger:
    """HTTP with one CA. Nonces are kept between exchanges; the `client` keeps connections.

    `seconds`: what the exchanges for one document (a GET and its redirects) may take together.
    """

    def __init__(
        self,
        server: str,
        client: Sends,
        *,
        seconds: float,
        hosts: Hosts,
        nonces: UpstreamNonces,
        now: Callable[[], datetime],
    ) -> None:
        self._server = server
        self._client = client
        self._seconds = seconds
        self._secure = server.lower().startswith("https:")
        self._hosts = hosts
        self._nonces = nonces
        self._now = now

    async def get(self, url: str) -> UpstreamResponse:
        """GET without a signature (the directory). Follows redirects on the CA's hosts, but not from https to
        http.

        An error here says nothing about the hub's account and orders: it is `UpstreamUnavailable` or a rate limit.
        """
        try:
            return self._checked(await self._get(url))
        except (UpstreamAccountLost, UpstreamObjectLost, UpstreamRefused) as error:
            raise self._unavailable(f"{url}: {error.detail}") from error

    async def find(self, url: str) -> UpstreamResponse | None:
        """As `get`, but None when the CA answers 400, 404 or 410."""
        answer = await self._get(url)
        if answer.status in _NOTHING:
            return None
        try:
            return self._checked(answer)
        except (UpstreamAccountLost, UpstreamRefused) as error:
            raise self._unavailable(f"{url}: {error.detail}") from error

    async def post(
        self,
        url: str,
        payload: bytes,
        key: UpstreamAccountKey,
        *,
        kid: str | None,
        new_nonce: str,
        accept: str = "application/json",
    ) -> UpstreamResponse:
        """POST `payload` (empty: POST-as-GET) signed with `key`.

        A nonce is fetched from `new_nonce` only when none is left from an earlier response. After a rejected nonce, the
        request is sent again with the nonce of the refusal (RFC 8555 section 6.5). A request that fails without
        bringing a nonce empties the store: the CA may have forgotten them all.
        """
        headers = {"Content-Type": "application/jose+json", "Accept": accept}
        for _ in range(NONCE_ATTEMPTS):
            nonce = await self._nonce(new_nonce)
            try:
                body = await key.sign(payload, url=url, nonce=nonce, kid=kid)
                answer = await self._send("POST", url, body, headers)
            except UpstreamUnavailable:
                self._nonces.forget()
                raise
            if fresh := _nonce_in(answer):
                self._nonces.keep(fresh)
            elif answer.status >= 300:
                self._nonces.forget()
            problem = read_problem(answer.body) if answer.status == 400 else None
            if problem is None or problem.type != ProblemType.BAD_NONCE.urn:
                break
        return self._checked(answer)

    async def _nonce(self, new_nonce: str) -> str:
        if kept := self._nonces.take():
            return kept
        answer = await self._send("HEAD", new_nonce, None, {})
        nonce = _nonce_in(answer)
        if not nonce:
            self._checked(answer)
            raise self._unavailable(f"newNonce returned no nonce (HTTP {answer.status})")
        return nonce

    def _checked(self, answer: UpstreamResponse) -> UpstreamResponse:
        if 200 <= answer.status < 300:
            return answer
        if 300 <= answer.status < 400:
            raise self._unavailable(f"{answer.url} answers with a redirect (HTTP {answer.status})")
        raise failure(answer, self._server)

    async def _get(self, url: str) -> UpstreamResponse:
        end = time.monotonic() + self._seconds
        for _ in range(_SPARE_REDIRECTS):
            answer = await self._send("GET", url, None, {"Accept": "application/json"}, end)
            location = answer.header("Location")
            if answer.status not in _REDIRECTS or not location:
                return answer
            url = self._hosts.resolve(url, location)
        raise self._unavailable(f"{url}: more than {_SPARE_REDIRECTS} redirects")

    async def _send(
        self, method: str, url: str, body: bytes | None, headers: dict[str, str], end: float | None = None
    ) -> UpstreamResponse:
        if self._secure and not url.startswith("https://"):
            raise self._unavailable(f"the CA refers to a URL that is not https: {url}")
        try:
            found = await self._client.send(method, url, headers=headers, body=body, end=end)
        except HttpError as error:
            why = "was ended, because the hub stops" if self._client.closed else words(error.detail)
            raise self._unavailable(f"{method} {url}: {why}") from error
        return UpstreamResponse(found.url, found.status, found.headers, found.body, self.retry_after(found))

    def retry_after(self, answer: HttpResponse, longest: float = LONGEST_RETRY_AFTER) -> float | None:
        """Retry-After in seconds from now, at most `longest`; None if the header is missing or not valid."""
        value = answer.header("Retry-After")
        if not value:
            return None
        # on the CA's clock, which may be hours off the hub's
        seconds = parse_retry_after(value, parse_http_date(answer.header("Date")) or self._now())
        return None if seconds is None else min(seconds, longest)

    def _unavailable(self, detail: str) -> UpstreamError:
        return UpstreamUnavailable(detail, server=self._server)


def _nonce_in(answer: UpstreamResponse) -> str:
    """The response's nonce; empty when it is not base64url (RFC 8555 section 6.5.1)."""
    nonce = answer.header("Replay-Nonce")
    return nonce if _NONCE.fullmatch(nonce) and len(nonce) % 4 != 1 else ""
