"""Names for the ids that orders, accounts and certificates have."""

from acmehub.models import AuthorizationMode
from acmehub.ports.store import Store


class Names:
    """Names as lists show them; an id that is gone shows as itself."""

    def __init__(
        self,
        principals: dict[str, str],
        tokens: dict[str, str],
        modes: dict[str, AuthorizationMode],
        authorities: dict[str, str],
    ) -> None:
        self._principals = principals
        self._tokens = tokens
        self._modes = modes
        self._authorities = authorities

    @classmethod
    async def read(cls, store: Store) -> "Names":
        """Those of all stored principals, tokens and authorities."""
        tokens = await store.tokens.list()
        return cls(
            {item.id: item.name for item in await store.principals.list()},
            {item.id: item.title for item in tokens},
            {item.id: item.authorization for item in tokens},
            {item.id: item.name for item in await store.authorities.list()},
        )

    def principal(self, id: str) -> str:
        """Of a principal."""
        return self._principals.get(id, id)

    def token(self, id: str) -> str:
        """Of a token: its title."""
        return self._tokens.get(id, id)

    def mode(self, id: str) -> AuthorizationMode:
        """The authorization mode of a token."""
        return self._modes.get(id, AuthorizationMode.AUTO)

    def authority(self, id: str) -> str:
        """Of an authority."""
        return self._authorities.get(id, id)
