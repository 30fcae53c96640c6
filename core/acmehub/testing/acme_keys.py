"""Keys, signatures and certificate requests of an ACME client, made with `cryptography` alone."""

import hashlib
import hmac
import json
from base64 import urlsafe_b64encode
from collections.abc import Sequence
from typing import Any, Self

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
SigningKey = PrivateKey | ed25519.Ed25519PrivateKey

_CURVES: dict[str, tuple[ec.EllipticCurve, str, int, hashes.HashAlgorithm]] = {
    "P-256": (ec.SECP256R1(), "ES256", 32, hashes.SHA256()),
    "P-384": (ec.SECP384R1(), "ES384", 48, hashes.SHA384()),
    "P-521": (ec.SECP521R1(), "ES512", 66, hashes.SHA512()),
}
_MACS = {"HS256": "sha256", "HS384": "sha384", "HS512": "sha512"}


def b64(data: bytes) -> str:
    """Base64url without padding."""
    return urlsafe_b64encode(data).rstrip(b"=").decode()


def compact(item: object) -> bytes:
    """Compact JSON."""
    return json.dumps(item, separators=(",", ":")).encode()


class AccountKey:
    """An account's key pair. `kind` is `P-256`, `P-384`, `P-521`, `RSA` (2048) or `Ed25519`."""

    def __init__(self, private: SigningKey) -> None:
        self.private = private
        if isinstance(private, rsa.RSAPrivateKey):
            numbers = private.public_key().public_numbers()
            self.alg = "RS256"
            self.jwk = {"e": _number(numbers.e), "kty": "RSA", "n": _number(numbers.n)}
        elif isinstance(private, ed25519.Ed25519PrivateKey):
            self.alg = "EdDSA"
            self.jwk = {"crv": "Ed25519", "kty": "OKP", "x": b64(private.public_key().public_bytes_raw())}
        else:
            crv = next(name for name, row in _CURVES.items() if row[0].name == private.curve.name)
            point = private.public_key().public_numbers()
            size = _CURVES[crv][2]
            self.alg = _CURVES[crv][1]
            self.jwk = {
                "crv": crv,
                "kty": "EC",
                "x": b64(point.x.to_bytes(size, "big")),
                "y": b64(point.y.to_bytes(size, "big")),
            }

    @classmethod
    def generate(cls, kind: str = "P-256") -> Self:
        """A new key."""
        if kind == "RSA":
            return cls(rsa.generate_private_key(65537, 2048))
        if kind == "Ed25519":
            return cls(ed25519.Ed25519PrivateKey.generate())
        return cls(ec.generate_private_key(_CURVES[kind][0]))

    @property
    def thumbprint(self) -> str:
        """RFC 7638."""
        return b64(hashlib.sha256(compact(dict(sorted(self.jwk.items())))).digest())

    def sign(self, data: bytes) -> bytes:
        """A JWS signature (RFC 7518 section 3, RFC 8037 section 3.1)."""
        if isinstance(self.private, rsa.RSAPrivateKey):
            return self.private.sign(data, padding.PKCS1v15(), hashes.SHA256())
        if isinstance(self.private, ed25519.Ed25519PrivateKey):
            return self.private.sign(data)
        _, _, size, algorithm = next(row for row in _CURVES.values() if row[1] == self.alg)
        r, s = decode_dss_signature(self.private.sign(data, ec.ECDSA(algorithm)))
        return r.to_bytes(size, "big") + s.to_bytes(size, "big")

    def jws(self, header: dict[str, Any], payload: bytes) -> bytes:
        """A flattened JWS; `alg` is added to `header` unless it has one."""
        return _flattened({"alg": self.alg, **header}, payload, self.sign)


class ExternalAccount:
    """EAB credentials: key id and HMAC key."""

    def __init__(self, kid: str, key: bytes, alg: str = "HS256") -> None:
        self.kid = kid
        self.key = key
        self.alg = alg

    def binding(self, account: AccountKey, url: str, **header: Any) -> dict[str, str]:
        """The `externalAccountBinding` member for an account key (RFC 8555 section 7.3.4)."""
        full = {"alg": self.alg, "kid": self.kid, "url": url, **header}
        digest = _MACS.get(full["alg"], "sha256")
        jws = _flattened(full, compact(account.jwk), lambda data: hmac.digest(self.key, data, digest))
        found: dict[str, str] = json.loads(jws)
        return found


def make_csr(
    names: Sequence[str], *, common_name: str = "", key: PrivateKey | None = None, in_san: bool = True
) -> tuple[bytes, PrivateKey]:
    """A certificate request (DER) for DNS names, and its key."""
    private = key or ec.generate_private_key(ec.SECP256R1())
    subject = [x509.NameAttribute(NameOID.COMMON_NAME, common_name)] if common_name else []
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name(subject))
    if in_san:
        builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(name) for name in names]), False)
    return builder.sign(private, hashes.SHA256()).public_bytes(Encoding.DER), private


def with_version(csr: bytes, number: int, key: PrivateKey) -> bytes:
    """The same CSR (DER, with version 0) signed again with another number in its version field, as old clients do."""
    read = x509.load_der_x509_csr(csr)
    clear = read.tbs_certrequest_bytes
    begin = csr.index(clear)
    place = clear.index(b"\x02\x01\x00") + 2
    clear = clear[:place] + bytes((number,)) + clear[place + 1 :]
    if isinstance(key, rsa.RSAPrivateKey):
        signature = key.sign(clear, padding.PKCS1v15(), hashes.SHA256())
    else:
        signature = key.sign(clear, ec.ECDSA(hashes.SHA256()))
    algorithm = csr[begin + len(clear) :]
    algorithm = algorithm[: 2 + algorithm[1]]
    return _element(0x30, clear + algorithm + _element(0x03, b"\0" + signature))


def _element(tag: int, content: bytes) -> bytes:
    """An element of DER with less than 65 536 bytes."""
    size = len(content)
    length = bytes((size,)) if size < 0x80 else bytes((0x82, size >> 8, size & 0xFF))
    if 0x80 <= size <= 0xFF:
        length = bytes((0x81, size))
    return bytes((tag,)) + length + content


def _flattened(header: dict[str, Any], payload: bytes, sign: Any) -> bytes:
    protected, body = b64(compact(header)), b64(payload)
    signature = b64(sign(f"{protected}.{body}".encode()))
    return compact({"protected": protected, "payload": body, "signature": signature})


def _number(value: int) -> str:
    return b64(value.to_bytes((value.bit_length() + 7) // 8, "big"))
