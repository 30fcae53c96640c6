"""`ca_local`: a certificate authority inside the hub, with its own root and intermediate.

It needs no challenge and signs at once. It has neither CRL nor OCSP: only the hub knows that a certificate is revoked
(`Certificate.revoked`), and "must-staple" in a CSR is ignored, as there is nothing to staple.
"""

from acmehub import PluginContext, Register, hookimpl

from .authority import LocalAuthority
from .settings import LocalSettings


def _make(settings: LocalSettings, context: PluginContext) -> LocalAuthority:
    return LocalAuthority(settings, context.clock)


@hookimpl
def register_authorities(register: Register) -> None:
    """Offer `ca_local`."""
    register("ca_local", _make, LocalSettings, "a private CA inside the hub: signs at once, asks for no challenge")
