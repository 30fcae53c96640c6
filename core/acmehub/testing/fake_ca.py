"""A certificate authority in memory: real certificates, made in a millisecond."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from acmehub.rules.csr import load_csr


class FakeCa:
    """A root, two intermediates with one key (for an alternate chain), and leaves on demand."""

    def __init__(self, now: datetime, name: str = "Fake CA") -> None:
        self.name = name
        self.issued: list[x509.Certificate] = []
        self._root_key = ec.generate_private_key(ec.SECP256R1())
        self._key = ec.generate_private_key(ec.SECP256R1())
        begin, end = now - timedelta(days=30), now + timedelta(days=3650)
        root = self._signed(_subject(f"{name} Root"), _subject(f"{name} Root"), self._root_key.public_key(), begin, end)
        issuer = self._signed(_subject(f"{name} X1"), root.subject, self._key.public_key(), begin, end)
        other_root = _subject(f"{name} Other Root")
        other = self._signed(issuer.subject, other_root, self._key.public_key(), begin, end)
        self.root = _pem(root)
        self._intermediates = (issuer, other)

    def chains(
        self, csr: bytes, names: Sequence[str], now: datetime, lifetime: timedelta = timedelta(days=90)
    ) -> tuple[str, ...]:
        """A new leaf for a CSR (DER), as the default chain and an alternate (PEM, leaf first)."""
        request = load_csr(csr)
        leaf = self._leaf(request.public_key(), names, now, lifetime)
        self.issued.append(leaf)
        return tuple(_pem(leaf) + _pem(item) for item in self._intermediates)

    def _leaf(
        self, key: CertificatePublicKeyTypes, names: Sequence[str], now: datetime, lifetime: timedelta
    ) -> x509.Certificate:
        return (
            x509.CertificateBuilder()
            .subject_name(_subject(names[0]))
            .issuer_name(self._intermediates[0].subject)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(hours=1))
            .not_valid_after(now + lifetime)
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(name) for name in names]), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False)
            .sign(self._key, hashes.SHA256())
        )

    def _signed(
        self,
        subject: x509.Name,
        issuer: x509.Name,
        key: CertificatePublicKeyTypes,
        begin: datetime,
        end: datetime,
    ) -> x509.Certificate:
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(begin)
            .not_valid_after(end)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .sign(self._root_key, hashes.SHA256())
        )


def make_csr(names: Sequence[str]) -> bytes:
    """A CSR (DER) with a new key for these names."""
    return (
        x509.CertificateSigningRequestBuilder()
        .subject_name(_subject(names[0]))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name) for name in names]), critical=False)
        .sign(ec.generate_private_key(ec.SECP256R1()), hashes.SHA256())
        .public_bytes(Encoding.DER)
    )


def _subject(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(Encoding.PEM).decode()
