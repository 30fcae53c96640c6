"""What a process needs to start: `acmehub.toml`, overridden by `ACMEHUB_…`; defaults are safe and complete."""

from pathlib import Path
from typing import Any

import msgspec

from acmehub.ports.settings import Secret


class Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Base of each table of `acmehub.toml`."""


class TlsMode(Section, frozen=True, kw_only=True):
    """`[tls]`: `auto` (own private CA and certificate in the data directory), `files`, or `off` behind a proxy."""

    mode: str = "auto"
    certificate: Path | None = None
    key: Path | None = None


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


class Log(Section, frozen=True, kw_only=True):
    """`[log]`: `level`, and `format` = `text` or `json`."""

    level: str = "info"
    format: str = "text"


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
    log: Log = Log()
