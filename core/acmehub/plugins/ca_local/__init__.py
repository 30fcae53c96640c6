"""`ca_local`: a certificate authority inside the hub, with a root and an intermediate of its own.

It asks for no challenge and signs at once. It offers neither CRL nor OCSP: that a certificate is revoked is kept by
the hub (`Certificate.revoked`) and nowhere else, and "must-staple" in a CSR is ignored, as there is nothing to staple.
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
