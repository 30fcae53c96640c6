"""After a rotation of the master key: seal again what is under an older key, so that the older key can be removed."""

from collections.abc import Iterator
from typing import TypeVar

import msgspec
from msgspec.structs import replace

from acmehub.admin.access.errors import Invalid
from acmehub.admin.access.gate import Gate, Passage
from acmehub.admin.resources.tokens import DIRECTORY_PURPOSE, HMAC_PURPOSE
from acmehub.models import Authority, ManagedChallenge, Token
from acmehub.ports.clock import Clock
from acmehub.ports.store import Conflict, Resources, Store
from acmehub.rules.permissions import Acting
from acmehub.runtime.plugin_objects import AUTHORITY_ACCOUNT_KEY, AUTHORITY_SETTINGS, MANAGED_CHALLENGE_SETTINGS
from acmehub.runtime.vault import Vault, VaultError

SEALED = {
    Token: {"sealed_hmac_key": HMAC_PURPOSE, "sealed_directory_key": DIRECTORY_PURPOSE},
    ManagedChallenge: {"sealed_settings": MANAGED_CHALLENGE_SETTINGS},
    Authority: {"sealed_settings": AUTHORITY_SETTINGS, "sealed_account_key": AUTHORITY_ACCOUNT_KEY},
}
"""Every sealed field there is, with its purpose."""

R = TypeVar("R", Token, ManagedChallenge, Authority)


class Resealed(msgspec.Struct, frozen=True):
    """How many rows have sealed values, and how many of those were sealed again."""

    rows: int
    resealed: int


class ResealingService:
    """Seals under the first of `master_keys`."""

    noun = "reseal"

    def __init__(self, store: Store, vault: Vault, clock: Clock) -> None:
        self._store = store
        self._vault = vault
        self._gate = Gate(store, clock)

    async def reseal(self, acting: Acting) -> Resealed:
        """Seal again every value that is under another key than the current one; safe to run again at any time.

        The audit has an entry for each row and one with the counts. Raises `Invalid` for a value that no key of the
        ring opens; what was done until then stays done.
        """
        async with self._gate(acting, "reseal", "secrets") as passage:
            counts = [
                await self._all(self._store.tokens, passage),
                await self._all(self._store.managed_challenges, passage),
                await self._all(self._store.authorities, passage),
            ]
            total = Resealed(sum(item.rows for item in counts), sum(item.resealed for item in counts))
            await passage.note(f"{total.resealed} of {total.rows} rows")
            return total

    async def _all(self, resources: Resources[R], passage: Passage) -> Resealed:
        rows = await resources.list()
        resealed = 0
        for row in rows:
            resealed += await self._one(resources, row, passage)
        return Resealed(len(rows), resealed)

    async def _one(self, resources: Resources[R], row: R, passage: Passage) -> bool:
        """Whether the row needed it; one that changed meanwhile is read again."""
        current: R | None = row
        while current is not None:
            changed = dict(self._stale(current))
            if not changed:
                return False
            try:
                entry = passage.entry(", ".join(changed), object=f"{type(row).__name__} {row.id}")
                await resources.replace(replace(current, **changed), [entry])
            except Conflict:
                current = await resources.get(row.id)
            else:
                return True
        return False

    def _stale(self, row: Token | ManagedChallenge | Authority) -> Iterator[tuple[str, bytes]]:
        for field, purpose in SEALED[type(row)].items():
            sealed: bytes = getattr(row, field)
            if sealed and self._vault.stale(sealed):
                yield field, self._vault.seal(purpose, row.id, self._opened(purpose, row.id, sealed))

    def _opened(self, purpose: str, id: str, sealed: bytes) -> bytes:
        try:
            return self._vault.open(purpose, id, sealed)
        except VaultError as error:
            raise Invalid("master_keys", f"{error}; add that key behind the first one") from error
