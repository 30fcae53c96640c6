"""Clients that no registry has: `make matrix MATRIX_SOURCES=DIR` builds and runs them from checkouts in DIR.

    DIR/nginx, DIR/nginx-acme        nginx and its ACME module
    DIR/acme-client-portable         OpenBSD's acme-client, the portable fork
    DIR/getssl                       getssl

They need what their READMEs say: on Debian `libpcre2-dev zlib1g-dev libssl-dev libclang-dev pkg-config autoconf
automake bison curl xxd bind9-dnsutils`, and Rust.
"""

import os
import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.matrix import nginx_acme, ways
from tests.matrix.contract import Client, Way
from tests.matrix.device import ClientFailed, Device
from tests.matrix.mains import BUILT, build
from tests.matrix.name_server import name_server

VARIABLE = "MATRIX_SOURCES"
FOLDERS = ("nginx", "nginx-acme", "acme-client-portable", "getssl")
ACME_CLIENT = BUILT / "sources" / "acme-client-portable"


def checkout(folder: str) -> Path:
    """Where the sources are."""
    return Path(os.environ.get(VARIABLE, ""), folder)


def commit(folder: str) -> str:
    """The tag and the commit that a checkout is at."""
    command = ("git", "-C", str(checkout(folder)), "describe", "--tags", "--always", "--long", "--abbrev=10")
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ClientFailed(f"{checkout(folder)} is not a git checkout: {done.stderr.strip()}")
    return done.stdout.strip()


def build_acme_client() -> None:
    """As its README says, in a copy of the checkout."""
    shutil.rmtree(ACME_CLIENT, ignore_errors=True)
    shutil.copytree(checkout("acme-client-portable"), ACME_CLIENT)
    build(ACME_CLIENT, "autoreconf", "-fi")
    build(ACME_CLIENT, "./configure")
    build(ACME_CLIENT, "make", "-j1")


def acme_client(*options: str) -> ways.Issue:
    """What users paste, with paths in the device's folder, and each name as an alternative one, too: its CSR has the
    first name as the common name alone, which Pebble does not read."""

    def act(device: Device, names: Sequence[str]) -> Path:
        _acme_client(device, f"\talternative names {{ {' '.join(names)} }}\n", *options)
        return device.folder / "etc" / "ssl" / f"{device.name}.crt"

    return act


def acme_client_renew(device: Device) -> Path:
    """`-F`."""
    return acme_client("-F")(device, (device.name,))


def acme_client_revoke(device: Device, _chain: Path) -> None:
    """`-r`, which takes no name that stands there twice."""
    _acme_client(device, "", "-r")


def _acme_client(device: Device, names: str, *options: str) -> None:
    for place in ("etc/acme", "etc/ssl/private", "var/www/acme"):
        (device.folder / place).mkdir(parents=True, exist_ok=True)
    more = f'{names}\tchallengedir "/var/www/acme"\n\tsign'
    text = device.pasted("OpenBSD acme-client", trusted=True).replace("\tsign", more)
    device.write("acme-client.conf", text.replace('"/', f'"{device.folder}/') + "\n", 0o600)
    command = (str(ACME_CLIENT / "acme-client"), "-v", *options, "-f", "acme-client.conf", device.name)
    device.run(*command, SSL_CERT_FILE=str(device.ca_file))


def getssl(*options: str) -> ways.Issue:
    """What users paste; `ACCOUNT_EMAIL` makes it send `mailto: a@b`, with a blank."""

    def act(device: Device, names: Sequence[str]) -> Path:
        text = device.pasted("getssl").replace(" getssl -", f" {checkout('getssl') / 'getssl'} {' '.join(options)} -")
        text = text.replace('SANS=""', f'SANS="{",".join(names[1:])}"').replace(
            "/tmp/acme-challenge", f"{device.folder}/acme-challenge"
        )
        with name_server() as port:  # it asks whether there are such names, which no public name server knows
            text = text.replace("\nEND", f'\nDNS_CHECK_OPTIONS="-p {port} @127.0.0.1"\nEND', 1)
            device.run("/bin/bash", "-ec", text)
        return device.folder / "getssl" / device.name / "fullchain.crt"

    return act


def getssl_renew(device: Device) -> Path:
    """`-f`."""
    return getssl("-f")(device, (device.name,))


def _client(
    name: str,
    folders: Sequence[str],
    its_ways: Sequence[Way],
    program: Path,
    make: Callable[[], None] = lambda: None,
    *,
    only_443: bool = False,
) -> Client:
    def missing() -> str:
        absent = [folder for folder in folders if not checkout(folder).is_dir()]
        if absent:
            return f"{VARIABLE} has no {', '.join(absent)}"
        return "" if program.exists() else f"not built yet: {checkout(folders[-1])}"

    return Client(
        name,
        "source",
        version=lambda: " with ".join(commit(folder) for folder in reversed(folders)),
        missing=missing,
        ways=its_ways,
        build=make,
        only_443=only_443,
    )


CLIENTS = [
    _client(
        "nginx-acme",
        ("nginx", "nginx-acme"),
        nginx_acme.WAYS,
        nginx_acme.MODULE,
        lambda: nginx_acme.compile_from(checkout("nginx"), checkout("nginx-acme")),
    ),
    _client(
        "OpenBSD acme-client",
        ("acme-client-portable",),
        [
            Way("no EAB", ways.one_name(acme_client())),
            Way("two names", ways.two_names(acme_client())),
            Way("renewal", ways.renewal(acme_client(), acme_client_renew)),
            Way("revocation", ways.revocation(acme_client(), acme_client_revoke)),
        ],
        ACME_CLIENT / "acme-client",
        build_acme_client,
        only_443=True,
    ),
    _client(
        "getssl",
        ("getssl",),
        [
            Way("no EAB", ways.one_name(getssl())),
            Way("two names", ways.two_names(getssl())),
            Way("renewal", ways.renewal(getssl(), getssl_renew)),
        ],
        checkout("getssl") / "getssl",
    ),
]
