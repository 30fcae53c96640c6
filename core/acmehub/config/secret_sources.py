"""Secrets of the configuration, and its texts, that are kept elsewhere: `env:NAME` and `file:PATH`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from acmehub.config.errors import ConfigError
from acmehub.config.sections import Config
from acmehub.ports.settings import Secret


def with_secrets(config: Config, environ: Mapping[str, str], folder: Path) -> Config:
    """The configuration with its secrets resolved. Raises `ConfigError`."""
    keys = tuple(
        resolve_secret(key, environ, folder, f"$.master_keys[{index}]") for index, key in enumerate(config.master_keys)
    )
    settings = _resolve(config.storage.settings, environ, folder, "$.storage.settings")
    storage = msgspec.structs.replace(config.storage, settings=settings)
    notifiers = tuple(
        msgspec.structs.replace(
            item, settings=_resolve(item.settings, environ, folder, f"$.notifier[{index}].settings")
        )
        for index, item in enumerate(config.notifier)
    )
    terms = resolve_text(config.acme.terms_text, environ, folder, "$.acme.terms_text")
    acme = msgspec.structs.replace(config.acme, terms_text=terms)
    return msgspec.structs.replace(config, master_keys=keys, storage=storage, notifier=notifiers, acme=acme)


def resolve_secret(secret: Secret, environ: Mapping[str, str], folder: Path, place: str) -> Secret:
    """The secret of `env:NAME` or `file:PATH` (relative to `folder`, without its last line end); any other is literal.

    Raises `ConfigError` that names `place` when the variable or the file is missing.
    """
    return Secret(resolve_text(secret.reveal(), environ, folder, place))


def resolve_text(text: str, environ: Mapping[str, str], folder: Path, place: str) -> str:
    """`resolve_secret` for text."""
    if text.startswith("env:"):
        name = text.removeprefix("env:")
        if name not in environ:
            raise ConfigError(f"{place}: the environment has no variable {name}: set it, or write file:PATH")
        return environ[name]
    if text.startswith("file:"):
        path = folder / text.removeprefix("file:")
        try:
            return path.read_text().removesuffix("\n")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"{place}: {path} cannot be read: {reason(error)}") from None
    return text


def _resolve(value: Any, environ: Mapping[str, str], folder: Path, place: str) -> Any:
    """A value of a plugin's settings with `env:` and `file:` resolved; the plugin is not loaded yet."""
    if isinstance(value, str):
        return resolve_text(value, environ, folder, place)
    if isinstance(value, Mapping):
        return {key: _resolve(item, environ, folder, f"{place}.{key}") for key, item in value.items()}
    return value


def reason(error: Exception) -> str:
    """Why a file could not be read."""
    return (error.strerror or str(error)) if isinstance(error, OSError) else "it is not UTF-8 text"
