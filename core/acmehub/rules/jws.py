"""Strict verification of signed requests: flattened JWS with an asymmetric key (RFC 7515, RFC 8555 section 6.2).

A request cannot choose an algorithm that does not belong to its key, have two keys or none, repeat a member, or be read
in two ways. Every refusal is a `Problem`. The caller compares nonce, URL and account.
"""

import base64
import binascii
import hashlib
import json
from collections.abc import Mapping
from typing import Any

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey, RSAPublicNumbers
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from acmehub.models.problems import Problem, ProblemType
from acmehub.rules.keys import CURVES, AccountKey, PublicKey, ed25519_flaw, key_flaw, spki_of, weakness

ALGORITHMS: tuple[str, ...] = ("RS256", "ES256", "ES384", "ES512", "EdDSA")
MAX_BODY = 64 * 1024

_CURVES: dict[str, tuple[ec.EllipticCurve, int]] = {  # JWK name: curve, bytes of a coordinate
    "P-256": (ec.SECP256R1(), 32),
    "P-384": (ec.SECP384R1(), 48),
    "P-521": (ec.SECP521R1(), 66),
}
_EC_ALGORITHMS: dict[str, tuple[str, int, ec.ECDSA]] = {  # curve, bytes of r and of s, scheme (RFC 7518 section 3.4)
    "ES256": ("secp256r1", 32, ec.ECDSA(hashes.SHA256())),
    "ES384": ("secp384r1", 48, ec.ECDSA(hashes.SHA384())),
    "ES512": ("secp521r1", 66, ec.ECDSA(hashes.SHA512())),
}
_ED25519_BYTES = 32  # of a key; a signature has twice as many (RFC 8032 section 5.1)
_PKCS1 = padding.PKCS1v15()
_SHA256 = hashes.SHA256()
_PRIVATE_MEMBERS = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k"})
_TO_PLAIN_BASE64 = bytes.maketrans(b"-_+/", b"+/!!")
_QUOTES = 3 * 4  # protected, payload, signature: a name and a string each; base64url has no quotes
_QUOTES_WITH_HEADER = _QUOTES + 2  # and the name of `"header": null`


class Jws(msgspec.Struct, frozen=True):
    """A signed request, not verified yet. `jwk`: canonical JSON (RFC 7638) of the key that it contains, if any."""

    alg: str
    nonce: str
    url: str
    kid: str | None
    jwk: bytes | None
    payload: bytes
    signing_input: bytes
    signature: bytes


class _Flattened(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """RFC 7515 section 7.2.2 without an unprotected header: `null` in its place is none."""

    protected: str
    payload: str
    signature: str
    header: None = None


class Flattened(msgspec.Struct, frozen=True):
    """The parts of a flattened JWS; `header` is its protected header with all members."""

    header: dict[str, Any]
    payload: bytes
    signing_input: bytes
    signature: bytes


_FLATTENED = msgspec.json.Decoder(_Flattened)


def parse(body: bytes) -> Jws:
    """Read the body of a signed POST. Raises `malformed`, `badNonce`, `badSignatureAlgorithm`, `badPublicKey`."""
    parts = read_flattened(body)
    header = parts.header
    alg = _algorithm(header)
    if "nonce" not in header:
        raise Problem(ProblemType.BAD_NONCE, "JWS has no anti-replay nonce")
    nonce = text_member(header, "nonce")
    if not nonce or not _is_base64url(nonce):
        raise malformed("'nonce' in the JWS header is not base64url")
    return _jws(parts, alg, nonce)


def parse_without_nonce(body: bytes) -> Jws:
    """Like `parse`, for a JWS within a signed request, which must not have a nonce (RFC 8555 section 7.3.5)."""
    parts = read_flattened(body)
    alg = _algorithm(parts.header)
    if "nonce" in parts.header:
        raise malformed("the JWS header must have no 'nonce' here")
    return _jws(parts, alg, "")


def _algorithm(header: Mapping[str, Any]) -> str:
    alg = text_member(header, "alg")
    if alg not in ALGORITHMS:
        raise Problem(
            ProblemType.BAD_SIGNATURE_ALGORITHM,
            f"JWS algorithm {alg[:32]!a} is not accepted; use one of {', '.join(ALGORITHMS)}",
            algorithms=ALGORITHMS,
        )
    return alg


def _jws(parts: Flattened, alg: str, nonce: str) -> Jws:
    header = parts.header
    url = text_member(header, "url")
    if ("jwk" in header) == ("kid" in header):
        raise malformed("the JWS header needs exactly one of 'jwk' and 'kid'")
    if "kid" in header:
        kid, jwk = text_member(header, "kid"), None
    else:
        kid, jwk = None, canonical_jwk(header["jwk"])
    return Jws(alg, nonce, url, kid, jwk, parts.payload, parts.signing_input, parts.signature)


def read_flattened(body: bytes) -> Flattened:
    """Read a flattened JWS strictly: three members, each once, in canonical base64url, and a header without `crit` and
    `b64`. `null` for a member of the header means that it is absent. Raises `malformed`."""
    if len(body) > MAX_BODY:
        raise Problem(ProblemType.MALFORMED, f"the request is larger than {MAX_BODY} bytes", status=413)
    try:
        outer = _FLATTENED.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise malformed(f"the body is not a flattened JWS: {_message(error)}") from error
    if body.count(b'"') not in (_QUOTES, _QUOTES_WITH_HEADER):
        raise malformed("the body is not a flattened JWS: a member stands there twice")
    header = _read_header(_member_bytes("protected", outer.protected))
    return Flattened(
        header,
        _member_bytes("payload", outer.payload),
        f"{outer.protected}.{outer.payload}".encode(),
        _member_bytes("signature", outer.signature),
    )


def compacted(body: bytes) -> bytes:
    """A flattened JWS that `read_flattened` has taken, as compact JSON of its three members."""
    return msgspec.json.encode(_FLATTENED.decode(body))


def load_key(jwk: bytes) -> AccountKey:
    """The key of a canonical JWK. Raises `badPublicKey` for a wrong size, exponent or point."""
    members = json.loads(jwk)
    if members["kty"] == "OKP":
        return _load_ed25519(decode_base64url(members["x"]))
    try:
        if members["kty"] == "RSA":
            key: PublicKey = RSAPublicNumbers(_integer(members["e"]), _integer(members["n"])).public_key()
        else:
            curve = _CURVES[members["crv"]][0]
            key = ec.EllipticCurvePublicNumbers(_integer(members["x"]), _integer(members["y"]), curve).public_key()
    except ValueError as error:
        raise bad_key("the numbers do not make a public key") from error
    flaw = key_flaw(key)
    if flaw is not None:
        raise bad_key(flaw)
    return key


def require_strong(jwk: bytes) -> None:
    """Raise `badPublicKey` for a canonical JWK with a known weakness: such a key can become no account's.

    Not a part of `load_key`: a certificate's weak key may still sign its revocation.
    """
    key = load_key(jwk)
    weak = None if isinstance(key, Ed25519PublicKey) else weakness(key)
    if weak is not None:
        raise bad_key(weak)


def _load_ed25519(octets: bytes) -> Ed25519PublicKey:
    flaw = ed25519_flaw(octets)
    if flaw is not None:
        raise bad_key(flaw)
    return Ed25519PublicKey.from_public_bytes(octets)


def verify(jws: Jws, key: AccountKey) -> None:
    """Verify the signature; the algorithm must belong to the key's type and curve."""
    signature = jws.signature
    try:
        if isinstance(key, RSAPublicKey):
            if jws.alg != "RS256":
                raise _wrong_algorithm(jws.alg, "RS256")
            key.verify(signature, jws.signing_input, _PKCS1, _SHA256)
        elif isinstance(key, Ed25519PublicKey):
            if jws.alg != "EdDSA":
                raise _wrong_algorithm(jws.alg, "EdDSA")
            if len(signature) != 2 * _ED25519_BYTES:
                raise malformed(f"JWS verification error: an EdDSA signature is {2 * _ED25519_BYTES} bytes")
            key.verify(signature, jws.signing_input)
        else:
            name = key.curve.name
            curve, size, scheme = _EC_ALGORITHMS.get(jws.alg, ("", 0, None))
            if curve != name or scheme is None:
                raise _wrong_algorithm(jws.alg, *(alg for alg, row in _EC_ALGORITHMS.items() if row[0] == name))
            if len(signature) != 2 * size:
                raise malformed(f"JWS verification error: an {jws.alg} signature is {2 * size} bytes, r then s")
            r, s = int.from_bytes(signature[:size], "big"), int.from_bytes(signature[size:], "big")
            key.verify(encode_dss_signature(r, s), jws.signing_input, scheme)
    except InvalidSignature as error:
        raise malformed("JWS verification error: the signature is not by this key over this request") from error


def thumbprint(jwk: bytes) -> str:
    """The thumbprint of a canonical JWK: SHA-256 in base64url (RFC 7638)."""
    return encode_base64url(hashlib.sha256(jwk).digest())


def canonical_jwk(jwk: object) -> bytes:
    """The canonical JSON of a public JWK (RFC 7638 section 3): required members only. Raises `badPublicKey`."""
    if not isinstance(jwk, Mapping):
        raise bad_key("it is not a JSON object")
    if any(jwk[name] is not None for name in _PRIVATE_MEMBERS.intersection(jwk)):
        raise bad_key("it has private members; send the public key only")
    match jwk.get("kty"):
        case "EC":
            crv = jwk.get("crv")
            if not isinstance(crv, str) or crv not in _CURVES:
                raise bad_key(f"'crv' must be one of {', '.join(_CURVES)}")
            size = _CURVES[crv][1]
            x, y = _coordinate(jwk, "x", size), _coordinate(jwk, "y", size)
            return f'{{"crv":"{crv}","kty":"EC","x":"{x}","y":"{y}"}}'.encode()
        case "RSA":
            e, n = _positive(jwk, "e"), _positive(jwk, "n")
            return f'{{"e":"{e}","kty":"RSA","n":"{n}"}}'.encode()
        case "OKP":  # RFC 8037 section 2
            if jwk.get("crv") != "Ed25519":
                raise bad_key("'crv' of an OKP key must be Ed25519")
            return f'{{"crv":"Ed25519","kty":"OKP","x":"{_coordinate(jwk, "x", _ED25519_BYTES)}"}}'.encode()
    raise bad_key("'kty' must be EC, OKP or RSA")


def jwk_of(key: PublicKey, spki: bytes = b"") -> bytes:
    """The canonical JWK of a key.

    `spki`: the key's SubjectPublicKeyInfo (DER), if the caller has it already.
    """
    if isinstance(key, RSAPublicKey):
        numbers = key.public_numbers()
        e, n = (encode_base64url(item.to_bytes((item.bit_length() + 7) // 8, "big")) for item in (numbers.e, numbers.n))
        return f'{{"e":"{e}","kty":"RSA","n":"{n}"}}'.encode()
    crv = CURVES[key.curve.name]
    size = _CURVES[crv][1]
    point = (spki or spki_of(key))[-2 * size :]  # DER ends with the uncompressed point: x, then y
    x, y = encode_base64url(point[:size]), encode_base64url(point[size:])
    return f'{{"crv":"{crv}","kty":"EC","x":"{x}","y":"{y}"}}'.encode()


def decode_base64url(text: str | bytes) -> bytes:
    """Decode canonical base64url without padding. Raises `ValueError` for anything else, also for stray bits."""
    data = text.encode("ascii") if isinstance(text, str) else text
    plain = data.translate(_TO_PLAIN_BASE64)
    clear = binascii.a2b_base64(plain + b"==")
    if binascii.b2a_base64(clear, newline=False).rstrip(b"=") != plain:
        raise ValueError("not canonical base64url")
    return clear


def encode_base64url(clear: bytes) -> str:
    """Base64url without padding."""
    return base64.urlsafe_b64encode(clear).rstrip(b"=").decode()


def text_member(header: Mapping[str, Any], name: str) -> str:
    """A required string member of a JWS header. Raises `malformed`."""
    value = header.get(name)
    if not isinstance(value, str):
        raise malformed(f"the JWS header needs {name!r}, a string")
    return value


def malformed(detail: str) -> Problem:
    """The problem for a request that cannot be read."""
    return Problem(ProblemType.MALFORMED, detail)


def bad_key(detail: str) -> Problem:
    """The problem for a key that is not accepted."""
    return Problem(ProblemType.BAD_PUBLIC_KEY, f"the public key is not accepted: {detail}")


def unique_members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object without repeated members; for `json.loads(object_pairs_hook=…)`."""
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a member stands there twice")
    return members


_HEADER = json.JSONDecoder(object_pairs_hook=unique_members)


def _read_header(text: bytes) -> dict[str, Any]:
    try:
        header = _HEADER.decode(text.decode())
    except (ValueError, RecursionError) as error:
        raise malformed(f"the JWS header is not readable: {_message(error)}") from error
    if not isinstance(header, dict):
        raise malformed("the JWS header is not a JSON object")
    if None in header.values():
        header = {name: value for name, value in header.items() if value is not None}
    for name in ("crit", "b64"):
        if name in header:
            raise malformed(f"{name!r} in the JWS header is not supported")
    return header


def _member_bytes(name: str, text: str) -> bytes:
    try:
        return decode_base64url(text)
    except ValueError as error:
        raise malformed(f"{name!r} of the JWS is not base64url without padding") from error


def _is_base64url(text: str) -> bool:
    try:
        decode_base64url(text)
    except ValueError:
        return False
    return True


def _coordinate(jwk: Mapping[str, Any], name: str, size: int) -> str:
    text = jwk.get(name)
    if not isinstance(text, str) or not _is_base64url(text) or len(decode_base64url(text)) != size:
        raise bad_key(f"{name!r} must be {size} bytes in base64url")
    return text


def _positive(jwk: Mapping[str, Any], name: str) -> str:
    text = jwk.get(name)
    if not isinstance(text, str) or not _is_base64url(text):
        raise bad_key(f"{name!r} must be a number in base64url")
    if decode_base64url(text)[:1] in (b"", b"\0"):
        raise bad_key(f"{name!r} has leading zeros (RFC 7518 section 2, Base64urlUInt)")
    return text


def _integer(text: str) -> int:
    return int.from_bytes(decode_base64url(text), "big")


def _wrong_algorithm(alg: str, *fitting: str) -> Problem:
    return Problem(
        ProblemType.BAD_SIGNATURE_ALGORITHM,
        f"JWS algorithm {alg} does not go with this key; use {' or '.join(fitting)}",
        algorithms=ALGORITHMS,
    )


def _message(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "nested too deeply"
    if isinstance(error, binascii.Error | UnicodeDecodeError):
        return "not UTF-8"
    return ascii(str(error))[1:-1][:200]
