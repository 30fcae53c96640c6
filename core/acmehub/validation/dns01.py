"""dns-01 (RFC 8555 section 8.4): every authoritative server of the zone has the TXT record."""

import asyncio
import base64
import hashlib

from acmehub.config import Verify
from acmehub.dns01 import DnsError
from acmehub.dns01.propagation import view_authoritative, within
from acmehub.dns01.resolver import Resolver
from acmehub.dns01.zones import find_place
from acmehub.models.identifiers import canonical
from acmehub.models.problems import ProblemType
from acmehub.validation.egress import Egress
from acmehub.validation.errors import ValidationFailed


class Dns01:
    """The validator for dns-01. It asks the resolvers, and those servers of a zone that the egress allows."""

    def __init__(self, settings: Verify, egress: Egress, resolver: Resolver) -> None:
        self._seconds = settings.timeout
        self._zones = frozenset(map(canonical, settings.zones))
        self._egress = egress
        self._resolver = resolver

    async def validate(self, name: str, key_authorization: str) -> str:
        """Validate dns-01 for `name`; returns where the record was found. Raises `ValidationFailed`."""
        until = asyncio.get_running_loop().time() + self._seconds
        values = (record_value(key_authorization),)
        try:
            search = find_place(self._resolver, name, None, own=self._zones, direct=False)
            place = await within(until, search, f"the zone of {name}")
            view = await view_authoritative(
                self._resolver, place.zone, place.name, values, (), 0, outlet=self._egress, until=until
            )
        except DnsError as error:
            raise ValidationFailed(ProblemType.DNS, error.detail) from error
        if view.complete:
            return f"{place.name} on {', '.join(view.showing)}"
        if view.blind:
            message = f"no name server of {place.zone} can be asked ({', '.join(view.silent)})"
            raise ValidationFailed(ProblemType.DNS, message)
        if view.found:
            message = (
                f"{', '.join(view.lacking)}: the TXT record of {place.name} has another value than the challenge's"
            )
            raise ValidationFailed(ProblemType.INCORRECT_RESPONSE, message)
        raise ValidationFailed(ProblemType.DNS, f"{', '.join(view.lacking)}: no TXT record at {place.name}")


def record_value(key_authorization: str) -> str:
    """The TXT value for a key authorization."""
    digest = hashlib.sha256(key_authorization.encode()).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
