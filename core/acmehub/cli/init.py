"""`acmehub init`."""

import asyncio
import os
from pathlib import Path

import click

from acmehub.cli.shared.exit_status import Exit, Failed
from acmehub.cli.shared.session import config_options, configured, log_warnings
from acmehub.cli.shared.terminal import say
from acmehub.config import FILE_NAME, Config

TEMPLATE = """\
# acmehub.toml: what a process of the hub needs to start. Every line shows the default.
# A secret in it (a DSN, a key) makes it a file for its owner and one group: mode 0640 at most.
# Each can be set by the environment as well: ACMEHUB_LISTEN, ACMEHUB_TLS__MODE, … Paths are relative to this file.
# What operators manage (authorities, managed challenges, principals, tokens) lives in the storage: see `acmehub apply`.

# Where to listen: HOST:PORT, [::1]:8443, or :8443 for all addresses.
listen = "127.0.0.1:8443"

# What clients see, without a path: "https://hub.example.com". Empty: it follows from `listen`.
public_url = ""

# Master key, own TLS certificate and the SQLite file are here, for the owner's eyes only.
data_dir = "data"

# Keys that seal secrets in the storage: base64url of 32 bytes each, best as "env:NAME" or "file:PATH". The first one
# seals, all of them open. Empty: `master.key` in the data directory, made on the first start. Replicas share them.
master_keys = []

# Plugins to load that no authority, managed challenge or storage names (policies, routes, notifications).
plugins = []

# Addresses or networks of proxies whose X-Forwarded-For is trusted.
trusted_proxies = []

[tls]
# "auto": a certificate of the hub's own from the authority below; "files": yours; "off": behind a proxy that does TLS.
mode = "auto"
# For "files"; read again when they change, and on SIGHUP.
# certificate = "fullchain.pem"
# key = "privkey.pem"
# For "auto": an authority that signs by itself, and further names for the certificate.
authority = "local"
names = []

[storage]
# "storage_sqlite": one file, one `serve` process. "storage_postgres": any number of them.
plugin = "storage_sqlite"
# settings = { dsn = "env:HUB_DSN" }

# Notifiers tell people of finished orders and new accounts: plugins, any number of them.
# [[notifier]]
# plugin = "notify_example"
# settings = { url = "env:CHAT_URL" }

[acme]
# The longest long poll in seconds. Below 25 it limits every client, for the sake of proxies in front of the hub.
hold = 25.0
# A client that repeats newOrder while its order is open gets that order.
join_orders = true
# A CSR that is sent again within this many seconds gets the certificate that it got before; 0: never.
same_csr_seconds = 3600.0
website = ""
# With a URL here, clients must agree to it; some of them then ask their user. "hub": a page of the hub, for clients
# that fail without any; it shows the text below ("file:PATH"), which clients must agree to, or says that there is none.
terms_of_service = ""
terms_text = ""
caa_identities = []
# How long a client has for an order.
order_days = 7
# Seconds after which clients ask again when to renew (ARI, RFC 9773): how soon a campaign reaches them.
renewal_info_seconds = 21600

[dns]
# Resolvers that find zones and CNAMEs: HOST[:PORT]. Empty: the system's.
resolvers = []
# Where authoritative servers listen; another port only in a laboratory.
port = 53
timeout = 5.0

[verify]
# For tokens in mode "verify": the hub validates the challenges of its clients (http-01, tls-alpn-01, dns-01).
# The ports it connects to; others only in a laboratory.
http_port = 80
tls_port = 443
# The only networks it connects to. Loopback, link-local, multicast and cloud metadata addresses stay closed unless a
# network names them, as "127.0.0.0/8" would.
networks = ["0.0.0.0/0", "::/0"]
# Resolvers that find addresses and zones. Empty: those of [dns].
resolvers = []
# Zones that are a single label or a public suffix, such as "lan"; others are found.
zones = []
# Limits: redirects that are followed, seconds per validation, bytes read of an answer.
redirects = 10
timeout = 10.0
response_bytes = 4096
# Days for which an account's valid authorization of a name is reused, so that a renewal needs no new proof; 0: never.
remember_days = 0.0

[worker]
# Orders that one process works on at once; seconds until a lease expires; hours until an order fails for good.
concurrency = 64
lease = 30.0
issuance_timeout_hours = 24.0
# Days after which finished orders are deleted, once their certificates have expired for as long, and older lines of
# the timelines of those that stay for a certificate; 0: never.
keep_days = 90.0

[api]
# The REST API at /api/v1. Per minute (0: no limit): requests from one address (IPv6: one /64) and with one API token;
# tries from one address of credentials that are not known to be right.
enabled = true
address_requests = 1200
token_requests = 600
new_credentials = 30

[limits]
# Open connections, and those of one address (IPv6: one /64; 0: a tenth of all; trusted proxies: as many as they like).
connections = 10000
connections_per_address = 0
# Bytes of a request's head, seconds until a request is whole, seconds an idle connection is kept.
header_bytes = 16384
request_seconds = 30.0
idle_seconds = 75
# What clients may do; more is answered by 429 with Retry-After. 0: no limit. Per address (IPv6: per /64): new accounts
# a day, requests with a wrong signature an hour.
new_accounts = 10000
failed_signatures = 1000
# Per account: new orders and names in them an hour, open orders at once, orders for the same set of names a day,
# responses to challenges and revocations an hour, key changes a day.
new_orders = 1000
names = 10000
open_orders = 1000
same_names = 50
challenge_answers = 5000
revocations = 500
key_changes = 100
# Per API token, all of its accounts together: new accounts a day, new orders and names an hour, new orders a second
# (while another token orders, too; more wait for their turn). A token may have its own numbers:
# `acmehub token set NAME --limit new_orders=5000`.
token_new_accounts = 10000
token_new_orders = 20000
token_names = 100000
token_orders_per_second = 20

[audit]
# Days after which entries of the audit are deleted, oldest first; 0: never.
keep_days = 0.0

[log]
# level: debug, info, warning, error; format: text or json. access: a line for each request, too.
level = "info"
format = "text"
access = false
"""


EPILOG = """\b
Examples:
  acmehub init
  acmehub init /etc/acmehub/acmehub.toml
  acmehub init --hub --config /etc/acmehub/acmehub.toml     before `acmehub apply`, where nothing serves yet
"""


@click.command(epilog=EPILOG)
@config_options
@click.argument("path", type=click.Path(path_type=Path, dir_okay=False), required=False)
@click.option("--force", is_flag=True, help="Replace a file that is there.")
@click.option("--hub", is_flag=True, help="Found the hub instead: data directory, master key, storage, authority.")
def init(path: Path | None, force: bool, hub: bool, config_file: Path | None, data_dir: Path | None) -> None:
    """Write a commented acmehub.toml with all settings at their defaults, for its owner's eyes only (mode 0600).

    With --hub, found the hub that the configuration describes, as the first start of `serve` does, and serve nothing;
    a hub that is there stays as it is.
    """
    if hub:
        if path is not None or force:
            raise click.UsageError("--hub founds a hub and writes no acmehub.toml: leave out PATH and --force")
        with configured(config_file, data_dir=data_dir) as config:
            log_warnings(config)
            asyncio.run(_found(config))
        say(f"there is a hub in {config.data_dir}")
        return
    if config_file is not None or data_dir is not None:
        raise click.UsageError("--config and --data-dir are for --hub; the file to write is PATH")
    _write(path or Path(FILE_NAME), force=force)


async def _found(config: Config) -> None:
    from acmehub.app.hub import build_hub  # as in `hub_verb`

    async with build_hub(config).running():
        return


def _write(path: Path, *, force: bool) -> None:
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | (os.O_TRUNC if force else os.O_EXCL), 0o600)
        with os.fdopen(descriptor, "w") as file:
            os.fchmod(descriptor, 0o600)  # a file that is replaced may have been for others
            file.write(TEMPLATE)
    except FileExistsError:
        raise Failed(f"{path}: is there already; --force replaces it", Exit.CONFLICT) from None
    except OSError as error:
        raise Failed(f"{path}: {error.strerror}") from None
    say(f"wrote {path}")
