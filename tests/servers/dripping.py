"""Servers that send octet by octet, and never come to an end."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Serve = Callable[[socket.socket], None]


def _drip(connection: socket.socket, octets: bytes, pause: float = 0.05) -> None:
    for octet in octets:
        connection.sendall(bytes([octet]))
        time.sleep(pause)


def no_status(connection: socket.socket) -> None:
    """A status line that never ends."""
    connection.recv(65536)
    connection.sendall(b"HTTP/1.1 200 ")
    while True:
        _drip(connection, b"H")


def no_header(connection: socket.socket) -> None:
    """Header lines for ever."""
    connection.recv(65536)
    connection.sendall(b"HTTP/1.1 200 OK\r\n")
    while True:
        _drip(connection, b"X-A: b\r\n")


def no_body(connection: socket.socket) -> None:
    """A body that takes a day."""
    connection.recv(65536)
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 900000\r\n\r\n")
    while True:
        _drip(connection, b" ")


def no_body_until_close(connection: socket.socket) -> None:
    """A body whose end is that of the connection."""
    connection.recv(65536)
    connection.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")
    while True:
        _drip(connection, b" ")


def interim(connection: socket.socket) -> None:
    """Interim responses for ever."""
    connection.recv(65536)
    while True:
        connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")


def interim_slowly(connection: socket.socket) -> None:
    """An interim response octet by octet."""
    connection.recv(65536)
    while True:
        _drip(connection, b"HTTP/1.1 103 Early Hints\r\n\r\n")


def no_tls(connection: socket.socket) -> None:
    """A TLS record of a handshake, octet by octet."""
    connection.recv(65536)
    connection.sendall(b"\x16\x03\x03\x3f\xff")
    while True:
        _drip(connection, b"\x02")


@contextmanager
def dripping(serve: Serve) -> Iterator[int]:
    """The port of a server that does as `serve` says with each connection, in a thread of its own: `threads_of`."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]

        def accept() -> None:
            while True:
                try:
                    connection, _address = server.accept()
                except OSError:
                    return
                threading.Thread(target=work, args=(connection,), name=_name(port), daemon=True).start()

        def work(connection: socket.socket) -> None:
            with connection:
                try:
                    serve(connection)
                except OSError:
                    return  # the relay has hung up

        threading.Thread(target=accept, daemon=True).start()
        yield port
        server.shutdown(socket.SHUT_RDWR)


def threads_of(port: int) -> list[threading.Thread]:
    """The threads that serve the connections to a port; each ends when the other side has hung up."""
    return [thread for thread in threading.enumerate() if thread.name == _name(port)]


def _name(port: int) -> str:
    return f"dripping on {port}"
