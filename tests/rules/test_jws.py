"""The strict verifier of signed requests: RFC 7515, RFC 8555 section 6.2, docs/reliability.md section 5."""

import json
import time
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from hypothesis import given, settings
from hypothesis import strategies as st

from acmehub.models.problems import Problem, ProblemType
from acmehub.rules.jws import (
    ALGORITHMS,
    MAX_BODY,
    canonical_jwk,
    decode_base64url,
    encode_base64url,
    jwk_of,
    load_key,
    parse,
    read_flattened,
    thumbprint,
    verify,
)
from tests.rules.samples import (
    KID,
    NONCE,
    URL,
    ec_key,
    flattened,
    header,
    key_for,
    keyed_header,
    number_text,
    public_jwk,
    raw_signature,
    rsa_key,
    signed,
)


def accept(body: bytes) -> None:
    """What the server does with a body: read it, and verify it with the key that it carries, or the account's."""
    jws = parse(body)
    verify(jws, load_key(jws.jwk) if jws.jwk else ec_key().public_key())


def refusal(body: bytes) -> Problem:
    with pytest.raises(Problem) as caught:
        accept(body)
    assert caught.value.detail
    assert caught.value.detail.isascii()
    return caught.value


def assert_malformed(body: bytes, *words: str) -> None:
    problem = refusal(body)
    assert problem.type is ProblemType.MALFORMED
    for word in words:
        assert word in problem.detail


# ------------------------------------------------------------------------------------------------ what is taken


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_request_with_its_own_key_is_read_and_verified(algorithm: str) -> None:
    jws = parse(signed(keyed_header(algorithm), b'{"a":1}', algorithm=algorithm))
    assert (jws.alg, jws.nonce, jws.url, jws.kid, jws.payload) == (algorithm, NONCE, URL, None, b'{"a":1}')
    assert jws.jwk is not None
    verify(jws, load_key(jws.jwk))


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_request_of_an_account_is_read_and_verified(algorithm: str) -> None:
    jws = parse(signed(header(algorithm), b"", algorithm=algorithm))
    assert (jws.kid, jws.jwk, jws.payload) == (KID, None, b"")
    verify(jws, key_for(algorithm).public_key())


def test_unknown_header_parameters_are_ignored() -> None:
    assert parse(signed(header(typ="JOSE", x={"a": [1]}))).kid == KID


def test_escaped_slashes_in_the_header_are_read() -> None:
    text = json.dumps(header()).replace("/", "\\/")
    assert parse(flattened(text, b"", lambda clear: raw_signature(ec_key(), clear, "ES256"))).url == URL


def test_blanks_around_the_members_do_no_harm() -> None:
    assert parse(json.dumps(json.loads(signed()), indent=3).encode()).url == URL


# ----------------------------------------------------------------------------------------------- the outer form


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b"{}",
        b'"x"',
        b"\xff\xfe",
        b"{" * 1000,
        b"[" * 60_000,
        b'{"protected":"","payload":""}',
        b'{"protected":"","payload":"","signature":null}',
        b'{"protected":"","payload":"","signature":1}',
        b'{"protected":"\xff","payload":"","signature":""}',
        b"eyJhbGciOiJFUzI1NiJ9.e30.AAAA",
    ],
)
def test_what_is_not_a_flattened_jws_is_malformed(body: bytes) -> None:
    assert_malformed(body)


@pytest.mark.parametrize(
    "member", [{"header": {"nonce": NONCE}}, {"header": {}}, {"header": ""}, {"signatures": []}, {"x": 1}, {"x": None}]
)
def test_further_members_such_as_an_unprotected_header_are_refused(member: dict[str, Any]) -> None:
    assert_malformed(signed(**member), "flattened JWS")


@pytest.mark.parametrize("name", ["protected", "payload", "signature"])
def test_a_member_that_stands_there_twice_is_refused(name: str) -> None:
    once = signed()
    value = json.loads(once)[name]
    for twice in (f'"{name}":"{value}"', f'"\\u{ord(name[0]):04x}{name[1:]}":"{value}"', f'"{name}":"e30"'):
        assert_malformed(once[:-1] + f",{twice}}}".encode(), "twice")


def test_null_for_the_unprotected_header_hides_no_second_member() -> None:
    assert parse(signed(header=None)).url == URL
    for more in ('"header":null', '"payload":"e30"', '"payload":null', '"payload":0'):
        with pytest.raises(Problem, match="flattened JWS"):
            parse(signed(header=None)[:-1] + f",{more}}}".encode())


def test_an_escaped_member_name_does_not_hide_a_duplicate_behind_a_missing_one() -> None:
    body = signed().replace(b'"payload"', b'"p\\u0061yload"')
    assert parse(body).url == URL


def test_a_large_body_is_refused_unread_with_413() -> None:
    problem = refusal(b"x" * (MAX_BODY + 1))
    assert (problem.type, problem.status) == (ProblemType.MALFORMED, 413)


@pytest.mark.parametrize("name", ["protected", "payload", "signature"])
@pytest.mark.parametrize("spoil", ["=", "==", "\\n", " ", "!", "+", "/", "."])
def test_base64url_with_padding_or_other_characters_is_refused(name: str, spoil: str) -> None:
    body = json.loads(signed())
    body[name] = body[name][:4] + spoil + body[name][4:]
    text = json.dumps(body).replace("\\\\n", "\\n")
    assert_malformed(text.encode(), name, "base64url")


def test_a_payload_with_stray_bits_is_refused() -> None:
    body = json.loads(signed(payload=b"a"))
    assert body["payload"] == "YQ"
    body["payload"] = "YR"
    assert_malformed(json.dumps(body).encode(), "payload")


# --------------------------------------------------------------------------------------------------- the header


def with_header(text: str | bytes) -> bytes:
    return flattened(text, b"", lambda clear: raw_signature(ec_key(), clear, "ES256"))


@pytest.mark.parametrize("text", ["", "[]", "1", "null", '"a"', "{", '{"alg":', b"\xff", "[" * 40_000, "{}x"])
def test_a_header_that_is_no_object_is_refused(text: str | bytes) -> None:
    assert_malformed(with_header(text))


def test_a_header_in_utf16_is_refused() -> None:
    assert_malformed(with_header(json.dumps(header()).encode("utf-16")), "not UTF-8")


@pytest.mark.parametrize("name", ["alg", "nonce", "url", "kid", "x"])
def test_a_header_parameter_that_stands_there_twice_is_refused(name: str) -> None:
    text = json.dumps(header(x=1))[:-1] + f',"{name}":"ES256"}}'
    assert_malformed(with_header(text), "twice")


def test_a_member_of_the_key_that_stands_there_twice_is_refused() -> None:
    assert_malformed(with_header(json.dumps(keyed_header()).replace('"kty"', '"x":"AA","kty"')), "twice")


@pytest.mark.parametrize("name", ["crit", "b64"])
@pytest.mark.parametrize("value", [[], ["exp"], False, True])
def test_crit_and_b64_are_refused(name: str, value: object) -> None:
    assert_malformed(signed(header() | {name: value}), name)


@pytest.mark.parametrize("name", ["alg", "url", "kid", "nonce"])
@pytest.mark.parametrize("value", [1, [], {}, True])
def test_parameters_of_another_type_than_text_are_refused(name: str, value: object) -> None:
    assert_malformed(signed(header() | {name: value}), name)


@pytest.mark.parametrize("name", ["alg", "url"])
def test_a_missing_parameter_is_named(name: str) -> None:
    members = header()
    del members[name]
    assert_malformed(signed(members), name)


def test_a_missing_nonce_is_a_bad_nonce_so_that_clients_try_again() -> None:
    members = header()
    del members["nonce"]
    problem = refusal(signed(members))
    assert problem.type is ProblemType.BAD_NONCE
    assert "invalid anti-replay" not in problem.detail


@pytest.mark.parametrize("nonce", ["", "a", "a b", "AA==", "AB", "ä"])
def test_a_nonce_that_is_not_base64url_is_malformed(nonce: str) -> None:
    assert_malformed(signed(header() | {"nonce": nonce}), "nonce")


def test_exactly_one_of_jwk_and_kid_is_needed() -> None:
    both = keyed_header() | {"kid": KID}
    neither = header()
    del neither["kid"]
    for members in (both, neither):
        assert_malformed(signed(members), "exactly one")


@pytest.mark.parametrize("alg", ["none", "HS256", "RS384", "PS256", "Ed25519", "es256", "", "ES256K", "\u00e9" * 100])
def test_other_algorithms_are_refused_with_the_list_of_ours(alg: str) -> None:
    problem = refusal(signed(header() | {"alg": alg}))
    assert problem.type is ProblemType.BAD_SIGNATURE_ALGORITHM
    assert problem.document().algorithms == ALGORITHMS


# ------------------------------------------------------------------------------------------------------ the key


def assert_bad_key(jwk: object, word: str = "") -> None:
    problem = refusal(signed(keyed_header() | {"jwk": jwk}))
    assert problem.type is ProblemType.BAD_PUBLIC_KEY
    assert word in problem.detail


@pytest.mark.parametrize("jwk", [False, 1, "x", [], {}, {"kty": None}, {"kty": "oct", "x": "AA"}, {"kty": "OKP"}])
def test_what_is_not_an_rsa_or_ec_key_is_refused(jwk: object) -> None:
    assert_bad_key(jwk)


@pytest.mark.parametrize("member", ["d", "p", "q", "dp", "dq", "qi", "oth", "k"])
def test_a_private_member_is_refused_whatever_it_holds(member: str) -> None:
    for key in (ec_key(), rsa_key()):
        values: tuple[object, ...] = ("", 0, "AA", {})
        for value in values:
            assert_bad_key(public_jwk(key) | {member: value}, "private")


@pytest.mark.parametrize("change", [{"crv": "P-384"}, {"crv": "secp256k1"}, {"crv": None}, {"crv": ["P-256"]}])
def test_an_ec_key_of_another_curve_than_its_numbers_is_refused(change: dict[str, Any]) -> None:
    assert_bad_key(public_jwk(ec_key()) | change)


@pytest.mark.parametrize("value", [None, 7, "", "AA", "AA==", encode_base64url(bytes(33)), encode_base64url(bytes(31))])
@pytest.mark.parametrize("name", ["x", "y"])
def test_a_coordinate_of_another_length_is_refused(name: str, value: object) -> None:
    assert_bad_key(public_jwk(ec_key()) | {name: value}, name)


def test_a_point_that_is_not_on_the_curve_is_refused() -> None:
    assert_bad_key(public_jwk(ec_key()) | {"x": encode_base64url(bytes(32))}, "numbers")


def test_rsa_numbers_must_be_canonical() -> None:
    jwk = public_jwk(rsa_key())
    for name in ("n", "e"):
        padded = encode_base64url(b"\0" + decode_base64url(jwk[name]))
        assert_bad_key(jwk | {name: padded}, "leading zeros")
        for value in ("", "A!", None):
            assert_bad_key(jwk | {name: value}, name)


@pytest.mark.parametrize("exponent", [1, 2, 4, 65536, 2**256 + 1])
def test_an_rsa_exponent_that_is_even_or_small_or_huge_is_refused(exponent: int) -> None:
    assert_bad_key(public_jwk(rsa_key()) | {"e": number_text(exponent)})


@pytest.mark.parametrize("bits", [512, 1024, 2047, 4097, 16384])
def test_an_rsa_key_outside_2048_to_4096_bits_is_refused(bits: int) -> None:
    assert_bad_key({"kty": "RSA", "n": number_text(2**bits - 1), "e": "AQAB"}, "bits")


def test_an_even_rsa_modulus_is_refused() -> None:
    assert_bad_key({"kty": "RSA", "n": number_text(2**2047), "e": "AQAB"})


def test_a_4096_bit_key_with_exponent_3_is_taken() -> None:
    load_key(canonical_jwk({"kty": "RSA", "n": number_text(2**4096 - 1), "e": "Aw"}))


# ------------------------------------------------------------------------------------------------ the signature


@pytest.mark.parametrize("algorithm", ["ES256", "ES384", "ES512"])
@pytest.mark.parametrize("owner", ALGORITHMS)
def test_an_algorithm_goes_with_one_kind_of_key_only(algorithm: str, owner: str) -> None:
    if algorithm == owner:
        return
    jws = parse(signed(header(algorithm), key=ec_key(algorithm), algorithm=algorithm))
    with pytest.raises(Problem) as caught:
        verify(jws, key_for(owner).public_key())
    assert caught.value.type is ProblemType.BAD_SIGNATURE_ALGORITHM
    assert owner in caught.value.detail


def test_es256_made_with_a_p384_key_is_refused() -> None:
    members = keyed_header("ES384") | {"alg": "ES256"}
    body = flattened(json.dumps(members), b"{}", lambda clear: raw_signature(ec_key("ES384"), clear, "ES256"))
    assert refusal(body).type is ProblemType.BAD_SIGNATURE_ALGORITHM


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_changed_request_does_not_verify(algorithm: str) -> None:
    body = json.loads(signed(keyed_header(algorithm), b'{"a":1}', algorithm=algorithm))
    body["payload"] = encode_base64url(b'{"a":2}')
    assert_malformed(json.dumps(body).encode(), "JWS verification error")


@pytest.mark.parametrize("algorithm", ["ES256", "ES384", "ES512"])
def test_a_signature_of_another_length_is_refused(algorithm: str) -> None:
    good = raw_signature(ec_key(algorithm), b"x", algorithm)
    half = len(good) // 2
    padded = b"\0" + good[:half] + b"\0" + good[half:]
    for signature in (b"", good[:-1], good + b"\0", padded, good[:half]):
        body = flattened(json.dumps(keyed_header(algorithm)), b"", lambda _, made=signature: made)
        assert_malformed(body, "bytes")


def test_a_der_signature_is_refused() -> None:
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec

    body = flattened(json.dumps(keyed_header()), b"", lambda clear: ec_key().sign(clear, ec.ECDSA(hashes.SHA256())))
    assert_malformed(body, "JWS verification error")


@pytest.mark.parametrize("signature", [bytes(64), b"\xff" * 64, bytes(63) + b"\1"])
def test_absurd_numbers_in_a_signature_are_refused(signature: bytes) -> None:
    assert_malformed(flattened(json.dumps(keyed_header()), b"", lambda _: signature), "JWS verification error")


def test_a_signature_by_another_key_is_refused() -> None:
    assert_malformed(signed(keyed_header(), key=ec_key("ES256", 1)), "JWS verification error")


# ------------------------------------------------------------------------------------ thumbprints and base64url


def test_the_thumbprint_is_that_of_rfc_7638() -> None:
    jwk = {  # the example of RFC 7638 section 3.1
        "kty": "RSA",
        "n": "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiF"
        "V4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZ"
        "Hzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awa"
        "pJzKnqDKgw",
        "e": "AQAB",
        "alg": "RS256",
        "kid": "2011-04-29",
    }
    assert thumbprint(canonical_jwk(jwk)) == "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_the_jwk_of_a_key_is_the_canonical_form_of_the_one_that_was_sent(algorithm: str) -> None:
    sent = canonical_jwk(public_jwk(key_for(algorithm)))
    key = load_key(sent)
    assert isinstance(key, Ed25519PublicKey) or jwk_of(key) == sent  # no certificate has such a key
    assert json.dumps(json.loads(sent), sort_keys=True, separators=(",", ":")).encode() == sent


@given(st.binary(max_size=200))
def test_base64url_goes_both_ways(clear: bytes) -> None:
    assert decode_base64url(encode_base64url(clear)) == clear
    assert decode_base64url(encode_base64url(clear).encode()) == clear


@given(st.text("AZaz09-_+/=. \n\u00e9", max_size=12))
def test_only_one_text_decodes_to_the_same_bytes(text: str) -> None:
    try:
        clear = decode_base64url(text)
    except ValueError:
        return
    assert encode_base64url(clear) == text


# --------------------------------------------------------------------------------------------------- hostile input

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=8,
)
MEMBERS = ("nonce", "url", "kid", "jwk", "crit", "b64", "kty", "crv", "x", "y", "e", "n")


def only_a_problem(body: bytes) -> None:
    began = time.thread_time()
    problem: Problem | None = None
    try:
        accept(body)
    except Problem as refused:
        problem = refused
    assert problem is None or (problem.status < 500 and problem.detail.isascii())
    assert time.thread_time() - began < 1.0


@given(st.binary(max_size=300))
def test_any_bytes_are_a_problem_and_nothing_else(body: bytes) -> None:
    only_a_problem(body)


@given(st.fixed_dictionaries({}, optional=dict.fromkeys(("protected", "payload", "signature", "header"), JSON)))
def test_any_json_is_a_problem_and_nothing_else(body: dict[str, Any]) -> None:
    only_a_problem(json.dumps(body).encode("utf-8", "surrogatepass"))


@settings(max_examples=200)
@given(
    st.fixed_dictionaries({"alg": st.sampled_from(ALGORITHMS)}, optional=dict.fromkeys(MEMBERS, JSON)),
    st.fixed_dictionaries(
        {"kty": st.sampled_from(["EC", "RSA"]), "crv": st.sampled_from(["P-256", "P-521"])},
        optional={name: JSON | st.binary(max_size=70).map(encode_base64url) for name in ("x", "y", "n", "e")},
    ),
    st.binary(max_size=140),
)
def test_any_header_is_a_problem_and_nothing_else(members: dict[str, Any], jwk: Any, signature: bytes) -> None:
    for chosen in (members, {"alg": members["alg"], "nonce": NONCE, "url": URL, "jwk": jwk}):
        only_a_problem(flattened(json.dumps(chosen), b"{}", lambda _: signature))


@given(st.data())
def test_a_good_request_with_some_bytes_changed_is_never_taken(data: st.DataObject) -> None:
    body = bytearray(signed(keyed_header()))
    position = data.draw(st.integers(0, len(body) - 1))
    body[position] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(Problem):
        accept(bytes(body))


def test_a_huge_number_in_the_header_is_refused_quickly() -> None:
    began = time.thread_time()
    assert_malformed(with_header('{"alg":' + "9" * 45_000 + "}"))
    assert time.thread_time() - began < 0.5


def test_flattened_parts_are_what_stood_there() -> None:
    parts = read_flattened(signed(header(), b'{"x":1}'))
    assert parts.header == header()
    assert parts.payload == b'{"x":1}'
