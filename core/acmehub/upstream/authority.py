"""`AcmeRelay`: an ACME CA as a `RelayAuthority`."""

from pathlib import Path

from acmehub.http_client.client import HttpClient
from acmehub.ports.authority import (
    IssuedChain,
    IssueRequest,
    UpstreamAccount,
    UpstreamAuthorization,
    UpstreamOrder,
    UpstreamRenewalInfo,
)
from acmehub.ports.plugins import PluginContext
from acmehub.ports.settings import SettingsError
from acmehub.upstream import chains
from acmehub.upstream.directories import DirectoryCache
from acmehub.upstream.exchange import Exchanger
from acmehub.upstream.hosts import Hosts
from acmehub.upstream.keys import new_account_key
from acmehub.upstream.nonces import UpstreamNonces
from acmehub.upstream.settings import RelaySettings
from acmehub.upstream.steps import Steps

CONNECTIONS = 32


class AcmeRelay:
    """A `RelayAuthority` for any RFC 8555 CA. Raises `SettingsError` when there is no `ca_file`."""

    def __init__(self, settings: RelaySettings, context: PluginContext) -> None:
        self._settings = settings
        self._client = HttpClient(
            user_agent=context.user_agent,
            ca_file=_ca_file(settings.ca_file, context.data_dir),
            timeout=2 * settings.timeout,
            silence=settings.timeout,
            connections=CONNECTIONS,
        )
        hosts = Hosts(settings)
        exchanger = Exchanger(
            settings.directory,
            self._client,
            seconds=2 * settings.timeout,
            hosts=hosts,
            nonces=UpstreamNonces(context.clock.monotonic),
            now=context.clock.now,
        )
        directories = DirectoryCache(settings.directory, exchanger.get, hosts, context.clock.monotonic)
        self._steps = Steps(settings, exchanger, directories, hosts)

    def __repr__(self) -> str:
        return f"AcmeRelay({self.server!r})"

    @property
    def server(self) -> str:
        return self._settings.directory

    @property
    def allows_leaf_only(self) -> bool:
        return self._settings.allows_leaf_only

    def new_account_key(self) -> bytes:
        """Make a key of the type that the settings name."""
        return new_account_key(self._settings.account_key_type)

    def choose(self, chains_offered: tuple[str, ...]) -> int:
        """Compare `preferred_chain` with the common name of each chain's topmost issuer, as certbot and lego do."""
        return chains.choose(chains_offered, self._settings.preferred_chain)

    @property
    def poll_first(self) -> float:
        return self._settings.poll_first

    async def register(self, key: bytes) -> UpstreamAccount:
        """Register; where the CA requires terms or EAB that are not set, `UpstreamRefused` names the setting."""
        return await self._steps.register(key)

    async def new_order(self, account: UpstreamAccount, request: IssueRequest) -> UpstreamOrder:
        """Order; a profile that the CA does not offer is `UpstreamRefused`."""
        return await self._steps.new_order(account, request)

    async def order(self, account: UpstreamAccount, url: str) -> UpstreamOrder:
        return await self._steps.order(account, url)

    async def authorization(self, account: UpstreamAccount, url: str) -> UpstreamAuthorization:
        return await self._steps.authorization(account, url)

    async def answer(self, account: UpstreamAccount, challenge_url: str) -> None:
        """Respond to a challenge; succeeds when the CA has had the response before."""
        await self._steps.answer(account, challenge_url)

    async def finalize(self, account: UpstreamAccount, finalize_url: str, order_url: str, csr: bytes) -> UpstreamOrder:
        """Send the CSR; succeeds when the CA has one already."""
        return await self._steps.finalize(account, finalize_url, order_url, csr)

    async def certificate(self, account: UpstreamAccount, url: str) -> IssuedChain:
        return await self._steps.certificate(account, url)

    async def revoke(self, account: UpstreamAccount, certificate: bytes, reason: int | None) -> None:
        """Revoke; succeeds when the certificate is revoked already."""
        await self._steps.revoke(account, certificate, reason)

    async def renewal_info(self, cert_id: str) -> UpstreamRenewalInfo | None:
        return await self._steps.renewal_info(cert_id)

    async def probe(self, account: UpstreamAccount | None) -> str:
        """Read the directory and, with `account`, ask newAccount for an existing account (RFC 8555 section 7.3.1)."""
        return await self._steps.probe(account)

    async def aclose(self) -> None:
        """End the exchanges under way, and close the connections."""
        await self._client.aclose()


def _ca_file(name: str, data_dir: Path) -> str:
    if not name:
        return ""
    places = (Path(name), data_dir / name)
    for place in places:
        if place.is_file():
            return str(place.resolve())
    raise SettingsError(f"ca_file: there is no {' and no '.join(str(place) for place in places)} - `$.ca_file`")
