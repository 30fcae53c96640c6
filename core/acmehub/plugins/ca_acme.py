"""`ca_acme`: any CA with an ACME server (RFC 8555)."""

from acmehub import PluginContext, Register, RelayAuthority, RelaySettings, hookimpl


def _make(settings: RelaySettings, context: PluginContext) -> RelayAuthority:
    from acmehub import AcmeRelay  # imported here, so that its libraries are loaded only when a CA is used

    return AcmeRelay(settings, context)


@hookimpl
def register_authorities(register: Register) -> None:
    """Offer `ca_acme`."""
    register("ca_acme", _make, RelaySettings, "any CA that speaks ACME (RFC 8555)")
