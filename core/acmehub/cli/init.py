"""`acmehub init`."""

from pathlib import Path

import click

from acmehub.cli.exit_status import Exit, Failed
from acmehub.config import FILE_NAME

TEMPLATE = """\
# acmehub.toml: what a process of the hub needs to start. Every line shows the default.
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

# Plugins that are active although no authority, managed challenge or storage names them (policies, routes, news).
plugins = []

# Addresses or networks of proxies whose X-Forwarded-For is believed.
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

# Who carries news of finished orders and new accounts to people: plugins that offer a notifier, any number of them.
# [[notifier]]
# plugin = "notify_example"
# settings = { url = "env:CHAT_URL" }

[acme]
# The longest that an answer waits for news, in seconds; below 25 it is a limit for every client (proxies in front).
hold = 25.0
# Who orders again what it has an open order for gets that order.
join_orders = true
# A CSR that comes again within so many seconds gets the certificate that is there; 0: never.
same_csr_seconds = 3600.0
website = ""
# A URL here means that clients must agree to it; some of them then ask a person.
terms_of_service = ""
caa_identities = []
# How long a client has for an order.
order_days = 7
# Seconds after which clients ask again when to renew (ARI, RFC 9773): how soon a campaign reaches them.
renewal_info_seconds = 21600

[dns]
# Who is asked to find zones and CNAMEs: HOST[:PORT]. Empty: the system's resolvers.
resolvers = []
# Where authoritative servers listen; another port only in a laboratory.
port = 53
timeout = 5.0

[verify]
# For tokens in mode "verify": the hub looks itself for the proof of its clients (http-01, tls-alpn-01, dns-01).
# The ports it connects to; others only in a laboratory.
http_port = 80
tls_port = 443
# The only networks it connects to. Loopback, link-local, multicast and cloud metadata addresses stay closed unless a
# network names them, as "127.0.0.0/8" would.
networks = ["0.0.0.0/0", "::/0"]
# Who is asked for addresses. Empty: the resolvers of [dns].
resolvers = []
# The most redirects that are followed, seconds for a look at a name, bytes that are read of an answer.
redirects = 10
timeout = 10.0
response_bytes = 4096
# Days that a proof is remembered for an account and a name, so that a renewal need not prove anew; 0: never.
remember_days = 0.0

[worker]
# Orders that one process works on at once; seconds a lease lasts without a sign of life; hours that efforts last.
concurrency = 64
lease = 30.0
issuance_timeout_hours = 24.0
# Days after which orders that are over, and whose certificates have run out for as long, are forgotten; 0: never.
keep_days = 90.0

[limits]
# Open connections, bytes of a request's head, seconds until a request is whole, seconds an idle connection is kept.
connections = 10000
header_bytes = 16384
request_seconds = 30.0
idle_seconds = 75

[log]
# level: debug, info, warning, error; format: text or json.
level = "info"
format = "text"
"""


@click.command(epilog="\b\nExamples:\n  acmehub init\n  acmehub init /etc/acmehub/acmehub.toml")
@click.argument("path", type=click.Path(path_type=Path, dir_okay=False), default=FILE_NAME)
@click.option("--force", is_flag=True, help="Replace a file that is there.")
def init(path: Path, force: bool) -> None:
    """Write a commented acmehub.toml with all settings at their defaults."""
    try:
        with path.open("w" if force else "x") as file:
            file.write(TEMPLATE)
    except FileExistsError:
        raise Failed(f"{path}: is there already; --force replaces it", Exit.CONFLICT) from None
    except OSError as error:
        raise Failed(f"{path}: {error.strerror}") from None
    click.echo(f"wrote {path}")
