"""`ca_letsencrypt`: Let's Encrypt as an authority of acmehub."""

from acmehub import PluginContext, Register, RelayAuthority, hookimpl

from .limits import LIMITS as LIMITS
from .limits import Limit as Limit
from .settings import LetsEncryptSettings as LetsEncryptSettings


def _make(settings: LetsEncryptSettings, context: PluginContext) -> RelayAuthority:
    from acmehub import AcmeRelay  # imported here, so that its libraries are loaded only when the CA is used

    return AcmeRelay(settings.relay_settings(), context)


@hookimpl
def register_authorities(register: Register) -> None:
    """Offer `ca_letsencrypt`."""
    register("ca_letsencrypt", _make, LetsEncryptSettings, "Let's Encrypt, production or staging")
