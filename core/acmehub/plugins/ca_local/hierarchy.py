"""The certificates of the local CA: a root signs an intermediate, which signs the leaves (RFC 5280 section 4.2)."""

from datetime import datetime, timedelta

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from acmehub import Secret

from . import der
from .settings import LocalSettings

ROOT_LIFETIME = timedelta(days=20 * 365)
INTERMEDIATE_LIFETIME = timedelta(days=5 * 365)
ECDSA_WITH_SHA256 = b"\x30\x0a\x06\x08\x2a\x86\x48\xce\x3d\x04\x03\x02"  # RFC 5758 section 3.2
_BACKDATED = timedelta(hours=1)


def completed(settings: LocalSettings, now: datetime) -> LocalSettings | None:
    """Settings with root and intermediate; None when nothing is missing.

    An intermediate that expires within two lifetimes of a leaf is renewed with the same key and name, so that its
    earlier leaves remain valid.
    """
    if not settings.root_certificate:
        root_key = ec.generate_private_key(ec.SECP256R1())
        root_name = _name(f"{settings.name} root")
        root = _authority(root_name, root_key.public_key(), root_name, root_key, None, now, now + ROOT_LIFETIME)
        key = ec.generate_private_key(ec.SECP256R1())
        intermediate_name = _name(f"{settings.name} intermediate")
        end = now + INTERMEDIATE_LIFETIME
        intermediate = _authority(intermediate_name, key.public_key(), root_name, root_key, root, now, end)
        return msgspec.structs.replace(
            settings,
            root_certificate=_pem(root),
            root_key=Secret(_key_pem(root_key)),
            intermediate_certificate=_pem(intermediate),
            intermediate_key=Secret(_key_pem(key)),
        )
    old = x509.load_pem_x509_certificate(settings.intermediate_certificate.encode())
    if old.not_valid_after_utc - now > 2 * timedelta(days=settings.lifetime_days) or not settings.root_key:
        return None
    root = x509.load_pem_x509_certificate(settings.root_certificate.encode())
    root_key = load_key(settings.root_key)
    end = min(now + INTERMEDIATE_LIFETIME, root.not_valid_after_utc)
    if end <= old.not_valid_after_utc:
        return None
    public = load_key(settings.intermediate_key).public_key()
    renewed = _authority(old.subject, public, root.subject, root_key, root, now, end)
    return msgspec.structs.replace(settings, intermediate_certificate=_pem(renewed))


def load_key(key: Secret) -> ec.EllipticCurvePrivateKey:
    """A signing key from PEM. Raises `ValueError` for anything but an elliptic curve key."""
    loaded = serialization.load_pem_private_key(key.reveal().encode(), password=None)
    if not isinstance(loaded, ec.EllipticCurvePrivateKey):
        raise TypeError("the local CA signs with an elliptic curve key")
    return loaded


def _authority(
    subject: x509.Name,
    public_key: ec.EllipticCurvePublicKey,
    issuer: x509.Name,
    issuer_key: ec.EllipticCurvePrivateKey,
    issuer_certificate: x509.Certificate | None,
    now: datetime,
    end: datetime,
) -> x509.Certificate:
    """A CA certificate; without `issuer_certificate`, the root."""
    path_length = 1 if issuer_certificate is None else 0
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _BACKDATED)
        .not_valid_after(end)
        .add_extension(x509.BasicConstraints(ca=True, path_length=path_length), critical=True)
        .add_extension(_key_usage(ca=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False)
    )
    return builder.sign(issuer_key, hashes.SHA256())


def constant_extensions(issuer: ec.EllipticCurvePublicKey, *, rsa_key: bool, client: bool) -> bytes:
    """The extensions that are the same in all leaves, in DER (RFC 5280 section 4.2.1)."""
    purposes = [ExtendedKeyUsageOID.SERVER_AUTH] + ([ExtendedKeyUsageOID.CLIENT_AUTH] if client else [])
    extensions: tuple[tuple[x509.ExtensionType, bytes, bool], ...] = (
        (x509.BasicConstraints(ca=False, path_length=None), b"\x06\x03\x55\x1d\x13", True),
        (_key_usage(ca=False, encipherment=rsa_key), b"\x06\x03\x55\x1d\x0f", True),
        (x509.ExtendedKeyUsage(purposes), b"\x06\x03\x55\x1d\x25", False),
        (x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer), b"\x06\x03\x55\x1d\x23", False),
    )
    return b"".join(der.extension(oid, value.public_bytes(), critical=critical) for value, oid, critical in extensions)


def _key_usage(*, ca: bool, encipherment: bool = False) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        key_encipherment=encipherment,
        key_cert_sign=ca,
        crl_sign=ca,
        content_commitment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode()


def _key_pem(key: ec.EllipticCurvePrivateKey) -> str:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
