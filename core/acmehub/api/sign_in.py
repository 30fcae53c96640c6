"""Who asks: the bearer token of a request, verified, and counted per address and per token."""

import secrets
from hashlib import blake2b
from typing import Any

from litestar import Request

from acmehub.admin.resources.tokens import TokenService
from acmehub.api.problems import CHALLENGE, ApiError, too_many
from acmehub.config import Api
from acmehub.models.addresses import address_key
from acmehub.models.audit import Origin, Via
from acmehub.rules.permissions import Acting
from acmehub.rules.rate_limits import MINUTE, Charge, RateLimit, TokensLacking, charge, limit
from acmehub.runtime.client_limits.buckets import Buckets
from acmehub.runtime.lru import Lru

TOKEN_PREFIX = "acmehub"  # noqa: S105
_MOST_KNOWN = 10_000
_LONGEST = 200


class SignIn:
    """Verifies credentials; what was right lately does not count as a try, and is verified all the same."""

    def __init__(self, tokens: TokenService, buckets: Buckets, limits: Api) -> None:
        self._tokens = tokens
        self._buckets = buckets
        self._of_address = _limit("api.address_requests", limits.address_requests, "requests from this address")
        self._of_token = _limit("api.token_requests", limits.token_requests, "requests with this API token")
        self._tries = _limit("api.new_credentials", limits.new_credentials, "API tokens tried from this address")
        self._key = secrets.token_bytes(32)
        self._known: Lru[bytes, bool] = Lru(_MOST_KNOWN)

    async def acting(self, request: Request[Any, Any, Any], address: str, request_id: str) -> Acting:
        """Who sends the request; 401, 429."""
        subject = address_key(address)
        await self._take(self._of_address, subject)
        header = request.headers.get("authorization", "")
        id, secret = credentials(header)
        digest = blake2b(header.encode("utf-8", "replace"), key=self._key).digest()
        if digest not in self._known:
            await self._take(self._tries, subject)
        acting = await self._tokens.authenticate(id, secret, Origin(Via.API, address, request_id))
        self._known.put(digest, True)
        await self._take(self._of_token, acting.origin.credential)
        return acting

    async def _take(self, number: RateLimit | None, subject: str) -> None:
        """Nothing where the address is not known: all clients behind one proxy would share a bucket."""
        if number is None or not subject:
            return
        charges: tuple[Charge, ...] = (charge(number, subject),)
        result = await self._buckets.take(charges)
        if isinstance(result, TokensLacking):
            raise too_many(result)


def credentials(header: str) -> tuple[str, str]:
    """Client id and API secret in `Authorization: Bearer acmehub_<id>_<secret>`; 401."""
    scheme, _, token = header.partition(" ")
    prefix, _, rest = token.strip().partition("_")
    id, _, secret = rest.partition("_")
    if scheme.lower() != "bearer" or prefix != TOKEN_PREFIX or not (id and secret) or len(token) > _LONGEST:
        raise ApiError(
            "unauthenticated",
            f"send Authorization: Bearer {TOKEN_PREFIX}_<token id>_<API secret>",
            headers={"www-authenticate": CHALLENGE},
        )
    return id, secret


def _limit(name: str, number: int, words: str) -> RateLimit | None:
    return limit(name, number, MINUTE, words) if number else None
