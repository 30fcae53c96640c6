"""One HTTP exchange with a CA in the calling thread: signed, limited in size and time, with typed errors.

`acme.client.ClientNetwork` does not serve here: it drops the headers of an error (Retry-After), retries a rejected
nonce only once, reads bodies of any size, fetches a nonce before each step, and logs what it signs.
"""

import os
import re
import time
from collections.abc import Callable
from datetime import datetime
from urllib.parse import urlsplit

import requests
import urllib3
from requests.adapters import BaseAdapter
from requests.utils import get_environ_proxies
from urllib3 import HTTPHeaderDict

from acmehub.models.problems import ProblemType
from acmehub.ports.authority import (
    UpstreamAccountLost,
    UpstreamError,
    UpstreamObjectLost,
    UpstreamRefused,
    UpstreamUnavailable,
)
from acmehub.rules.times import parse_http_date, parse_retry_after
from acmehub.upstream.connections import WatchedAdapter, present_watch
from acmehub.upstream.failures import failure, read_problem
from acmehub.upstream.hosts import Hosts
from acmehub.upstream.keys import UpstreamAccountKey
from acmehub.upstream.members import words
from acmehub.upstream.nonces import UpstreamNonces
from acmehub.upstream.responses import UpstreamResponse, last_line

LARGEST_BODY = 1 << 20
NONCE_ATTEMPTS = 8
LONGEST_RETRY_AFTER = 3600.0
_CONNECT_TIMEOUT = 10.0
_OCTETS_AT_ONCE = 1 << 16
_SPARE_REDIRECTS = 5
_NONCE = re.compile(r"[A-Za-z0-9_-]+")
_REDIRECTS = (301, 302, 303, 307, 308)
_NOTHING = (400, 404, 410)


class Exchanger:
    """HTTP with one CA, for several threads at once. Connections and nonces are kept between exchanges.

    `adapter` replaces the connections in tests.
    """

    def __init__(
        self,
        server: str,
        *,
        user_agent: str,
        ca_file: str,
        timeout: float,
        connections: int,
        hosts: Hosts,
        nonces: UpstreamNonces,
        now: Callable[[], datetime],
        adapter: BaseAdapter | None = None,
    ) -> None:
        self._server = server
        self._secure = urlsplit(server).scheme == "https"
        self._user_agent = user_agent
        self._verify: str | bool = ca_file or os.environ.get("REQUESTS_CA_BUNDLE") or True
        self._proxies: dict[str, dict[str, str]] = {}
        self._timeout = timeout
        self._hosts = hosts
        self._now = now
        self._adapter = adapter or WatchedAdapter(pool_connections=4, pool_maxsize=connections)
        self._nonces = nonces

    @property
    def seconds(self) -> float:
        """The longest time that one exchange takes, from the connection to the last octet."""
        return 2 * self._timeout

    def close(self) -> None:
        """Close the kept connections."""
        self._adapter.close()

    def get(self, url: str) -> UpstreamResponse:
        """GET without a signature (the directory). Follows redirects on the CA's hosts, but not from https to
        http.

        An error here says nothing about the hub's account and orders: it is `UpstreamUnavailable` or a rate limit.
        """
        try:
            return self._checked(self._send("GET", url, None, {"Accept": "application/json"}))
        except (UpstreamAccountLost, UpstreamObjectLost, UpstreamRefused) as error:
            raise self._unavailable(f"{url}: {error.detail}") from error

    def find(self, url: str) -> UpstreamResponse | None:
        """As `get`, but None when the CA answers 400, 404 or 410."""
        answer = self._send("GET", url, None, {"Accept": "application/json"})
        if answer.status in _NOTHING:
            return None
        try:
            return self._checked(answer)
        except (UpstreamAccountLost, UpstreamRefused) as error:
            raise self._unavailable(f"{url}: {error.detail}") from error

    def post(
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
            nonce = self._nonce(new_nonce)
            try:
                answer = self._send("POST", url, key.sign(payload, url=url, nonce=nonce, kid=kid), headers)
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

    def _nonce(self, new_nonce: str) -> str:
        if kept := self._nonces.take():
            return kept
        answer = self._send("HEAD", new_nonce, None, {})
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

    def _send(self, method: str, url: str, body: bytes | None, headers: dict[str, str]) -> UpstreamResponse:
        end = time.monotonic() + self.seconds
        for _ in range(_SPARE_REDIRECTS):
            answer = self._send_once(method, url, body, headers, end)
            location = answer.header("Location")
            if method != "GET" or answer.status not in _REDIRECTS or not location:
                return answer
            url = self._hosts.resolve(url, location)
        raise self._unavailable(f"{url}: more than {_SPARE_REDIRECTS} redirects")

    def _send_once(
        self, method: str, url: str, body: bytes | None, headers: dict[str, str], end: float
    ) -> UpstreamResponse:
        if self._secure and not url.startswith("https://"):
            raise self._unavailable(f"the CA refers to a URL that is not https: {url}")
        watch = present_watch()
        common = {"User-Agent": self._user_agent, "Accept-Encoding": "identity", "Connection": "keep-alive"}
        try:
            watch.begin(end)
            # the adapter without a Session: no cookies, no .netrc, and no reading of the environment for each request
            response = self._adapter.send(
                requests.Request(method, url, data=body, headers={**common, **headers}).prepare(),
                stream=True,
                timeout=(min(_CONNECT_TIMEOUT, self._timeout), self._timeout),
                verify=self._verify,
                proxies=self._proxies_for(url),
            )
            try:
                content = self._read(response, url, end)
            finally:
                response.close()  # a connection whose response was read to its end is in the pool again by now
            watch.check()
        except (requests.RequestException, urllib3.exceptions.HTTPError, OSError, ValueError) as error:
            raise self._unavailable(_message(watch.why_closed or error, method, url)) from error
        finally:
            watch.finish()
        headers_read = response.raw.headers
        return UpstreamResponse(url, response.status_code, headers_read, content, self.retry_after(headers_read))

    def _proxies_for(self, url: str) -> dict[str, str]:
        """The proxies from the environment (HTTPS_PROXY, NO_PROXY …), read once per host."""
        host = urlsplit(url).netloc
        if host not in self._proxies:
            self._proxies[host] = get_environ_proxies(url, no_proxy=None)
        return self._proxies[host]

    def _read(self, response: requests.Response, url: str, end: float) -> bytes:
        parts: list[bytes] = []
        size = 0
        while part := response.raw.read1(_OCTETS_AT_ONCE, decode_content=True):
            parts.append(part)
            size += len(part)
            if size > LARGEST_BODY:
                raise self._unavailable(f"{url} answers with more than {LARGEST_BODY} octets")
            if time.monotonic() > end:
                raise self._unavailable(f"{url} took more than {self.seconds:g} s to answer")
        return b"".join(parts)

    def retry_after(self, headers: HTTPHeaderDict, longest: float = LONGEST_RETRY_AFTER) -> float | None:
        """Retry-After in seconds from now, at most `longest`; None if the header is missing or not valid."""
        value = last_line(headers, "Retry-After")
        if not value:
            return None
        # on the CA's clock, which may be hours off the hub's
        seconds = parse_retry_after(value, parse_http_date(last_line(headers, "Date")) or self._now())
        return None if seconds is None else min(seconds, longest)

    def _unavailable(self, detail: str) -> UpstreamError:
        return UpstreamUnavailable(detail, server=self._server)


def _nonce_in(answer: UpstreamResponse) -> str:
    """The response's nonce; empty when it is not base64url (RFC 8555 section 6.5.1)."""
    nonce = answer.header("Replay-Nonce")
    return nonce if _NONCE.fullmatch(nonce) and len(nonce) % 4 != 1 else ""


def _message(error: BaseException | str, method: str, url: str) -> str:
    """The message for a failed exchange: its innermost cause, without the wrapping of the libraries."""
    if isinstance(error, str):
        return f"{method} {url} {error}"
    if isinstance(error, requests.ConnectTimeout):
        return f"{method} {url}: no connection in time"
    if isinstance(error, requests.Timeout | urllib3.exceptions.ReadTimeoutError):
        return f"{method} {url}: no answer in time"
    cause: BaseException = error
    while True:
        inner = getattr(cause, "reason", None) or next(
            (arg for arg in cause.args if isinstance(arg, BaseException)), None
        )
        if not isinstance(inner, BaseException) or inner is cause:
            break
        cause = inner
    return f"{method} {url}: {words(str(cause)) or type(cause).__name__}"
