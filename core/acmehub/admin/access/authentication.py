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
from acmehub.runtime.client_limits.refusals import Refusals

ACTION = "token.authenticate"
_NOBODYS = bytes(32)  # the hash of no secret
_MOST_SHOWN = 64  # characters of an id that is not known
_USABLE = (TokenState.ACTIVE, TokenState.USED_UP)  # used up: it binds no more accounts, which nobody asks here


class Authentication:
    """Verifies API secrets. Every refusal costs the same and says the same; the audit has the reason, once an address
    and minute."""

    def __init__(self, store: Store, clock: Clock, refusals: Refusals) -> None:
        self._store = store
        self._clock = clock
        self._refusals = refusals

    async def of_token(self, id: str, secret: str, origin: Origin) -> Acting:
        """Who acts with a token: with the roles of its scope that its principal has now. `Unauthenticated`."""
        token = await self._store.tokens.get(id)
        principal = await self._store.principals.get(token.principal_id if token is not None else id)
        right = hmac.compare_digest(hash_secret(secret), token.secret_hash if token is not None else _NOBODYS)
        reason = self._refusal(token, principal, origin, right=right)
        if reason or token is None or principal is None:
            named = token.id if token is not None else ascii(id[:_MOST_SHOWN])
            await self._refusals.stranger(origin.address, ACTION, reason, object=f"token {named}")
            raise Unauthenticated("there is no API token with this id and secret that may be used from here now")
        return Acting(
            name=principal.name,
            roles=frozenset(item for item in principal.roles if item.role in token.scope),
            origin=replace(origin, credential=token.id),
            principal_id=principal.id,
            proven=token.reveal,
            delegates=token.delegates,
        )

    def _refusal(self, token: Token | None, principal: Principal | None, origin: Origin, *, right: bool) -> str:
        """Why a token may not be used, for the audit; empty when it may."""
        if token is None or principal is None:
            return "the id is not known"
        if not right:
            return "the secret is another one"
        state = token_state(token, principal, self._clock.now())
        if state not in _USABLE:
            disabled = state is TokenState.DISABLED and token.enabled
            return "its principal is disabled" if disabled else f"the token is {state.value}"
        if token.networks and not within(origin.address, token.networks):
            return "the address is outside of its networks"
        return ""


def hash_secret(secret: str) -> bytes:
    """The hash of an API secret: a plain SHA-256, since a secret has 256 random bits."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()
