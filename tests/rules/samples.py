"""Keys, signed bodies, stored rows: what the tests of the rules are made of. Keys are made once per run."""

import functools
import hashlib
import hmac
import json
from datetime import UTC, datetime
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from acmehub.models import (
    Account,
    Actor,
    ManagedChallenge,
    Principal,
    PrincipalType,
    Role,
    RoleAssignment,
    Token,
)
from acmehub.rules.jws import encode_base64url

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
URL = "https://hub.test/acme/new-order"
ACCOUNT_URL = "https://hub.test/acme/new-account"
KID = "https://hub.test/acme/account/1"
NONCE = encode_base64url(b"0123456789abcdef")

CURVES: dict[str, tuple[ec.EllipticCurve, str, int, hashes.HashAlgorithm]] = {
    "ES256": (ec.SECP256R1(), "P-256", 32, hashes.SHA256()),
    "ES384": (ec.SECP384R1(), "P-384", 48, hashes.SHA384()),
    "ES512": (ec.SECP521R1(), "P-521", 66, hashes.SHA512()),
}

PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey


def ec_key(algorithm: str = "ES256", number: int = 0) -> ec.EllipticCurvePrivateKey:
    return _ec_key(algorithm, number)


def rsa_key(bits: int = 2048, exponent: int = 65537) -> rsa.RSAPrivateKey:
    return _rsa_key(bits, exponent)


@functools.cache
def _ec_key(algorithm: str, number: int) -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(CURVES[algorithm][0])


@functools.cache
def _rsa_key(bits: int, exponent: int) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(exponent, bits)


def ed25519_key(number: int = 0) -> ed25519.Ed25519PrivateKey:
    return ed25519.Ed25519PrivateKey.from_private_bytes(bytes((number,)) * 32)


def key_for(algorithm: str) -> PrivateKey:
    if algorithm == "EdDSA":
        return ed25519_key()
    return rsa_key() if algorithm == "RS256" else ec_key(algorithm)


def number_text(number: int, size: int = 0) -> str:
    return encode_base64url(number.to_bytes(size or (number.bit_length() + 7) // 8, "big"))


def public_jwk(key: PrivateKey) -> dict[str, Any]:
    if isinstance(key, rsa.RSAPrivateKey):
        numbers = key.public_key().public_numbers()
        return {"kty": "RSA", "n": number_text(numbers.n), "e": number_text(numbers.e)}
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return {"kty": "OKP", "crv": "Ed25519", "x": encode_base64url(key.public_key().public_bytes_raw())}
    point = key.public_key().public_numbers()
    name, size = next((row[1], row[2]) for row in CURVES.values() if row[0].name == key.curve.name)
    return {"kty": "EC", "crv": name, "x": number_text(point.x, size), "y": number_text(point.y, size)}


def raw_signature(key: PrivateKey, clear: bytes, algorithm: str) -> bytes:
    if isinstance(key, rsa.RSAPrivateKey):
        return key.sign(clear, padding.PKCS1v15(), hashes.SHA256())
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return key.sign(clear)
    _, _, size, digest = CURVES[algorithm]
    r, s = decode_dss_signature(key.sign(clear, ec.ECDSA(digest)))
    size = max(size, (max(r, s).bit_length() + 7) // 8)
    return r.to_bytes(size, "big") + s.to_bytes(size, "big")


def header(algorithm: str = "ES256", **members: Any) -> dict[str, Any]:
    members.setdefault("kid", KID)
    return {"alg": algorithm, "nonce": NONCE, "url": URL, **members}


def keyed_header(algorithm: str = "ES256") -> dict[str, Any]:
    return {"alg": algorithm, "nonce": NONCE, "url": URL, "jwk": public_jwk(key_for(algorithm))}


def flattened(header_text: str | bytes, payload: bytes, sign: Any, **members: Any) -> bytes:
    protected = encode_base64url(header_text.encode() if isinstance(header_text, str) else header_text)
    body = encode_base64url(payload)
    signature = encode_base64url(sign(f"{protected}.{body}".encode()))
    return json.dumps({"protected": protected, "payload": body, "signature": signature, **members}).encode()


def signed(
    members: dict[str, Any] | None = None,
    payload: bytes = b"{}",
    *,
    key: PrivateKey | None = None,
    algorithm: str = "ES256",
    **more: Any,
) -> bytes:
    members = header(algorithm) if members is None else members
    owner = key or key_for(algorithm)
    return flattened(json.dumps(members), payload, lambda clear: raw_signature(owner, clear, algorithm), **more)


def bound(
    key: bytes,
    payload: bytes,
    *,
    algorithm: str = "HS256",
    kid: str = "token1",
    url: str = ACCOUNT_URL,
    **members: Any,
) -> bytes:
    digest = {"HS256": hashlib.sha256, "HS384": hashlib.sha384}.get(algorithm, hashlib.sha512)
    text = json.dumps({"alg": algorithm, "kid": kid, "url": url, **members})
    return flattened(text, payload, lambda clear: hmac.new(key, clear, digest).digest())


def principal(*roles: Role | RoleAssignment, **fields: Any) -> Principal:
    given = roles or (Role.MANAGED_ACME_CONSUMER,)
    assignments = tuple(RoleAssignment(item) if isinstance(item, Role) else item for item in given)
    row = {"id": "p1", "name": "firewall-01", "type": PrincipalType.APPLICATION, "created": NOW, **fields}
    return Principal(roles=assignments, **row)


def token(**fields: Any) -> Token:
    row = {
        "id": "token1",
        "title": "EAB",
        "principal_id": "p1",
        "scope": (Role.MANAGED_ACME_CONSUMER,),
        "secret_hash": b"",
        "sealed_hmac_key": b"",
        "created": NOW,
    }
    return Token(**{**row, **fields})


def actor(**fields: Any) -> Actor:
    row = {"id": "a1", "jwk": b"", "thumbprint": "t", "token_id": "token1", "principal_id": "p1", "created": NOW}
    return Actor(Account(**{**row, **fields}), token(), principal())


def managed_challenge(match: str, name: str = "", **fields: Any) -> ManagedChallenge:
    row = {"name": name or match, "plugin": "dns_x", "sealed_settings": b"", "created": NOW}
    return ManagedChallenge(match=match, **{**row, **fields})
