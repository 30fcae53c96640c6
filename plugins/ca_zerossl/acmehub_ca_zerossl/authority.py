"""ZeroSSL: an ACME CA whose EAB credentials come from its API."""

import msgspec

from acmehub import AcmeRelay, PluginContext, Secret, UpstreamUnavailable

from .credentials import fetch_credentials
from .settings import ZeroSslSettings


class ZeroSsl(AcmeRelay):
    """A `RelayAuthority` that `CompletesSettings`."""

    def __init__(self, settings: ZeroSslSettings, context: PluginContext) -> None:
        super().__init__(settings, context)
        self._given = settings
        self._user_agent = context.user_agent

    async def complete(self) -> ZeroSslSettings | None:
        """Fetch EAB credentials, if the settings have none. Raises an `UpstreamError`."""
        if self._given.eab_kid:
            return None
        found = await fetch_credentials(self._given, self._user_agent)
        completed = msgspec.structs.replace(self._given, eab_kid=found.kid, eab_hmac_key=Secret(found.hmac_key))
        try:
            return completed.validate()
        except ValueError as error:
            raise UpstreamUnavailable(f"ZeroSSL's credentials are none: {error}", server=self._given.api_url) from error
