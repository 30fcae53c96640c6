"""Checks of a CSR against its order (RFC 8555 section 7.4).

The hub forwards a CSR unchanged, so these checks cover everything in it that a CA may act on, unless it is harmless.
"""

import hashlib
from collections.abc import Collection, Iterable

import msgspec
from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, EllipticCurvePublicKey
from cryptography.hazmat.primitives.hashes import SHA256, SHA384, SHA512
from cryptography.x509.oid import ExtensionOID, NameOID, SignatureAlgorithmOID

from acmehub.models.identifiers import Identifier, is_address
from acmehub.models.problems import Problem, ProblemType
from acmehub.rules.jws import jwk_of
from acmehub.rules.keys import PublicKey, key_flaw, spki_of, weakness
from acmehub.rules.names import shown

_HASHES = frozenset({"sha256", "sha384", "sha512"})
_HARMLESS = frozenset(  # extensions that may be critical; the CA decides about them
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
# What cryptography raises for invalid input (UserWarning: where warnings are errors; KeyError and TypeError: an unknown
# TLS feature, a directory name whose text is a bit string).
UNREADABLE = (
    KeyError,
    TypeError,
    ValueError,
    UserWarning,
    x509.DuplicateExtension,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
    UnsupportedAlgorithm,
)


class OtherName(Exception):
    """An alternative name that is neither a DNS name nor an address; the message is its type."""


class SubjectNames(msgspec.Struct, frozen=True):
    """The names of an order or a certificate in lower case; DNS names and addresses are kept apart."""

    names: frozenset[str] = frozenset()
    addresses: frozenset[str] = frozenset()

    def with_common(self, common: set[str]) -> "SubjectNames":
        """These names with the common names of the subject; a common name that repeats an address is dropped."""
        return SubjectNames(self.names | (common - self.addresses), self.addresses) if common else self


class CheckedCsr(msgspec.Struct, frozen=True):
    """A CSR that fits its order. `der`: the bytes as received; `spki_sha256`: the SHA-256 of the public key's
    SubjectPublicKeyInfo in hexadecimal."""

    der: bytes
    names: tuple[str, ...]
    spki_sha256: str
    public_key: PublicKey


def check_csr(der: bytes, identifiers: Iterable[Identifier], account_jwk: bytes) -> CheckedCsr:
    """Check a CSR (DER) against its order and the canonical JWK of its account. Raises `badCSR`."""
    try:
        csr = x509.load_der_x509_csr(der)
        key, names = _read_csr(csr)
        signed = _is_self_signed(csr, key)
    except UNREADABLE as error:
        raise _bad_csr(f"it cannot be read ({ascii(str(error))[1:-1][:150]})") from error
    if not signed:
        raise _bad_csr("its signature is not by its own key")
    wanted = wanted_names(identifiers)
    if names != wanted:
        raise _differs(names, wanted)
    weak = weakness(key)
    if weak is not None:
        raise _bad_csr(weak)
    spki = spki_of(key)
    if jwk_of(key, spki) == account_jwk:
        raise _bad_csr("its key is the account's key; a certificate needs one of its own")
    return CheckedCsr(der, tuple(sorted(names.names | names.addresses)), hashlib.sha256(spki).hexdigest(), key)


def _is_self_signed(csr: x509.CertificateSigningRequest, key: PublicKey) -> bool:
    scheme = _ECDSA.get(csr.signature_algorithm_oid)
    if scheme is None or not isinstance(key, EllipticCurvePublicKey):
        return csr.is_signature_valid
    try:  # as `is_signature_valid`, but without reading the key again
        key.verify(csr.signature, csr.tbs_certrequest_bytes, scheme)
    except InvalidSignature:
        return False
    return True


def _read_csr(csr: x509.CertificateSigningRequest) -> tuple[PublicKey, SubjectNames]:
    """The key and the names of a CSR."""
    hash_algorithm = csr.signature_hash_algorithm
    if hash_algorithm is None or hash_algorithm.name not in _HASHES:
        used = "no hash" if hash_algorithm is None else hash_algorithm.name
        raise _bad_csr(f"it is signed with {used}; SHA-256, SHA-384 and SHA-512 are allowed")
    key = csr.public_key()
    flaw = key_flaw(key)
    if flaw is not None:
        raise _bad_csr(flaw)
    names = common_names(csr.subject)
    if len(names) > 1:
        raise _bad_csr("its subject has more than one common name")
    if any(not 0 < len(name) <= _MAX_COMMON_NAME for name in names):
        raise _bad_csr(f"a common name has 1 to {_MAX_COMMON_NAME} characters")
    requests = [item for item in csr.attributes if item.oid in (_EXTENSION_REQUEST, _MICROSOFT_EXTENSION_REQUEST)]
    if len(requests) > 1:
        raise _bad_csr("it has more than one list of extensions")
    asked = SubjectNames()
    for extension in csr.extensions:
        if isinstance(extension.value, x509.SubjectAlternativeName):
            try:
                asked = alternative_names(extension.value)
            except OtherName as error:
                raise _bad_csr(f"it asks for a name of another kind than DNS and IP ({error})") from None
        else:
            _check_extension(extension)
    return key, asked.with_common(names)  # type: ignore[return-value]  # key_flaw lets no other kind through


def _check_extension(extension: x509.Extension[x509.ExtensionType]) -> None:
    """Raises `badCSR` for an extension that is not allowed."""
    value = extension.value
    if isinstance(value, x509.BasicConstraints):
        if value.ca:
            raise _bad_csr("it asks for a CA certificate")
    elif extension.critical and extension.oid not in _HARMLESS:
        raise _bad_csr(f"it has a critical extension that is not supported ({extension.oid.dotted_string})")


def common_names(subject: x509.Name) -> set[str]:
    """The common names of a subject, lower case."""
    found = subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return {str(item.value).lower() for item in found}


def wanted_names(identifiers: Iterable[Identifier]) -> SubjectNames:
    """The names of an order."""
    names: list[str] = []
    addresses: list[str] = []
    for item in identifiers:
        (addresses if item.type == "ip" else names).append(item.value.lower())
    return SubjectNames(frozenset(names), frozenset(addresses))


def alternative_names(alternatives: x509.SubjectAlternativeName) -> SubjectNames:
    """The names of the extension. Raises `OtherName` for a type that no order can have."""
    names = alternatives.get_values_for_type(x509.DNSName)
    addresses: list[str] = []
    if len(names) != len(alternatives):
        for item in alternatives:
            if isinstance(item, x509.IPAddress):
                addresses.append(str(item.value))
            elif not isinstance(item, x509.DNSName):
                raise OtherName(type(item).__name__)
    return SubjectNames(frozenset(name.lower() for name in names), frozenset(addresses))


def _differs(found: SubjectNames, wanted: SubjectNames) -> Problem:
    more = {f"{name} as a DNS name" if is_address(name) else name for name in found.names - wanted.names}
    more |= found.addresses - wanted.addresses
    less = (wanted.names - found.names) | (wanted.addresses - found.addresses)
    parts = [f"asks for {listed(more)}, which the order has not"] if more else []
    parts += [f"lacks {listed(less)} of the order"] if less else []
    return _bad_csr(f"it {' and '.join(parts)}")


def listed(names: Collection[str]) -> str:
    """Names for a message: the first five, and how many more."""
    first = [shown(name) for name in sorted(names)[:5]]
    return ", ".join(first) + (f" and {len(names) - 5} more" if len(names) > 5 else "") if first else "no name"


def _bad_csr(detail: str) -> Problem:
    return Problem(ProblemType.BAD_CSR, f"the CSR is not accepted: {detail}")
