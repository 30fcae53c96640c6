"""The keys of the chain: derived by the vault, and kept under its seal, so that they outlive their master key."""

from acmehub.models import SealKey
from acmehub.ports.store import Store
from acmehub.runtime.vault import Vault, VaultError

SEAL_KEY = "audit.chain"


class ChainKeys:
    """Keys by the id of the master key that each was derived from."""

    def __init__(self, store: Store, vault: Vault) -> None:
        self._store = store
        self._vault = vault
        self._opened: dict[str, bytes] = {}

    def current(self) -> tuple[SealKey, bytes]:
        """The key of new seals, sealed as it is stored, and open."""
        id, key = self._vault.current_id, self._vault.derive("audit chain")
        return SealKey(id, self._vault.seal(SEAL_KEY, id, key)), key

    async def read(self) -> None:
        """Read those that are stored."""
        for item in await self._store.seals.keys():
            try:
                self._opened[item.id] = self._vault.open(SEAL_KEY, item.id, item.sealed_key)
            except VaultError:
                self._opened.pop(item.id, None)

    def get(self, id: str) -> bytes | None:
        """A key that was read."""
        return self._opened.get(id)
