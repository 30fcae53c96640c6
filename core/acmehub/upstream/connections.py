"""Connections to CAs that another thread can end: at the deadline of an exchange, and when the hub stops.

A thread that waits for a CA cannot be interrupted. What it waits for can: a second handle of the connection's socket
shuts the socket down, whatever the thread does on it (connect, TLS handshake, proxy, header, body).
"""

import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from http.client import HTTPException, HTTPResponse, parse_headers
from ssl import SSLSocket
from traceback import walk_tb
from typing import Any, TypeVar
from weakref import WeakSet

from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import ConnectTimeoutError, NameResolutionError, NewConnectionError

MOST_INTERIM = 8

T = TypeVar("T")
_present = threading.local()


class Ended(OSError):
    """The exchange was ended from outside; the text says why."""


class Lifeline:
    """The second handle of a socket. It is shut down for the exchange that uses the connection, and for no other."""

    def __init__(self, connected: socket.socket) -> None:
        self._socket = connected.dup()
        self._lock = threading.Lock()
        self._owner: Watch | None = None
        self._dropped = False

    def take(self, owner: "Watch") -> None:
        """The connection is used for an exchange of `owner` now."""
        with self._lock:
            self._owner = owner

    def leave(self, owner: "Watch") -> None:
        """The exchange is over; another one may have the connection already."""
        with self._lock:
            if self._owner is not owner:
                return
            self._owner = None
            if self._dropped:
                self._socket.close()

    def drop(self) -> None:
        """The connection is closed; its last response may still be read."""
        with self._lock:
            self._dropped = True
            if self._owner is None:
                self._socket.close()

    def cut(self, owner: "Watch") -> None:
        """Shut the socket down, if it is used for `owner`."""
        with self._lock:
            if self._owner is not owner:
                return
            with suppress(OSError):  # it is not connected any more
                self._socket.shutdown(socket.SHUT_RDWR)


class Watch:
    """The exchanges of one verb, one after the other, for those who may end them from outside."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._end: float | None = None
        self._lifeline: Lifeline | None = None
        self._closed = ""

    def run(self, verb: Callable[[], T]) -> T:
        """Run `verb` in the calling thread, its exchanges under this watch."""
        _present.watch = self
        try:
            return verb()
        finally:
            del _present.watch

    def begin(self, end: float) -> None:
        """An exchange begins that has to end by `end` (monotonic); raises `Ended` when the watch is closed."""
        with self._lock:
            self._check()
            self._end = end

    def attach(self, lifeline: Lifeline) -> None:
        """The exchange uses this connection; raises `Ended` when the watch is closed."""
        with self._lock:
            self._check()
            previous, self._lifeline = self._lifeline, lifeline
            lifeline.take(self)
        if previous is not None and previous is not lifeline:
            previous.leave(self)

    def finish(self) -> None:
        """The exchange is over."""
        with self._lock:
            lifeline, self._lifeline = self._lifeline, None
            self._end = None
        if lifeline is not None:
            lifeline.leave(self)

    def left(self) -> float | None:
        """Seconds until the present exchange has to end; None when none is under way."""
        with self._lock:
            return None if self._end is None else self._end - time.monotonic()

    def close(self, why: str) -> None:
        """End the exchange under way, and let no other begin."""
        with self._lock:
            self._closed = self._closed or why
            lifeline = self._lifeline
        if lifeline is not None:
            lifeline.cut(self)

    @property
    def why_closed(self) -> str:
        """Why the watch was closed; empty while it is open."""
        return self._closed

    def check(self) -> None:
        """Raise `Ended` when the watch is closed: what was read may be half of what the CA sent."""
        with self._lock:
            self._check()

    def _check(self) -> None:
        if self._closed:
            raise Ended(self._closed)


def present_watch() -> Watch:
    """The watch of the verb that the calling thread runs."""
    found: Watch | None = getattr(_present, "watch", None)
    if found is None:  # nobody watches this thread
        found = _present.watch = Watch()
    return found


class _Response(HTTPResponse):
    """A response whose interim responses (RFC 9110 section 15.2) are skipped, up to `MOST_INTERIM`."""

    def _read_status(self) -> tuple[str, int, str]:
        for _ in range(MOST_INTERIM + 1):
            version, status, reason = super()._read_status()  # type: ignore[misc]  # the stubs have public names only
            if not 100 <= status < 200:
                return version, status, reason
            if status == 101:
                raise HTTPException("switches to another protocol")
            parse_headers(self.fp)
        raise HTTPException(f"more than {MOST_INTERIM} interim responses")


class _Watched(HTTPConnection):
    """A connection that belongs to the exchange of the thread that uses it."""

    response_class = _Response
    lifeline: Lifeline | None = None

    def _new_conn(self) -> socket.socket:
        """Connect to one address after the other, in the time that the exchange has left."""
        watch = present_watch()
        try:
            addresses = socket.getaddrinfo(self._dns_host.strip("[]"), self.port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            raise NameResolutionError(self.host, self, socket.gaierror(*error.args)) from error
        failure: OSError | None = None
        for family, kind, protocol, _name, address in addresses:
            try:
                return self._connected(watch, socket.socket(family, kind, protocol), address)
            except OSError as error:
                failure = error
            watch.check()
        if isinstance(failure, TimeoutError):
            raise ConnectTimeoutError(self, f"no connection to {self.host} in time") from failure
        raise NewConnectionError(self, f"no connection to {self.host}: {failure}") from failure

    def _connected(self, watch: Watch, new: socket.socket, address: Any) -> socket.socket:
        try:
            new.settimeout(self.timeout)
            for option in self.socket_options or ():
                new.setsockopt(*option)
            self._let_go()
            self.lifeline = Lifeline(new)
            watch.attach(self.lifeline)
            new.connect(address)
        except OSError:
            new.close()
            raise
        return new

    def request(self, *args: Any, **kwargs: Any) -> None:
        """Send a request, for the exchange of the calling thread."""
        if self.lifeline is not None:
            present_watch().attach(self.lifeline)
        super().request(*args, **kwargs)

    def close(self) -> None:
        """Close the connection; a response that is read to its end by closing stays readable."""
        super().close()
        self._let_go()

    def _let_go(self) -> None:
        lifeline, self.lifeline = self.lifeline, None
        if lifeline is not None:
            lifeline.drop()


class _WatchedTls(_Watched, HTTPSConnection):
    """The same with TLS."""

    def connect(self) -> None:
        """Connect, and leave no socket open when that fails.

        CPython 3.11 does: `SSLSocket._create` lets the error of a connection that was reset before the
        handshake pass without closing the socket, which then lives as long as the error's traceback.
        """
        try:
            super().connect()
        except OSError as error:
            for frame, _line in walk_tb(error.__traceback__):
                if isinstance(left_open := frame.f_locals.get("self"), SSLSocket):
                    left_open.close()
            raise


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Watched


class _TlsPool(HTTPSConnectionPool):
    ConnectionCls = _WatchedTls


class WatchedAdapter(HTTPAdapter):
    """The adapter of `requests` with connections that can be ended from outside, directly or through a proxy.

    Every request has to give the same `verify`: the files that it names are looked at once per pool of connections.
    """

    def __init__(self, **kwargs: Any) -> None:
        self._verified: WeakSet[object] = WeakSet()
        super().__init__(**kwargs)

    def cert_verify(self, conn: Any, *args: Any, **kwargs: Any) -> None:
        """Set up the verification of certificates for a new pool."""
        if conn not in self._verified:
            super().cert_verify(conn, *args, **kwargs)
            self._verified.add(conn)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        """Make the pools of direct connections."""
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = {"http": _Pool, "https": _TlsPool}

    def proxy_manager_for(self, proxy: str, **kwargs: Any) -> Any:
        """Make the pools of connections through `proxy`."""
        manager = super().proxy_manager_for(proxy, **kwargs)
        if not proxy.lower().startswith("socks"):  # these have connections of their own
            manager.pool_classes_by_scheme = {"http": _Pool, "https": _TlsPool}
        return manager
