"""The tables of `acmehub.toml` with their defaults, and what types cannot say about them."""

import ipaddress
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import msgspec

from acmehub.ports.settings import Secret


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


class NotifierSection(Section, frozen=True, kw_only=True):
    """One `[[notifier]]`: who carries news of orders and accounts to people; the plugin and its settings."""

    plugin: str
    settings: dict[str, Any] = {}


class Acme(Section, frozen=True, kw_only=True):
    """`[acme]`: how the ACME server answers; `hold` in seconds is the longest an answer waits.

    docs/client-rules.md rule 30.

    With `join_orders`, who orders again what it has an open order for gets that order. A CSR that comes again within
    `same_csr_seconds` (0: never) of the order that it was used for gets the certificate that is there. Who has asked
    when to renew (RFC 9773) is told to ask again after `renewal_info_seconds`.
    """

    hold: float = 25.0
    join_orders: bool = True
    same_csr_seconds: float = 3600.0
    website: str = ""
    terms_of_service: str = ""
    caa_identities: tuple[str, ...] = ()
    order_days: int = 7
    renewal_info_seconds: int = 21_600


class Dns(Section, frozen=True, kw_only=True):
    """`[dns]`: resolvers for finding zones and CNAMEs (HOST[:PORT]; empty: the system's), and the port on which
    authoritative servers are asked (53; another one only for a laboratory)."""

    resolvers: tuple[str, ...] = ()
    port: int = 53
    timeout: float = 5.0


class Verify(Section, frozen=True, kw_only=True):
    """`[verify]`: where the hub looks itself for what clients prove (mode `verify`: http-01, tls-alpn-01, dns-01).

    `http_port` and `tls_port` other than 80 and 443 are for a laboratory. `networks` (CIDR) are the only ones that are
    connected to; loopback, link-local, multicast, reserved and cloud metadata addresses only when one names them.
    `resolvers` (HOST[:PORT]; empty: those of `[dns]`) find the addresses. `timeout` in seconds is for one look at one
    name, `response_bytes` for an answer's body. A proof is remembered for `remember_days` (0: never).
    """

    http_port: int = 80
    tls_port: int = 443
    networks: tuple[str, ...] = ("0.0.0.0/0", "::/0")
    resolvers: tuple[str, ...] = ()
    redirects: int = 10
    timeout: float = 10.0
    response_bytes: int = 4096
    remember_days: float = 0.0


class Worker(Section, frozen=True, kw_only=True):
    """`[worker]`: how many orders one process works on at once, the lease in seconds, how long efforts last (hours).

    `keep_days`: orders older than that are forgotten once they are over and their certificates have run out for as
    long; 0 keeps everything.
    """

    concurrency: int = 64
    lease: float = 30.0
    issuance_timeout_hours: float = 24.0
    keep_days: float = 90.0


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
    notifier: tuple[NotifierSection, ...] = ()
    acme: Acme = Acme()
    dns: Dns = Dns()
    verify: Verify = Verify()
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


def complaints(config: Config) -> Iterator[str]:
    """What is wrong with values that have the right types, each with its place and what would be right."""
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
    if config.acme.same_csr_seconds < 0:
        yield f"$.acme.same_csr_seconds: {config.acme.same_csr_seconds} is negative"
    yield from _complaints_of_verify(config.verify)
    for place, number in (
        ("$.acme.order_days", config.acme.order_days),
        ("$.acme.renewal_info_seconds", config.acme.renewal_info_seconds),
        ("$.dns.port", config.dns.port),
        ("$.dns.timeout", config.dns.timeout),
        ("$.verify.timeout", config.verify.timeout),
        ("$.verify.response_bytes", config.verify.response_bytes),
        ("$.worker.concurrency", config.worker.concurrency),
        ("$.worker.lease", config.worker.lease),
        ("$.worker.issuance_timeout_hours", config.worker.issuance_timeout_hours),
        ("$.limits.connections", config.limits.connections),
        ("$.limits.header_bytes", config.limits.header_bytes),
        ("$.limits.request_seconds", config.limits.request_seconds),
        ("$.limits.idle_seconds", config.limits.idle_seconds),
    ):
        if number <= 0:
            yield f"{place}: {number} is not positive"
    if config.worker.keep_days < 0:
        yield f"$.worker.keep_days: {config.worker.keep_days} is negative"


def _complaints_of_verify(verify: Verify) -> Iterator[str]:
    for place, port in (("http_port", verify.http_port), ("tls_port", verify.tls_port)):
        if not 0 < port < 65536:
            yield f"$.verify.{place}: {port} is not a port (1 to 65535)"
    for index, network in enumerate(verify.networks):
        if not _is_network(network):
            yield f"$.verify.networks[{index}]: {network!r} is not an address or a network (10.0.0.0/8)"
    for place, number in (("redirects", verify.redirects), ("remember_days", verify.remember_days)):
        if number < 0:
            yield f"$.verify.{place}: {number} is negative"


def _is_network(text: str) -> bool:
    try:
        ipaddress.ip_network(text)
    except ValueError:
        return False
    return True
