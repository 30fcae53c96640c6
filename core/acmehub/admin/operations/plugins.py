"""Plugins, as the running hub sees them: what is installed, and what each offers with which settings."""

from collections.abc import Sequence

from acmehub.admin.access.errors import NotFound
from acmehub.admin.access.gate import Gate
from acmehub.ports.clock import Clock
from acmehub.ports.store import Store
from acmehub.rules.permissions import Acting
from acmehub.runtime.plugin_details import PluginDetails, plugin_details
from acmehub.runtime.plugins import InstalledPlugin, PluginMissing, Registry


class PluginsAdmin:
    """Plugins are named by their entry point; verbs raise `ServiceError`s and `Forbidden`."""

    noun = "plugin"

    def __init__(self, store: Store, registry: Registry, clock: Clock) -> None:
        self._registry = registry
        self._gate = Gate(store, clock)

    async def list(self, acting: Acting) -> Sequence[InstalledPlugin]:
        """All installed plugins by name; one is active when it is loaded."""
        async with self._gate(acting, "plugin.list"):
            return self._registry.installed()

    async def show(self, name: str, acting: Acting) -> PluginDetails:
        """One plugin, which is loaded for it, with the JSON schema of the settings of each thing that it offers."""
        async with self._gate(acting, "plugin.show", name):
            try:
                return plugin_details(self._registry, name)
            except PluginMissing as error:
                raise NotFound(str(error)) from None
