"""Settings from the environment: `ACMEHUB_TLS__MODE=off` sets `mode` of `[tls]`; lists are comma separated."""

import difflib
import re
from collections.abc import Mapping, Sequence
from typing import Any, get_args, get_origin, get_type_hints

from acmehub.config.errors import ConfigError
from acmehub.config.sections import Config, Section

PREFIX = "ACMEHUB_"
NOT_SETTINGS = frozenset({"CONFIG", "CRASH_POINTS", "RELEASE"})
_FROM_KUBERNETES = re.compile(r"SERVICE_(HOST|PORT.*)|PORT(_\d+_.*)?")  # of a service that is called acmehub


def from_environment(environ: Mapping[str, str]) -> dict[tuple[str, ...], Any]:
    """The settings that variables give, by their path (`("tls", "mode")`); raises `ConfigError` for unknown ones."""
    found: dict[tuple[str, ...], Any] = {}
    for variable, text in environ.items():
        name = variable.removeprefix(PREFIX)
        if name == variable or name in NOT_SETTINGS or _FROM_KUBERNETES.fullmatch(name):
            continue
        path = tuple(part.lower() for part in name.split("__"))
        found[path] = _value(text, _hint(path, variable))
    return found


def _hint(path: tuple[str, ...], variable: str) -> Any:
    """The type of the setting at `path`; `ConfigError` when there is none."""
    kind: type[Section] = Config
    for index, key in enumerate(path):
        if key not in kind.__struct_fields__:
            raise ConfigError(f"environment variable {variable}: no setting of that name{cure(key, kind)}")
        inner = section_at(kind, key)
        if inner is None:
            hint = get_type_hints(kind)[key]
            if index < len(path) - 1 and get_origin(hint) is not dict:
                raise ConfigError(f"environment variable {variable}: $.{'.'.join(path[: index + 1])} is not a table")
            return hint if index == len(path) - 1 else str
        kind = inner
    raise ConfigError(
        f"environment variable {variable}: $.{'.'.join(path)} is a table; "
        f"set one of its keys, for instance {variable}__{kind.__struct_fields__[0].upper()}"
    )


def _value(text: str, hint: Any) -> Any:
    if get_origin(hint) is tuple:
        return [part.strip() for part in text.split(",") if part.strip()]
    if type(None) in get_args(hint) and not text:
        return None
    return text


def variable_of(at: Sequence[str], variables: Mapping[tuple[str, ...], Any]) -> str:
    """How messages call the variable that gave the setting at a path; empty when none did."""
    return f"environment variable {PREFIX}{'__'.join(at).upper()}" if tuple(at) in variables else ""


def cure(key: str, kind: type[Section]) -> str:
    """What may have been meant by an unknown key of a table."""
    near = difflib.get_close_matches(key, kind.__struct_fields__, n=1)
    return f"; did you mean {near[0]}?" if near else f"; known here: {', '.join(kind.__struct_fields__)}"


def section_at(kind: type[Section], key: str) -> type[Section] | None:
    """The table that a key of a table is, if it is one."""
    hint = get_type_hints(kind)[key]
    return hint if isinstance(hint, type) and issubclass(hint, Section) else None
