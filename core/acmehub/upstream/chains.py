"""The choice among the chains that a CA offers for one certificate."""

import functools
import logging
from collections.abc import Sequence

from cryptography import x509
from cryptography.x509.oid import NameOID

from acmehub.upstream.members import words

_log = logging.getLogger(__name__)


def choose(chains: Sequence[str], preferred: str) -> int:
    """The index of the first chain whose topmost certificate has an issuer of common name `preferred`, else 0."""
    if not preferred:
        return 0
    seen = []
    for index, chain in enumerate(chains):
        top = x509.load_pem_x509_certificates(chain.encode())[-1]
        names = [str(item.value) for item in top.issuer.get_attributes_for_oid(NameOID.COMMON_NAME)]
        if preferred in names:
            return index
        seen += names
    _tell(preferred, words(", ".join(seen)))
    return 0


@functools.lru_cache(maxsize=64)
def _tell(preferred: str, offered: str) -> None:
    """Log, once in a process, that a CA does not offer what an authority prefers."""
    _log.warning("no chain leads to %r; offered: %s; this is said once", preferred, offered)
