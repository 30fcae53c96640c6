"""Sealing of secrets at rest: AES-256-GCM bound to purpose and row, under a ring of master keys.

A sealed value is `version (1 byte) | key id (4) | nonce (12) | ciphertext and tag`. The associated data is
`purpose:row id`, so that a value moved to another row or column does not open. Each purpose has its own key, derived by
HKDF-SHA256 from the master key that the key id names.
"""

import base64
import binascii
import hashlib
import os
import secrets
import stat
from collections.abc import Sequence
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

KEY_SIZE = 32
_VERSION = b"\x01"
_KEY_ID_SIZE = 4
_NONCE_SIZE = 12
_HEADER_SIZE = len(_VERSION) + _KEY_ID_SIZE + _NONCE_SIZE


class VaultError(Exception):
    """A master key is not usable, or a sealed value does not open; the text never shows any of their bytes."""


class Vault:
    """Seals and opens with `keys` (32 bytes each): the first seals, all of them open.

    Without keys it does neither until `begin`: a hub that is about to be founded has none.
    """

    def __init__(self, keys: Sequence[bytes]) -> None:
        if any(len(key) != KEY_SIZE for key in keys):
            raise VaultError(f"a master key has {KEY_SIZE} bytes; one of those given has not")
        self._keys = {_key_id(key): key for key in reversed(keys)}
        self._current = _key_id(keys[0]) if keys else b""
        self._ciphers: dict[tuple[bytes, str], AESGCM] = {}

    def __repr__(self) -> str:
        return f"Vault({len(self._keys)} keys)"

    @property
    def empty(self) -> bool:
        """Whether there is no key."""
        return not self._keys

    @property
    def current_id(self) -> str:
        """The id of the key that seals, in hexadecimal."""
        self._require_key()
        return self._current.hex()

    def begin(self, key: bytes) -> None:
        """Give a vault without keys its first."""
        self._current = _key_id(key)
        self._keys = {self._current: key}

    def seal(self, purpose: str, row_id: str, clear: bytes) -> bytes:
        """`clear` as it may be stored in the row `row_id`, under the current master key."""
        self._require_key()
        nonce = secrets.token_bytes(_NONCE_SIZE)
        cipher = self._cipher(self._current, purpose)
        return _VERSION + self._current + nonce + cipher.encrypt(nonce, clear, _context(purpose, row_id))

    def open(self, purpose: str, row_id: str, sealed: bytes) -> bytes:
        """What was sealed; `VaultError` when it was sealed for another place or under a key that is not in the ring."""
        if len(sealed) < _HEADER_SIZE or sealed[:1] != _VERSION:
            raise VaultError(f"the {purpose} of {row_id} is not a sealed value of this version")
        key_id = _key_id_of(sealed)
        if key_id not in self._keys:
            raise VaultError(
                f"the {purpose} of {row_id} was sealed under master key {key_id.hex()}, which is not in master_keys"
            )
        nonce = sealed[_HEADER_SIZE - _NONCE_SIZE : _HEADER_SIZE]
        try:
            return self._cipher(key_id, purpose).decrypt(nonce, sealed[_HEADER_SIZE:], _context(purpose, row_id))
        except InvalidTag:
            raise VaultError(f"the {purpose} of {row_id} was damaged, or sealed for another row") from None

    def knows(self, sealed: bytes) -> bool:
        """Whether the master key of a sealed value is in the ring."""
        return _key_id_of(sealed) in self._keys

    def stale(self, sealed: bytes) -> bool:
        """Whether a sealed value should be sealed again, because its master key is no longer the current one."""
        return _key_id_of(sealed) != self._current

    def derive(self, label: str) -> bytes:
        """A key of 32 bytes for another use than sealing, the same in every process with this current master key."""
        self._require_key()
        return _derive(self._keys[self._current], b"acmehub derive " + label.encode())

    def _require_key(self) -> None:
        if self.empty:
            raise VaultError("no master key: the ring is empty")

    def _cipher(self, key_id: bytes, purpose: str) -> AESGCM:
        known = self._ciphers.get((key_id, purpose))
        if known is None:
            known = AESGCM(_derive(self._keys[key_id], b"acmehub seal " + purpose.encode()))
            self._ciphers[key_id, purpose] = known
        return known


def _derive(key: bytes, info: bytes) -> bytes:
    return HKDF(algorithm=SHA256(), length=KEY_SIZE, salt=None, info=info).derive(key)


def _key_id(key: bytes) -> bytes:
    return hashlib.sha256(b"acmehub key id" + key).digest()[:_KEY_ID_SIZE]


def _key_id_of(sealed: bytes) -> bytes:
    return sealed[len(_VERSION) : len(_VERSION) + _KEY_ID_SIZE]


def _context(purpose: str, row_id: str) -> bytes:
    return f"{purpose}:{row_id}".encode()


# ------------------------------------------------------------------------------------------------- master keys


def decode_key(text: str) -> bytes:
    """A master key from its text form: base64url (or base64) of 32 bytes; `VaultError` without showing it."""
    if not text.strip():
        raise VaultError("the master key is empty")
    plain = text.strip().rstrip("=").replace("+", "-").replace("/", "_")
    try:
        key = base64.b64decode(plain + "=" * (-len(plain) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raise VaultError("a master key is not base64url of 32 bytes") from None
    if len(key) != KEY_SIZE:
        raise VaultError(f"a master key has {len(key)} bytes instead of {KEY_SIZE}")
    return key


def encode_key(key: bytes) -> str:
    """The text form of a master key."""
    return base64.urlsafe_b64encode(key).rstrip(b"=").decode()


def new_key() -> bytes:
    """A master key that nobody has."""
    return secrets.token_bytes(KEY_SIZE)


def key_id(key: bytes) -> str:
    """How messages name a master key: it tells nothing of the key."""
    return _key_id(key).hex()


def id_of_sealed(sealed: bytes) -> str:
    """The `key_id` of the master key that a value is sealed under."""
    return _key_id_of(sealed).hex()


def read_key_file(path: Path) -> bytes:
    """The master key in a file; refused when anybody but its owner may read or write it."""
    if path.is_dir():
        raise VaultError(f"{path}: the master key cannot be read: it is a directory")
    refuse_loose_permissions(path)
    try:
        text = path.read_text("ascii")
    except (OSError, UnicodeDecodeError) as error:
        raise VaultError(f"{path}: the master key cannot be read: {_reason(error)}") from None
    try:
        return decode_key(text)
    except VaultError as error:
        raise VaultError(f"{path}: {error}") from None


def refuse_loose_permissions(path: Path) -> None:
    """`VaultError` when group or others have any right on `path`."""
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
    except OSError as error:
        raise VaultError(f"{path}: the key file cannot be read: {_reason(error)}") from None
    if mode & 0o077:
        raise VaultError(f"{path}: others may read this key (mode {mode:04o}): chmod 600 {path}")


def make_key_file(path: Path) -> bytes:
    """The master key in `path`, made (mode 0600, flushed to the disk) unless there is one already.

    Safe when several processes start together: the one that creates the name wins, the others read.
    """
    if path.exists():
        return read_key_file(path)
    key = new_key()
    whole = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    try:
        write_private(whole, encode_key(key).encode() + b"\n")
        try:
            os.link(whole, path)  # appears with its content or not at all, and never over another one
        except FileExistsError:
            return read_key_file(path)
        finally:
            whole.unlink()
        _flush_folder(path.parent)
    except OSError as error:
        raise VaultError(f"{path}: the master key cannot be written: {_reason(error)}") from None
    return key


def write_private(path: Path, content: bytes) -> None:
    """Create `path` (an error when it exists) with mode 0600 and flush it to the disk."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _flush_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _reason(error: Exception) -> str:
    return error.strerror or type(error).__name__ if isinstance(error, OSError) else "not text"
