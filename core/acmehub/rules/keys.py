"""Public keys: accepted types and sizes, and known weaknesses (docs/reliability.md section 5, "CSR").

The checks for weak RSA keys are those of the CA/Browser Forum's Baseline Requirements (6.1.1.3).
"""

import functools
import math
from collections.abc import Collection

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

PublicKey = EllipticCurvePublicKey | RSAPublicKey
"""A key that a certificate may have."""

AccountKey = PublicKey | Ed25519PublicKey
"""A key that may sign requests."""

RSA_BITS = (2048, 4096)
CURVES = {"secp256r1": "P-256", "secp384r1": "P-384", "secp521r1": "P-521"}
TAKEN = f"RSA keys of {RSA_BITS[0]} to {RSA_BITS[1]} bits and EC keys on {', '.join(CURVES.values())} are taken"

_MAX_EXPONENT = 2**256  # NIST SP 800-89 section 5.3.3; larger ones only cost time
_FERMAT_ROUNDS = 100
_SQUARES_MOD_64 = frozenset(n * n % 64 for n in range(64))  # avoids most of the square roots
_ROCA_GENERATOR = 65537
_ROCA_MAX_PRIME = 167  # the primes that go into the generator's modulus for every key size (CVE-2017-15361)
_SMALL_PRIMES_BELOW = 753  # the bound of BR 6.1.1.3: no factor smaller than 752

_FIELD = 2**255 - 19  # of edwards25519, RFC 8032 section 5.1
_EDWARDS_D = -121665 * pow(121666, -1, _FIELD) % _FIELD
_ORDER_8 = 2707385501144840649318225287225658788936804267575313519463743609750303402022
_SMALL_ORDER = frozenset({0, 1, _FIELD - 1, _ORDER_8, _FIELD - _ORDER_8})  # y of the points that 8 times give zero


def type_flaw(key: object) -> str | None:
    """Why a certificate cannot have a key of this type or on this curve; None if it can."""
    if isinstance(key, EllipticCurvePublicKey):
        return None if key.curve.name in CURVES else f"the curve {key.curve.name} is not supported; {TAKEN}"
    if isinstance(key, RSAPublicKey):
        return None
    return f"keys of type {type(key).__name__.removesuffix('PublicKey')} are not supported; {TAKEN}"


def key_flaw(key: object) -> str | None:
    """Why a public key is not accepted (type, curve, size, exponent); None if it is. Cheap."""
    flaw = type_flaw(key)
    if flaw is not None or not isinstance(key, RSAPublicKey):
        return flaw
    least, most = RSA_BITS
    if not least <= key.key_size <= most:
        return f"an RSA key of {key.key_size} bits; {least} to {most} are allowed"
    numbers = key.public_numbers()
    if numbers.e % 2 == 0 or not 2 < numbers.e < _MAX_EXPONENT:
        return "the RSA exponent must be odd, above 2 and below 2^256"
    if numbers.n % 2 == 0:
        return "the RSA modulus is even"
    return None


def ed25519_flaw(octets: bytes) -> str | None:
    """Why the 32 octets of an Ed25519 key are not accepted; None if they are. Takes about 0.1 ms.

    A point of small order is refused: signatures that are valid for any text can be made without its private key.
    """
    y = int.from_bytes(octets, "little") & (2**255 - 1)
    if y >= _FIELD:
        return "'x' is not in its canonical form (RFC 8032 section 5.1.3)"
    above, below = (y * y - 1) % _FIELD, (_EDWARDS_D * y * y + 1) % _FIELD
    if pow(above * below, (_FIELD - 1) // 2, _FIELD) == _FIELD - 1:  # not a square: there is no such point
        return "'x' is not a point of the curve"
    if y in _SMALL_ORDER:
        return "'x' is a point of small order"
    return None


def weakness(key: PublicKey) -> str | None:
    """A known weakness of a key of an accepted type; None if there is none. Takes about 0.1 ms for RSA."""
    if isinstance(key, EllipticCurvePublicKey):
        return None
    modulus = key.public_numbers().n
    if math.gcd(modulus, _small_primes_product()) != 1:
        return "the RSA modulus has a small factor"
    if all(modulus % prime in powers for prime, powers in _roca_residues()):
        return "the RSA key was made by a broken generator (ROCA, CVE-2017-15361)"
    if _close_primes(modulus):
        return "the RSA primes are too close to each other (Fermat factorization)"
    return None


def kind(key: PublicKey) -> str:
    """The name of a key's type and size: `P-256`, `RSA-2048`."""
    if isinstance(key, EllipticCurvePublicKey):
        return CURVES.get(key.curve.name, key.curve.name)
    return f"RSA-{key.key_size}"


def fits(key: PublicKey, kinds: Collection[str]) -> bool:
    """Whether a key is one of these kinds; `RSA` means any size."""
    return kind(key) in kinds or ("RSA" in kinds and isinstance(key, RSAPublicKey))


def spki_of(key: PublicKey) -> bytes:
    """The key's SubjectPublicKeyInfo in DER."""
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _close_primes(modulus: int) -> bool:
    """Whether Fermat's method finds the factors within a few steps: modulus = a^2 - b^2 with a just above its root."""
    a = math.isqrt(modulus - 1) + 1
    for _ in range(_FERMAT_ROUNDS):
        b_squared = a * a - modulus
        if b_squared & 63 in _SQUARES_MOD_64 and math.isqrt(b_squared) ** 2 == b_squared:
            return True
        a += 1
    return False


def _primes(below: int) -> list[int]:
    return [n for n in range(2, below) if all(n % divisor for divisor in range(2, math.isqrt(n) + 1))]


@functools.cache
def _small_primes_product() -> int:
    return math.prod(_primes(_SMALL_PRIMES_BELOW))


@functools.cache
def _roca_residues() -> list[tuple[int, frozenset[int]]]:
    """For each prime, the residues of moduli from the broken generator, whose factors are powers of 65537."""
    return [
        (prime, frozenset(pow(_ROCA_GENERATOR, power, prime) for power in range(prime)))
        for prime in _primes(_ROCA_MAX_PRIME + 1)
    ]
