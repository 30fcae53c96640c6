"""What a process needs to start: `acmehub.toml`, overridden by `ACMEHUB_…`; defaults are safe and complete.

The file is `--config`, else `$ACMEHUB_CONFIG`, else `./acmehub.toml` when there is one. Relative paths in it are
relative to its folder. `ACMEHUB_TLS__MODE=off` sets `mode` of `[tls]`; lists are comma separated.
"""

import difflib
import ipaddress
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

import msgspec

from acmehub.ports.settings import Secret

FILE_NAME = "acmehub.toml"
PREFIX = "ACMEHUB_"
NOT_SETTINGS = frozenset({"CONFIG", "FAULTS", "RELEASE"})
_FROM_KUBERNETES = re.compile(r"SERVICE_(HOST|PORT.*)|PORT(_\d+_.*)?")  # of a service that is called acmehub


class ConfigError(Exception):
    """The configuration is wrong; the text names the place (file, line, key, or variable) and the cure."""


class Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Base of each table of `acmehub.toml`."""


class TlsMode(Section, frozen=True, kw_only=True):
    """`[tls]`: `auto` (own certificate, in the data directory), `files`, or `off` behind a proxy.

    In mode `auto` the signing authority named `authority` issues the certificate, for the host of `public_url` and
    for `names`; in mode `files` both files are read again when they change.
    """

    mode: Literal["auto", "files", "off"] = "auto"
    certificate: Path | None = None
    key: Path | None = None
    authority: str = "local"
    names: tuple[str, ...] = ()


class Storage(Section, frozen=True, kw_only=True):
    """`[storage]`: the plugin and its settings; SQLite in the data directory by default."""

    plugin: str = "storage_sqlite"
    settings: dict[str, Any] = {}


class Acme(Section, frozen=True, kw_only=True):
    """`[acme]`: how the ACME server answers; `hold` in seconds is the longest an answer waits (CLIENTS.md rule 30)."""

    hold: float = 25.0
    website: str = ""
    terms_of_service: str = ""
    caa_identities: tuple[str, ...] = ()
    order_days: int = 7


class Dns(Section, frozen=True, kw_only=True):
    """`[dns]`: resolvers for finding zones and CNAMEs (HOST[:PORT]; empty: the system's), and the port on which
    authoritative servers are asked (53; another one only for a laboratory)."""

    resolvers: tuple[str, ...] = ()
    port: int = 53
    timeout: float = 5.0


class Worker(Section, frozen=True, kw_only=True):
    """`[worker]`: how many orders one process works on at once, the lease in seconds, how long efforts last (hours)."""

    concurrency: int = 64
    lease: float = 30.0
    efforts_hours: float = 24.0


class Limits(Section, frozen=True, kw_only=True):
    """`[limits]`: of the HTTP server: open connections, bytes of a request's head, seconds until a request is whole,
    seconds an idle connection is kept."""

    connections: int = 10_000
    header_bytes: int = 16_384
    request_seconds: float = 30.0
    idle_seconds: int = 75


class Log(Section, frozen=True, kw_only=True):
    """`[log]`: `level`, and `format` = `text` or `json`."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["text", "json"] = "text"


class Config(Section, frozen=True, kw_only=True):
    """The whole file. `public_url` is what clients see, without a path (`https://hub.example.com`)."""

    listen: str = "127.0.0.1:8443"
    public_url: str = ""
    data_dir: Path = Path("data")
    master_keys: tuple[Secret, ...] = ()
    plugins: tuple[str, ...] = ()
    trusted_proxies: tuple[str, ...] = ()
    tls: TlsMode = TlsMode()
    storage: Storage = Storage()
    acme: Acme = Acme()
    dns: Dns = Dns()
    worker: Worker = Worker()
    limits: Limits = Limits()
    log: Log = Log()

    @property
    def address(self) -> tuple[str, int]:
        """Host and port of `listen` (`HOST:PORT`, `[::1]:8443`, `:8443` for all addresses)."""
        host, _, port = self.listen.rpartition(":")
        return host.strip("[]"), int(port)

    @property
    def base_url(self) -> str:
        """`public_url`, or what follows from `listen`: `https://localhost:8443` for an address of this machine."""
        if self.public_url:
            return self.public_url.rstrip("/")
        host, port = self.address
        shown = "localhost" if host in ("", "0.0.0.0", "::", "127.0.0.1", "::1", "localhost") else host  # noqa: S104
        scheme = "http" if self.tls.mode == "off" else "https"
        return f"{scheme}://{f'[{shown}]' if ':' in shown else shown}:{port}"


# ----------------------------------------------------------------------------------------------------- loading


def find_config(named: Path | None, environ: Mapping[str, str], folder: Path) -> Path | None:
    """The file to read: the one `named`, else `$ACMEHUB_CONFIG`, else `acmehub.toml` in `folder`, else none."""
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
    """The configuration: file, then environment, then `overrides` (keys as in the file); raises `ConfigError`."""
    text = ""
    raw: dict[str, Any] = {}
    if path is not None:
        text, raw = _read(path)
        _refuse_unknown(raw, Config, str(path), text)
        config = _convert(raw, strict=True, where=lambda at: f"{path}:{_line_of(text, at)}")
    environ = environ or {}
    variables = _from_environment(environ)
    merged = _merge(raw, variables)
    config = _convert(merged, strict=False, where=lambda at: _variable(at, variables) or str(path))
    for key, value in (overrides or {}).items():
        if value is not None:
            merged[key] = value
    config = _convert(merged, strict=False, where=lambda at: f"--{'-'.join(at).replace('_', '-')}")
    folder = path.parent if path is not None else Path()
    config = _with_folder(config, folder, overrides or {})
    return _checked(_with_secrets(config, environ, folder))


def resolve_secret(secret: Secret, environ: Mapping[str, str], folder: Path, place: str) -> Secret:
    """What `env:NAME` or `file:PATH` (relative to `folder`) stands for; any other secret is as it is written.

    Raises `ConfigError` naming `place` when the variable or the file is missing. A file's last line end is no part of
    the secret.
    """
    return Secret(resolve_text(secret.reveal(), environ, folder, place))


def resolve_text(text: str, environ: Mapping[str, str], folder: Path, place: str) -> str:
    """As `resolve_secret`, for text."""
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
            raise ConfigError(f"{place}: {path} cannot be read: {_reason(error)}") from None
    return text


def _resolve(value: Any, environ: Mapping[str, str], folder: Path, place: str) -> Any:
    """A value of `[storage] settings`, whose plugin is not known yet, with `env:` and `file:` resolved."""
    if isinstance(value, str):
        return resolve_text(value, environ, folder, place)
    if isinstance(value, Mapping):
        return {key: _resolve(item, environ, folder, f"{place}.{key}") for key, item in value.items()}
    return value


def _read(path: Path) -> tuple[str, dict[str, Any]]:
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {_reason(error)}") from None
    try:
        return text, tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:  # its text has line and column
        raise ConfigError(f"{path}: not TOML: {error}") from None


def _reason(error: Exception) -> str:
    return (error.strerror or str(error)) if isinstance(error, OSError) else "it is not UTF-8 text"


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
            raise ConfigError(f"{line}: $.{'.'.join(path)}: unknown key{_cure(key, kind)}")
        inner = _section(kind, key)
        if inner is not None and isinstance(value, Mapping):
            _refuse_unknown(value, inner, file, text, path)


def _cure(key: str, kind: type[Section]) -> str:
    near = difflib.get_close_matches(key, kind.__struct_fields__, n=1)
    return f"; did you mean {near[0]}?" if near else f"; known here: {', '.join(kind.__struct_fields__)}"


def _section(kind: type[Section], key: str) -> type[Section] | None:
    hint = get_type_hints(kind)[key]
    return hint if isinstance(hint, type) and issubclass(hint, Section) else None


def _line_of(text: str, path: Sequence[str]) -> int:
    """The line where a key stands; its table's when the key is written in another way."""
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


# ------------------------------------------------------------------------------------------------- environment


def _from_environment(environ: Mapping[str, str]) -> dict[tuple[str, ...], Any]:
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
            raise ConfigError(f"environment variable {variable}: no setting of that name{_cure(key, kind)}")
        inner = _section(kind, key)
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


def _merge(raw: Mapping[str, Any], variables: Mapping[tuple[str, ...], Any]) -> dict[str, Any]:
    merged = {key: _merge(value, {}) if isinstance(value, Mapping) else value for key, value in raw.items()}
    for path, value in variables.items():
        place = merged
        for key in path[:-1]:
            place = place.setdefault(key, {})
        place[path[-1]] = value
    return merged


def _variable(at: Sequence[str], variables: Mapping[tuple[str, ...], Any]) -> str:
    return f"environment variable {PREFIX}{'__'.join(at).upper()}" if tuple(at) in variables else ""


# ----------------------------------------------------------------------------------------------------- meaning


def _with_folder(config: Config, folder: Path, overrides: Mapping[str, Any]) -> Config:
    def placed(path: Path | None) -> Path | None:
        return folder / path if path is not None else None

    tls = msgspec.structs.replace(config.tls, certificate=placed(config.tls.certificate), key=placed(config.tls.key))
    data_dir = config.data_dir if overrides.get("data_dir") else folder / config.data_dir
    return msgspec.structs.replace(config, tls=tls, data_dir=data_dir)


def _with_secrets(config: Config, environ: Mapping[str, str], folder: Path) -> Config:
    keys = tuple(
        resolve_secret(key, environ, folder, f"$.master_keys[{index}]") for index, key in enumerate(config.master_keys)
    )
    settings = _resolve(config.storage.settings, environ, folder, "$.storage.settings")
    storage = msgspec.structs.replace(config.storage, settings=settings)
    return msgspec.structs.replace(config, master_keys=keys, storage=storage)


def _checked(config: Config) -> Config:
    for complaint in _complaints(config):
        raise ConfigError(complaint)
    return config


def _complaints(config: Config) -> Iterator[str]:
    """What types cannot say."""
    host, colon, port = config.listen.rpartition(":")
    if not colon or not port.isdigit() or int(port) > 65535 or (":" in host and not host.startswith("[")):
        yield f"$.listen: {config.listen!r} is not HOST:PORT (for instance 127.0.0.1:8443 or [::1]:8443)"
    if config.public_url and not re.fullmatch(r"https?://[^/\s?#@]+/?", config.public_url):
        yield f"$.public_url: {config.public_url!r} is not https://HOST[:PORT] without a path"
    if config.tls.mode == "files" and (config.tls.certificate is None or config.tls.key is None):
        yield "$.tls: mode files needs both tls.certificate and tls.key"
    if config.tls.mode != "files" and (config.tls.certificate or config.tls.key):
        yield f"$.tls: certificate and key are used in mode files only, but mode is {config.tls.mode}"
    for index, network in enumerate(config.trusted_proxies):
        if not _is_network(network):
            yield f"$.trusted_proxies[{index}]: {network!r} is not an address or a network (10.0.0.0/8)"
    for place, number in (
        ("$.acme.order_days", config.acme.order_days),
        ("$.dns.port", config.dns.port),
        ("$.dns.timeout", config.dns.timeout),
        ("$.worker.concurrency", config.worker.concurrency),
        ("$.worker.lease", config.worker.lease),
        ("$.worker.efforts_hours", config.worker.efforts_hours),
        ("$.limits.connections", config.limits.connections),
        ("$.limits.header_bytes", config.limits.header_bytes),
        ("$.limits.request_seconds", config.limits.request_seconds),
        ("$.limits.idle_seconds", config.limits.idle_seconds),
    ):
        if number <= 0:
            yield f"{place}: {number} is not positive"


def _is_network(text: str) -> bool:
    try:
        ipaddress.ip_network(text)
    except ValueError:
        return False
    return True
