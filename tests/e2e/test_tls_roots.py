"""`make` on a machine whose store of TLS roots has one more: that of a proxy which looks into every connection.

An index of packages stands for the proxy. Its root is in the store of a mount namespace; no variable names it.
"""

import base64
import hashlib
import os
import ssl
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
import trustme

from tests.servers.programs import need

pytestmark = [pytest.mark.e2e]
ROOT = Path(__file__).resolve().parent.parent.parent
STORE = Path("/etc/ssl/certs/ca-certificates.crt")
IN_NAMESPACE = ["unshare", "--map-root-user", "--mount", "/bin/sh", "-c"]
UV = (str(Path(sys.executable).with_name("uv")), "pip", "install", "--no-cache", "--quiet", "--default-index")
PIP = ("scripts/pip-install", sys.executable, "--no-cache-dir", "--index-url")


class Files(SimpleHTTPRequestHandler):
    """The files of a folder."""

    def log_message(self, format: str, *arguments: object) -> None:
        """Say nothing."""


def write_wheel(folder: Path) -> None:
    """A package `thing` in a simple index below `folder`."""
    files = {
        "thing.py": b"",
        "thing-1.dist-info/METADATA": b"Metadata-Version: 2.1\nName: thing\nVersion: 1\n",
        "thing-1.dist-info/WHEEL": b"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    place = folder / "simple" / "thing"
    place.mkdir(parents=True)
    with zipfile.ZipFile(place / "thing-1-py3-none-any.whl", "w") as wheel:
        record = ""
        for name, content in files.items():
            wheel.writestr(name, content)
            digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
            record += f"{name},sha256={digest},{len(content)}\n"
        wheel.writestr("thing-1.dist-info/RECORD", record + "thing-1.dist-info/RECORD,,\n")
    (place / "index.html").write_text('<a href="thing-1-py3-none-any.whl">thing-1-py3-none-any.whl</a>')


@pytest.fixture
def index(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """The index's URL, and a store of roots that has its root."""
    if not STORE.exists():
        pytest.skip(f"no {STORE}: this test replaces it")
    need("unshare")
    if subprocess.run([*IN_NAMESPACE, "true"], capture_output=True, check=False).returncode:
        pytest.skip("users may not make mount namespaces here")
    authority = trustme.CA()
    store = tmp_path / "store.crt"
    store.write_bytes(STORE.read_bytes() + authority.cert_pem.bytes())
    write_wheel(tmp_path / "files")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Files, directory=str(tmp_path / "files"))) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield f"https://127.0.0.1:{server.server_port}/simple", store
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("installer", [UV, PIP], ids=["uv", "pip"])
def test_what_make_installs_with_trusts_what_the_system_trusts(
    index: tuple[str, Path], tmp_path: Path, installer: tuple[str, ...]
) -> None:
    url, store = index
    script = f'mount --bind "{store}" {STORE} && exec "$@"'
    command = [*IN_NAMESPACE, script, "sh", *installer, url, "--target", str(tmp_path / "installed"), "thing"]
    login = {"HOME": str(tmp_path), "PATH": os.environ["PATH"], "PIP_CONFIG_FILE": os.devnull}
    done = subprocess.run(command, cwd=ROOT, env=login, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "installed" / "thing.py").exists()
