"""nginx with its own ACME module, both from checkouts of their sources.

The module keeps what it got in its `state_path`: a key and a chain for each `acme_certificate`.
"""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.matrix import ways
from tests.matrix.contract import Way
from tests.matrix.device import Device
from tests.matrix.mains import BUILT, build
from tests.matrix.name_server import name_server

OBJECTS = BUILT / "sources" / "nginx"
TARGET = BUILT / "sources" / "nginx-acme"
PROGRAM = OBJECTS / "nginx"
MODULE = TARGET / "release" / "libnginx_acme.so"
CONFIGURATION = """
load_module {module};
daemon off;
user root;
error_log stderr notice;
pid {folder}/nginx.pid;
events {{}}
http {{
    access_log off;
{pasted}
}}
"""


def compile_from(nginx: Path, module: Path) -> None:
    """Build nginx, then the module against it; nothing is written to the checkouts."""
    OBJECTS.mkdir(parents=True, exist_ok=True)
    build(nginx, "auto/configure", f"--builddir={OBJECTS}", "--with-compat", "--with-http_ssl_module")
    build(nginx, "make", "-j1", "-f", f"{OBJECTS}/Makefile")
    folders = {"NGINX_SOURCE_DIR": str(nginx), "NGINX_BUILD_DIR": str(OBJECTS)}
    build(module, "cargo", "build", "--locked", "--release", "-j", "1", "--target-dir", str(TARGET), **folders)


def issue(*, eab: bool = True, options: str = "") -> ways.Issue:
    """Start it with what users paste, and with more lines for the issuer; it orders the certificate at once."""

    def act(device: Device, names: Sequence[str]) -> Path:
        with _running(device, names, options, eab=eab):
            return _chain(device)

    return act


def renew_by_ari(device: Device) -> Path:
    """Start it again: it asks for the renewal window of what it has."""
    before = _chain(device).read_bytes()
    with _running(device, (device.name,)):
        device.until(lambda: _chain(device).read_bytes() != before)
    return _chain(device)


def with_profile(device: Device) -> None:
    """`profile NAME require`."""
    device.got(issue(options=f"profile {device.profile} require;")(device, (device.name,)))
    device.profiled()


WAYS = [
    Way("acme_issuer", ways.one_name(issue())),
    Way("two names", ways.two_names(issue())),
    Way("tls-alpn", ways.one_name(issue(options="challenge tls-alpn-01;"))),
    Way("no EAB", ways.one_name(issue(eab=False))),
    Way("profile", with_profile),
    Way("ARI renewal", ways.ari_renewal(issue(), renew_by_ari)),
]


@contextmanager
def _running(device: Device, names: Sequence[str], options: str = "", *, eab: bool = True) -> Iterator[None]:
    device.write("acmehub.key", device.hmac_key, 0o600)
    with name_server() as resolver:
        text = device.pasted("nginx-acme").replace("/etc/nginx/", f"{device.folder}/")
        text = re.sub(r"resolver [^;]*;", f"resolver 127.0.0.1:{resolver};", text)
        text = re.sub(r"state_path [^;]*;", f"state_path {device.folder}/state; {options}", text)
        text = text.replace("listen 443", f"listen 127.0.0.1:{device.free_port()}")
        text = text.replace(f"server_name {device.name};", f"server_name {' '.join(names)};")
        if not eab:
            text = re.sub(r" *external_account_key [^;]*;\n", "", text).replace(
                device.directory, device.secret_directory
            )
        device.write("nginx.conf", CONFIGURATION.format(module=MODULE, folder=device.folder, pasted=text))
        (device.folder / "logs").mkdir(exist_ok=True)
        with device.daemon(PROGRAM, "-p", device.folder, "-c", device.folder / "nginx.conf") as process:
            device.until(lambda: _found(device) is not None, process)
            yield


def _chain(device: Device) -> Path:
    return _found(device) or device.folder / "state" / "chain.crt"


def _found(device: Device) -> Path | None:
    return next((device.folder / "state").rglob("*.crt"), None)
