"""dns-01 (RFC 8555 section 8.4): every authoritative server of the zone has the TXT record."""

import base64
import hashlib

from acmehub.dns01 import DnsError, Solver
from acmehub.models.problems import ProblemType
from acmehub.validation.errors import ValidationFailed


async def validate(solver: Solver, name: str, key_authorization: str) -> str:
    """Validate dns-01 for `name`; returns where the record was found. Raises `ValidationFailed`."""
    try:
        place, view = await solver.proof(name, record_value(key_authorization))
    except DnsError as error:
        raise ValidationFailed(ProblemType.DNS, error.detail) from error
    if view.complete:
        return f"{place.name} on {', '.join(view.showing)}"
    if view.blind:
        message = f"no name server of {place.zone} can be asked ({', '.join(view.silent)})"
        raise ValidationFailed(ProblemType.DNS, message)
    if view.found:
        message = f"{', '.join(view.lacking)}: the TXT record of {place.name} has another value than the challenge's"
        raise ValidationFailed(ProblemType.INCORRECT_RESPONSE, message)
    raise ValidationFailed(ProblemType.DNS, f"{', '.join(view.lacking)}: no TXT record at {place.name}")


def record_value(key_authorization: str) -> str:
    """The TXT value for a key authorization."""
    digest = hashlib.sha256(key_authorization.encode()).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
