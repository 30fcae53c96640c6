"""TXT records by DNS UPDATE (RFC 2136), signed with TSIG (RFC 8945), over TCP."""

from acmehub import PluginContext, Register, hookimpl
from acmehub_dns_rfc2136.provider import Rfc2136Provider
from acmehub_dns_rfc2136.settings import Rfc2136Settings


def _provider(settings: Rfc2136Settings, _context: PluginContext) -> Rfc2136Provider:
    return Rfc2136Provider(settings)


@hookimpl
def register_dns_providers(register: Register) -> None:
    """Offer `dns_rfc2136`."""
    register(
        "dns_rfc2136",
        _provider,
        Rfc2136Settings,
        "Any DNS server that takes updates with TSIG (BIND, Knot, PowerDNS …)",
    )
