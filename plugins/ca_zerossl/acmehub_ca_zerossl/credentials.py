"""EAB credentials from ZeroSSL's API (https://zerossl.com/documentation/acme/generate-eab-credentials/)."""

import asyncio
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import httpx
import msgspec

from acmehub import (
    Problem,
    ProblemType,
    UpstreamError,
    UpstreamRateLimited,
    UpstreamRefused,
    UpstreamUnavailable,
    escape_controls,
    parse_retry_after,
)

from .settings import ZeroSslSettings

_LARGEST_BODY = 1 << 16
_LONGEST_TEXT = 200


class Credentials(msgspec.Struct, frozen=True):
    """A key id and its HMAC key (base64url)."""

    kid: str
    hmac_key: str

    def __repr__(self) -> str:
        return f"Credentials({self.kid!r})"


async def fetch_credentials(settings: ZeroSslSettings, user_agent: str) -> Credentials:
    """Fetch new credentials by API key, or by e-mail if there is none. Raises an `UpstreamError`."""
    api_key = settings.api_key.reveal()
    request: dict[str, Any]
    if api_key:
        url, request = f"{settings.api_url}/acme/eab-credentials", {"params": {"access_key": api_key}}
    else:
        url, request = f"{settings.api_url}/acme/eab-credentials-email", {"data": {"email": settings.email}}
    client = httpx.AsyncClient(timeout=settings.timeout, headers={"User-Agent": user_agent})
    try:
        with _kept_from_logs(api_key):
            async with asyncio.timeout(2 * settings.timeout), client, client.stream("POST", url, **request) as response:
                body = await _read(response, url)
    except TimeoutError:
        raise UpstreamUnavailable(
            f"{url}: took more than {2 * settings.timeout:g} s to answer", server=settings.api_url
        ) from None
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        # without the error and its message if they contain the URL, which contains the API key
        message = str(error) if not api_key or api_key not in str(error) else ""
        raise UpstreamUnavailable(f"{url}: {message or type(error).__name__}", server=settings.api_url) from None
    return _credentials(response, body, url, settings.api_url)


async def _read(response: httpx.Response, url: str) -> bytes:
    body = b""
    async for part in response.aiter_bytes():
        body += part
        if len(body) > _LARGEST_BODY:
            raise UpstreamUnavailable(f"{url} answers with more than {_LARGEST_BODY} octets")
    return body


def _credentials(response: httpx.Response, body: bytes, url: str, server: str) -> Credentials:
    try:
        found = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        found = None
    answer = found if isinstance(found, dict) else {}
    if response.status_code == 429:
        raise UpstreamRateLimited(f"{url}: too many requests", server=server, retry_after=_retry_after(response))
    if response.status_code >= 500:
        raise _unavailable(url, response, server)
    kid, hmac_key = _text(answer, "eab_kid"), _text(answer, "eab_hmac_key")
    if answer.get("success") and kid and hmac_key:
        return Credentials(kid, hmac_key)
    error = answer.get("error")
    type = _text(error, "type") if isinstance(error, dict) else ""
    if answer.get("success") or not type:
        raise _unavailable(url, response, server)
    code = error.get("code") if isinstance(error, dict) and isinstance(error.get("code"), int) else "no code"
    detail = f"ZeroSSL gives no EAB credentials: {type} ({code})"
    raise UpstreamRefused(Problem(ProblemType.UNAUTHORIZED, detail).document(), server=server)


def _text(members: dict[str, Any], name: str) -> str:
    """A text of the answer, in one line; empty when it is missing or of another type."""
    value = members.get(name)
    return escape_controls(value.strip()[:_LONGEST_TEXT]) if isinstance(value, str) else ""


def _unavailable(url: str, response: httpx.Response, server: str) -> UpstreamError:
    return UpstreamUnavailable(
        f"{url}: HTTP {response.status_code} with something else than credentials", server=server
    )


def _retry_after(response: httpx.Response) -> float | None:
    seconds = parse_retry_after(response.headers.get("Retry-After", ""), datetime.now(UTC))
    return None if seconds is None else min(seconds, 3600.0)


@contextmanager
def _kept_from_logs(secret: str) -> Iterator[None]:
    """Drop httpx's log lines in this context: they contain the URL, and ZeroSSL requires the API key in the URL."""

    def harmless(record: logging.LogRecord) -> bool:
        return not secret or secret not in record.getMessage()

    logger = logging.getLogger("httpx")
    logger.addFilter(harmless)
    try:
        yield
    finally:
        logger.removeFilter(harmless)
