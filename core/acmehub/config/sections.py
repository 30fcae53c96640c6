"""The tables of `acmehub.toml` with their types, ranges and defaults, and the checks beyond those."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from acmehub.models.addresses import parse_network
from acmehub.models.identifiers import canonical
from acmehub.ports.settings import Secret
from acmehub.rules.names import resolver_flaw, syntax_flaw

Port = Annotated[int, Meta(ge=1, le=65_535)]
_MOST = 1_000_000_000  # seconds: 31 years
Count = Annotated[int, Meta(ge=1, le=_MOST)]
Natural = Annotated[int, Meta(ge=0, le=_MOST)]
Positive = Annotated[float, Meta(gt=0, le=_MOST)]
NotNegative = Annotated[float, Meta(ge=0, le=_MOST)]
Days = Annotated[float, Meta(ge=0, le=36_500)]


class Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Base of each table of `acmehub.toml`."""


class TlsMode(Section, frozen=True, kw_only=True):
    """`[tls]`: `auto` (the hub makes its certificate and keeps it in the data directory), `files`, or `off`.

    In mode `auto`, the signing authority named `authority` issues the certificate for the host of `public_url` and for
    `names`. In mode `files`, the hub reads both files again when they change. Mode `off` is for a hub behind a proxy.
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
    """One `[[notifier]]`: a plugin that sends notifications about orders and accounts, and its settings."""

    plugin: str
    settings: dict[str, Any] = {}


TERMS_OF_HUB = "hub"


class Acme(Section, frozen=True, kw_only=True):
    """`[acme]`: the ACME server. `hold`: the longest long poll, in seconds (docs/client-rules.md rule 30).

    `join_orders`: a client that orders the same names again gets its open order. `same_csr_seconds`: a CSR that was
    used in an order gets the same certificate for that long (0: never). `renewal_info_seconds`: the Retry-After of
    renewal information (RFC 9773). `terms_of_service`: a URL, or `hub` for a page of the hub, which shows `terms_text`
    (text or HTML, best as `file:PATH`) if there is one.
    """

    hold: Annotated[float, Meta(le=_MOST)] = 25.0
    join_orders: bool = True
    same_csr_seconds: NotNegative = 3600.0
    website: str = ""
    terms_of_service: str = ""
    terms_text: str = ""
    caa_identities: tuple[str, ...] = ()
    order_days: Annotated[int, Meta(ge=1, le=36_500)] = 7
    renewal_info_seconds: Count = 21_600


class Dns(Section, frozen=True, kw_only=True):
    """`[dns]`: resolvers for zones and CNAMEs (ADDRESS[:PORT]; empty: those of the system), the port of authoritative
    servers (a port other than 53 is for laboratories), and the timeout of a query in seconds."""

    resolvers: tuple[str, ...] = ()
    port: Port = 53
    timeout: Positive = 5.0


class Verify(Section, frozen=True, kw_only=True):
    """`[verify]`: how the hub validates challenges itself (mode `verify`: http-01, tls-alpn-01, dns-01).

    `http_port`, `tls_port`: ports other than 80 and 443 are for laboratories. `networks` (CIDR): the only networks that
    the hub connects to, name servers of zones included; loopback, link-local, multicast, reserved and cloud metadata
    addresses only if one of them lies within that range. `resolvers`: ADDRESS[:PORT] (empty: those of `[dns]`).
    `zones`: single labels and public suffixes that are zones (`lan`). `timeout`: seconds per attempt and name.
    `response_bytes`: the longest body of a response. `remember_days`: how long a validated authorization is reused (0:
    not at all).
    """

    http_port: Port = 80
    tls_port: Port = 443
    networks: tuple[str, ...] = ("0.0.0.0/0", "::/0")
    resolvers: tuple[str, ...] = ()
    zones: tuple[str, ...] = ()
    redirects: Natural = 10
    timeout: Positive = 10.0
    response_bytes: Count = 4096
    remember_days: Days = 0.0


class Worker(Section, frozen=True, kw_only=True):
    """`[worker]`: orders that one process works on at once (shared out by authority, mode and principal), the lease in
    seconds, the issuance timeout in hours.

    `keep_days`: an order is deleted when it has ended, was opened that many days ago, and its certificate expired as
    many days ago, and so are the timeline's older lines of an order that has ended; 0 keeps everything.
    """

    concurrency: Count = 64
    lease: Positive = 30.0
    issuance_timeout_hours: Annotated[float, Meta(gt=0, le=876_000)] = 24.0
    keep_days: Days = 90.0


class Limits(Section, frozen=True, kw_only=True):
    """`[limits]` of the HTTP server and of what clients may do.

    Of the server: open connections (from TCP accept on), those of one address (an IPv6 /64; 0: a tenth of all), bytes
    of a request's header, seconds until a request has been received or an answer has been taken, seconds until an idle
    connection is closed. Of clients (0: no limit): per address (IPv6: per /64) and day `new_accounts`, per address and
    hour `failed_signatures`; per account and hour `new_orders`, `names`, `challenge_answers`, `revocations`; per
    account and day orders for the same set of names (`same_names`) and `key_changes`; `open_orders` of an account at
    once; those that begin with `token_` for all accounts of a token together. A token may have its own
    (`models.TokenLimits`).
    """

    connections: Count = 10_000
    connections_per_address: Natural = 0
    header_bytes: Count = 16_384
    request_seconds: Positive = 30.0
    idle_seconds: Count = 75
    new_accounts: Natural = 10_000
    failed_signatures: Natural = 1_000
    new_orders: Natural = 1_000
    names: Natural = 10_000
    open_orders: Natural = 1_000
    same_names: Natural = 50
    challenge_answers: Natural = 5_000
    revocations: Natural = 500
    key_changes: Natural = 100
    token_new_accounts: Natural = 10_000
    token_new_orders: Natural = 20_000
    token_names: Natural = 100_000
    token_orders_per_second: Natural = 20


class Api(Section, frozen=True, kw_only=True):
    """`[api]`: the REST API `/api/v1`, and how much of it is answered, per minute (0: no limit).

    `address_requests`: requests from one address (IPv6: one /64); `token_requests`: requests with one API token;
    `new_credentials`: tries from one address of credentials that this process has not found to be right before.
    """

    enabled: bool = True
    address_requests: Natural = 1_200
    token_requests: Natural = 600
    new_credentials: Natural = 30


class AuditSection(Section, frozen=True, kw_only=True):
    """`[audit]`: `keep_days`, after which entries are deleted, oldest first; 0 keeps everything."""

    keep_days: Days = 0.0


class Log(Section, frozen=True, kw_only=True):
    """`[log]`: `level`, `format` = `text` or `json`, and `access`: a line for each request."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["text", "json"] = "text"
    access: bool = False


class Config(Section, frozen=True, kw_only=True):
    """All of `acmehub.toml`. `public_url`: the URL of the hub for clients, without a path
    (`https://hub.example.com`)."""

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
    api: Api = Api()
    audit: AuditSection = AuditSection()
    log: Log = Log()

    @property
    def address(self) -> tuple[str, int]:
        """Host and port of `listen` (`HOST:PORT`, `[::1]:8443`, `:8443` for all addresses)."""
        host, _, port = self.listen.rpartition(":")
        return host.strip("[]"), int(port)

    @property
    def base_url(self) -> str:
        """`public_url`, or else the URL of `listen`: `https://localhost:8443` for an address of this machine."""
        if self.public_url:
            return self.public_url.rstrip("/")
        host, port = self.address
        shown = "localhost" if host in ("", "0.0.0.0", "::", "127.0.0.1", "::1", "localhost") else host  # noqa: S104
        scheme = "http" if self.tls.mode == "off" else "https"
        return f"{scheme}://{f'[{shown}]' if ':' in shown else shown}:{port}"


def errors_of(config: Config) -> Iterator[str]:
    """What is wrong although each value has the right type and range; each message names the key and a right value."""
    host, colon, port = config.listen.rpartition(":")
    if not colon or not port.isdigit() or int(port) > 65535 or (":" in host and not host.startswith("[")):
        yield f"$.listen: {config.listen!r} is not HOST:PORT (for instance 127.0.0.1:8443 or [::1]:8443)"
    if config.public_url and not re.fullmatch(r"https?://[^/\s?#@]+/?", config.public_url):
        yield f"$.public_url: {config.public_url!r} is not https://HOST[:PORT] without a path"
    if config.tls.mode == "files" and (config.tls.certificate is None or config.tls.key is None):
        yield "$.tls: mode files needs both tls.certificate and tls.key"
    if config.tls.mode != "files" and (config.tls.certificate or config.tls.key):
        yield f"$.tls: certificate and key are used in mode files only, but mode is {config.tls.mode}"
    if config.acme.terms_text and config.acme.terms_of_service != TERMS_OF_HUB:
        yield f'$.acme.terms_text: it is shown only where acme.terms_of_service is "{TERMS_OF_HUB}"'
    for place, networks in (("trusted_proxies", config.trusted_proxies), ("verify.networks", config.verify.networks)):
        for index, network in enumerate(networks):
            if not _is_network(network):
                yield f"$.{place}[{index}]: {network!r} is not an address or a network (10.0.0.0/8)"

    for place, resolvers in (("dns.resolvers", config.dns.resolvers), ("verify.resolvers", config.verify.resolvers)):
        for index, resolver in enumerate(resolvers):
            if flaw := resolver_flaw(resolver):
                yield f"$.{place}[{index}]: {resolver!r} is {flaw}"
    for index, zone in enumerate(config.verify.zones):
        if flaw := syntax_flaw(canonical(zone)):
            yield f"$.verify.zones[{index}]: {zone!r}: {flaw}"


def _is_network(text: str) -> bool:
    try:
        parse_network(text)
    except ValueError:
        return False
    return True
