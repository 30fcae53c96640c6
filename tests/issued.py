"""A chain that a client got, as far as it may be believed."""

from pathlib import Path
from typing import NamedTuple

from cryptography import x509
from cryptography.x509.verification import PolicyBuilder, Store


class Issued(NamedTuple):
    """What a verified chain is for, and its leaf's serial number."""

    names: frozenset[str]
    serial: int


def verified(chain: Path, root: str) -> Issued:
    """What a chain file holds, when it leads to `root` (PEM) for each of its names; else it raises."""
    leaf, *rest = x509.load_pem_x509_certificates(chain.read_bytes())
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    found = frozenset(names.get_values_for_type(x509.DNSName))
    verifier = PolicyBuilder().store(Store([x509.load_pem_x509_certificate(root.encode())]))
    for name in found:
        verifier.build_server_verifier(x509.DNSName(name.replace("*", "any"))).verify(leaf, rest)
    return Issued(found, leaf.serial_number)
