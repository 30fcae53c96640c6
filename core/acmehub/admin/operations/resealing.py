"""After a rotation of the master key: seal again what is under an older key, so that the older key can be removed."""

from typing import TypeVar

import msgspec
from msgspec.structs import replace

from acmehub.admin.access.errors import Invalid
from acmehub.admin.access.gate import Gate, Passage
from acmehub.admin.resources.tokens import DIRECTORY_PURPOSE, HMAC_PURPOSE
from acmehub.models import Authority, ManagedChallenge, SealKey, Token
from acmehub.ports.clock import Clock
from acmehub.ports.store import Conflict, Resources, Store
from acmehub.rules.permissions import Acting
from acmehub.runtime.plugin_objects import AUTHORITY_ACCOUNT_KEY, AUTHORITY_SETTINGS, MANAGED_CHALLENGE_SETTINGS
from acmehub.runtime.sealed_audit.keys import SEAL_KEY
from acmehub.runtime.vault import Vault, VaultError

SEALED = {
    Token: {"sealed_hmac_key": HMAC_PURPOSE, "sealed_directory_key": DIRECTORY_PURPOSE},
    ManagedChallenge: {"sealed_settings": MANAGED_CHALLENGE_SETTINGS},
    Authority: {"sealed_settings": AUTHORITY_SETTINGS, "sealed_account_key": AUTHORITY_ACCOUNT_KEY},
    SealKey: {"sealed_key": SEAL_KEY},
}
"""Every sealed field there is, with its purpose."""
_LABELS = {
    Token: "token",
    ManagedChallenge: "managed challenge",
    Authority: "authority",
    SealKey: "key of the audit's chain",
}

R = TypeVar("R", Token, ManagedChallenge, Authority)


class Resealed(msgspec.Struct, frozen=True):
    """How many rows have sealed values, how many of those were sealed again, and the values that no key of the ring
    opens, each with why."""

    rows: int
    resealed: int
    unopened: tuple[str, ...] = ()


class ResealingService:
    """Seals under the first of `master_keys`."""

    noun = "reseal"

    def __init__(self, store: Store, vault: Vault, clock: Clock) -> None:
        self._store = store
        self._vault = vault
        self._gate = Gate(store, clock)

    async def reseal(self, acting: Acting) -> Resealed:
        """Open every sealed value, and seal those again that are under another key than the current one; safe to run
        again at any time.

        A value that does not open is left as it is and named in the result; `Invalid` when none opens. The audit has
        an entry for each row that was written, and one with the counts.
        """
        async with self._gate(acting, "reseal", "secrets") as passage:
            results = [
                *await self._all(self._store.tokens, passage),
                *await self._all(self._store.managed_challenges, passage),
                *await self._all(self._store.authorities, passage),
                *await self._keys_of_the_chain(passage),
            ]
            unopened = tuple(flaw for item in results for flaw in item.flaws)
            if results and not any(item.opened for item in results):
                first = unopened[0]
                raise Invalid(
                    "master_keys",
                    f"none of {len(unopened)} secrets could be opened, and nothing was sealed again: {first};"
                    " add the key that they are under behind the first one",
                )
            total = Resealed(len(results), sum(item.written for item in results), unopened)
            missed = f"; {len(unopened)} secrets not opened" if unopened else ""
            await passage.note(f"{total.resealed} of {total.rows} rows{missed}", allowed=not unopened)
            return total

    async def _all(self, resources: Resources[R], passage: Passage) -> list["_Row"]:
        return [
            await self._one(resources, row, passage)
            for row in await resources.list()
            if any(getattr(row, field) for field in SEALED[type(row)])
        ]

    async def _one(self, resources: Resources[R], row: R, passage: Passage) -> "_Row":
        """Seal a row again if it needs that; one that changed meanwhile is read again."""
        current: R | None = row
        while current is not None:
            seen, changed = self._seen(current)
            if not changed:
                return seen
            try:
                entry = passage.entry(", ".join(changed), object=f"{type(row).__name__} {row.id}")
                await resources.replace(replace(current, **changed), [entry])
            except Conflict:
                current = await resources.get(row.id)
            else:
                return replace(seen, written=True)
        return _Row(opened=1)  # removed meanwhile: there is nothing left to open

    async def _keys_of_the_chain(self, passage: Passage) -> list["_Row"]:
        """The keys themselves stay, so that all seals go on to verify."""
        rows = []
        for key in await self._store.seals.keys():
            seen, changed = self._seen(key)
            if changed:
                await passage.note(", ".join(changed), object=f"SealKey {key.id}")
                await self._store.seals.replace_key(replace(key, **changed))
            rows.append(replace(seen, written=bool(changed)))
        return rows

    def _seen(self, row: Token | ManagedChallenge | Authority | SealKey) -> tuple["_Row", dict[str, bytes]]:
        """What opens in a row and what does not, and the fields that are to be written."""
        opened = 0
        flaws: list[str] = []
        changed: dict[str, bytes] = {}
        for field, purpose in SEALED[type(row)].items():
            sealed: bytes = getattr(row, field)
            if not sealed:
                continue
            try:
                clear = self._vault.open(purpose, row.id, sealed)
            except VaultError as error:
                flaws.append(f"{_LABELS[type(row)]} {_name(row)!r}: {error}")
                continue
            opened += 1
            if self._vault.stale(sealed):
                changed[field] = self._vault.seal(purpose, row.id, clear)
        return _Row(opened=opened, flaws=tuple(flaws)), changed


def _name(row: Token | ManagedChallenge | Authority | SealKey) -> str:
    if isinstance(row, SealKey):
        return row.id
    return row.title if isinstance(row, Token) else row.name


class _Row(msgspec.Struct, frozen=True, kw_only=True):
    """A row that was looked at: how many of its values opened, why the others did not, whether it was written."""

    opened: int
    flaws: tuple[str, ...] = ()
    written: bool = False
