"""Requests and CSRs of the contract suites for authorities."""

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from acmehub import (
    Identifier,
    IssueRequest,
)


def csr_for(
    *names: str, key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey, extensions: tuple[x509.ExtensionType, ...] = ()
) -> bytes:
    """A CSR (DER) for the names."""
    alternative_names = x509.SubjectAlternativeName([x509.DNSName(name) for name in names])
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    for extension in (alternative_names, *extensions):
        builder = builder.add_extension(extension, critical=False)
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)


def request_for(*names: str) -> IssueRequest:
    """A request for dns names."""
    return IssueRequest(tuple(Identifier("dns", name) for name in names))


def names_of(certificate: x509.Certificate) -> set[str]:
    """The dns names in a certificate."""
    found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    return set(found.value.get_values_for_type(x509.DNSName))
