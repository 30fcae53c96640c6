"""`ca_zerossl`: ZeroSSL as an authority of acmehub."""

from acmehub import PluginContext, Register, hookimpl

from .authority import ZeroSsl
from .settings import ZeroSslSettings as ZeroSslSettings


def _make(settings: ZeroSslSettings, context: PluginContext) -> ZeroSsl:
    return ZeroSsl(settings, context)


@hookimpl
def register_authorities(register: Register) -> None:
    """Offer `ca_zerossl`."""
    register("ca_zerossl", _make, ZeroSslSettings, "ZeroSSL; fetches its EAB credentials by API key or e-mail")
