"""Certificate requests and chains for the tests, good and odd ones; what the library will not build is put together
byte by byte."""

import functools
import math
import secrets
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID

from tests.rules.samples import NOW, PrivateKey, ec_key

SHA256 = hashes.SHA256()


def common_names(*names: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name) for name in names])


def dns_names(*names: str) -> x509.SubjectAlternativeName:
    return x509.SubjectAlternativeName([x509.DNSName(name) for name in names])


def request(
    *names: str,
    cn: Sequence[str] = (),
    key: Any = None,
    extensions: Sequence[tuple[x509.ExtensionType, bool]] = (),
    digest: Any = SHA256,
    subject: x509.Name | None = None,
) -> bytes:
    builder = x509.CertificateSigningRequestBuilder().subject_name(subject or common_names(*cn))
    if names:
        builder = builder.add_extension(dns_names(*names), critical=False)
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical=critical)
    return builder.sign(key or ec_key("ES256", 7), digest).public_bytes(Encoding.DER)


# ------------------------------------------------------------------------------------------------- byte by byte


def tlv(tag: int, *content: bytes) -> bytes:
    body = b"".join(content)
    size = len(body)
    length = (
        bytes([size]) if size < 128 else bytes([0x81, size]) if size < 256 else bytes([0x82, size >> 8, size & 255])
    )
    return bytes([tag]) + length + body


def oid(dotted: str) -> bytes:
    first, second, *rest = map(int, dotted.split("."))
    body = bytearray([first * 40 + second])
    for number in rest:
        groups = [number & 127]
        while number := number >> 7:
            groups.append(number & 127 | 128)
        body += bytes(reversed(groups))
    return tlv(0x06, bytes(body))


def extension(dotted: str, value: bytes, critical: bool = False) -> bytes:
    return tlv(0x30, oid(dotted), tlv(0x01, b"\xff") if critical else b"", tlv(0x04, value))


def alternative_names(*names: bytes) -> bytes:
    return extension("2.5.29.17", tlv(0x30, *(tlv(0x82, name) for name in names)))


def extension_list(*extensions: bytes, kind: str = "1.2.840.113549.1.9.14") -> bytes:
    return tlv(0x30, oid(kind), tlv(0x31, tlv(0x30, *extensions)))


def common_name(value: bytes, tag: int = 0x0C) -> bytes:
    return tlv(0x31, tlv(0x30, oid("2.5.4.3"), tlv(tag, value)))


def raw_request(*attributes: bytes, subject: bytes = b"", spki: bytes = b"") -> bytes:
    owner = ec_key("ES256", 7)
    spki = spki or owner.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    clear = tlv(0x30, tlv(0x02, b"\0"), tlv(0x30, subject), spki, tlv(0xA0, *sorted(attributes)))
    signature = owner.sign(clear, ec.ECDSA(SHA256))
    return tlv(0x30, clear, tlv(0x30, oid("1.2.840.10045.4.3.2")), tlv(0x03, b"\0" + signature))


def rsa_spki(modulus: int, exponent: int) -> bytes:
    numbers = [tlv(0x02, number.to_bytes(number.bit_length() // 8 + 1, "big")) for number in (modulus, exponent)]
    kind = tlv(0x30, oid("1.2.840.113549.1.1.1"), tlv(0x05))
    return tlv(0x30, kind, tlv(0x03, b"\0", tlv(0x30, *numbers)))


# ---------------------------------------------------------------------------------------------------- weak keys


def is_prime(number: int) -> bool:
    """By Fermat's test with a few bases: enough for a number drawn at random."""
    if math.gcd(number, 2 * 3 * 5 * 7 * 11 * 13 * 17 * 19 * 23) > 1:
        return False
    return all(pow(base, number - 1, number) == 1 for base in (2, 3, 5, 7))


def next_prime(number: int) -> int:
    number |= 1
    while not is_prime(number) or math.gcd(number - 1, 65537) > 1:
        number += 2
    return number


def key_of_primes(p: int, q: int) -> rsa.RSAPrivateKey:
    d = pow(65537, -1, math.lcm(p - 1, q - 1))
    public = rsa.RSAPublicNumbers(65537, p * q)
    crt = (rsa.rsa_crt_dmp1(d, p), rsa.rsa_crt_dmq1(d, q), rsa.rsa_crt_iqmp(p, q))
    return rsa.RSAPrivateNumbers(p, q, d, *crt, public).private_key(unsafe_skip_rsa_key_validation=True)


@functools.cache
def close_primes_key() -> rsa.RSAPrivateKey:
    p = next_prime(secrets.randbits(1024) | 3 << 1022)
    return key_of_primes(next_prime(p + 2), p)


@functools.cache
def small_factor_key() -> rsa.RSAPrivateKey:
    return key_of_primes(next_prime(secrets.randbits(2048) | 3 << 2046), 751)


@functools.cache
def roca_key() -> rsa.RSAPrivateKey:
    """As the broken generator makes them: primes of the form k * M + 65537^a mod M, M a product of the first primes."""
    product = math.prod(n for n in range(2, 168) if all(n % d for d in range(2, math.isqrt(n) + 1)))

    def prime() -> int:
        while True:
            factor = (3 << 1022) // product + 1 + secrets.randbelow((1 << 1022) // product - 1)  # both top bits set
            number = factor * product + pow(65537, secrets.randbits(100), product)
            if is_prime(number) and math.gcd(number - 1, 65537) == 1:
                return number

    return key_of_primes(prime(), prime())


# ------------------------------------------------------------------------------------------------------- chains


def certificate(
    subject: x509.Name,
    key: Any,
    issuer: x509.Name,
    issuer_key: PrivateKey,
    extensions: Sequence[x509.ExtensionType] = (),
    begins: datetime = NOW - timedelta(hours=1),
    ends: datetime = NOW + timedelta(days=90),
    serial: int = 0xABC,
) -> x509.Certificate:
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(serial)
        .not_valid_before(begins)
        .not_valid_after(ends)
    )
    for item in extensions:
        builder = builder.add_extension(item, critical=False)
    return builder.sign(issuer_key, SHA256)


def ca_certificate(name: str = "Issuing CA", key: PrivateKey | None = None, **fields: Any) -> x509.Certificate:
    owner = key or ec_key("ES256", 8)
    fields = {"extensions": [x509.BasicConstraints(ca=True, path_length=None)], **fields}
    return certificate(common_names(name), owner.public_key(), common_names("Root"), ec_key("ES256", 9), **fields)


def leaf_certificate(
    *names: str, key: PrivateKey | None = None, cn: Sequence[str] = (), **fields: Any
) -> x509.Certificate:
    fields = {"extensions": [dns_names(*names)] if names else [], "issuer_key": ec_key("ES256", 8), **fields}
    owner = key or ec_key("ES256", 7)
    return certificate(common_names(*cn), owner.public_key(), common_names("Issuing CA"), **fields)


def pem(*certificates: x509.Certificate) -> str:
    return "".join(item.public_bytes(Encoding.PEM).decode() for item in certificates)
