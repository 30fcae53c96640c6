"""Checks of a CSR against its order (RFC 8555 section 7.4).

The hub forwards a CSR unchanged, so these checks cover everything in it that a CA may act on: of extensions and subject
attributes, those that clients are known to send are allowed, and no others.
"""

import hashlib
from collections.abc import Collection, Iterable

import msgspec
from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.x509.oid import ExtensionOID, NameOID, ObjectIdentifier

from acmehub.models.identifiers import Identifier, is_address
from acmehub.models.problems import Problem, ProblemType
from acmehub.rules.jws import jwk_of, thumbprint
from acmehub.rules.keys import TAKEN, PublicKey, key_flaw, spki_of, type_flaw, weakness
from acmehub.rules.names import shown

_HASHES = frozenset({"sha256", "sha384", "sha512"})
_EXTENSIONS = frozenset(  # what clients ask for; the CA decides about them
    {
        ExtensionOID.SUBJECT_ALTERNATIVE_NAME,
        ExtensionOID.BASIC_CONSTRAINTS,
        ExtensionOID.KEY_USAGE,
        ExtensionOID.EXTENDED_KEY_USAGE,
        ExtensionOID.TLS_FEATURE,
    }
)
_NOTES = frozenset(  # what clients send besides, and no CA has to act on: never critical
    {
        ExtensionOID.SUBJECT_KEY_IDENTIFIER,  # keytool, Posh-ACME, certreq
        ObjectIdentifier("2.16.840.1.113730.1.1"),  # Netscape's certificate type: devices with mbedTLS
        ObjectIdentifier("1.2.840.113549.1.9.15"),  # S/MIME capabilities: certreq and IIS, for RSA keys
        ObjectIdentifier("1.3.6.1.4.1.311.21.10"),  # application policies: certreq repeats the extended key usage
    }
)
_SUBJECT = frozenset(
    {
        NameOID.COMMON_NAME,
        NameOID.SERIAL_NUMBER,
        NameOID.COUNTRY_NAME,
        NameOID.LOCALITY_NAME,
        NameOID.STATE_OR_PROVINCE_NAME,
        NameOID.STREET_ADDRESS,
        NameOID.ORGANIZATION_NAME,
        NameOID.ORGANIZATIONAL_UNIT_NAME,
        NameOID.POSTAL_CODE,
        NameOID.USER_ID,
        NameOID.DOMAIN_COMPONENT,
        NameOID.EMAIL_ADDRESS,
        NameOID.UNSTRUCTURED_NAME,  # routers put their name there
        ObjectIdentifier("1.2.840.113549.1.9.8"),  # and their address there (unstructuredAddress)
    }
)
_MICROSOFT_EXTENSION_REQUEST = ObjectIdentifier("1.3.6.1.4.1.311.2.1.14")
_EXTENSION_REQUEST = ObjectIdentifier("1.2.840.113549.1.9.14")
_MAX_COMMON_NAME = 64  # X.520, ub-common-name
_WRONG_VERSIONS = (b"\x02\x01\x01", b"\x02\x01\x02")  # INTEGER 1 and 2: 0 is the only version (RFC 2986 section 4.1)
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


def load_csr(der: bytes) -> x509.CertificateSigningRequest:
    """A CSR (DER) for reading; the version field may be 1 or 2, as old clients send it, instead of 0.

    The object of such a CSR says version 0: `der` itself has the bytes that were signed, and goes to the CA. Raises
    what `UNREADABLE` lists.
    """
    try:
        return x509.load_der_x509_csr(der)
    except x509.InvalidVersion:  # the rest is readable; certbot before 1.29, for one, writes 2
        begin = _header_size(der, 0)
        begin += _header_size(der, begin)
        if der[begin : begin + 3] not in _WRONG_VERSIONS:
            raise
        return x509.load_der_x509_csr(der[: begin + 2] + b"\0" + der[begin + 3 :])


def check_csr(
    der: bytes, identifiers: Iterable[Identifier], account_jwk: bytes, former_keys: Collection[str] = ()
) -> CheckedCsr:
    """Check a CSR (DER) against its order, the canonical JWK of its account and the thumbprints of the account's former
    keys. Raises `badCSR`, and `badPublicKey` for a key of a type that no certificate can have.
    """
    try:
        csr = load_csr(der)
        key, names = _read_csr(csr)
        signed = _is_self_signed(csr, der, key)
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
    jwk = jwk_of(key, spki)
    if jwk == account_jwk:
        raise _bad_csr("its key is the account's key; a certificate needs one of its own")
    if former_keys and thumbprint(jwk) in former_keys:
        raise _bad_csr("its key is a former key of the account; a certificate needs one of its own")
    return CheckedCsr(der, tuple(sorted(names.names | names.addresses)), hashlib.sha256(spki).hexdigest(), key)


def _header_size(der: bytes, at: int) -> int:
    """The bytes of tag and length of the element that begins there."""
    return 2 + (der[at + 1] & 0x7F if der[at + 1] & 0x80 else 0)


def _is_self_signed(csr: x509.CertificateSigningRequest, der: bytes, key: PublicKey) -> bool:
    """Whether the CSR is signed by its own key, over the bytes in `der` whatever their version field."""
    begin = _header_size(der, 0)
    signed = der[begin : begin + len(csr.tbs_certrequest_bytes)]
    scheme = csr.signature_algorithm_parameters
    try:
        if isinstance(key, EllipticCurvePublicKey):
            key.verify(csr.signature, signed, scheme)  # type: ignore[arg-type]  # TypeError for another key's scheme
        else:
            key.verify(csr.signature, signed, scheme, csr.signature_hash_algorithm)  # type: ignore[arg-type]
    except InvalidSignature:
        return False
    return True


def _read_csr(csr: x509.CertificateSigningRequest) -> tuple[PublicKey, SubjectNames]:
    """The key and the names of a CSR."""
    key = _key_of(csr)
    hash_algorithm = csr.signature_hash_algorithm
    if hash_algorithm is None or hash_algorithm.name not in _HASHES:
        used = "no hash" if hash_algorithm is None else hash_algorithm.name
        raise _bad_csr(f"it is signed with {used}; SHA-256, SHA-384 and SHA-512 are allowed")
    names = _subject_names(csr.subject)
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
    return key, asked.with_common(names)


def _key_of(csr: x509.CertificateSigningRequest) -> PublicKey:
    try:
        key = csr.public_key()
    except UnsupportedAlgorithm as error:
        raise _bad_key(f"{ascii(str(error))[1:-1][:150]}; {TAKEN}") from error
    flaw = key_flaw(key)
    if flaw is not None:
        raise _bad_csr(flaw) if type_flaw(key) is None else _bad_key(flaw)
    return key  # type: ignore[return-value]  # key_flaw lets no other kind through


def _subject_names(subject: x509.Name) -> set[str]:
    """The common name of a subject, in lower case. Raises `badCSR` for parts that are not allowed."""
    names: set[str] = set()
    for item in subject:
        if item.oid == NameOID.COMMON_NAME:
            name = str(item.value)
            names.add(name.lower() if name.isascii() else name)
        elif item.oid not in _SUBJECT:
            raise _bad_csr(f"its subject has an attribute that is not supported ({item.oid.dotted_string})")
    if len(names) > 1:
        raise _bad_csr("its subject has more than one common name")
    for name in names:
        if not 0 < len(name) <= _MAX_COMMON_NAME:
            raise _bad_csr(f"a common name has 1 to {_MAX_COMMON_NAME} characters")
        if not name.isascii():
            raise _bad_csr(f"its common name is not ASCII ({shown(name)}); international names are A-labels (xn--...)")
    return names


def _check_extension(extension: x509.Extension[x509.ExtensionType]) -> None:
    """Raises `badCSR` for an extension that is not allowed."""
    value = extension.value
    if isinstance(value, x509.BasicConstraints):
        if value.ca:
            raise _bad_csr("it asks for a CA certificate")
    elif extension.oid in _EXTENSIONS:
        return
    elif extension.critical or extension.oid not in _NOTES:
        kind = "a critical extension" if extension.critical else "an extension"
        raise _bad_csr(f"it has {kind} that is not supported ({extension.oid.dotted_string})")


def common_names(subject: x509.Name) -> set[str]:
    """The common names of a subject, in lower case where they are ASCII: no other character is equal to a letter of a
    DNS name."""
    found = (str(item.value) for item in subject.get_attributes_for_oid(NameOID.COMMON_NAME))
    return {name.lower() if name.isascii() else name for name in found}


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


def _bad_key(detail: str) -> Problem:
    return Problem(ProblemType.BAD_PUBLIC_KEY, f"the CSR is not accepted: {detail}")


def _bad_csr(detail: str) -> Problem:
    return Problem(ProblemType.BAD_CSR, f"the CSR is not accepted: {detail}")
