"""What is installed, and one plugin with all that it offers: for `acmehub plugin` and its likes over the API."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from acmehub.ports.setting_fields import SettingField, setting_fields, settings_schema
from acmehub.runtime.plugin_flaws import HOOKS
from acmehub.runtime.plugins import InstalledPlugin, PluginBroken, PluginError, PluginMissing, Registry


class Offered(msgspec.Struct, frozen=True):
    """What a plugin offers under one name: `kind` is `authority`, `DNS provider`, `storage` or `notifier`,
    `schema` the JSON schema of the settings, secrets marked `writeOnly`."""

    name: str
    kind: str
    summary: str
    settings: tuple[SettingField, ...]
    schema: dict[str, Any]


class PluginDetails(msgspec.Struct, frozen=True, kw_only=True):
    """A plugin: `state` and `reason` as in `InstalledPlugin`; `entry_point` is its module; `hooks` it implements."""

    name: str
    state: str
    reason: str = ""
    distribution: str
    version: str
    summary: str
    entry_point: str
    built_in: bool
    hooks: tuple[str, ...] = ()
    offers: tuple[Offered, ...] = ()


def plugin_details(registry: Registry, name: str) -> PluginDetails:
    """The plugin that `name` belongs to, loaded for it. One that does not load has a `reason`, and offers nothing.

    Raises `PluginMissing`.
    """
    plugin_name = name.partition(".")[0]
    loaded = registry.has(plugin_name)
    try:
        registry.load(plugin_name)
    except PluginBroken:
        loaded = False
    line = next(item for item in registry.installed() if item.name == plugin_name)
    state = line.state if loaded or line.state == "broken" else "installed"
    return PluginDetails(
        name=plugin_name,
        state=state,
        reason=line.reason,
        distribution=line.distribution,
        version=line.version,
        summary=line.summary,
        entry_point=line.entry_point,
        built_in=line.built_in,
        hooks=tuple(hook for hook in HOOKS if plugin_name in registry.names(hook)),
        offers=tuple(
            Offered(item.name, kind, item.summary, setting_fields(item.settings), settings_schema(item.settings))
            for kind, item in registry.registrations(plugin_name)
        ),
    )


def installed_plugins(registry: Registry, named: Iterable[str]) -> Sequence[InstalledPlugin]:
    """The plugins that are installed, and those of the `named` ones that are not; the named ones are loaded."""
    missing = load_named(registry, named)
    absent = [InstalledPlugin(name=name, state="missing", reason=reason) for name, reason in missing.items()]
    return sorted([*registry.installed(), *absent], key=lambda item: item.name)


def load_named(registry: Registry, named: Iterable[str]) -> Mapping[str, str]:
    """Load these plugins, as far as they load; why those that are not installed are missing, by name."""
    missing = {}
    for name in named:
        try:
            registry.load(name)
        except PluginMissing as error:
            missing[name.partition(".")[0]] = str(error)
        except PluginError:  # kept by the registry
            continue
    return missing
