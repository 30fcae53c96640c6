"""Clients from Debian 12."""

from collections.abc import Sequence

from tests.matrix import acme_tiny, caddy, certbot, dehydrated, lego, mod_md, uacme
from tests.matrix.contract import Client, Way, from_debian, version_in_debian

DEBIAN = "Debian 12"


def _client(name: str, program: str, package: str, ways: Sequence[Way]) -> Client:
    return Client(name, DEBIAN, version_in_debian(package), from_debian(program, package), ways)


CLIENTS = [
    _client("certbot (Debian)", "/usr/bin/certbot", "certbot", certbot.basic_ways("/usr/bin/certbot")),
    _client("lego (Debian)", "/usr/bin/lego", "lego", lego.basic_ways("/usr/bin/lego")),
    _client("Caddy (Debian)", "/usr/bin/caddy", "caddy", caddy.basic_ways("/usr/bin/caddy")),
    _client("Apache mod_md", mod_md.PROGRAM, "apache2-bin", mod_md.WAYS),
    _client("dehydrated", dehydrated.PROGRAM, "dehydrated", dehydrated.WAYS),
    _client("uacme", uacme.PROGRAM, "uacme", uacme.WAYS),
    _client("acme-tiny", "/usr/bin/acme-tiny", "acme-tiny", acme_tiny.all_ways("/usr/bin/acme-tiny")),
]
