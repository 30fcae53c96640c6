"""A REST server that can read and replace all TXT values of a name: `GET` and `PUT /zones/ZONE/txt/NAME`."""

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any

SLOWLY = 0.02  # seconds between reading values and sending them: time for another process to change them


class RecordSets:
    """The server, in a thread during the context; `values` by name."""

    def __init__(self, zone: str, token: str) -> None:
        self.values: dict[str, set[str]] = {}
        values = self.values

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                if name := self._name():
                    found = sorted(values.get(name, ()))
                    time.sleep(SLOWLY)
                    self._answer(200, {"values": found})

            def do_PUT(self) -> None:
                sent = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                if name := self._name():
                    values[name] = set(sent["values"])
                    self._answer(200, sent)

            def _name(self) -> str:
                """The name, when the request may be answered."""
                _, _, in_zone, _, name = self.path.split("/")
                if self.headers["Authorization"] != f"Bearer {token}":
                    self._answer(401, {})
                elif in_zone != zone:
                    self._answer(404, {})
                else:
                    return name
                return ""

            def _answer(self, status: int, body: object) -> None:
                content = json.dumps(body).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_arguments: Any) -> None:
                return

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> "RecordSets":
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, _kind: type[BaseException] | None, _error: object, _trace: TracebackType | None) -> None:
        self._server.shutdown()
        self._server.server_close()
