"""The keys of secret directory URLs, `/acme/<key>/directory`, for clients without external account binding.

Whoever knows a key can bind accounts with its token, so it is a secret like an HMAC key: looked up by its hash, sealed
in the storage, in no log, problem or URL but those of its own directory (docs/adr/0009-secret-directories.md).
"""

import hashlib
import secrets
import string

KEY_LENGTH = 32  # of 62 characters each: 190 bits
_ALPHABET = string.ascii_letters + string.digits


def new_directory_key() -> str:
    """A fresh key: letters and digits, as paths and command lines take them."""
    return "".join(secrets.choice(_ALPHABET) for _ in range(KEY_LENGTH))


def directory_hash(key: str) -> bytes:
    """What a key is looked up by: it has 190 random bits, so a plain SHA-256 is enough."""
    return hashlib.sha256(key.encode()).digest()
