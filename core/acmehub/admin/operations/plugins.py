"""Plugins, as operators see them: which are installed, and what each offers with which settings."""

from collections.abc import Sequence

from msgspec.structs import replace

from acmehub.admin.access.errors import NotFound
from acmehub.admin.access.gate import Gate
from acmehub.ports.clock import Clock
from acmehub.ports.store import Store
from acmehub.rules.permissions import Acting
from acmehub.runtime.plugin_details import PluginDetails, installed_plugins, plugin_details
from acmehub.runtime.plugins import InstalledPlugin, PluginMissing, Registry


class PluginsAdmin:
    """Plugins are named as they are installed; verbs raise `ServiceError`s and `Forbidden`."""

    noun = "plugin"

    def __init__(self, store: Store, registry: Registry, clock: Clock) -> None:
        self._store = store
        self._registry = registry
        self._gate = Gate(store, clock)

    async def list(self, acting: Acting) -> Sequence[InstalledPlugin]:
        """The plugins that are installed, and those that stored resources name and that are not."""
        async with self._gate(acting, "plugin.list"):
            named = [item.plugin for item in await self._store.authorities.list()]
            named += [item.plugin for item in await self._store.managed_challenges.list()]
            return installed_plugins(self._registry, named)

    async def show(self, name: str, acting: Acting) -> PluginDetails:
        """The plugin that `name` belongs to. It is loaded to be looked at, and not put to use in the hub by that."""
        async with self._gate(acting, "plugin.show", f"plugin {name}"):
            try:
                found = plugin_details(Registry(), name)
            except PluginMissing as error:
                raise NotFound(str(error)) from None
            return replace(found, state="active") if self._registry.has(found.name) and not found.reason else found
