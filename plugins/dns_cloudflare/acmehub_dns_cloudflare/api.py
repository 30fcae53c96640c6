"""Cloudflare's API v4: the HTTP client, the envelope, pages, and refusals as exceptions.

Facts: developers.cloudflare.com/api (envelope, `result_info`), …/fundamentals/api/reference/limits (429, Retry-After).
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TypeVar
from urllib.parse import urlencode, urlsplit

import msgspec

from acmehub import DnsProviderRefused, DnsProviderUnavailable, HttpClient, HttpError, HttpTimeout
from acmehub_dns_cloudflare.settings import CloudflareSettings

MOST_PAGES = 1000
TOO_MANY_REQUESTS = 429
INVALID_HEADERS = 6003
HINT = "; check api_token and that it has Zone:DNS:Edit and Zone:Zone:Read for this zone"
Result = TypeVar("Result")


class CloudflareError(msgspec.Struct, frozen=True):
    """An error in the envelope."""

    code: int = 0
    message: str = ""
    error_chain: tuple["CloudflareError", ...] = ()

    def __str__(self) -> str:
        inner = "".join(f": {item}" for item in self.error_chain)
        return f"{self.message} ({self.code}){inner}"


class ResultInfo(msgspec.Struct, frozen=True):
    """The number of a page, and how many there are."""

    page: int = 1
    total_pages: int = 1


class Envelope(msgspec.Struct, frozen=True):
    """The envelope of every response."""

    success: bool = False
    errors: tuple[CloudflareError, ...] = ()
    result: msgspec.Raw = msgspec.Raw(b"null")
    result_info: ResultInfo | None = None


class Refusal(DnsProviderRefused):
    """A refusal with Cloudflare's message, the HTTP status and the error codes."""

    def __init__(self, detail: str, *, server: str, status: int, codes: frozenset[int]) -> None:
        super().__init__(detail, server=server)
        self.status = status
        self.codes = codes


class CloudflareApi:
    """Requests with the token. Raises `Refusal` and `DnsProviderUnavailable`."""

    def __init__(self, settings: CloudflareSettings, *, user_agent: str) -> None:
        self._timeout = settings.timeout
        self._server = urlsplit(settings.base_url).hostname or settings.base_url
        self._base_url = settings.base_url.rstrip("/")
        self._headers = {"Authorization": f"Bearer {settings.api_token.reveal()}", "Content-Type": "application/json"}
        self._client = HttpClient(user_agent=user_agent, timeout=settings.timeout)

    async def aclose(self) -> None:
        """Close the kept connections."""
        await self._client.aclose()

    async def one(
        self, method: str, path: str, kind: type[Result], *, body: Mapping[str, object] | None = None
    ) -> Result:
        """The result of one request."""
        return self._result(await self._envelope(method, path, body=body), kind)

    async def pages(self, path: str, kind: type[Result], *, per_page: int, **query: str) -> list[Result]:
        """All results of a list, from all pages (Cloudflare decides how long a page is)."""
        found: list[Result] = []
        for page in range(1, MOST_PAGES + 1):
            envelope = await self._envelope("GET", path, query={**query, "page": page, "per_page": per_page})
            items = self._result(envelope, list[kind])  # type: ignore[valid-type]
            found += items
            if not items or envelope.result_info is None or page >= envelope.result_info.total_pages:
                return found
        raise DnsProviderUnavailable(f"{self._server}: {path} has no end", server=self._server)

    async def _envelope(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str | int] | None = None,
        body: Mapping[str, object] | None = None,
    ) -> Envelope:
        url = f"{self._base_url}/{path}" + (f"?{urlencode(query)}" if query else "")
        content = msgspec.json.encode(body) if body is not None else None
        try:
            answer = await self._client.send(method, url, headers=self._headers, body=content)
        except HttpTimeout as error:
            raise self._unavailable(f"no answer within {self._timeout:g} seconds") from error
        except HttpError as error:
            raise self._unavailable(f"cannot be reached: {error.detail}") from error
        try:
            envelope = msgspec.json.decode(answer.body, type=Envelope)
        except (msgspec.DecodeError, UnicodeDecodeError):
            envelope = None
        message = "; ".join(map(str, envelope.errors)) if envelope else ""
        if answer.status == TOO_MANY_REQUESTS:
            raise self._unavailable(message or "too many requests", _retry_after(answer.header("Retry-After")))
        if answer.status >= 500 or envelope is None:
            raise self._unavailable(f"HTTP {answer.status}: {message or 'not a response of the API'}")
        if not envelope.success:
            codes = frozenset(error.code for error in envelope.errors)
            hint = HINT if answer.status in (401, 403) or INVALID_HEADERS in codes else ""
            detail = f"{self._server}: HTTP {answer.status}: {message or 'no reason given'}{hint}"
            raise Refusal(detail, server=self._server, status=answer.status, codes=codes)
        return envelope

    def _result(self, envelope: Envelope, kind: type[Result]) -> Result:
        try:
            return msgspec.json.decode(envelope.result, type=kind)
        except msgspec.DecodeError as error:
            raise self._unavailable(f"a response that is not as documented: {error}") from error

    def _unavailable(self, detail: str, retry_after: float | None = None) -> DnsProviderUnavailable:
        return DnsProviderUnavailable(f"{self._server}: {detail}", server=self._server, retry_after=retry_after)


def _retry_after(text: str) -> float | None:
    """Retry-After in seconds from now (RFC 9110 section 10.2.3)."""
    if text.isdecimal():
        return float(text)
    try:
        at = parsedate_to_datetime(text)
    except ValueError:
        return None
    return max(0.0, (at.replace(tzinfo=at.tzinfo or UTC) - datetime.now(UTC)).total_seconds())
