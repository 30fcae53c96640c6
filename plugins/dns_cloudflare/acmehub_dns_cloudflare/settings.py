"""The settings of `dns_cloudflare`."""

from typing import Annotated, Self
from urllib.parse import urlsplit

from msgspec import Meta

from acmehub import PluginSettings, Secret

AUTOMATIC_TTL = 1
SHORTEST_TTL = 60


class CloudflareSettings(PluginSettings, frozen=True, kw_only=True):
    """The API, and the token for it."""

    api_token: Annotated[Secret, Meta(description="an API token with Zone:DNS:Edit and Zone:Zone:Read")]
    base_url: Annotated[str, Meta(description="where the API is")] = "https://api.cloudflare.com/client/v4"
    ttl: Annotated[int, Meta(ge=1, le=86400, description="of the records, in seconds; 1: automatic")] = 60
    timeout: Annotated[float, Meta(gt=0, le=300, description="of a request, in seconds")] = 15.0

    def validate(self) -> Self:
        token = self.api_token.reveal()
        if not token or not token.isascii() or not token.isprintable() or " " in token:
            raise ValueError("api_token: expected an API token (not the global API key), in one piece without spaces")
        if AUTOMATIC_TTL < self.ttl < SHORTEST_TTL:
            raise ValueError(f"ttl: Cloudflare takes 60 to 86400 seconds, or 1 for automatic, not {self.ttl}")
        url = urlsplit(self.base_url)
        on_this_machine = url.hostname in ("localhost", "::1") or (url.hostname or "").startswith("127.")
        if url.scheme != "https" and not (url.scheme == "http" and on_this_machine):
            raise ValueError("base_url: expected an https:// URL, so that the token is never sent in clear")
        if not url.hostname or url.username or url.query or url.fragment:
            raise ValueError("base_url: expected a URL with a host, and without credentials or query")
        return self
