"""The TLS certificate with which `serve` answers, as other parts of the hub see it: the file that has it."""

from datetime import datetime

from acmehub.config import Config

OWN_FILE = "tls.pem"  # the hub's own TLS certificate with its key, in the data directory


def own_certificate(config: Config) -> tuple[datetime, datetime] | None:
    """Begin and end of its validity; None where the hub has none yet, or its file cannot be read here."""
    from cryptography import x509  # verbs that need no certificate start without it

    if config.tls.mode == "off":
        return None
    try:
        text = (config.tls.certificate or config.data_dir / OWN_FILE).read_bytes()
        leaf = x509.load_pem_x509_certificates(text)[0]
    except (OSError, ValueError):
        return None
    return leaf.not_valid_before_utc, leaf.not_valid_after_utc
