"""HAProxy 3.4, from Debian's experimental with the libraries that it needs, which Debian 12 has too old."""

import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.matrix import ways
from tests.matrix.contract import Way
from tests.matrix.device import Device
from tests.matrix.mains import BUILT
from tests.matrix.name_server import name_server

HOME = BUILT / "debian"
ROOT = HOME / "haproxy"
PROGRAM = ROOT / "usr/sbin/haproxy"
LIBRARIES = ROOT / "usr/lib/x86_64-linux-gnu"
COMMAND = (str(LIBRARIES / "ld-linux-x86-64.so.2"), "--library-path", str(LIBRARIES), str(PROGRAM))
NEEDS = (
    *("libc6", "libcrypt1", "libgcc-s1", "libjemalloc2", "liblua5.4-0", "libopentracing-c-wrapper0t64"),
    *("libopentracing1", "libpcre2-8-0", "libssl3t64", "libstdc++6", "libzstd1", "zlib1g"),
)
# HAProxy asks a name server for the hub's name, and no file.
CONFIGURATION = """
resolvers default
    nameserver local 127.0.0.1:{resolver}

crt-store
    load crt "{folder}/host.pem" acme hub domains "{domains}"

frontend web
    mode http
    timeout client 10s
    bind 127.0.0.1:{port} ssl crt {folder}/host.pem
    http-request return status 200
"""


def issue(*, eab: bool = True) -> ways.Issue:
    """Start it with what users paste; it orders the certificate at once."""

    def act(device: Device, names: Sequence[str]) -> Path:
        with _running(device, names, eab=eab):
            return _chain(device, "")

    return act


def renewed(device: Device) -> None:
    """A certificate, and the next one that `acme renew` on the stats socket gets."""
    with _running(device, (device.name,), eab=True):
        first = device.got(_chain(device, ""))
        _say(device, f"acme renew {device.folder}/host.pem")
        ways.other(first, device.got(_chain(device, f"{first.serial:X}")))


WAYS = [
    Way("acme section", ways.two_names(issue())),
    Way("wildcard", ways.wildcard(issue())),
    Way("no EAB", ways.one_name(issue(eab=False))),
    Way("renewal", renewed),
]


@contextmanager
def _running(device: Device, names: Sequence[str], *, eab: bool) -> Iterator[None]:
    text = device.pasted("HAProxy")
    if not eab:
        text = text.replace(device.directory, device.secret_directory)
        text = "\n".join(line for line in text.splitlines() if "eab-" not in line)
    device.write("eab.id", device.kid)
    device.write("eab.key", device.hmac_key)
    text = text.replace("/etc/haproxy/", f"{device.folder}/").replace(
        "global", "global\n    log stderr format raw local0"
    )
    with name_server() as resolver:
        rest = CONFIGURATION.format(
            resolver=resolver, folder=device.folder, domains=",".join(names), port=device.free_port()
        )
        device.write("haproxy.cfg", text + "\n" + rest)
        with device.daemon(*COMMAND, "-db", "-f", "haproxy.cfg") as process:
            device.until((device.folder / "admin.sock").exists, process)
            yield


def _chain(device: Device, before: str) -> Path:
    """What HAProxy has, as soon as it is another one than `before` (a serial number)."""
    name = f"{device.folder}/host.pem"

    def there() -> bool:
        told = _say(device, f"show ssl cert {name}")
        serial = next((line.partition(":")[2].strip() for line in told.splitlines() if line.startswith("Serial:")), "")
        return bool(serial.strip("0")) and serial.lstrip("0") != before.lstrip("0")

    device.until(there)
    text = _say(device, f"dump ssl cert {name}")
    return device.write("chain.pem", text[text.index("-----BEGIN CERTIFICATE-----") :])


def _say(device: Device, command: str) -> str:
    with socket.socket(socket.AF_UNIX) as admin:
        admin.connect(str(device.folder / "admin.sock"))
        admin.sendall(f"{command}\n".encode())
        parts = []
        while part := admin.recv(65536):
            parts.append(part)
    return b"".join(parts).decode()
