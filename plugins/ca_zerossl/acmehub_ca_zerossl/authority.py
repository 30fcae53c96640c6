"""ZeroSSL: an ACME CA whose EAB credentials come from its API."""

import msgspec

from acmehub import AcmeRelay, PluginContext, Secret

from .credentials import fetch_credentials
from .settings import ZeroSslSettings


class ZeroSsl(AcmeRelay):
    """A `RelayAuthority` that `CompletesSettings`."""

    def __init__(self, settings: ZeroSslSettings, context: PluginContext) -> None:
        super().__init__(settings, context)
        self._given = settings
        self._user_agent = context.user_agent

    async def complete(self) -> ZeroSslSettings | None:
        """Fetch EAB credentials, if the settings have none."""
        if self._given.eab_kid:
            return None
        found = await fetch_credentials(self._given, self._user_agent)
        return msgspec.structs.replace(self._given, eab_kid=found.kid, eab_hmac_key=Secret(found.hmac_key))
