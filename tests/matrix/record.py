"""`python -m tests.matrix.record FOLDER NAME...`: what clients send, as a JSON file each, for tests that replay it.

A client runs its first way against a front (TLS on port 443) that writes requests down and passes them on to the hub.
"""

import argparse
import http.client
import json
import ssl
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import trustme

from tests.matrix.contract import Client, Speed
from tests.matrix.registry import ALL, FROM_SOURCE, clients
from tests.matrix.world import World, running_world

URL = "https://localhost"
PORT = 443  # OpenBSD's acme-client speaks to no other
PLACED_BY_THE_CONNECTION = ("host", "content-length", "connection", "accept-encoding")


def main() -> int:
    """Record the first way of each client whose name begins so."""
    parser = argparse.ArgumentParser(prog="python -m tests.matrix.record", description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("name", nargs="+")
    asked = parser.parse_args()
    chosen = [item for item in clients((*ALL, *FROM_SOURCE)) if item.name.startswith(tuple(asked.name))]
    asked.folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="acmehub-record-") as made, running_world(Path(made), url=URL) as world:
        for client in chosen:
            told = recorded(world, client)
            name = "".join(letter if letter.isalnum() else "-" for letter in client.name.lower()).strip("-")
            (asked.folder / f"{name}.json").write_text(json.dumps(told, indent=1) + "\n")
            print(f"{client.name}: {len(told['requests'])} requests")
    return 0


def recorded(world: World, client: Client) -> dict[str, Any]:
    """The client, the way, and each request that it sent."""
    way = client.ways[0]
    requests: list[dict[str, Any]] = []
    ca = trustme.CA()
    device = world.device(Speed.FAST, client.name, way.name)
    device.ca_file = device.folder / "front.pem"
    ca.cert_pem.write_to_path(str(device.ca_file))
    with front(world.hub.port, ca.issue_cert("localhost"), requests):
        way.act(device)
    return {"client": client.name, "version": client.version(), "way": way.name, "requests": requests}


@contextmanager
def front(port: int, certificate: trustme.LeafCert, requests: list[dict[str, Any]]) -> Iterator[None]:
    """Listen on port 443 of 127.0.0.1 until the block ends."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:  # http.server's name
            self._pass_on()

        do_GET = do_HEAD = do_POST  # noqa: N815

        def _pass_on(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", "0")))
            headers = {name.lower(): value for name, value in self.headers.items()}
            shown = {name: value for name, value in headers.items() if name not in PLACED_BY_THE_CONNECTION}
            requests.append({"method": self.command, "path": self.path, "headers": shown, "body": body.decode()})
            unchecked = ssl.create_default_context()
            unchecked.check_hostname = False
            unchecked.verify_mode = ssl.CERT_NONE
            hub = http.client.HTTPSConnection("127.0.0.1", port, timeout=120, context=unchecked)
            hub.request(self.command, self.path, body, {**shown, "host": headers["host"]})
            answer = hub.getresponse()
            content = answer.read()
            self.send_response(answer.status)
            for name, value in answer.getheaders():
                if name.lower() not in ("connection", "transfer-encoding", "content-length", "date", "server"):
                    self.send_header(name, value)
            if answer.status != 204:
                self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def finish(self) -> None:
            """As a server of today ends a TLS connection: OpenSSL 3 in the client minds when it is only cut."""
            super().finish()
            with suppress(OSError):  # a client that has cut it itself
                self.connection.unwrap()

        def log_message(self, *_arguments: object) -> None:
            """Nothing: the requests are written down."""

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)
    with ThreadingHTTPServer(("127.0.0.1", PORT), Handler) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield
        finally:
            server.shutdown()
            thread.join()


if __name__ == "__main__":
    sys.exit(main())
