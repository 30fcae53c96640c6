"""Finds and reads `acmehub.toml`.

The file is `--config`, else `$ACMEHUB_CONFIG`, else `./acmehub.toml` if it exists. Relative paths in it are relative to
its folder.
"""

import re
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from acmehub.config.environment import PREFIX, from_environment, hint, section_at, variable_of
from acmehub.config.errors import ConfigError
from acmehub.config.permissions import Secrets, check_permissions, no_secrets
from acmehub.config.secret_sources import reason, with_secrets
from acmehub.config.sections import Config, Log, Section, errors_of
from acmehub.ports.settings import Secret

FILE_NAME = "acmehub.toml"


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
        config = _convert(raw, strict=True, where=lambda at: f"{path}:{_line_of(text, at)}")
    environ = environ or {}
    variables = from_environment(environ)
    merged = _merge(raw, variables)
    config = _convert(merged, strict=False, where=lambda at: variable_of(at, variables) or str(path))
    check_permissions(path, raw, merged, no_secrets)
    for key, value in (overrides or {}).items():
        if value is not None:
            merged[key] = value
    config = _convert(merged, strict=False, where=lambda at: f"--{'-'.join(at).replace('_', '-')}")
    folder = path.parent if path is not None else Path()
    config = _with_folder(config, folder, overrides or {})
    return _checked(with_secrets(config, environ, folder))


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
        what, _, at = str(error).partition(" - at `$.")
        path = [part for part in re.split(r"[.\[\]]+", at.rstrip("`")) if part and part != "..."]
        names = [part for part in path if not part.isdigit()]
        raise ConfigError(f"{where(names)}: $.{at.rstrip('`')}: {what[:1].lower()}{what[1:]}") from None


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
            line = f"{file}:{_line_of(text, path)}" if text else file
            raise ConfigError(f"{line}: $.{'.'.join(path)}: unknown key{hint(key, kind)}")
        inner = section_at(kind, key)
        if inner is not None and isinstance(value, Mapping):
            _refuse_unknown(value, inner, file, text, path)


def _line_of(text: str, path: Sequence[str]) -> int:
    """The line of a key, or else the line of its table."""
    found = 1
    table: tuple[str, ...] = ()
    for number, line in enumerate(text.splitlines(), 1):
        if header := re.match(r"\s*\[{1,2}\s*([^\]]+?)\s*\]", line):
            table = tuple(part.strip(" \"'") for part in header[1].split("."))
            if table == tuple(path[: len(table)]):
                found = number
        elif key := re.match(r"\s*([A-Za-z0-9_\-.\"']+)\s*=", line):
            dotted = (*table, *(part.strip("\"'") for part in key[1].split(".")))
            if dotted == tuple(path[: len(dotted)]):
                return number
    return found


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
