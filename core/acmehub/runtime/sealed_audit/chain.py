"""What seals cover, byte for byte, and the check of a chain (docs/adr/0016-sealed-audit.md, docs/audit.md).

An entry counts with its facts and with the digest of its texts. The texts may name people; when they are replaced,
their digest and a proof that the hub has replaced them stay in `withheld`, and the salt goes, so that nobody can try
names.
"""

import hashlib
import hmac
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from acmehub.models import AuditRecord, Seal

TEXTS = ("actor", "address", "object", "object_name", "detail", "difference")
FACTS = (
    "id",
    "at",
    "actor_id",
    "actor_kind",
    "via",
    "action",
    "object_kind",
    "object_id",
    "allowed",
    "request",
    "credential",
)
FIRST = -(2**63)
"""Before the first id: an entry with a negative id was inserted, too."""

_encode = msgspec.json.encode


class ChainFlaw(msgspec.Struct, frozen=True):
    """The first range that does not verify: the seal's number, its entries by id, and what is wrong."""

    seal: int
    first: int
    last: int
    what: str


def digest_of_texts(entry: AuditRecord) -> str:
    """SHA-256 in hexadecimal over salt and texts, or what is kept of it."""
    if entry.withheld:
        return entry.withheld.partition(":")[0]
    return hashlib.sha256(entry.salt.encode() + _encode([getattr(entry, name) for name in TEXTS])).hexdigest()


def mac_of(key: bytes, previous: Seal | None, seal: Seal, entries: Sequence[AuditRecord]) -> bytes:
    """HMAC-SHA256 over the mac before, the seal, and a line of JSON for each entry."""
    mac = hmac.new(key, previous.mac if previous else b"", hashlib.sha256)
    mac.update(_encode([seal.id, seal.first, seal.last, seal.entries, seal.at, seal.key]))
    for entry in entries:
        facts: list[Any] = [getattr(entry, name) for name in FACTS]
        mac.update(b"\n" + _encode([*facts, digest_of_texts(entry)]))
    return mac.digest()


def pruned_mark(key: bytes, seal: Seal) -> bytes:
    """The proof that the hub has deleted the entries of a seal."""
    covered = _encode([seal.id, seal.first, seal.last, seal.entries, seal.at, seal.key, seal.mac.hex()])
    return hmac.digest(key, b"pruned" + covered, "sha256")


def withheld(key_id: str, key: bytes, before: AuditRecord, after: AuditRecord) -> str:
    """The `withheld` of an entry whose texts become those of `after`: digest, id of the key, proof."""
    digest = digest_of_texts(before)
    return f"{digest}:{key_id}:{_proof(key, digest, after)}"


def _proof(key: bytes, digest: str, entry: AuditRecord) -> str:
    covered = _encode([entry.id, digest, *[getattr(entry, name) for name in TEXTS]])
    return hmac.digest(key, b"withheld" + covered, "sha256").hex()


class ChainCheck:
    """Checks seals with their entries, in the order of their numbers. `key_of` gives a key of the chain, or None."""

    def __init__(self, key_of: Callable[[str], bytes | None], previous: Seal | None = None) -> None:
        self._key_of = key_of
        self.previous = previous

    @property
    def after(self) -> int:
        """The id behind which the entries of the next seal begin."""
        return self.previous.last if self.previous else FIRST

    def flaw(self, seal: Seal, entries: Sequence[AuditRecord]) -> ChainFlaw | None:
        """What is wrong with the next seal, or the entries behind the one before and up to `seal.last`."""
        number = self.previous.id + 1 if self.previous else 1
        if seal.id != number:
            lost = f"seal {number}" if seal.id == number + 1 else f"seals {number} to {seal.id - 1}"
            begin = self.previous.last + 1 if self.previous else 1
            return ChainFlaw(number, begin, seal.first - 1, f"{lost} missing")
        what = self._what(seal, entries)
        if what:
            return ChainFlaw(seal.id, seal.first, seal.last, what)
        self.previous = seal
        return None

    def _what(self, seal: Seal, entries: Sequence[AuditRecord]) -> str:
        key = self._key_of(seal.key)
        if key is None:
            return f"cannot be verified: the key of master key {seal.key} is missing, or does not open"
        if seal.pruned is not None:
            if not hmac.compare_digest(pruned_mark(key, seal), seal.pruned):
                return "the seal was altered, or its entries were deleted, and not by the hub"
            return f"{len(entries)} inserted: this range was pruned" if entries else ""
        if len(entries) != seal.entries:
            missing = seal.entries - len(entries)
            return f"{missing} entries deleted" if missing > 0 else f"{-missing} entries inserted"
        if not hmac.compare_digest(mac_of(key, self.previous, seal, entries), seal.mac):
            return "an entry or the seal was altered"
        replaced = [entry.id for entry in entries if entry.withheld and not self._is_withheld(entry)]
        return f"the texts of entry {replaced[0]} were replaced, and not by the hub" if replaced else ""

    def _is_withheld(self, entry: AuditRecord) -> bool:
        digest, _, rest = entry.withheld.partition(":")
        key_id, _, proof = rest.partition(":")
        key = self._key_of(key_id)
        return key is not None and hmac.compare_digest(_proof(key, digest, entry).encode(), proof.encode())
