"""tls-alpn-01 (RFC 8737; addresses: RFC 8738 section 6): a certificate for the challenge, offered for its own ALPN."""

import hashlib
import hmac
import ipaddress
import ssl

from cryptography import x509
from cryptography.exceptions import InvalidSignature

from acmehub.config import Verify
from acmehub.models.identifiers import Identifier
from acmehub.models.problems import ProblemType
from acmehub.rules.csr import UNREADABLE
from acmehub.validation.egress import Egress
from acmehub.validation.errors import ValidationFailed

ALPN = "acme-tls/1"
ACME_IDENTIFIER = x509.ObjectIdentifier("1.3.6.1.5.5.7.1.31")
_OCTETS_32 = b"\x04\x20"  # DER of an OCTET STRING of 32 octets


class TlsAlpn01:
    """The validator for tls-alpn-01."""

    def __init__(self, settings: Verify, egress: Egress) -> None:
        self._port = settings.tls_port
        self._egress = egress
        self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self._tls.minimum_version = ssl.TLSVersion.TLSv1_2
        self._tls.set_alpn_protocols([ALPN])
        self._tls.check_hostname = False  # the certificate is self-signed, and is checked below
        self._tls.verify_mode = ssl.CERT_NONE

    async def validate(self, identifier: Identifier, key_authorization: str, trail: list[str]) -> str:
        """Validate `identifier`; returns where the certificate was found. Raises `ValidationFailed`."""
        sni = server_name(identifier)
        async with self._egress.connect(identifier.value, self._port, trail, tls=self._tls, sni=sni) as connection:
            handshake = connection.writer.get_extra_info("ssl_object")
            protocol, certificate = handshake.selected_alpn_protocol(), handshake.getpeercert(binary_form=True)
        if protocol != ALPN:
            raise _wrong(connection.at, f"the server did not choose the protocol {ALPN}")
        check_certificate(certificate or b"", identifier, key_authorization, connection.at, quoted=connection.listed)
        return f"{ALPN} at {connection.at}"


def server_name(identifier: Identifier) -> str:
    """The name in the handshake: the DNS name, or the reverse mapping of an address."""
    if identifier.type == "ip":
        return ipaddress.ip_address(identifier.value).reverse_pointer
    return identifier.value.lower()


def check_certificate(
    der: bytes, identifier: Identifier, key_authorization: str, at: str, *, quoted: bool = True
) -> None:
    """Check the certificate as RFC 8737 section 3 says: self-signed, for this name only, with the digest of the key
    authorization in a critical extension. Raises `ValidationFailed`; its message has what stands in the certificate
    only if it may be `quoted`."""
    try:
        certificate = x509.load_der_x509_certificate(der)
        extensions = {item.oid: item for item in certificate.extensions}
        names = _names(certificate)
        certificate.verify_directly_issued_by(certificate)
    except (InvalidSignature, TypeError) as error:
        raise _wrong(at, "the certificate is not self-signed") from error
    except UNREADABLE as error:
        reason = f" ({error})" if quoted else ""
        raise _wrong(at, f"the certificate cannot be read or is not self-signed{reason}") from error
    if names != [identifier.value.lower()]:
        present = (", ".join(names[:3]) or "no name") if quoted else "other names"
        raise _wrong(at, f"the certificate is for {present}, not for {identifier.value} alone")
    extension = extensions.get(ACME_IDENTIFIER)
    if extension is None:
        raise _wrong(at, "the certificate has no acmeIdentifier extension")
    if not extension.critical:
        raise _wrong(at, "the certificate's acmeIdentifier extension is not critical")
    expected = _OCTETS_32 + hashlib.sha256(key_authorization.encode()).digest()
    if not hmac.compare_digest(extension.value.public_bytes(), expected):
        digest = f": {extension.value.public_bytes()[2:34].hex()}" if quoted else ""
        raise _wrong(at, f"another digest than the key authorization's{digest}")


def _names(certificate: x509.Certificate) -> list[str]:
    """The alternative names of any kind; an address equals only an `iPAddress`."""
    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    return [_name(item) for item in found]


def _name(item: x509.GeneralName) -> str:
    if isinstance(item, x509.IPAddress):
        return str(item.value)
    if isinstance(item, x509.DNSName):
        try:
            ipaddress.ip_address(item.value)
        except ValueError:
            return item.value.lower()
    return f"{type(item).__name__} {item.value}"


def _wrong(at: str, message: str) -> ValidationFailed:
    return ValidationFailed(ProblemType.INCORRECT_RESPONSE, f"{at}: {message}")
