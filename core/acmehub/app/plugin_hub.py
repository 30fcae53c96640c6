"""What `register_routes` gives a plugin: the hub as another face of it needs it, without the storage and the vault."""

import asyncio

import msgspec
from litestar.types import HTTPScope

from acmehub.acme.server.client_address import TrustedProxies, client_address
from acmehub.admin.services import Admin
from acmehub.api.routes import ApiParts
from acmehub.config import Config, Storage
from acmehub.models.audit import Origin
from acmehub.ports.clock import Clock
from acmehub.rules.permissions import Acting
from acmehub.runtime.order_events import OrderEvents


class PluginHub:
    """The hub for the routes of one plugin.

    `admin`: the verbs of operators, each of which asks for the right of the `Acting` that it is given. `order_events`:
    subscriptions to orders. `stopping` is set when the process ends: an answer that waits must wait for it as well.
    `config`: the configuration without secrets: no master keys, no settings of storage and notifiers.
    """

    def __init__(self, parts: ApiParts, plugin: str) -> None:
        self.admin: Admin = parts.admin
        self.order_events: OrderEvents = parts.order_events
        self.stopping: asyncio.Event = parts.stopping
        self.clock: Clock = parts.clock
        self.config: Config = msgspec.structs.replace(
            parts.config, master_keys=(), storage=Storage(plugin=parts.config.storage.plugin), notifier=()
        )
        self._plugin = plugin
        self._vault = parts.vault
        self._proxies = TrustedProxies(parts.config.trusted_proxies)

    async def sign_in(self, id: str, secret: str, origin: Origin) -> Acting:
        """Who acts with the API token of this client id and secret, from `origin`; `Unauthenticated`."""
        return await self.admin.tokens.authenticate(id, secret, origin)

    def key(self, purpose: str) -> bytes:
        """A key of 32 bytes for a purpose of this plugin: the same in each process with the same master key, and
        another one for each plugin. It is known once the hub is founded; `VaultError` before."""
        return self._vault.derive(f"plugin {self._plugin} {purpose}")

    def address_of(self, scope: HTTPScope) -> str:
        """The address of the client of a request, as `trusted_proxies` says; empty where it is not known."""
        return client_address(scope, self._proxies)
