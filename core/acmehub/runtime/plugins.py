"""Finds, loads and registers plugins: stevedore finds, pluggy speaks (docs/adr/0003-which-plugins-load.md).

A plugin is an entry point of the group `acmehub`. It is loaded only when it is named: built-ins, `plugins = […]` of the
configuration, and what a stored authority, a managed challenge or `[storage]` names.
"""

import difflib
import importlib.metadata
import json
import logging
import shlex
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import msgspec
import pluggy
from stevedore.named import NamedExtensionManager

from acmehub.ports import hookspecs
from acmehub.ports.plugins import PluginContext, Registration
from acmehub.ports.settings import PluginSettings
from acmehub.runtime.defects import Defects
from acmehub.runtime.plugin_flaws import hook_flaw, registration_flaw, told

GROUP = "acmehub"
BUILT_INS = ("ca_acme", "ca_local", "policy_default", "storage_sqlite")
_DISTRIBUTION = "acmehub"
_SLOW = 2.0  # seconds
_log = logging.getLogger(__name__)


class PluginError(Exception):
    """A plugin that cannot be used; the text says which, why, and what to do."""


class PluginMissing(PluginError, LookupError):
    """No installed distribution offers a plugin of this name."""


class PluginBroken(PluginError):
    """A plugin that is installed but does not load, claims what is not its own, or is not as the hub needs it.

    `reason` is the text without the plugin's name.
    """

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"plugin {name!r} {reason}")
        self.reason = reason


class InstalledPlugin(msgspec.Struct, frozen=True, kw_only=True):
    """A line of `acmehub plugin list`; `entry_point`: the module. `state`: `active`, `installed` (not loaded), `broken`
    or `missing` (named, and not installed); `reason` says why."""

    name: str
    distribution: str = ""
    version: str = ""
    state: str
    built_in: bool = False
    offers: tuple[str, ...] = ()
    reason: str = ""
    summary: str = ""
    entry_point: str = ""


def installed_entry_points() -> list[importlib.metadata.EntryPoint]:
    """The entry points of the group `acmehub`, one per name and place, sorted; nothing is imported."""
    found = importlib.metadata.entry_points(group=GROUP)
    return sorted({(item.name, item.value): item for item in found}.values(), key=lambda item: item.name)


class Offers(Mapping[str, Registration]):
    """What loaded plugins offer of one kind, by name; asking for a name loads the plugin that it belongs to."""

    def __init__(self, kind: str, load: Callable[[str], None]) -> None:
        self.kind = kind
        self._load = load
        self._known: dict[str, Registration] = {}

    def __getitem__(self, name: str) -> Registration:
        if name not in self._known:
            self._load(name)
        if name not in self._known:
            raise PluginMissing(f"plugin {name!r} offers no {self.kind} of that name{_suggest(name, self._known)}")
        return self._known[name]

    def get(self, name: str, default: Any = None) -> Any:
        """As a dict's: `default` when there is no such plugin."""
        try:
            return self[name]
        except PluginMissing:
            return default

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and self.get(name) is not None

    def __iter__(self) -> Iterator[str]:
        return iter(self._known)

    def __len__(self) -> int:
        return len(self._known)

    def take(self, registration: Registration) -> None:
        """Add one; `PluginBroken` when the name is taken."""
        if registration.name in self._known:
            raise PluginBroken(registration.name, f"offers the {self.kind} of that name twice: register it once")
        self._known[registration.name] = registration

    def drop(self, plugin_name: str) -> None:
        """Forget what a plugin offered."""
        self._known = {name: item for name, item in self._known.items() if _plugin_of(name) != plugin_name}


class Registry:
    """The loaded plugins: `hook` calls them, the four mappings are what they offer."""

    def __init__(self) -> None:
        self._manager = pluggy.PluginManager(hookspecs.PROJECT)
        self._manager.add_hookspecs(hookspecs)
        self._points: Sequence[importlib.metadata.EntryPoint] = ()
        self._defects = Defects()
        self._broken: dict[str, str] = {}
        self.authorities = Offers("authority", self.load)
        self.dns_providers = Offers("DNS provider", self.load)
        self.storages = Offers("storage", self.load)
        self.notifiers = Offers("notifier", self.load)
        self._offers = {
            "register_authorities": self.authorities,
            "register_dns_providers": self.dns_providers,
            "register_storages": self.storages,
            "register_notifiers": self.notifiers,
        }

    @property
    def hook(self) -> pluggy.HookRelay:
        """The hooks of `hookspecs`, as pluggy offers them."""
        return self._manager.hook

    def load(self, name: str) -> None:
        """Load the plugin that `name` belongs to, unless it is loaded: `dns_x` itself, or `dns_x` for `dns_x.other`.

        Raises `PluginMissing`, which says what to install, or `PluginBroken`.
        """
        plugin_name = _plugin_of(name)
        if self.has(plugin_name):
            return
        try:
            found = self._find(plugin_name)
        except PluginBroken as error:
            self._broken[plugin_name] = error.reason
            raise
        self.add(plugin_name, found)

    def has(self, name: str) -> bool:
        """Whether the plugin of that name is loaded."""
        return self._manager.has_plugin(name)

    def add(self, name: str, plugin: object) -> None:
        """Register a plugin object (a module, usually) under `name`."""
        try:
            self._register(name, plugin)
        except PluginBroken as error:
            self._broken[name] = error.reason
            for offers in self._offers.values():
                offers.drop(name)
            if self._manager.has_plugin(name):
                self._manager.unregister(name=name)
            raise
        self._broken.pop(name, None)

    def _register(self, name: str, plugin: object) -> None:
        if flaw := hook_flaw(plugin):
            raise PluginBroken(name, f"is broken: {flaw}")
        try:
            self._manager.register(plugin, name)
            self._manager.check_pending()
        except pluggy.PluginValidationError as error:
            raise PluginBroken(name, f"is broken: {' '.join(str(error).split())}") from error
        for hook_name, offers in self._offers.items():
            self.ask(name, hook_name, register=_register(name, offers))

    def ask(self, name: str, hook_name: str, **arguments: Any) -> Any:
        """Call a hook as this one plugin implements it; `PluginBroken` names what it raises, and where."""
        try:
            return self._only(name, hook_name)(**arguments)
        except PluginError:
            raise
        except Exception as error:
            raise PluginBroken(name, f"is broken: {hook_name} raised {told(error)}") from error

    def names(self, hook_name: str) -> Sequence[str]:
        """The plugins that implement a hook, in the order in which they are called."""
        return [item.plugin_name for item in reversed(getattr(self.hook, hook_name).get_hookimpls())]

    def news(self, hook_name: str, event: object) -> None:
        """Tell `event` to each implementation of a news hook on its own; a failing one is logged."""
        for implementation in getattr(self.hook, hook_name).get_hookimpls():
            name = implementation.plugin_name
            try:
                self._only(name, hook_name)(event=event)
            except Exception as error:  # noqa: BLE001  third-party code: no failure of it stops the order or other plugins
                if self._defects.is_news(error, name, hook_name):
                    _log.exception("plugin %s failed in %s", name, hook_name)

    def installed(self) -> Sequence[InstalledPlugin]:
        """Every plugin there is, loaded or not, by name; loads nothing."""
        lines = []
        points = installed_entry_points()
        counts = Counter(point.name for point in points)
        for point in points:
            if counts[point.name] > 1:
                self._broken.setdefault(point.name, _twice(points, point.name))
            distribution = point.dist
            lines.append(
                InstalledPlugin(
                    name=point.name,
                    distribution=distribution.name if distribution else "",
                    version=distribution.version if distribution else "",
                    state=self._state(point.name),
                    built_in=point.name in BUILT_INS,
                    offers=self._offers_of(point.name),
                    reason=self._broken.get(point.name, ""),
                    summary=_summary(distribution),
                    entry_point=point.value,
                )
            )
        return lines

    def _state(self, name: str) -> str:
        if name in self._broken:
            return "broken"
        return "active" if self._manager.has_plugin(name) else "installed"

    def _offers_of(self, name: str) -> tuple[str, ...]:
        return tuple(f"{kind} {item.name}" for kind, item in self.registrations(name))

    def registrations(self, name: str) -> Sequence[tuple[str, Registration]]:
        """What the plugin of that name has registered, each with its kind."""
        return [
            (offers.kind, offers[item])
            for offers in self._offers.values()
            for item in offers
            if _plugin_of(item) == name
        ]

    def _only(self, name: str, hook_name: str) -> Callable[..., Any]:
        """The hook as this one plugin implements it: one participant's failure does not end the call of the others."""
        others = [plugin for other, plugin in self._manager.list_name_plugin() if other != name]
        return self._manager.subset_hook_caller(hook_name, others)

    def _find(self, name: str) -> object:
        points = self._named(name)
        if not points:
            raise PluginMissing(_missing(name))
        if len(points) > 1:
            raise PluginBroken(name, _twice(points, name))
        if name in BUILT_INS and (points[0].dist is None or points[0].dist.name != _DISTRIBUTION):
            raise PluginBroken(name, f"has a name that is reserved for the one built into {_DISTRIBUTION}: rename it")
        failures: list[BaseException] = []
        begun = time.monotonic()
        # Else stevedore reads its cache on disk, which misses what was installed in the last two minutes.
        NamedExtensionManager.ENTRY_POINT_CACHE[GROUP] = points
        try:
            found = NamedExtensionManager[Any](
                GROUP,
                [name],
                on_load_failure_callback=lambda _manager, _point, error: failures.append(error),
                on_missing_entrypoints_callback=None,
            )
        except (AssertionError, SystemExit) as error:  # stevedore takes all others
            failures.append(error)
        if failures:
            raise PluginBroken(name, f"does not load: {told(failures[0])}") from failures[0]
        seconds = time.monotonic() - begun
        if seconds > _SLOW:
            _log.warning(
                "plugin %s took %.1f s to import: have it import large libraries where it uses them", name, seconds
            )
        plugin: object = found[name].plugin
        return plugin

    def _named(self, name: str) -> list[importlib.metadata.EntryPoint]:
        """The entry points of that name; they are read again when none is known, as one may have been installed."""
        found = [point for point in self._points if point.name == name]
        if not found:
            self._points = installed_entry_points()
            found = [point for point in self._points if point.name == name]
        return found


def _summary(distribution: importlib.metadata.Distribution | None) -> str:
    found = distribution.metadata.get_all("Summary") if distribution else None
    return str(found[0]) if found else ""


def _plugin_of(name: str) -> str:
    return name.partition(".")[0]


def _register(plugin_name: str, offers: Offers) -> Callable[..., None]:
    def register(
        name: str,
        factory: Callable[[Any, PluginContext], Any],
        settings: type[PluginSettings],
        summary: str = "",
    ) -> None:
        if flaw := registration_flaw(name, factory, settings):
            raise PluginBroken(plugin_name, f"is broken: {flaw}")
        if _plugin_of(name) != plugin_name:
            raise PluginBroken(
                plugin_name, f"is broken: it registers {name!r}; its names are {plugin_name!r} and '{plugin_name}.…'"
            )
        offers.take(Registration(name, factory, settings, summary))

    return register


def _twice(points: Sequence[importlib.metadata.EntryPoint], name: str) -> str:
    places = sorted(point.dist.name if point.dist else point.value for point in points if point.name == name)
    return f"is offered twice, by {' and '.join(places)}: uninstall one of them"


def _missing(name: str) -> str:
    extra = name.replace("_", "-")
    if extra in _extras():
        return f"plugin {name!r} is not installed: {_how_to_install(name)}"
    if without := _without_entry_point(name):
        return f"plugin {name!r} is not installed: {without}"
    known = {*(point.name for point in installed_entry_points()), *(item.replace("-", "_") for item in _extras())}
    near = _suggest(name, known)
    return f"plugin {name!r} is not installed{near or ': install the distribution that has it'}"


def _how_to_install(name: str) -> str:
    """The command that installs a plugin of this repository from where the hub itself was installed.

    It names a file or folder: what has the distribution's name on a package index may be somebody else's.
    """
    installed = importlib.metadata.distribution(_DISTRIBUTION)
    origin = urlsplit(json.loads(installed.read_text("direct_url.json") or "{}").get("url", ""))  # PEP 610
    wheel = f"{_DISTRIBUTION}_{name}-{installed.version}-py3-none-any.whl"
    place = Path(unquote(origin.path))
    target = place.with_name(wheel) if place.suffix == ".whl" else place / "plugins" / name
    if origin.scheme == "file" and target.exists():
        return shlex.join([sys.executable, "-m", "pip", "install", str(target)])
    return f"pip install {wheel} of the release that acmehub itself was installed from"


def _without_entry_point(name: str) -> str:
    """What a distribution lacks that has the plugin's usual name and is installed; empty when there is none."""
    try:
        found = importlib.metadata.distribution(f"{_DISTRIBUTION}-{name.replace('_', '-')}")
    except (importlib.metadata.PackageNotFoundError, ValueError):
        return ""
    groups = ", ".join(sorted({point.group for point in found.entry_points})) or "none"
    return (
        f"{found.name} is, but has no entry point {name!r} in the group {GROUP!r} (its groups: {groups}):"
        f" add it below [project.entry-points.{GROUP}] in its pyproject.toml, and install it again"
    )


def _extras() -> Sequence[str]:
    return importlib.metadata.metadata(_DISTRIBUTION).get_all("Provides-Extra") or ()


def _suggest(name: str, known: Mapping[str, Any] | set[str]) -> str:
    near = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean {near[0]!r}?" if near else ""


def build_registry(names: Sequence[str] = (), *, built_ins: Sequence[str] = BUILT_INS) -> Registry:
    """A registry with the built-in plugins and those of `names` loaded; `PluginMissing`, `PluginBroken`."""
    registry = Registry()
    for name in dict.fromkeys((*built_ins, *names)):
        registry.load(name)
    return registry
