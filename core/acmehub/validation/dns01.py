"""dns-01 (RFC 8555 section 8.4): a TXT record that every authoritative server of its zone shows."""

import base64
import hashlib

from acmehub.dns01 import DnsError, Solver
from acmehub.models.problems import ProblemType
from acmehub.validation.errors import ValidationFailed


async def look(solver: Solver, name: str, key_authorization: str) -> str:
    """Where the proof for `name` was seen. Raises `ValidationFailed`."""
    try:
        place, view = await solver.proof(name, record_value(key_authorization))
    except DnsError as error:
        raise ValidationFailed(ProblemType.DNS, error.detail) from error
    if view.complete:
        return f"{place.name} on {', '.join(view.showing)}"
    if view.blind:
        words = f"no name server of {place.zone} can be asked ({', '.join(view.silent)})"
        raise ValidationFailed(ProblemType.DNS, words)
    if view.found:
        words = f"{', '.join(view.lacking)}: the TXT record of {place.name} has another value than the challenge's"
        raise ValidationFailed(ProblemType.INCORRECT_RESPONSE, words)
    raise ValidationFailed(ProblemType.DNS, f"{', '.join(view.lacking)}: no TXT record at {place.name}")


def record_value(key_authorization: str) -> str:
    """What has to stand at `_acme-challenge`."""
    digest = hashlib.sha256(key_authorization.encode()).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
