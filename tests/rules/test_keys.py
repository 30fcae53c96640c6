"""Which public keys are taken, and which are known to be breakable."""

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa, x25519
from cryptography.hazmat.primitives.serialization import load_der_public_key

from acmehub.rules.keys import fits, key_flaw, kind, weakness
from tests.rules.certificates import close_primes_key, roca_key, rsa_spki, small_factor_key
from tests.rules.samples import ec_key, rsa_key


@pytest.mark.parametrize("algorithm", ["ES256", "ES384", "ES512"])
def test_the_curves_of_jose_are_taken(algorithm: str) -> None:
    key = ec_key(algorithm).public_key()
    assert key_flaw(key) is None
    assert weakness(key) is None


@pytest.mark.parametrize(("bits", "exponent"), [(2048, 65537), (2048, 3), (3072, 65537), (4096, 65537)])
def test_rsa_keys_of_usual_sizes_are_taken(bits: int, exponent: int) -> None:
    key = rsa_key(bits, exponent).public_key()
    assert key_flaw(key) is None
    assert weakness(key) is None


def test_other_kinds_and_curves_are_not() -> None:
    kinds = [ed25519.Ed25519PrivateKey.generate().public_key(), x25519.X25519PrivateKey.generate().public_key(), "key"]
    flaws = [key_flaw(key) or "" for key in kinds]
    assert [flaw.split("; ")[0] for flaw in flaws] == [
        f"keys of type {name} are not supported" for name in ("Ed25519", "X25519", "str")
    ]
    taken = "RSA keys of 2048 to 4096 bits and EC keys on P-256, P-384, P-521 are taken"
    assert {flaw.split("; ")[1] for flaw in flaws} == {taken}
    assert "secp192r1" in (key_flaw(ec.generate_private_key(ec.SECP192R1()).public_key()) or "")


@pytest.mark.parametrize("exponent", [65536, 2**256, 2**256 + 1, 2**64 * 3])
def test_an_exponent_that_is_even_or_huge_is_refused(exponent: int) -> None:
    key = _loaded(rsa_key().public_key().public_numbers().n, exponent)
    if key is not None:  # what the library refuses by itself never gets here
        assert "exponent" in (key_flaw(key) or "")


def _loaded(modulus: int, exponent: int) -> rsa.RSAPublicKey | None:
    try:
        key = load_der_public_key(rsa_spki(modulus, exponent))
    except ValueError:
        return None
    assert isinstance(key, rsa.RSAPublicKey)
    return key


def test_the_known_weaknesses_are_told_apart() -> None:
    assert "ROCA" in (weakness(roca_key().public_key()) or "")
    assert "close" in (weakness(close_primes_key().public_key()) or "")
    assert "small factor" in (weakness(small_factor_key().public_key()) or "")


def test_sound_keys_are_never_called_weak() -> None:
    for _ in range(5):
        assert weakness(rsa.generate_private_key(65537, 2048).public_key()) is None


def test_a_key_is_of_its_kind_and_rsa_stands_for_every_size() -> None:
    curve, rsa_2048 = ec_key("ES384").public_key(), rsa_key(2048).public_key()
    assert (kind(curve), kind(rsa_2048)) == ("P-384", "RSA-2048")
    assert fits(curve, ["P-384"])
    assert not fits(curve, ["P-256", "RSA"])
    assert fits(rsa_2048, ["RSA"])
    assert not fits(rsa_2048, ["RSA-3072", "P-384"])
