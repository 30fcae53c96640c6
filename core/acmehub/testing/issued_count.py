"""Counts the certificates that a CA issues by public key, from ACME traffic."""

import base64
import hashlib
from collections import defaultdict
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from acmehub.rules.csr import load_csr


def spki_sha256(item: x509.Certificate | x509.CertificateSigningRequest) -> str:
    """SHA-256 of a public key's SPKI in hexadecimal, as in `models.Certificate`."""
    der = item.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(der).hexdigest()


class IssuedCount:
    """Finalized orders and downloaded certificates, by their key."""

    def __init__(self) -> None:
        self._finalized: defaultdict[str, set[str]] = defaultdict(set)
        self._serials: defaultdict[str, set[int]] = defaultdict(set)

    def of(self, key: str) -> int:
        """Certificates for a key: finalized orders, or different serials if those are more."""
        return max(len(self._finalized.get(key, ())), len(self._serials.get(key, ())))

    def all(self) -> dict[str, int]:
        """Certificates by key."""
        return {key: self.of(key) for key in {*self._finalized, *self._serials}}

    def note(self, path: str, payload: Any, status: int, content_type: str, body: bytes) -> None:
        """Count one exchange; those that do not concern issuance are ignored."""
        if not 200 <= status < 300:
            return
        if isinstance(payload, dict) and isinstance(payload.get("csr"), str):
            text = payload["csr"]
            der = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
            self._finalized[spki_sha256(load_csr(der))].add(path)
        elif content_type.startswith("application/pem-certificate-chain"):
            leaf = x509.load_pem_x509_certificate(body)
            self._serials[spki_sha256(leaf)].add(leaf.serial_number)
