"""EAB credentials from ZeroSSL's API (https://zerossl.com/documentation/acme/generate-eab-credentials/)."""

from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

import msgspec

from acmehub import (
    HttpClient,
    HttpError,
    HttpResponse,
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
    if api_key:
        url, query, form = f"{settings.api_url}/acme/eab-credentials", {"access_key": api_key}, {}
    else:
        url, query, form = f"{settings.api_url}/acme/eab-credentials-email", {}, {"email": settings.email}
    client = HttpClient(
        user_agent=user_agent, timeout=2 * settings.timeout, silence=settings.timeout, largest_body=_LARGEST_BODY
    )
    try:
        response = await client.send(
            "POST",
            f"{url}?{urlencode(query)}" if query else url,
            headers={"Content-Type": "application/x-www-form-urlencoded"},
            body=urlencode(form).encode(),
        )
    except HttpError as error:
        # without the error itself: its cause may have the URL, in which ZeroSSL wants the API key
        raise UpstreamUnavailable(f"{url}: {error.detail}", server=settings.api_url) from None
    finally:
        await client.aclose()
    return _credentials(response, url, settings.api_url)


def _credentials(response: HttpResponse, url: str, server: str) -> Credentials:
    try:
        found = msgspec.json.decode(response.body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        found = None
    answer = found if isinstance(found, dict) else {}
    if response.status == 429:
        raise UpstreamRateLimited(f"{url}: too many requests", server=server, retry_after=_retry_after(response))
    if response.status >= 500:
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


def _unavailable(url: str, response: HttpResponse, server: str) -> UpstreamError:
    return UpstreamUnavailable(f"{url}: HTTP {response.status} with something else than credentials", server=server)


def _retry_after(response: HttpResponse) -> float | None:
    seconds = parse_retry_after(response.header("Retry-After"), datetime.now(UTC))
    return None if seconds is None else min(seconds, 3600.0)
