"""Account key rollover (RFC 8555 section 7.3.5): checks of the inner JWS, which the new key signs.

The outer JWS, which the old key signs, is checked as every request is.
"""

import json

import msgspec

from acmehub.models.problems import Problem
from acmehub.models.wire import KeyChange
from acmehub.rules.jws import (
    Jws,
    canonical_jwk,
    load_key,
    malformed,
    parse_without_nonce,
    require_strong,
    thumbprint,
    unique_members,
    verify,
)

_KEY_CHANGE = msgspec.json.Decoder(KeyChange)


class NewKey(msgspec.Struct, frozen=True):
    """An account's new key, as `models.Account` stores it."""

    jwk: bytes
    thumbprint: str


def check_key_change(inner: bytes, *, url: str, account_url: str, account_jwk: bytes) -> NewKey:
    """Check that an inner JWS matches the outer one and is signed by the new key; returns that key.

    `url` and `account_url` are `url` and `kid` of the outer JWS, `account_jwk` is the canonical JWK that verified it.
    The caller checks whether another account has the new key. Raises `malformed`, `badPublicKey`,
    `badSignatureAlgorithm`.
    """
    try:
        jws = parse_without_nonce(inner)
        if jws.jwk is None:
            raise malformed("its header needs 'jwk', the new key, and not 'kid'")
        verify(jws, load_key(jws.jwk))
        require_strong(jws.jwk)
        asked = _asked(jws)
        if jws.url != url:
            raise malformed("its 'url' is not the one of the outer JWS")
        if asked.account != account_url:
            raise malformed("its 'account' is not the account that signs the outer JWS")
        if _jwk_in(asked.old_key) != account_jwk:
            raise malformed("its 'oldKey' is not the account's key")
        if jws.jwk == account_jwk:
            raise malformed("the new key is the key that the account has already")
    except Problem as problem:
        problem.detail = f"key change, inner JWS: {problem.detail}"
        raise
    return NewKey(jws.jwk, thumbprint(jws.jwk))


def _asked(jws: Jws) -> KeyChange:
    try:
        return _KEY_CHANGE.decode(jws.payload)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise malformed("its payload is not an object with 'account' and 'oldKey'") from error


def _jwk_in(raw: msgspec.Raw) -> bytes:
    try:
        jwk = json.loads(bytes(raw).decode(), object_pairs_hook=unique_members)
    except (ValueError, RecursionError) as error:
        raise malformed("its 'oldKey' is not a JWK") from error
    return canonical_jwk(jwk)
