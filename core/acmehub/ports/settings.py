"""Settings of plugins: msgspec Structs whose secrets have a type that does not print its value.

A plugin declares `class Settings(PluginSettings): token: Secret`. `read_settings` makes an object of it from a mapping,
`dump_settings` the JSON for the vault.
"""

import hmac
import inspect
import traceback
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any, Self, TypeVar, get_args, get_type_hints

import msgspec

from acmehub.models.choices import explained


class Secret:
    """A secret string: only `reveal()` returns it; comparison takes constant time."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """The clear text."""
        return self._value

    def __repr__(self) -> str:
        return "Secret(…)"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and hmac.compare_digest(self._value.encode(), other._value.encode())

    def __hash__(self) -> int:
        return hash(self._value)

    def __bool__(self) -> bool:
        return bool(self._value)


class PluginSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Base of a plugin's settings: unknown fields are errors."""

    def validate(self) -> Self | None:
        """Check what types cannot express: raise `ValueError("field: what is expected")`.

        None and `self` keep the settings as they are; other settings that are given back are used instead. It is
        called whenever settings are read, before they are stored and after, so it connects nowhere.
        """
        return self

    def account_flaw(self, account_url: str) -> str:  # noqa: ARG002
        """Why the hub's account at an authority, registered before, cannot be used with these settings, with what to
        do; empty when it can."""
        return ""


S = TypeVar("S", bound=PluginSettings)


class SettingsError(ValueError):
    """Raised for settings that are not valid; the message names the field (`$.port`) and what is expected."""


def _decode(kind: type, value: Any) -> Any:
    if kind is not Secret:
        raise NotImplementedError(kind)
    if not isinstance(value, str):
        raise TypeError(f"Expected `str`, got `{type(value).__name__}`")
    return Secret(value)


def _encode(value: Any) -> Any:
    if isinstance(value, Secret):
        return value.reveal()
    raise NotImplementedError(type(value))


PLACEHOLDER = "(secret)"
"""What people see instead of a secret that is set; machines get null."""
PLACEHOLDERS = frozenset({PLACEHOLDER, repr(Secret(""))})
"""What is shown instead of a secret, and so is none."""


def _hide(value: Any) -> Any:
    if isinstance(value, Secret):
        return None if value else ""
    raise NotImplementedError(type(value))


def read_settings(raw: Mapping[str, Any], kind: type[S]) -> S:
    """Settings of type `kind` from a mapping (TOML, JSON); raises `SettingsError`."""
    try:
        settings = msgspec.convert(raw, kind, dec_hook=_decode)
    except msgspec.ValidationError as error:
        raise SettingsError(explained(str(error), kind)) from error
    except ValueError as error:
        raise SettingsError(str(error)) from error
    try:
        validated: Any = settings.validate()
    except (msgspec.ValidationError, ValueError) as error:
        raise SettingsError(str(error)) from error
    except Exception as error:
        raise SettingsError(f"{kind.__name__}.validate() raised {type(error).__name__} ({place_of(error)})") from error
    if validated is None:
        return settings
    if not isinstance(validated, kind):
        if inspect.iscoroutine(validated):
            validated.close()
        raise SettingsError(
            f"{kind.__name__}.validate() gave `{type(validated).__name__}`: it gives back the settings, or None"
        )
    return validated


def place_of(error: BaseException) -> str:
    """Where an error was raised, as `module.py:12`; nothing else of it, as its text may hold secrets."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"{PurePath(frame.filename).name}:{frame.lineno}"


def dump_settings(settings: PluginSettings) -> bytes:
    """All settings as JSON, **with secrets in clear text**; only for the vault."""
    return msgspec.json.encode(settings, enc_hook=_encode)


def public_settings(settings: PluginSettings) -> dict[str, Any]:
    """The settings for display: a field that holds secrets is None, set or not."""
    secret = secret_fields(type(settings))
    return {
        name: None if name in secret else public_value(getattr(settings, name)) for name in settings.__struct_fields__
    }


def public_value(value: Any) -> Any:
    """A setting's value for display, secrets hidden."""
    return msgspec.to_builtins(value, enc_hook=_hide)


def secret_fields(kind: type[PluginSettings]) -> frozenset[str]:
    """The names of the fields of `kind` that hold secrets."""
    hints = get_type_hints(kind)
    return frozenset(name for name in kind.__struct_fields__ if Secret in (hints[name], *get_args(hints[name])))
