"""TXT records in Cloudflare zones, by Cloudflare's API v4 and a scoped API token."""

from acmehub import PluginContext, Register, hookimpl
from acmehub_dns_cloudflare.api import CloudflareApi
from acmehub_dns_cloudflare.provider import CloudflareProvider
from acmehub_dns_cloudflare.settings import CloudflareSettings


def make_provider(settings: CloudflareSettings, context: PluginContext) -> CloudflareProvider:
    """The provider for these settings."""
    return CloudflareProvider(CloudflareApi(settings, user_agent=context.user_agent), ttl=settings.ttl)


@hookimpl
def register_dns_providers(register: Register) -> None:
    """Offer `dns_cloudflare`."""
    register("dns_cloudflare", make_provider, CloudflareSettings, "Zones at Cloudflare, with an API token")
