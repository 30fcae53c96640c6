"""A reverse proxy with scripted faults, between the hub and a CA or a DNS provider's API.

    with FaultProxy("https://127.0.0.1:14000", target_ca="pebble.pem", folder=tmp_path) as proxy:
        authority = AcmeRelay(RelaySettings(directory=proxy.url + "/dir", ca_file=str(proxy.ca_file)), context)
        proxy.play(cut_after_request, path="/order-plz")        # faults: `acmehub.testing.upstream_faults`

The proxy does not change the Host header, so a CA that makes its URLs from it (as Pebble does) refers to the proxy.
It counts the certificates that the CA has issued: `certificates_of` a key.
"""

import base64
import http.client
import json
import re
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

import msgspec

from acmehub.testing.issued_count import IssuedCount
from acmehub.testing.tls_identity import write_tls_identity

_UPSTREAM_TIMEOUT = 60.0
_HOP_BY_HOP = frozenset({"connection", "keep-alive", "transfer-encoding", "content-length"})


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """A received request."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes = b""

    def payload(self) -> Any:
        """The JSON in a JWS body; None when there is none."""
        try:
            text = json.loads(self.body)["payload"]
            return json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))) if text else None
        except (ValueError, KeyError, TypeError):
            return None


class ProxyReply(msgspec.Struct, frozen=True, kw_only=True):
    """A response; with `cut`, the connection ends after that many octets of the body (negative: before the header)."""

    status: int = 200
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    cut: int | None = None

    def header(self, name: str) -> str:
        """The first header of that name, or an empty text."""
        return next((value for key, value in self.headers if key.lower() == name.lower()), "")

    def with_header(self, name: str, value: str) -> "ProxyReply":
        """The same response with a header set."""
        kept = tuple(item for item in self.headers if item[0].lower() != name.lower())
        return msgspec.structs.replace(self, headers=(*kept, (name, value)))


Forward = Callable[[Call], ProxyReply]
Fault = Callable[[Call, Forward], ProxyReply]


class _Rule:
    """A fault with the calls it applies to."""

    def __init__(self, fault: Fault, path: str, method: str, *, times: int | None, every: int, skip: int) -> None:
        self.fault = fault
        self.played = 0
        self._path = re.compile(path)
        self._method = method
        self._times = times
        self._every = every
        self._skip = skip
        self._seen = 0

    def takes(self, call: Call) -> bool:
        if (self._method and call.method != self._method) or not self._path.search(call.path):
            return False
        self._seen += 1
        if self._seen <= self._skip or (self._seen - self._skip) % self._every:
            return False
        if self._times is not None and self.played >= self._times:
            return False
        self.played += 1
        return True


class FaultProxy:
    """Listens on a free port of 127.0.0.1, with TLS if the target has it. `calls` lists all requests in order."""

    def __init__(self, target: str, *, folder: Path, target_ca: Path | str | None = None) -> None:
        parts = urlsplit(target)
        self._target = parts.netloc
        self._secure = parts.scheme == "https"
        self._target_tls = ssl.create_default_context(cafile=target_ca) if self._secure else None
        self._tls: ssl.SSLContext | None = None
        self.ca_file = folder / "fault-proxy.pem"
        if self._secure:
            self._tls = write_tls_identity(self.ca_file)
        self._rules: list[_Rule] = []
        self._lock = threading.Lock()
        self._server: _Server | None = None
        self._port = 0
        self._new_nonce = ""
        self.calls: list[Call] = []
        self.issued = IssuedCount()

    @property
    def url(self) -> str:
        """The URL of the proxy, without a path."""
        return f"{'https' if self._secure else 'http'}://127.0.0.1:{self._port}"

    def __enter__(self) -> Self:
        self._listen()
        return self

    def __exit__(self, *_: object) -> None:
        self._silence()

    def play(
        self,
        fault: Fault,
        *,
        path: str = "",
        method: str = "",
        times: int | None = 1,
        every: int = 1,
        skip: int = 0,
    ) -> None:
        """Let `fault` answer calls whose path matches `path` (a regular expression).

        The first `skip` such calls go through; then every `every`th is answered, up to `times` in all (None: no limit).
        If several faults match a call, the first one is played.
        """
        with self._lock:
            self._rules.append(_Rule(fault, path, method, times=times, every=every, skip=skip))

    def heal(self) -> None:
        """Stop playing faults."""
        with self._lock:
            self._rules.clear()

    def played(self) -> int:
        """How many calls the present faults have answered."""
        return sum(rule.played for rule in self._rules)

    @contextmanager
    def refusing(self) -> Iterator[None]:
        """End all connections and refuse new ones during the context."""
        self._silence()
        try:
            yield
        finally:
            self._listen()

    def certificates_of(self, spki_sha256: str) -> int:
        """How many certificates the CA has issued for a public key (SHA-256 of its SPKI, hexadecimal)."""
        return self.issued.of(spki_sha256)

    def nonce(self) -> str:
        """A new nonce from the CA; empty before the proxy has seen the directory."""
        if not self._new_nonce:
            return ""
        return self.forward(Call(method="HEAD", path=self._new_nonce, headers={})).header("Replay-Nonce")

    def answer(self, call: Call) -> ProxyReply:
        """Answer `call` with a fault, or forward it."""
        with self._lock:
            self.calls.append(call)
            rule = next((rule for rule in self._rules if rule.takes(call)), None)
        return rule.fault(call, self.forward) if rule else self.forward(call)

    def forward(self, call: Call) -> ProxyReply:
        """Forward a call to the target."""
        connection: http.client.HTTPConnection
        if self._target_tls is not None:
            connection = http.client.HTTPSConnection(self._target, timeout=_UPSTREAM_TIMEOUT, context=self._target_tls)
        else:
            connection = http.client.HTTPConnection(self._target, timeout=_UPSTREAM_TIMEOUT)
        try:
            headers = {"Host": f"127.0.0.1:{self._port}", **call.headers}
            connection.request(call.method, call.path, body=call.body or None, headers=headers)
            answer = connection.getresponse()
            kept = tuple((name, value) for name, value in answer.getheaders() if name.lower() not in _HOP_BY_HOP)
            reply = ProxyReply(status=answer.status, headers=kept, body=answer.read())
        finally:
            connection.close()
        self._learn(call, reply)
        return reply

    def _learn(self, call: Call, reply: ProxyReply) -> None:
        with self._lock:
            self.issued.note(call.path, call.payload(), reply.status, reply.header("Content-Type"), reply.body)
            if b'"newNonce"' in reply.body:
                self._new_nonce = urlsplit(json.loads(reply.body)["newNonce"]).path

    def _listen(self) -> None:
        self._server = _Server(self, self._port, self._tls)
        self._port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.02,), name="fault proxy", daemon=True).start()

    def _silence(self) -> None:
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server.end_connections()
            self._server = None


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 128

    def __init__(self, proxy: FaultProxy, port: int, tls: ssl.SSLContext | None) -> None:
        self.proxy = proxy
        self._tls = tls
        self._open: set[socket.socket] = set()
        self._open_lock = threading.Lock()
        super().__init__(("127.0.0.1", port), _Handler)

    def get_request(self) -> tuple[socket.socket, Any]:
        accepted, address = super().get_request()
        if self._tls is not None:  # the thread of the connection makes the handshake
            accepted = self._tls.wrap_socket(accepted, server_side=True, do_handshake_on_connect=False)
        with self._open_lock:
            self._open.add(accepted)
        return accepted, address

    def shutdown_request(self, request: Any) -> None:
        with self._open_lock:
            self._open.discard(request)
        super().shutdown_request(request)

    def end_connections(self) -> None:
        with self._open_lock:
            for accepted in self._open:
                try:
                    accepted.shutdown(socket.SHUT_RDWR)
                except OSError:
                    continue  # closed already

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore clients that close the connection."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def _serve(self) -> None:
        size = int(self.headers.get("Content-Length") or 0)
        headers = {name: value for name, value in self.headers.items() if name.lower() not in _HOP_BY_HOP}
        body = self.rfile.read(size) if size else b""
        reply = self.server.proxy.answer(Call(method=self.command, path=self.path, headers=headers, body=body))
        if reply.cut is not None and reply.cut < 0:
            self.close_connection = True
            return
        self.send_response_only(reply.status)
        for name, value in reply.headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(reply.body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(reply.body if reply.cut is None else reply.body[: reply.cut])
        self.wfile.flush()
        if reply.cut is not None:
            self.close_connection = True

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = _serve  # noqa: N815  names of http.server

    def log_message(self, format: str, *args: Any) -> None:
        """Log nothing; `calls` has all requests."""
