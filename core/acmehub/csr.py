"""Certificate requests and issued chains: does the CSR fit its order, and the certificate both (RFC 8555 section 7.4)?

A CSR is forwarded unchanged, so everything in it that a CA could act on is either checked here or harmless.
"""

import hashlib
import itertools
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

import msgspec
from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, EllipticCurvePublicKey
from cryptography.hazmat.primitives.hashes import SHA256, SHA384, SHA512
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtensionOID, NameOID, SignatureAlgorithmOID

from acmehub.identifiers import Identifier
from acmehub.jws import jwk_of
from acmehub.keys import PublicKey, key_flaw, spki_of, weakness
from acmehub.names import shown
from acmehub.problems import Problem, ProblemType

MAX_CHAIN = 64 * 1024  # characters; clients take 16 KiB at most (CLIENTS.md rule 20), so this is generous
MAX_CERTIFICATES = 10
CLOCK_SKEW = timedelta(hours=3)  # a CA's clock may be two hours off (RELIABILITY.md F28)

_HASHES = frozenset({"sha256", "sha384", "sha512"})
_HARMLESS = frozenset(  # extensions that may be critical: what a CA makes of them is its own affair
    {ExtensionOID.KEY_USAGE, ExtensionOID.EXTENDED_KEY_USAGE, ExtensionOID.TLS_FEATURE}
)
_ECDSA = {
    SignatureAlgorithmOID.ECDSA_WITH_SHA256: ECDSA(SHA256()),
    SignatureAlgorithmOID.ECDSA_WITH_SHA384: ECDSA(SHA384()),
    SignatureAlgorithmOID.ECDSA_WITH_SHA512: ECDSA(SHA512()),
}
_MICROSOFT_EXTENSION_REQUEST = x509.ObjectIdentifier("1.3.6.1.4.1.311.2.1.14")
_EXTENSION_REQUEST = x509.ObjectIdentifier("1.2.840.113549.1.9.14")
_MAX_COMMON_NAME = 64  # X.520, ub-common-name
# What cryptography raises for input that is not what it should be (UserWarning: where warnings are errors).
_UNREADABLE = (
    ValueError,
    UserWarning,
    x509.DuplicateExtension,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
    UnsupportedAlgorithm,
)


class CheckedCsr(msgspec.Struct, frozen=True):
    """A CSR that fits its order. `der` are the very bytes that came, `spki_sha256` the SHA-256 of its public key's
    SubjectPublicKeyInfo, hexadecimal."""

    der: bytes
    names: tuple[str, ...]
    spki_sha256: str
    public_key: PublicKey


class Leaf(msgspec.Struct, frozen=True):
    """What the checked chain's first certificate says, as `models.Certificate` keeps it; `chain` is the chain as clean
    PEM, leaf first."""

    serial: str
    issuer: str
    not_before: datetime
    not_after: datetime
    spki_sha256: str
    names: tuple[str, ...]
    chain: str


class ChainMismatch(Exception):
    """A chain that is not what was ordered; `detail` says in which way."""

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail


def check_csr(der: bytes, identifiers: Iterable[Identifier], account_jwk: bytes) -> CheckedCsr:
    """Check a CSR (DER) against its order and the canonical JWK of the account that sends it; raises `badCSR`."""
    try:
        csr = x509.load_der_x509_csr(der)
        key, names = _read_csr(csr)
        signed = _is_self_signed(csr, key)
    except _UNREADABLE as error:
        raise _bad_csr(f"it cannot be read ({ascii(str(error))[1:-1][:150]})") from error
    if not signed:
        raise _bad_csr("its signature is not by its own key")
    _compare_names(names, {item.value.lower() for item in identifiers})
    weak = weakness(key)
    if weak is not None:
        raise _bad_csr(weak)
    spki = spki_of(key)
    if jwk_of(key, spki) == account_jwk:
        raise _bad_csr("its key is the account's key; a certificate needs one of its own")
    return CheckedCsr(der, tuple(sorted(names)), hashlib.sha256(spki).hexdigest(), key)


def _is_self_signed(csr: x509.CertificateSigningRequest, key: PublicKey) -> bool:
    scheme = _ECDSA.get(csr.signature_algorithm_oid)
    if scheme is None or not isinstance(key, EllipticCurvePublicKey):
        return csr.is_signature_valid
    try:  # what `is_signature_valid` does, without reading the key a second time
        key.verify(csr.signature, csr.tbs_certrequest_bytes, scheme)
    except InvalidSignature:
        return False
    return True


def _read_csr(csr: x509.CertificateSigningRequest) -> tuple[PublicKey, set[str]]:
    """The key and the names of a CSR."""
    hash_algorithm = csr.signature_hash_algorithm
    if hash_algorithm is None or hash_algorithm.name not in _HASHES:
        used = "no hash" if hash_algorithm is None else hash_algorithm.name
        raise _bad_csr(f"it is signed with {used}; SHA-256, SHA-384 and SHA-512 are allowed")
    key = csr.public_key()
    flaw = key_flaw(key)
    if flaw is not None:
        raise _bad_csr(flaw)
    names = _common_names(csr.subject)
    if len(names) > 1:
        raise _bad_csr("its subject has more than one common name")
    if any(not 0 < len(name) <= _MAX_COMMON_NAME for name in names):
        raise _bad_csr(f"a common name has 1 to {_MAX_COMMON_NAME} characters")
    requests = [item for item in csr.attributes if item.oid in (_EXTENSION_REQUEST, _MICROSOFT_EXTENSION_REQUEST)]
    if len(requests) > 1:
        raise _bad_csr("it has more than one list of extensions")
    for extension in csr.extensions:
        names |= _extension_names(extension)
    return key, names  # type: ignore[return-value]  # key_flaw lets no other kind through


def _extension_names(extension: x509.Extension[x509.ExtensionType]) -> set[str]:
    """The names that an extension of a CSR asks for; raises `badCSR` for what must not be asked."""
    value = extension.value
    if isinstance(value, x509.SubjectAlternativeName):
        return _dns_names(value)
    if isinstance(value, x509.BasicConstraints):
        if value.ca:
            raise _bad_csr("it asks for a CA certificate")
    elif extension.critical and extension.oid not in _HARMLESS:
        raise _bad_csr(f"it has a critical extension that is not supported ({extension.oid.dotted_string})")
    return set()


def check_leaf(
    chain_pem: str,
    csr: CheckedCsr | bytes,
    identifiers: Iterable[Identifier],
    now: datetime,
    skew: timedelta = CLOCK_SKEW,
    *,
    allow_leaf_only: bool = False,
) -> Leaf:
    """Check an issued chain (PEM, leaf first; text around it is dropped) before an order turns valid.

    The leaf has the key of `csr` (checked, or DER) and exactly the order's names, each certificate is signed by the
    next, and all are valid now, `skew` granted (RELIABILITY.md 2.7). Raises `ChainMismatch`.
    """
    certificates = _read_chain(chain_pem)
    leaf = certificates[0]
    try:
        asked = csr.spki_sha256 if isinstance(csr, CheckedCsr) else _spki_sha256(_key_of(x509.load_der_x509_csr(csr)))
        issued = _spki_sha256(_key_of(leaf))
        names = _leaf_names(leaf)
        if issued != asked:
            raise ChainMismatch("the certificate is for another key than the CSR's")
        _compare_leaf_names(names, {item.value.lower() for item in identifiers})
        if len(certificates) == 1 and not allow_leaf_only:
            raise ChainMismatch("the chain is the certificate alone, without its issuer's")
        _check_links(certificates)
        _check_dates(certificates, now, skew)
        issuer = leaf.issuer.rfc4514_string()
    except _UNREADABLE as error:
        raise ChainMismatch(f"a certificate cannot be read: {ascii(str(error))[1:-1][:150]}") from error
    return Leaf(
        serial_text(leaf.serial_number),
        issuer,
        leaf.not_valid_before_utc,
        leaf.not_valid_after_utc,
        issued,
        tuple(sorted(names)),
        "".join(item.public_bytes(Encoding.PEM).decode() for item in certificates),
    )


def serial_text(number: int) -> str:
    """A serial number as it is stored and looked up: lower-case hexadecimal, whole bytes."""
    text = f"{number:x}"
    return text.zfill(len(text) + len(text) % 2)


def _read_chain(chain_pem: str) -> Sequence[x509.Certificate]:
    if len(chain_pem) > MAX_CHAIN:
        raise ChainMismatch(f"the chain is larger than {MAX_CHAIN} characters")
    if "PRIVATE KEY-----" in chain_pem:
        raise ChainMismatch("a private key came with the chain")
    try:
        certificates = x509.load_pem_x509_certificates(chain_pem.encode())
    except _UNREADABLE as error:
        raise ChainMismatch(f"no chain of certificates: {ascii(str(error))[1:-1][:150]}") from error
    if len(certificates) > MAX_CERTIFICATES:
        raise ChainMismatch(f"a chain of {len(certificates)} certificates; at most {MAX_CERTIFICATES} are allowed")
    return certificates


def _leaf_names(leaf: x509.Certificate) -> set[str]:
    names = _common_names(leaf.subject)
    for extension in leaf.extensions:
        value = extension.value
        if isinstance(value, x509.SubjectAlternativeName):
            alternatives = value.get_values_for_type(x509.DNSName)
            if len(alternatives) != len(value):
                raise ChainMismatch("the certificate has other alternative names than DNS names")
            names |= {name.lower() for name in alternatives}
        elif isinstance(value, x509.BasicConstraints) and value.ca:
            raise ChainMismatch("the first certificate is a CA's")
    return names


def _compare_leaf_names(names: set[str], wanted: set[str]) -> None:
    if names != wanted:
        raise ChainMismatch(f"the certificate is for {_list(names)}, ordered was {_list(wanted)}")


def _check_links(certificates: Sequence[x509.Certificate]) -> None:
    for position, (subject, issuer) in enumerate(itertools.pairwise(certificates), start=1):
        if not any(isinstance(item.value, x509.BasicConstraints) and item.value.ca for item in issuer.extensions):
            raise ChainMismatch(f"certificate {position + 1} of the chain is not a CA's")
        try:
            subject.verify_directly_issued_by(issuer)
        except (ValueError, TypeError, InvalidSignature) as error:
            raise ChainMismatch(f"certificate {position} of the chain is not issued by the next one") from error


def _check_dates(certificates: Sequence[x509.Certificate], now: datetime, skew: timedelta) -> None:
    for position, item in enumerate(certificates, start=1):
        if item.not_valid_before_utc > now + skew:
            raise ChainMismatch(f"certificate {position} of the chain is not valid before {item.not_valid_before_utc}")
        if item.not_valid_after_utc <= now:
            raise ChainMismatch(f"certificate {position} of the chain was valid until {item.not_valid_after_utc}")


def _common_names(subject: x509.Name) -> set[str]:
    found = subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return {str(item.value).lower() for item in found}


def _dns_names(alternatives: x509.SubjectAlternativeName) -> set[str]:
    for item in alternatives:
        if not isinstance(item, x509.DNSName):
            raise _bad_csr(f"it asks for a name of another kind than DNS ({type(item).__name__})")
    return {name.lower() for name in alternatives.get_values_for_type(x509.DNSName)}


def _compare_names(names: set[str], wanted: set[str]) -> None:
    if names == wanted:
        return
    more, less = names - wanted, wanted - names
    parts = [f"asks for {_list(more)}, which the order has not"] if more else []
    parts += [f"lacks {_list(less)} of the order"] if less else []
    raise _bad_csr(f"it {' and '.join(parts)}")


def _list(names: set[str]) -> str:
    listed = [shown(name) for name in sorted(names)[:5]]
    return ", ".join(listed) + (f" and {len(names) - 5} more" if len(names) > 5 else "") if listed else "no name"


def _key_of(holder: x509.Certificate | x509.CertificateSigningRequest) -> PublicKey:
    key = holder.public_key()
    flaw = key_flaw(key)
    if flaw is not None:
        raise ChainMismatch(flaw)
    return key  # type: ignore[return-value]  # key_flaw lets no other kind through


def _spki_sha256(key: PublicKey) -> str:
    return hashlib.sha256(spki_of(key)).hexdigest()


def _bad_csr(detail: str) -> Problem:
    return Problem(ProblemType.BAD_CSR, f"the CSR is not accepted: {detail}")
