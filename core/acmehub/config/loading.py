"""Finds and reads `acmehub.toml`.

The file is `--config`, else `$ACMEHUB_CONFIG`, else `./acmehub.toml` if it exists. Relative paths in it are relative to
its folder.
"""

import re
import tomllib
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from acmehub.config.environment import PREFIX, from_environment, hint, section_at, variable_of
from acmehub.config.errors import ConfigError
from acmehub.config.lines import line_of, path_of
from acmehub.config.permissions import Secrets, check_permissions, no_secrets
from acmehub.config.secret_sources import reason, with_secrets
from acmehub.config.sections import Config, Log, Section, errors_of
from acmehub.models.choices import explained
from acmehub.ports.settings import Secret

FILE_NAME = "acmehub.toml"
_VALUE = re.compile(r"\$\.([^:\s]+): ")


def find_config(named: Path | None, environ: Mapping[str, str], folder: Path) -> Path | None:
    """The file to read: `named`, else `$ACMEHUB_CONFIG`, else `acmehub.toml` in `folder`; None if there is none."""
    from_environment = environ.get(f"{PREFIX}CONFIG")
    if named is None and not from_environment:
        default = folder / FILE_NAME
        return default if default.exists() else None
    path = named or Path(str(from_environment))
    if not path.exists():
        raise ConfigError(f"{path}: no such file; `acmehub init` writes one")
    return path


def load_config(
    path: Path | None = None, *, environ: Mapping[str, str] | None = None, overrides: Mapping[str, Any] | None = None
) -> Config:
    """The configuration: file, then environment, then `overrides` (keys as in the file). Raises `ConfigError`."""
    text = ""
    raw: dict[str, Any] = {}
    if path is not None:
        text, raw = _read(path)
        _refuse_unknown(raw, Config, str(path), text)
        config = _convert(raw, strict=True, where=lambda at: f"{path}:{line_of(text, at)}")
    environ = environ or {}
    variables = from_environment(environ)
    merged = _merge(raw, variables)
    config = _convert(
        merged,
        strict=False,
        where=lambda at: variable_of([str(part) for part in at if isinstance(part, str)], variables) or str(path),
    )
    check_permissions(path, raw, merged, no_secrets)
    for key, value in (overrides or {}).items():
        if value is not None:
            merged[key] = value
    config = _convert(merged, strict=False, where=_option)
    folder = path.parent if path is not None else Path()
    config = _with_folder(config, folder, overrides or {})
    try:
        return _checked(with_secrets(config, environ, folder))
    except ConfigError as error:
        given = [key for key, value in (overrides or {}).items() if value is not None]
        raise located(error, path, environ, given) from None


def warnings_of(path: Path | None, environ: Mapping[str, str], secrets: Secrets) -> list[str]:
    """What `check_permissions` says of a configuration that `load_config` takes; raises `ConfigError`."""
    raw = _read(path)[1] if path is not None else {}
    return check_permissions(path, raw, _merge(raw, from_environment(environ)), secrets)


def log_of(path: Path | None, environ: Mapping[str, str]) -> Log:
    """What `[log]` says, as far as it can be made out of a configuration that may be wrong there or elsewhere."""
    table: Any = {}
    try:
        text = path.read_text("utf-8", errors="replace") if path is not None else ""
    except OSError:
        text = ""
    for part in (text, *re.findall(r"^[ \t]*\[[ \t]*log[ \t]*\][^\[]*", text, re.MULTILINE)):
        try:
            table = tomllib.loads(part).get("log", {})
        except tomllib.TOMLDecodeError:  # said where the whole is read
            continue
        break
    known = table if isinstance(table, Mapping) else {}
    log = Log()
    for name in Log.__struct_fields__:
        value = environ.get(f"{PREFIX}LOG__{name.upper()}", known.get(name))
        try:
            log = msgspec.convert({**msgspec.structs.asdict(log), name: value}, Log, strict=False)
        except msgspec.ValidationError:
            continue
    return log


def _read(path: Path) -> tuple[str, dict[str, Any]]:
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {reason(error)}") from None
    try:
        return text, tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:  # its message has line and column
        raise ConfigError(f"{path}: not TOML: {error}") from None


def _convert(raw: Mapping[str, Any], *, strict: bool, where: Any) -> Config:
    try:
        return msgspec.convert(raw, Config, strict=strict, dec_hook=_decode)
    except msgspec.ValidationError as error:
        what, _, at = explained(str(error), Config).partition(" - at `$.")
        place = at.rstrip("`")
        raise ConfigError(f"{where(path_of(place))}: $.{place}: {what[:1].lower()}{what[1:]}") from None


def _option(at: Sequence[str | int]) -> str:
    return f"--{'-'.join(map(str, at)).replace('_', '-')}"


def located(error: ConfigError, path: Path | None, environ: Mapping[str, str], options: Collection[str]) -> ConfigError:
    """An error about a value (`$.tls.mode: …`) with where that stands: `options` of the command, a variable, a line of
    the file. Any other error stays as it is."""
    found = _VALUE.match(str(error))
    if found is None:
        return error
    at = path_of(found[1])
    names = [str(part) for part in at if isinstance(part, str)]
    variables = from_environment(environ)
    if names[0] in options:
        where = _option(names)
    elif not (where := variable_of(names, variables)) and path is not None:
        where = f"{path}:{line_of(_read(path)[0], at)}"
    return ConfigError(f"{where}: {error}" if where else str(error))


def _decode(kind: type, value: Any) -> Any:
    if kind is Secret and isinstance(value, str):
        return Secret(value)
    if kind is Path and isinstance(value, str | Path):
        return Path(value)
    raise NotImplementedError(kind)


def _refuse_unknown(
    raw: Mapping[str, Any], kind: type[Section], file: str, text: str, at: tuple[str, ...] = ()
) -> None:
    for key, value in raw.items():
        path = (*at, key)
        if key not in kind.__struct_fields__:
            line = f"{file}:{line_of(text, path)}" if text else file
            raise ConfigError(f"{line}: $.{'.'.join(path)}: unknown key{hint(key, kind)}")
        inner = section_at(kind, key)
        if inner is not None and isinstance(value, Mapping):
            _refuse_unknown(value, inner, file, text, path)


def _merge(raw: Mapping[str, Any], variables: Mapping[tuple[str, ...], Any]) -> dict[str, Any]:
    merged = {key: _merge(value, {}) if isinstance(value, Mapping) else value for key, value in raw.items()}
    for path, value in variables.items():
        place = merged
        for key in path[:-1]:
            place = place.setdefault(key, {})
        place[path[-1]] = value
    return merged


def _with_folder(config: Config, folder: Path, overrides: Mapping[str, Any]) -> Config:
    def placed(path: Path | None) -> Path | None:
        return folder / path if path is not None else None

    tls = msgspec.structs.replace(config.tls, certificate=placed(config.tls.certificate), key=placed(config.tls.key))
    data_dir = config.data_dir if overrides.get("data_dir") else folder / config.data_dir
    return msgspec.structs.replace(config, tls=tls, data_dir=data_dir)


def _checked(config: Config) -> Config:
    for error in errors_of(config):
        raise ConfigError(error)
    return config
