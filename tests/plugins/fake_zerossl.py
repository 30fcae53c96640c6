"""A server that demands what ZeroSSL's documentation of its EAB endpoints does."""

import json
import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

API_KEY = "5f0e9b3c7d1a4e6f8b2c0d9e7a5f3b1c"


class FakeZeroSsl:
    """The API; `credentials` are those it gave (key id to HMAC key), `failures` answers to be given instead."""

    def __init__(self, credentials: dict[str, str]) -> None:
        self.credentials = credentials
        self.url = ""
        self.requests: list[tuple[str, str, dict[str, list[str]]]] = []
        self.failures: list[tuple[int, dict[str, str], bytes]] = []
        self._unused = list(credentials.items())

    def answer(self, method: str, path: str, content_type: str, body: bytes) -> tuple[int, dict[str, str], bytes]:
        parts = urlsplit(path)
        query, form = parse_qs(parts.query), parse_qs(body.decode())
        self.requests.append((method, parts.path, {**query, **form}))
        if self.failures:
            return self.failures.pop(0)
        if method != "POST":
            return _json(405, _refusal(404, "api_function_does_not_exist"))
        if parts.path == "/acme/eab-credentials":
            if "access_key" not in query:
                return _json(200, _refusal(101, "missing_access_key"))
            if query["access_key"] != [API_KEY]:
                return _json(200, _refusal(102, "invalid_access_key"))
        elif parts.path == "/acme/eab-credentials-email":
            if content_type != "application/x-www-form-urlencoded" or "@" not in form.get("email", [""])[0]:
                return _json(200, _refusal(2900, "invalid_email"))
        else:
            return _json(404, _refusal(103, "invalid_api_function"))
        kid, hmac_key = self._unused.pop(0)
        return _json(200, {"success": 1, "eab_kid": kid, "eab_hmac_key": hmac_key})


def _refusal(code: int, type: str) -> dict[str, Any]:
    return {"success": False, "error": {"code": code, "type": type}}


def _json(status: int, value: dict[str, Any]) -> tuple[int, dict[str, str], bytes]:
    return status, {"Content-Type": "application/json"}, json.dumps(value).encode()


@contextmanager
def running_zerossl() -> Iterator[FakeZeroSsl]:
    """The fake on a free port of 127.0.0.1 (plain HTTP)."""
    fake = FakeZeroSsl({secrets.token_urlsafe(16): secrets.token_urlsafe(42) for _ in range(4)})

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            content_type = self.headers.get("Content-Type", "")
            status, headers, answer = fake.answer(self.command, self.path, content_type, body)
            self.send_response_only(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        do_GET = do_POST  # noqa: N815  a name of http.server

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    fake.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield fake
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
