"""`LocalAuthority`: signs checked CSRs."""

import hashlib
import secrets
import ssl
from datetime import datetime, timedelta
from ipaddress import ip_address

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, ExtensionOID, NameOID

from acmehub import Clock, Identifier, IssueRequest, Problem, ProblemType, SettingsError, UpstreamRefused, load_csr

from . import der
from .hierarchy import ECDSA_WITH_SHA256, completed, constant_extensions, load_key
from .settings import LocalSettings

_BACKDATED = timedelta(minutes=1)
_OLDEST_START = timedelta(hours=1)
_LONGEST_COMMON_NAME = 64  # RFC 5280 appendix A: ub-common-name
_CLIENT_AUTHENTICATION = b"\x2b\x06\x01\x05\x05\x07\x03\x02"  # of id-kp-clientAuth, RFC 5280 section 4.2.1.12


class LocalAuthority:
    """A `SigningAuthority` that `CompletesSettings`; with empty settings, it can only `complete` them."""

    def __init__(self, settings: LocalSettings, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self._signer: _Signer | None = None

    async def complete(self) -> LocalSettings | None:
        """Make root and intermediate, or renew an intermediate that expires soon."""
        return completed(self._settings, self._clock.now())

    @property
    def root(self) -> str:
        """The root (PEM); empty until the settings are complete."""
        return self._settings.root_certificate

    @property
    def longest_days(self) -> float:
        return self._settings.lifetime_days

    @property
    def issues_for_addresses(self) -> bool:
        return True

    async def sign(self, csr: bytes, request: IssueRequest) -> str:
        """Sign a certificate for the names of the request.

        From the CSR, only the key, a common name that is one of the names, and client authentication are used. Refused
        are profiles, of which this CA has none, and dates outside its limits (RFC 8555 section 7.4).
        """
        if self._signer is None:
            self._signer = _Signer(self._settings)
        return self._signer.sign(csr, request, self._clock.now())

    async def revoke_signed(self, certificate: bytes, reason: int | None) -> None:  # noqa: ARG002  there is no CRL
        """Check that this CA signed the leaf; the hub stores the revocation."""
        if self._signer is None:
            self._signer = _Signer(self._settings)
        self._signer.check_own(certificate)


class _Signer:
    """The loaded intermediate, with the parts that are the same in all leaves."""

    def __init__(self, settings: LocalSettings) -> None:
        if not settings.intermediate_certificate:
            raise SettingsError("this local CA has no keys yet: its settings must be completed first")
        try:
            self._certificate = x509.load_pem_x509_certificate(settings.intermediate_certificate.encode())
            self._key = load_key(settings.intermediate_key)
        except (ValueError, TypeError) as error:
            raise SettingsError(f"the local CA's intermediate cannot be loaded: {error}") from error
        if self._key.public_key() != self._certificate.public_key():
            raise SettingsError("the local CA's intermediate_key does not belong to its intermediate_certificate")
        self._chain = self._certificate.public_bytes(serialization.Encoding.PEM).decode()
        self._lifetime = timedelta(days=settings.lifetime_days)
        self._hash = ec.ECDSA(hashes.SHA256())
        self._issuer = self._certificate.subject.public_bytes()
        self._end = self._certificate.not_valid_after_utc
        self._extensions = {
            (rsa_key, client): constant_extensions(self._key.public_key(), rsa_key=rsa_key, client=client)
            for rsa_key in (False, True)
            for client in (False, True)
        }

    def sign(self, csr: bytes, request: IssueRequest, now: datetime) -> str:
        asked = load_csr(csr)
        if request.profile is not None:
            raise _refused(ProblemType.INVALID_PROFILE, "this authority has no profiles")
        start, end = self._period(request, now)
        names = _names(request)
        subject = _common_name(asked, names) if der.COMMON_NAME in csr else ""
        client = _CLIENT_AUTHENTICATION in csr and _wants_client_authentication(asked)
        key = asked.public_key()
        spki = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
        alternative_names = b"".join(map(_general_name, request.identifiers))
        # RFC 7093 section 2 method 4, cut to the usual length
        key_id = der.wrap(der.OCTET_STRING, hashlib.sha256(spki).digest()[:20])
        tbs = der.wrap(
            der.SEQUENCE,
            der.VERSION_3
            + der.wrap(der.INTEGER, _serial())
            + ECDSA_WITH_SHA256
            + self._issuer
            + der.wrap(der.SEQUENCE, der.time(start) + der.time(end))
            + der.common_name(subject)
            + spki
            + der.wrap(
                der.EXTENSIONS,
                der.wrap(
                    der.SEQUENCE,
                    self._extensions[isinstance(key, rsa.RSAPublicKey), client]
                    + der.extension(der.SUBJECT_KEY_IDENTIFIER, key_id)
                    + der.extension(
                        der.SUBJECT_ALTERNATIVE_NAME, der.wrap(der.SEQUENCE, alternative_names), critical=not subject
                    ),
                ),
            ),
        )
        signature = der.wrap(der.BIT_STRING, b"\0" + self._key.sign(tbs, self._hash))
        return ssl.DER_cert_to_PEM_cert(der.wrap(der.SEQUENCE, tbs + ECDSA_WITH_SHA256 + signature)) + self._chain

    def check_own(self, certificate: bytes) -> None:
        try:
            x509.load_der_x509_certificate(certificate).verify_directly_issued_by(self._certificate)
        except (ValueError, TypeError, InvalidSignature) as error:
            raise _refused(ProblemType.MALFORMED, "the certificate is not one of this authority") from error

    def _period(self, request: IssueRequest, now: datetime) -> tuple[datetime, datetime]:
        start = request.not_before or now - _BACKDATED
        if not now - _OLDEST_START <= start < now + self._lifetime:
            raise _refused(ProblemType.MALFORMED, "notBefore is not within the time this authority signs for")
        latest = min(now + self._lifetime, self._end)
        end = request.not_after or latest
        if not start < end <= latest:
            days = self._lifetime / timedelta(days=1)
            raise _refused(ProblemType.MALFORMED, f"notAfter is not within the {days:g} days this authority signs for")
        return start, end


def _serial() -> bytes:
    """A positive INTEGER of 16 octets with 126 random bits (CA/Browser Forum BR 7.1: at least 64)."""
    octets = secrets.token_bytes(16)
    return bytes((octets[0] & 0x3F | 0x40,)) + octets[1:]


def _names(request: IssueRequest) -> list[str]:
    for identifier in request.identifiers:
        if identifier.type not in ("dns", "ip"):
            raise _refused(
                ProblemType.UNSUPPORTED_IDENTIFIER, f"this authority does not certify {identifier.type} identifiers"
            )
    return [identifier.value.lower() for identifier in request.identifiers]


def _general_name(identifier: Identifier) -> bytes:
    """A name as an entry of the subject alternative names."""
    if identifier.type == "ip":
        try:
            return der.wrap(der.IP_ADDRESS, ip_address(identifier.value).packed)
        except ValueError as error:
            raise _refused(ProblemType.MALFORMED, f"{identifier.value!a} is no address") from error
    return der.wrap(der.DNS_NAME, identifier.value.lower().encode("ascii"))


def _common_name(csr: x509.CertificateSigningRequest, names: list[str]) -> str:
    """The CSR's common name if it is one of the names and short enough; else empty."""
    for attribute in csr.subject.get_attributes_for_oid(NameOID.COMMON_NAME):
        value = str(attribute.value)
        if value.isascii() and value.lower() in names and len(value) <= _LONGEST_COMMON_NAME:
            return value.lower()
    return ""


def _wants_client_authentication(csr: x509.CertificateSigningRequest) -> bool:
    for extension in csr.extensions:
        if extension.oid == ExtensionOID.EXTENDED_KEY_USAGE:
            value = extension.value
            return isinstance(value, x509.ExtendedKeyUsage) and ExtendedKeyUsageOID.CLIENT_AUTH in value
    return False


def _refused(type: ProblemType, detail: str) -> UpstreamRefused:
    return UpstreamRefused(Problem(type, detail).document())
