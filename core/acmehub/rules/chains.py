"""Checks of an issued chain: the CSR's key, the order's names, signatures and dates."""

import hashlib
import itertools
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

import msgspec
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.serialization import Encoding

from acmehub.models.identifiers import Identifier
from acmehub.models.text import escape_controls
from acmehub.rules.csr import (
    UNREADABLE,
    CheckedCsr,
    OtherName,
    SubjectNames,
    alternative_names,
    common_names,
    listed,
    load_csr,
    wanted_names,
)
from acmehub.rules.keys import PublicKey, key_flaw, spki_of
from acmehub.rules.renewal import cert_id_of

MAX_CHAIN = 64 * 1024  # characters; clients take 16 KiB at most (docs/client-rules.md rule 20), so this is generous
MAX_CERTIFICATES = 10
CLOCK_SKEW = timedelta(hours=3)  # a CA's clock may be two hours off (docs/reliability.md F28)

_END = "-----END CERTIFICATE-----"
_MOST_ISSUERS = 64


class Leaf(msgspec.Struct, frozen=True):
    """The first certificate of a checked chain, as `models.Certificate` stores it; `chain`: the chain as PEM, leaf
    first, without other text."""

    serial: str
    issuer: str
    not_before: datetime
    not_after: datetime
    spki_sha256: str
    names: tuple[str, ...]
    chain: str
    cert_id: str = ""


class ChainMismatch(Exception):
    """Raised for a chain that does not match the order; `detail` says why.

    `leaf` (DER): its certificate, when that has another key or other names than ordered.
    """

    def __init__(self, detail: str, leaf: bytes | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        self.leaf = leaf


class _Above(msgspec.Struct, frozen=True):
    """The CA certificates of a chain, each issued by the next, and the same as PEM without other text."""

    certificates: Sequence[x509.Certificate] = ()
    pem: str = ""


class Issuers:
    """Cache of checked CA certificates, which are the same in all chains of a CA; keeps the 64 used last."""

    def __init__(self) -> None:
        self._kept: OrderedDict[str, _Above] = OrderedDict()

    def above(self, pem: str) -> _Above:
        """The certificates in `pem`, without text around them. Raises `ChainMismatch`."""
        kept = self._kept.get(pem)
        if kept is None:
            kept = self._kept[pem] = _read_above(pem)
            if len(self._kept) > _MOST_ISSUERS:
                self._kept.popitem(last=False)
        else:
            self._kept.move_to_end(pem)
        return kept


def check_leaf(
    chain_pem: str,
    csr: CheckedCsr | bytes,
    identifiers: Iterable[Identifier],
    now: datetime,
    skew: timedelta = CLOCK_SKEW,
    *,
    allow_leaf_only: bool = False,
    issuers: Issuers | None = None,
) -> Leaf:
    """Check an issued chain (PEM, leaf first, text around it ignored) before an order turns valid.

    The leaf must have the key of `csr` (checked, or DER) and exactly the order's names; each certificate must be signed
    by the next, and all must be valid now, give or take `skew` (docs/reliability.md 2.7). `issuers` caches the
    certificates above the leaf. Raises `ChainMismatch`.
    """
    try:
        leaf, above = _read_chain(chain_pem, issuers or Issuers())
        asked = csr.spki_sha256 if isinstance(csr, CheckedCsr) else _spki_sha256(_key_of(load_csr(csr)))
        issued = _spki_sha256(_key_of(leaf))
        names = _leaf_names(leaf)
        if issued != asked:
            message = "the certificate is for another key than the CSR's"
            raise ChainMismatch(message, leaf.public_bytes(Encoding.DER))
        _compare_leaf_names(leaf, names, wanted_names(identifiers))
        if above.certificates:
            _check_link(leaf, above.certificates[0], 1)
        elif not allow_leaf_only:
            raise ChainMismatch("the chain is the certificate alone, without its issuer's")
        _check_dates((leaf, *above.certificates), now, skew)
        issuer = escape_controls(leaf.issuer.rfc4514_string())
    except UNREADABLE as error:
        raise ChainMismatch(f"a certificate cannot be read: {ascii(str(error))[1:-1][:150]}") from error
    return Leaf(
        serial_text(leaf.serial_number),
        issuer,
        leaf.not_valid_before_utc,
        leaf.not_valid_after_utc,
        issued,
        tuple(sorted(names.names | names.addresses)),
        leaf.public_bytes(Encoding.PEM).decode() + above.pem,
        cert_id_of(leaf),
    )


def serial_text(number: int) -> str:
    """A serial number as stored: lower-case hexadecimal, whole bytes."""
    text = f"{number:x}"
    return text.zfill(len(text) + len(text) % 2)


def serial_of(leaf: bytes) -> str:
    """The serial number of a certificate (DER), as stored."""
    return serial_text(x509.load_der_x509_certificate(leaf).serial_number)


def _read_chain(chain_pem: str, issuers: Issuers) -> tuple[x509.Certificate, _Above]:
    if len(chain_pem) > MAX_CHAIN:
        raise ChainMismatch(f"the chain is larger than {MAX_CHAIN} characters")
    if "PRIVATE KEY-----" in chain_pem:
        raise ChainMismatch("a private key came with the chain")
    first, end, rest = chain_pem.partition(_END)
    leaf = _load(first + end)[0]
    above = issuers.above(rest) if "-----BEGIN" in rest else _Above()
    return leaf, above


def _read_above(pem: str) -> _Above:
    certificates = _load(pem)
    if len(certificates) >= MAX_CERTIFICATES:
        count = len(certificates) + 1
        raise ChainMismatch(f"a chain of {count} certificates; at most {MAX_CERTIFICATES} are allowed")
    for position, item in enumerate(certificates, start=2):
        if not any(isinstance(part.value, x509.BasicConstraints) and part.value.ca for part in item.extensions):
            raise ChainMismatch(f"certificate {position} of the chain is not a CA's")
    for position, (subject, issuer) in enumerate(itertools.pairwise(certificates), start=2):
        _check_link(subject, issuer, position)
    return _Above(certificates, "".join(item.public_bytes(Encoding.PEM).decode() for item in certificates))


def _load(pem: str) -> Sequence[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(pem.encode())
    except UNREADABLE as error:
        raise ChainMismatch(f"no chain of certificates: {ascii(str(error))[1:-1][:150]}") from error


def _leaf_names(leaf: x509.Certificate) -> SubjectNames:
    names = SubjectNames()
    for extension in leaf.extensions:
        value = extension.value
        if isinstance(value, x509.SubjectAlternativeName):
            try:
                names = alternative_names(value)
            except OtherName as error:
                message = f"the certificate has other alternative names than DNS names and addresses ({error})"
                raise ChainMismatch(message) from None
        elif isinstance(value, x509.BasicConstraints) and value.ca:
            raise ChainMismatch("the first certificate is a CA's")
    return names.with_common(common_names(leaf.subject))


def _compare_leaf_names(leaf: x509.Certificate, names: SubjectNames, wanted: SubjectNames) -> None:
    if names != wanted:
        found, ordered = names.names | names.addresses, wanted.names | wanted.addresses
        kinds = " (DNS names and addresses are mixed up)" if found == ordered else ""
        message = f"the certificate is for {listed(found)}, ordered was {listed(ordered)}{kinds}"
        raise ChainMismatch(message, leaf.public_bytes(Encoding.DER))


def _check_link(subject: x509.Certificate, issuer: x509.Certificate, position: int) -> None:
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


def _key_of(holder: x509.Certificate | x509.CertificateSigningRequest) -> PublicKey:
    key = holder.public_key()
    flaw = key_flaw(key)
    if flaw is not None:
        raise ChainMismatch(flaw)
    return key  # type: ignore[return-value]  # key_flaw lets no other kind through


def _spki_sha256(key: PublicKey) -> str:
    return hashlib.sha256(spki_of(key)).hexdigest()
