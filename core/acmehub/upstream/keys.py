"""Keys of the hub's accounts at CAs, and the signatures made with them."""

import asyncio
import base64
from collections.abc import Callable

import msgspec
from acme import challenges, messages
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from josepy.errors import DeserializationError
from josepy.json_util import decode_b64jose
from josepy.jwk import JWK, JWKEC, JWKRSA

from acmehub.upstream.settings import KeyType

_QUICK_RSA = 2048  # bits; a signature with 4096 holds the event loop for milliseconds
_CURVES: dict[str, tuple[str, hashes.HashAlgorithm]] = {
    "secp256r1": ("ES256", hashes.SHA256()),
    "secp384r1": ("ES384", hashes.SHA384()),
    "secp521r1": ("ES512", hashes.SHA512()),
}


def new_account_key(kind: KeyType) -> bytes:
    """A new key as PKCS #8 PEM; an RSA key takes some tenths of a second."""
    key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
    if kind.startswith("rsa"):
        key = rsa.generate_private_key(public_exponent=65537, key_size=int(kind.removeprefix("rsa")))
    else:
        key = ec.generate_private_key(ec.SECP384R1() if kind == "ec384" else ec.SECP256R1())
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


class UpstreamAccountKey:
    """The loaded key of an upstream account; its repr does not show it."""

    def __init__(self, pem: bytes) -> None:
        self._algorithm, self._jwk, self._signer, self._is_slow = _load(pem)
        self._public = self._jwk.public_key().to_json()

    def __repr__(self) -> str:
        return "UpstreamAccountKey(…)"

    async def sign(self, payload: bytes, *, url: str, nonce: str, kid: str | None) -> bytes:
        """A flattened JWS (RFC 7515 section 7.2.2, RFC 8555 section 6.2); without `kid`, it has the public key."""
        who = {"kid": kid} if kid is not None else {"jwk": self._public}
        protected = base64url(msgspec.json.encode({"alg": self._algorithm, "nonce": nonce, "url": url, **who}))
        encoded = base64url(payload)
        signature = await self.signature(f"{protected}.{encoded}".encode())
        return msgspec.json.encode({"protected": protected, "payload": encoded, "signature": base64url(signature)})

    async def signature(self, octets: bytes) -> bytes:
        """The signature (RFC 7518 sections 3.3, 3.4) of what a JWS signs; a thread makes one that takes long."""
        return await asyncio.to_thread(self._signer, octets) if self._is_slow else self._signer(octets)

    def binding(self, kid: str, hmac_key: str, new_account_url: str) -> dict[str, object]:
        """The External Account Binding of this key (section 7.3.4); `hmac_key` in base64url."""
        directory = messages.Directory({"newAccount": new_account_url})
        return messages.ExternalAccountBinding.from_data(self._jwk.public_key(), kid, hmac_key, directory)

    def dns01_value(self, token: str) -> str:
        """The value of the TXT record for a challenge's token (section 8.4); `ValueError` if it is not base64url."""
        try:
            challenge = challenges.DNS01(token=decode_b64jose(token))
        except DeserializationError as error:
            raise ValueError("a challenge token must be base64url") from error
        return challenge.validation(self._jwk)


def base64url(octets: bytes) -> str:
    """Base64url without padding (RFC 7515 section 2)."""
    return base64.urlsafe_b64encode(octets).rstrip(b"=").decode()


def _load(pem: bytes) -> tuple[str, JWK, Callable[[bytes], bytes], bool]:
    """A key's algorithm (RFC 7518 section 3.1), the key as JWK, what signs with it, and whether that takes long."""
    key = serialization.load_pem_private_key(pem, password=None)
    if isinstance(key, rsa.RSAPrivateKey):
        return (
            "RS256",
            JWKRSA(key=key),
            lambda signed: key.sign(signed, padding.PKCS1v15(), hashes.SHA256()),
            (key.key_size > _QUICK_RSA),
        )
    if isinstance(key, ec.EllipticCurvePrivateKey):
        name, digest = _CURVES[key.curve.name]
        size = (key.curve.key_size + 7) // 8

        def ecdsa(signed: bytes) -> bytes:
            r, s = decode_dss_signature(key.sign(signed, ec.ECDSA(digest)))
            return r.to_bytes(size, "big") + s.to_bytes(size, "big")

        return name, JWKEC(key=key), ecdsa, False
    raise TypeError(f"an account key must be RSA or elliptic curve, not {type(key).__name__}")
