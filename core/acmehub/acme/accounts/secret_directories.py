"""Secret directory URLs, `/acme/<key>/directory`: for clients without external account binding.

docs/client-rules.md rule 27.

Whoever knows the key may bind accounts with its token, so it is a secret like an HMAC key: looked up by its hash,
sealed in the storage, in no log, problem or URL but those of its own directory (docs/adr/0009-secret-directories.md).
"""

from collections.abc import Sequence

from acmehub.models import Token
from acmehub.ports.store import Store
from acmehub.rules.secret_directories import KEY_LENGTH, directory_hash


class SecretDirectories:
    """Finds tokens by the keys of their directories. The storage is asked for its list, which it keeps."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._kept: tuple[Sequence[Token], dict[bytes, Token]] = ((), {})

    async def token(self, key: str) -> Token | None:
        """The token whose directory has this key; None when there is none.

        It may be expired, used up or revoked: its clients are told so where they ask for something.
        """
        if len(key) != KEY_LENGTH or not key.isascii():
            return None
        rows = await self._store.tokens.list()
        if rows is not self._kept[0]:
            self._kept = (rows, {row.directory_hash: row for row in rows if row.directory_hash})
        return self._kept[1].get(directory_hash(key))
