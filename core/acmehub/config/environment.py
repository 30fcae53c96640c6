"""Settings from the environment: `ACMEHUB_TLS__MODE=off` sets `mode` of `[tls]`; lists are comma separated."""

import difflib
import re
from collections.abc import Mapping, Sequence
from typing import Any, get_args, get_origin, get_type_hints

from acmehub.config.errors import ConfigError
from acmehub.config.sections import Config, Section

PREFIX = "ACMEHUB_"
NOT_SETTINGS = frozenset({"CA_FILE", "CONFIG", "CRASH_POINTS", "HUB", "INSTANCE", "RELEASE", "TOKEN_FILE"})
_FROM_KUBERNETES = re.compile(
    r"SERVICE_(HOST|PORT.*)|PORT(_\d+_.*)?"
)  # Kubernetes sets these for a service with the name acmehub


def from_environment(environ: Mapping[str, str]) -> dict[tuple[str, ...], Any]:
    """The settings from variables by path (`("tls", "mode")`). Raises `ConfigError` for an unknown one."""
    found: dict[tuple[str, ...], Any] = {}
    for variable, text in environ.items():
        name = variable.removeprefix(PREFIX)
        if name == variable or name in NOT_SETTINGS or _FROM_KUBERNETES.fullmatch(name):
            continue
        path = tuple(part.lower() for part in name.split("__"))
        found[path] = _value(text, _type_at(path, variable))
    return found


def _type_at(path: tuple[str, ...], variable: str) -> Any:
    """The type of the setting at `path`. Raises `ConfigError` when there is none."""
    kind: type[Section] = Config
    for index, key in enumerate(path):
        if key not in kind.__struct_fields__:
            raise ConfigError(f"environment variable {variable}: no setting of that name{hint(key, kind)}")
        inner = section_at(kind, key)
        if inner is None:
            found = get_type_hints(kind)[key]
            if index < len(path) - 1 and get_origin(found) is not dict:
                raise ConfigError(f"environment variable {variable}: $.{'.'.join(path[: index + 1])} is not a table")
            return found if index == len(path) - 1 else str
        kind = inner
    raise ConfigError(
        f"environment variable {variable}: $.{'.'.join(path)} is a table; "
        f"set one of its keys, for instance {variable}__{kind.__struct_fields__[0].upper()}"
    )


def _value(text: str, kind: Any) -> Any:
    if get_origin(kind) is tuple:
        return [part.strip() for part in text.split(",") if part.strip()]
    if type(None) in get_args(kind) and not text:
        return None
    return text


def variable_of(at: Sequence[str], variables: Mapping[tuple[str, ...], Any]) -> str:
    """The variable that set the setting at a path, for messages; empty when none did."""
    return f"environment variable {PREFIX}{'__'.join(at).upper()}" if tuple(at) in variables else ""


def hint(key: str, kind: type[Section]) -> str:
    """A hint for an unknown key of a table: the nearest known key, or all known ones."""
    near = difflib.get_close_matches(key, kind.__struct_fields__, n=1)
    return f"; did you mean {near[0]}?" if near else f"; known here: {', '.join(kind.__struct_fields__)}"


def section_at(kind: type[Section], key: str) -> type[Section] | None:
    """The type of the table at a key of a table; None when the key is not a table."""
    found = get_type_hints(kind)[key]
    return found if isinstance(found, type) and issubclass(found, Section) else None
