"""Keys of the hub's accounts at CAs, and the signatures made with them."""

from acme import challenges, jws, messages
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from josepy.errors import DeserializationError
from josepy.json_util import decode_b64jose
from josepy.jwa import ES256, ES384, ES512, RS256, JWASignature
from josepy.jwk import JWK, JWKEC, JWKRSA

from acmehub.upstream.settings import KeyType


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
        self._jwk, self._algorithm = _load(pem)

    def __repr__(self) -> str:
        return "UpstreamAccountKey(…)"

    def sign(self, payload: bytes, *, url: str, nonce: str, kid: str | None) -> bytes:
        """A flattened JWS (RFC 8555 section 6.2); without `kid`, it contains the public key."""
        signed = jws.JWS.sign(
            payload, key=self._jwk, alg=self._algorithm, nonce=decode_b64jose(nonce), url=url, kid=kid
        )
        return str(signed.json_dumps()).encode()

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


def _load(pem: bytes) -> tuple[JWK, JWASignature]:
    key = serialization.load_pem_private_key(pem, password=None)
    if isinstance(key, rsa.RSAPrivateKey):
        return JWKRSA(key=key), RS256
    if isinstance(key, ec.EllipticCurvePrivateKey):
        algorithms = {"secp256r1": ES256, "secp384r1": ES384, "secp521r1": ES512}
        return JWKEC(key=key), algorithms[key.curve.name]
    raise TypeError(f"an account key must be RSA or elliptic curve, not {type(key).__name__}")
