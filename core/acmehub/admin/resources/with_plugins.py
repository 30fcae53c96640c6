"""What authorities and managed challenges share: a plugin with settings, which are checked, sealed, and listed without
their secrets."""

import hmac
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import msgspec

from acmehub.admin.access.errors import Invalid
from acmehub.admin.resources.fields import Patch
from acmehub.admin.resources.service import ResourceService
from acmehub.config import ConfigError, resolve_text
from acmehub.models import Authority, ManagedChallenge
from acmehub.ports.plugins import Registration
from acmehub.ports.settings import (
    PLACEHOLDERS,
    PluginSettings,
    SettingsError,
    dump_settings,
    public_settings,
    read_settings,
    secret_fields,
)
from acmehub.runtime.plugins import Offers, PluginError

R = TypeVar("R", ManagedChallenge, Authority)
V = TypeVar("V")
Settings = Mapping[str, Any]
_DIGESTS = "settings.digest"


class Sources(msgspec.Struct, frozen=True):
    """Where `env:NAME` and `file:PATH` in secrets are looked up; for callers on this machine only: a remote one could
    read the hub's files through it."""

    environ: Mapping[str, str]
    folder: Path


class SecretState(msgspec.Struct, frozen=True):
    """Whether a secret setting is set, and a `digest` of its value (hexadecimal) that changes with it and tells nothing
    of it: an HMAC under a key of the vault, another one for each row. A change of the master key changes all."""

    set: bool
    digest: str = ""


class PublicSettings(msgspec.Struct, frozen=True):
    """Settings without secrets, which are None, and what is told of those; `problem` says why there are no values."""

    values: dict[str, Any]
    secrets: dict[str, SecretState] = {}
    problem: str = ""


class PluginResourceService(ResourceService[R, V]):
    """Base of the two services; `purpose` is what their settings are sealed for."""

    purpose: ClassVar[str]

    @property
    @abstractmethod
    def offers(self) -> Offers:
        """The plugins that there are of this kind."""

    def registration(self, plugin: str) -> Registration:
        """What the plugin registered; `Invalid`, with a hint, when it cannot be used."""
        try:
            return self.offers[plugin]
        except PluginError as error:
            raise Invalid("plugin", str(error)) from error

    def read(
        self, plugin: str, settings: Settings, sources: Sources | None, stored: Settings | None = None
    ) -> PluginSettings:
        """The plugin's settings from what an operator wrote, over the `stored` ones; `Invalid`.

        A setting that is None goes back to its default.
        """
        kind = self.registration(plugin).settings
        _refuse_placeholders(settings, "settings")
        secrets = secret_fields(kind)
        written = {
            name: resolved(value, f"settings.{name}", sources) if name in secrets else value
            for name, value in settings.items()
        }
        merged = {name: value for name, value in {**(stored or {}), **written}.items() if value is not None}
        try:
            return read_settings(merged, kind)
        except SettingsError as error:
            what, _, at = str(error).partition(" - at `$.")
            raise Invalid(f"settings.{at.rstrip('`')}" if at else "settings", f"{what} (plugin {plugin})") from None

    def seal(self, id: str, settings: PluginSettings) -> bytes:
        """Settings as they may be stored in the row `id`."""
        return self._vault.seal(self.purpose, id, dump_settings(settings))

    def unsealed(self, item: R) -> dict[str, Any]:
        """A row's settings, **secrets in clear**; `VaultError`."""
        clear = self._vault.open(self.purpose, item.id, item.sealed_settings)
        return msgspec.json.decode(clear, type=dict[str, Any])

    def public(self, item: R) -> PublicSettings:
        """A row's settings for people; they are missing while the plugin is not installed."""
        try:
            unsealed, kind = self.unsealed(item), self.offers[item.plugin].settings
            values = public_settings(read_settings(unsealed, kind))
        except (PluginError, SettingsError) as error:
            return PublicSettings({}, problem=str(error))
        secrets = {name: self._secret_state(item.id, name, unsealed.get(name)) for name in sorted(secret_fields(kind))}
        return PublicSettings(values, secrets)

    def _secret_state(self, id: str, name: str, value: Any) -> SecretState:
        if not value:
            return SecretState(set=False)
        what = msgspec.json.encode([self.purpose, id, name, value], order="deterministic")
        return SecretState(set=True, digest=hmac.digest(self._vault.derive(_DIGESTS), what, "sha256").hex())

    def changed(self, item: R, plugin: str, settings: Settings, sources: Sources | None) -> Sequence[str]:
        """The settings that writing `settings` would change, by name; secrets are compared unsealed, in memory."""
        before = self.unsealed(item) if item.plugin == plugin else {}
        after = msgspec.json.decode(dump_settings(self.read(plugin, settings, sources, before)), type=dict[str, Any])
        return sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))

    def with_settings(self, item: R, patch: Patch[Any], sources: Sources | None) -> dict[str, Any]:
        """The fields of a row that change with the plugin and the settings of a patch: none when both are the same as
        before."""
        given = patch.given()
        plugin, settings = given.get("plugin", item.plugin), given.get("settings", {})
        if item.plugin == plugin and not (settings and self.changed(item, plugin, settings, sources)):
            return {}
        stored = self.unsealed(item) if item.plugin == plugin else None
        return {"plugin": plugin, "sealed_settings": self.seal(item.id, self.read(plugin, settings, sources, stored))}


def given_fields(new: msgspec.Struct) -> dict[str, Any]:
    """The fields of a new resource, plugin and settings apart."""
    values = msgspec.structs.asdict(new)
    return {name: value for name, value in values.items() if name not in ("plugin", "settings")}


def _refuse_placeholders(value: Any, place: str) -> None:
    """`Invalid` for what is shown instead of a secret: it would be stored as the secret."""
    if isinstance(value, str) and value.strip() in PLACEHOLDERS:
        raise Invalid(place, f"{value!r} is shown instead of a secret and is none: leave it out, or give the secret")
    if isinstance(value, Mapping):
        for name, item in value.items():
            _refuse_placeholders(item, f"{place}.{name}")
    elif isinstance(value, list | tuple):
        for item in value:
            _refuse_placeholders(item, place)


def resolved(value: Any, place: str, sources: Sources | None) -> Any:
    """A secret with `env:` and `file:` resolved, in lists as well."""
    if isinstance(value, list | tuple):
        return [resolved(item, place, sources) for item in value]
    if not isinstance(value, str) or not value.startswith(("env:", "file:")):
        return value
    if sources is None:
        raise Invalid(place, "'env:' and 'file:' are for the command line on the hub's machine; give the value itself")
    try:
        return resolve_text(value, sources.environ, sources.folder, place)
    except ConfigError as error:
        raise Invalid(place, str(error).removeprefix(f"{place}: ")) from None
