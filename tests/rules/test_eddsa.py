"""Requests signed with Ed25519: RFC 8032, RFC 8037, RFC 8555 section 6.2."""

import json
from typing import Any

import pytest
from msgspec.structs import replace

from acmehub.models.problems import Problem, ProblemType
from acmehub.rules.jws import (
    ALGORITHMS,
    canonical_jwk,
    decode_base64url,
    encode_base64url,
    load_key,
    parse,
    thumbprint,
    verify,
)
from acmehub.rules.keys import _EDWARDS_D, _FIELD, _SMALL_ORDER, ed25519_flaw, key_flaw
from tests.rules.samples import (
    ec_key,
    ed25519_key,
    flattened,
    header,
    key_for,
    keyed_header,
    public_jwk,
    raw_signature,
    signed,
)

EXAMPLE = {"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}  # RFC 8037 appendix A


def refusal(body: bytes) -> Problem:
    with pytest.raises(Problem) as caught:
        _checked(body)
    return caught.value


def _checked(body: bytes) -> None:
    jws = parse(body)
    verify(jws, load_key(jws.jwk) if jws.jwk else ed25519_key().public_key())


def jwk(**changes: Any) -> bytes:
    return signed(keyed_header("EdDSA") | {"jwk": public_jwk(ed25519_key()) | changes}, algorithm="EdDSA")


def test_the_thumbprint_is_that_of_rfc_8037() -> None:
    assert thumbprint(canonical_jwk(EXAMPLE)) == "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"
    load_key(canonical_jwk(EXAMPLE))


def test_a_signature_is_checked_as_rfc_8037_has_it() -> None:
    protected, payload = b'{"alg":"EdDSA"}', b"Example of Ed25519 signing"
    signature = "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg"
    jws = parse(signed(header("EdDSA"), algorithm="EdDSA"))
    clear = f"{encode_base64url(protected)}.{encode_base64url(payload)}".encode()
    verify(replace(jws, signing_input=clear, signature=decode_base64url(signature)), load_key(canonical_jwk(EXAMPLE)))


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_eddsa_goes_with_an_ed25519_key_only_and_the_other_way_round(algorithm: str) -> None:
    if algorithm == "EdDSA":
        return
    for alg, owner in (("EdDSA", algorithm), (algorithm, "EdDSA")):
        signer = ed25519_key() if alg == "EdDSA" else ec_key() if alg == "ES256" else key_for(alg)
        jws = parse(signed(header(alg), key=signer, algorithm=alg))
        with pytest.raises(Problem) as caught:
            verify(jws, key_for(owner).public_key())
        assert caught.value.type is ProblemType.BAD_SIGNATURE_ALGORITHM
        assert owner in caught.value.detail
        assert caught.value.algorithms == ALGORITHMS


@pytest.mark.parametrize(
    "change",
    [
        {"crv": "Ed448"},
        {"crv": "X25519"},
        {"crv": "P-256"},
        {"crv": None},
        {"crv": ["Ed25519"]},
        {"x": None},
        {"x": ""},
        {"x": encode_base64url(bytes(31))},
        {"x": encode_base64url(bytes(33))},
        {"x": EXAMPLE["x"] + "="},
        {"d": encode_base64url(bytes(32))},
        {"kty": "EC"},
    ],
)
def test_another_key_than_32_octets_on_ed25519_is_a_bad_key(change: dict[str, Any]) -> None:
    assert refusal(jwk(**change)).type is ProblemType.BAD_PUBLIC_KEY


def encoded(y: int, sign: int = 0) -> bytes:
    return (y | sign << 255).to_bytes(32, "little")


@pytest.mark.parametrize("y", sorted(_SMALL_ORDER))
def test_a_point_of_small_order_is_nobodys_key(y: int) -> None:
    for sign in (0, 1):
        problem = refusal(jwk(x=encode_base64url(encoded(y, sign))))
        assert problem.type is ProblemType.BAD_PUBLIC_KEY
        assert "small order" in problem.detail


def test_the_points_of_small_order_are_the_ones_that_eight_times_give_zero() -> None:
    for y in _SMALL_ORDER:
        for _ in range(3):  # the y of twice a point follows from its y alone: x^2 = (y^2 - 1) / (d y^2 + 1)
            x_squared = (y * y - 1) * pow(_EDWARDS_D * y * y + 1, -1, _FIELD) % _FIELD
            y = (y * y + x_squared) * pow(1 - _EDWARDS_D * x_squared * y * y, -1, _FIELD) % _FIELD
        assert y == 1
    assert len(_SMALL_ORDER) == 5


def test_numbers_that_are_no_point_and_forms_that_are_not_canonical_are_refused() -> None:
    assert "not a point" in str(ed25519_flaw(encoded(2)))
    for y in (_FIELD, _FIELD + 1, 2**255 - 1):
        assert "canonical" in str(ed25519_flaw(encoded(y)))
    assert ed25519_flaw(ed25519_key().public_key().public_bytes_raw()) is None


@pytest.mark.parametrize("length", [0, 32, 63, 65, 96])
def test_a_signature_of_another_length_is_refused(length: int) -> None:
    problem = refusal(flattened(json.dumps(keyed_header("EdDSA")), b"", lambda _: bytes(length)))
    assert problem.type is ProblemType.MALFORMED
    assert "64 bytes" in problem.detail


def test_a_signature_by_another_key_is_refused() -> None:
    body = flattened(
        json.dumps(keyed_header("EdDSA")), b"", lambda clear: raw_signature(ed25519_key(1), clear, "EdDSA")
    )
    assert "JWS verification error" in refusal(body).detail


def test_a_signature_whose_second_half_is_not_reduced_is_refused() -> None:
    """RFC 8032 section 5.1.7: else each signature would have a second form."""
    order = 2**252 + 27742317777372353535851937790883648493

    def unreduced(clear: bytes) -> bytes:
        good = raw_signature(ed25519_key(), clear, "EdDSA")
        return good[:32] + (int.from_bytes(good[32:], "little") + order).to_bytes(32, "little")

    assert refusal(flattened(json.dumps(keyed_header("EdDSA")), b"", unreduced)).type is ProblemType.MALFORMED


def test_certificates_are_not_made_for_ed25519_keys() -> None:
    assert "Ed25519 are not supported" in (key_flaw(ed25519_key().public_key()) or "")
