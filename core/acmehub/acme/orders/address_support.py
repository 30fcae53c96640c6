"""Orders for addresses (RFC 8738): only where the authority issues for them."""

from collections.abc import Sequence

from acmehub.models.identifiers import Identifier
from acmehub.models.problems import ProblemType, gathered, subproblem
from acmehub.ports.authority import issues_for_addresses
from acmehub.rules.names import shown
from acmehub.runtime.plugin_objects import AuthorityObject


def require_address_support(identifiers: Sequence[Identifier], authority: AuthorityObject) -> None:
    """Raise `unsupportedIdentifier`, one subproblem per address, unless the order's authority issues for them."""
    addresses = [item for item in identifiers if item.type == "ip"]
    if not addresses or issues_for_addresses(authority.object):
        return
    message = "the certificate authority of this order does not issue for IP addresses"
    kind = ProblemType.UNSUPPORTED_IDENTIFIER
    parts = [subproblem(kind, f"{shown(item.value)}: {message}", item) for item in addresses]
    raise gathered(message, parts)
