"""Who is at the API: a token's client id and API secret become who acts."""

import hashlib
import hmac

from msgspec.structs import replace

from acmehub.admin.access.errors import Unauthenticated
from acmehub.models import Principal, Token, TokenState
from acmehub.models.audit import Origin
from acmehub.ports.clock import Clock
from acmehub.ports.store import Store
from acmehub.rules.eab import token_state, within
from acmehub.rules.permissions import Acting

_NOBODYS = bytes(32)  # the hash of no secret
_USABLE = (TokenState.ACTIVE, TokenState.USED_UP)  # used up: it binds no more accounts, which nobody asks here


class Authentication:
    """Verifies API secrets. Every refusal costs the same and says the same."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def of_token(self, id: str, secret: str, origin: Origin) -> Acting:
        """Who acts with a token: with the roles of its scope that its principal has now. `Unauthenticated`."""
        token = await self._store.tokens.get(id)
        principal = await self._store.principals.get(token.principal_id if token is not None else id)
        right = hmac.compare_digest(hash_secret(secret), token.secret_hash if token is not None else _NOBODYS)
        if token is None or principal is None or not right or not self._usable(token, principal, origin):
            raise Unauthenticated("there is no API token with this id and secret that may be used from here now")
        return Acting(
            name=principal.name,
            roles=frozenset(item for item in principal.roles if item.role in token.scope),
            origin=replace(origin, credential=token.id),
            principal_id=principal.id,
        )

    def _usable(self, token: Token, principal: Principal, origin: Origin) -> bool:
        if token_state(token, principal, self._clock.now()) not in _USABLE:
            return False
        return not token.networks or within(origin.address, token.networks)


def hash_secret(secret: str) -> bytes:
    """The hash of an API secret: a plain SHA-256, since a secret has 256 random bits."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()
