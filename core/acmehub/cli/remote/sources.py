"""`env:NAME` and `file:PATH` in secret settings, read here before anything is sent: the API never reads them."""

from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import UNSET

from acmehub.admin.access.errors import Invalid, NotFound, ServiceError
from acmehub.admin.operations.plugins import PluginsAdmin
from acmehub.admin.resources.document import Document, InvalidFile, New
from acmehub.admin.resources.with_plugins import Settings, Sources, resolved
from acmehub.rules.permissions import Acting

WITH_SETTINGS = {"authority": "authorities", "managed_challenge": "managed_challenges"}


class LocalSources:
    """Reads the sources of one command; which settings are secret, the hub says by its plugins."""

    def __init__(self, plugins: PluginsAdmin, acting: Acting, sources: Sources) -> None:
        self._plugins = plugins
        self._acting = acting
        self._sources = sources
        self._secret: dict[str, frozenset[str]] = {}

    async def settings(self, plugin: str, settings: Settings) -> dict[str, Any]:
        """Settings of a plugin with their sources read; `Invalid`."""
        if not any(map(_may_have_source, settings.values())):
            return dict(settings)
        secret = await self._secret_settings(plugin)
        return {
            name: resolved(value, f"settings.{name}", self._sources) if name in secret else value
            for name, value in settings.items()
        }

    async def document(self, document: Document) -> Document:
        """The entries of a file with their sources read; `InvalidFile` has every one that cannot be."""
        changed: dict[str, list[New]] = {kind: [] for kind in WITH_SETTINGS}
        errors: list[str] = []
        for kind, new in document.entries():
            if kind in WITH_SETTINGS:
                try:
                    settings = await self.settings(new.plugin, new.settings)  # type: ignore[union-attr]
                except ServiceError as error:
                    field = error.field if isinstance(error, Invalid) else ""
                    errors.append(f"{document.place(kind, new, field)}: {error}")
                    continue
                changed[kind].append(msgspec.structs.replace(new, settings=settings))
        if errors:
            raise InvalidFile(tuple(errors))
        found = {member: tuple(changed[kind]) for kind, member in WITH_SETTINGS.items()}
        return msgspec.structs.replace(document, **found)

    async def body(self, body: msgspec.Struct, plugin: str) -> msgspec.Struct:
        """What is to be sent, with the sources of its settings read; `plugin` unless it names one itself."""
        if isinstance(body, Document):
            return await self.document(body)
        settings: Mapping[str, Any] | object = getattr(body, "settings", UNSET)
        if not isinstance(settings, Mapping):
            return body
        named = getattr(body, "plugin", UNSET)
        read = await self.settings(plugin if named is UNSET else str(named), settings)
        return msgspec.structs.replace(body, settings=read)

    async def _secret_settings(self, plugin: str) -> frozenset[str]:
        if plugin not in self._secret:
            try:
                offers = (await self._plugins.show(plugin, self._acting)).offers
            except NotFound:  # the verb says so
                offers = ()
            self._secret[plugin] = frozenset(
                item.name for offered in offers if offered.name == plugin for item in offered.settings if item.secret
            )
        return self._secret[plugin]


def _may_have_source(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return any(map(_may_have_source, value))
    return isinstance(value, str) and value.startswith(("env:", "file:"))
