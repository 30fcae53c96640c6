"""Secret directory URLs, `/acme/<key>/directory`: for clients without external account binding.

docs/client-rules.md rule 27.

Whoever knows the key may bind accounts with its token, so it is a secret like an HMAC key: looked up by its hash,
sealed in the storage, in no log, problem or URL but those of its own directory (docs/adr/0009-secret-directories.md).
"""

from acmehub.models import Token
from acmehub.rules.secret_directories import KEY_LENGTH, directory_hash
from acmehub.runtime.snapshot import Snapshots


class SecretDirectories:
    """Finds tokens by the keys of their directories."""

    def __init__(self, snapshots: Snapshots) -> None:
        self._snapshots = snapshots

    async def token(self, key: str) -> Token | None:
        """The token whose directory has this key; None when there is none.

        It may be expired, used up or revoked: its clients are told so where they ask for something.
        """
        if len(key) != KEY_LENGTH or not key.isascii():
            return None
        tokens = await (await self._snapshots.current()).tokens()
        return tokens.by_directory_hash.get(directory_hash(key))
