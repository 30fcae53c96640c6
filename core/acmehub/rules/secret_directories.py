"""The keys of secret directory URLs, `/acme/<key>/directory`, for clients without external account binding.

A client that knows a key can bind accounts with its token, so a key is a secret like an HMAC key: it is looked up by
its hash, sealed in the storage, and appears in no log, no problem and no URL except those of its own directory
(docs/adr/0009-secret-directories.md).
"""

import hashlib
import secrets
import string

KEY_LENGTH = 32  # of 62 characters each: 190 bits
_ALPHABET = string.ascii_letters + string.digits


def new_directory_key() -> str:
    """A new key of letters and digits, which need no quoting in paths and command lines."""
    return "".join(secrets.choice(_ALPHABET) for _ in range(KEY_LENGTH))


def directory_hash(key: str) -> bytes:
    """The hash for looking up a key; a plain SHA-256 is enough for 190 random bits."""
    return hashlib.sha256(key.encode()).digest()
