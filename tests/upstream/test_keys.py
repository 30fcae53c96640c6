"""Signatures with account keys: josepy and the examples of RFC 7515 say what is right."""

import asyncio
import json
import threading
from typing import Any

import pytest
from acme.jws import JWS
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from josepy.json_util import decode_b64jose
from josepy.jwa import ES256, ES384, ES512, RS256
from josepy.jwk import JWK, JWKEC, JWKRSA

from acmehub.upstream.keys import UpstreamAccountKey, base64url, new_account_key
from acmehub.upstream.settings import KeyType

URL = "https://ca.test/new-order"
NONCE = "bm9uY2U"

RFC7515_A2 = {  # the key of appendix A.2.1
    "kty": "RSA",
    "n": (
        "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yR"
        "T-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXB"
        "dQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9ia"
        "GNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ"
    ),
    "e": "AQAB",
    "d": (
        "Eq5xpGnNCivDflJsRQBXHx1hdR1k6Ulwe2JZD50LpXyWPEAeP88vLNO97IjlA7_GQ5sLKMgvfTeXZx9SE-7YwVol2NXOoAJe46su"
        "i395IW_GO-pWJ1O0BkTGoVEn2bKVRUCgu-GjBVaYLU6f3l9kJfFNS3E0QbVdxzubSu3Mkqzjkn439X0M_V51gfpRLI9JYanrC4D4"
        "qAdGcopV_0ZHHzQlBjudU2QvXt4ehNYTCBr6XCLQUShb1juUO1ZdiYoFaFQT5Tw8bGUl_x_jTj3ccPDVZFD9pIuhLhBOneufuBiB"
        "4cS98l2SR_RQyGWSeWjnczT0QU91p1DhOVRuOopznQ"
    ),
}
RFC7515_A2_SIGNED = (
    b"eyJhbGciOiJSUzI1NiJ9"
    b".eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ"
)
RFC7515_A2_SIGNATURE = (
    "cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9"
    "uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB"
    "_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rq"
    "Vt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw"
)
RFC7515_A3 = {  # the key of appendix A.3.1
    "kty": "EC",
    "crv": "P-256",
    "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
    "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
    "d": "jpsQnnGQmL-YBIffH1136cspYG6-0iY7X1fCE9-E9LI",
}
JOSEPY: dict[str, tuple[type[JWK], Any]] = {
    "ec256": (JWKEC, ES256),
    "ec384": (JWKEC, ES384),
    "ec521": (JWKEC, ES512),
    "rsa2048": (JWKRSA, RS256),
}


def pem_of(jwk: dict[str, str]) -> bytes:
    key: Any = JWK.from_json(jwk)
    private = key.key._wrapped if hasattr(key.key, "_wrapped") else key.key
    encoded: bytes = private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return encoded


def new_key(kind: str) -> bytes:
    if kind != "ec521":
        return new_account_key(kind)  # type: ignore[arg-type]
    return ec.generate_private_key(ec.SECP521R1()).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


async def test_the_signature_of_rfc_7515_a_2_is_made() -> None:
    assert base64url(await UpstreamAccountKey(pem_of(RFC7515_A2)).signature(RFC7515_A2_SIGNED)) == RFC7515_A2_SIGNATURE


async def test_a_signature_with_the_key_of_rfc_7515_a_3_is_one_of_64_octets_that_josepy_accepts() -> None:
    signed = RFC7515_A2_SIGNED.replace(b"eyJhbGciOiJSUzI1NiJ9", b"eyJhbGciOiJFUzI1NiJ9")
    public: Any = JWK.from_json(RFC7515_A3)
    for _ in range(300):  # r and s begin with a zero octet now and then
        signature = await UpstreamAccountKey(pem_of(RFC7515_A3)).signature(signed)
        assert len(signature) == 64
        assert ES256.verify(public.public_key().key, signed, signature)


@pytest.mark.parametrize("kid", ["https://ca.test/account/7", None])
@pytest.mark.parametrize("kind", JOSEPY)
async def test_a_signed_request_is_as_acme_makes_it(kind: str, kid: str | None) -> None:
    pem = new_key(kind)
    made_of, algorithm = JOSEPY[kind]
    jwk: Any = made_of(key=serialization.load_pem_private_key(pem, password=None))
    for payload in (b"", b'{"csr":"\xc3\xa9"}'):
        oracle = json.loads(
            JWS.sign(payload, key=jwk, alg=algorithm, nonce=decode_b64jose(NONCE), url=URL, kid=kid).json_dumps()
        )
        found = json.loads(await UpstreamAccountKey(pem).sign(payload, url=URL, nonce=NONCE, kid=kid))
        assert found.keys() == {"protected", "payload", "signature"}
        assert found["payload"] == oracle["payload"]
        assert json.loads(decode_b64jose(found["protected"])) == json.loads(decode_b64jose(oracle["protected"]))
        assert JWS.from_json({**found, "header": {}}).verify(jwk.public_key())
        assert not JWS.from_json({**found, "header": {}, "payload": base64url(b"another")}).verify(jwk.public_key())


@pytest.mark.parametrize(("kind", "in_a_thread"), [("rsa2048", False), ("rsa3072", True), ("ec384", False)])
async def test_only_a_signature_that_takes_long_leaves_the_event_loop(
    kind: KeyType, in_a_thread: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[threading.Thread] = []
    to_thread = asyncio.to_thread

    async def counted(*arguments: Any) -> Any:
        made.append(threading.current_thread())
        return await to_thread(*arguments)

    key = UpstreamAccountKey(new_account_key(kind))
    monkeypatch.setattr(asyncio, "to_thread", counted)
    assert await key.signature(b"octets")
    assert bool(made) is in_a_thread
