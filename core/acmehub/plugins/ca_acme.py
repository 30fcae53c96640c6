"""`ca_acme`: any CA that speaks ACME (RFC 8555)."""

from acmehub import PluginContext, Register, RelayAuthority, RelaySettings, hookimpl


def _make(settings: RelaySettings, context: PluginContext) -> RelayAuthority:
    from acmehub import AcmeRelay  # its libraries are loaded when a CA is used, not when the plugin is

    return AcmeRelay(settings, context)


@hookimpl
def register_authorities(register: Register) -> None:
    """Offer `ca_acme`."""
    register("ca_acme", _make, RelaySettings, "any CA that speaks ACME (RFC 8555)")
