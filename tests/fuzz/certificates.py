"""Fuzzing of DER: certificate requests of clients, and chains of CAs."""

import functools
from base64 import b64encode
from ipaddress import IPv4Address
from random import Random

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from acmehub.models.identifiers import Identifier
from acmehub.models.problems import Problem
from acmehub.rules.chains import ChainMismatch, check_leaf
from acmehub.rules.csr import check_csr
from tests.fuzz.mutation import LARGEST, elements, mutate_bytes, mutate_der, wrapped
from tests.fuzz.running import Target, refusal, words
from tests.rules.certificates import (
    alternative_names,
    ca_certificate,
    common_name,
    extension,
    extension_list,
    leaf_certificate,
    pem,
    raw_request,
    request,
    tlv,
)
from tests.rules.samples import NOW, ec_key, rsa_key

A = "a.corp.test"
NAMES = (Identifier("dns", A),)
ACCOUNT = b'{"crv":"P-256","kty":"EC","x":"x","y":"y"}'
SERVER_USE = tlv(0x30, tlv(0x06, b"+\x06\x01\x05\x05\x07\x03\x01"))
USAGE = x509.KeyUsage(True, False, True, False, False, False, False, False, False)
STAPLE = x509.TLSFeature([x509.TLSFeatureType.status_request])


@functools.cache
def requests() -> tuple[bytes, ...]:
    """Good requests of every kind that clients make, and odd ones with more kinds of names and extensions."""
    kinds = [
        x509.DNSName(A), x509.IPAddress(IPv4Address("127.0.0.1")), x509.RFC822Name("a@corp.test"),
        x509.UniformResourceIdentifier("https://a.corp.test/"), x509.RegisteredID(x509.ObjectIdentifier("1.2.3")),
        x509.DirectoryName(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, A)])),
    ]  # fmt: skip
    return (
        request(A),
        request(A, cn=[A], extensions=[(USAGE, True), (STAPLE, False)]),
        request(cn=[A]),
        request(A, key=rsa_key()),
        request(A, extensions=[(x509.BasicConstraints(ca=False, path_length=None), True)]),
        request(cn=[A], extensions=[(x509.SubjectAlternativeName(kinds), False)]),
        raw_request(
            extension_list(alternative_names(A.encode()), extension("2.5.29.37", SERVER_USE)),
            extension_list(alternative_names(A.encode()), kind="1.3.6.1.4.1.311.2.1.14"),
            subject=common_name(A.encode()),
        ),
    )  # fmt: skip


def make_csr(chance: Random) -> bytes:
    """A damaged request; half of those whose body was changed are signed again, so that they are read to the end."""
    good = chance.choice(requests())
    data = mutate_der(chance, good) if chance.random() < 0.7 else mutate_bytes(chance, good)
    return _signed_again(data) if chance.random() < 0.5 else data


def _signed_again(der: bytes) -> bytes:
    """The same body with a signature of the P-256 key that most samples carry."""
    body = next((item for item in elements(der) if item[0] > 0), None)
    if body is None:
        return der
    clear = der[body[0] : body[2]]
    signature = ec_key("ES256", 7).sign(clear, ec.ECDSA(hashes.SHA256()))
    algorithm = wrapped(0x30, b"\x06\x08\x2a\x86\x48\xce\x3d\x04\x03\x02")
    return wrapped(0x30, clear + algorithm + wrapped(0x03, b"\0" + signature))[:LARGEST]


def take_csr(der: bytes) -> str:
    """As finalize does."""
    try:
        checked = check_csr(der, NAMES, ACCOUNT)
    except Problem as problem:
        return refusal(problem)
    assert checked.names == (A,)
    assert checked.der == der
    return "taken"


@functools.cache
def chains() -> tuple[tuple[bytes, ...], ...]:
    """Chains as DER, leaf first."""
    leaves = (leaf_certificate(A), leaf_certificate(A, cn=[A]))
    above = (ca_certificate(),)
    return tuple(tuple(item.public_bytes(Encoding.DER) for item in (leaf, *above)) for leaf in leaves)


def make_chain(chance: Random) -> bytes:
    """A chain with a damaged certificate, or with damage to its text."""
    parts = list(chance.choice(chains()))
    if chance.random() < 0.8:
        at = chance.randrange(len(parts))
        parts[at] = mutate_der(chance, parts[at]) if chance.random() < 0.7 else mutate_bytes(chance, parts[at])
    if chance.random() < 0.1:
        parts *= chance.choice((2, 5, 20))
    text = b"".join(_pem(part) for part in parts)
    return mutate_bytes(chance, text) if chance.random() < 0.3 else text


def _pem(der: bytes) -> bytes:
    return b"-----BEGIN CERTIFICATE-----\n" + b64encode(der) + b"\n-----END CERTIFICATE-----\n"


def take_chain(data: bytes) -> str:
    """As the last step of issuance does."""
    try:
        leaf = check_leaf(data.decode("latin-1"), requests()[0], NAMES, NOW)
    except ChainMismatch as mismatch:
        return words(mismatch.detail)
    assert leaf.names == (A,)
    assert leaf.chain.startswith(pem(leaf_certificate(A))[:28])
    return "taken"


CSR = Target("csr", make_csr, take_csr)
CHAIN = Target("chain", make_chain, take_chain)
