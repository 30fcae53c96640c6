"""Listening sockets. They are bound first, so that a port in use is reported before anything else happens."""

import errno
import socket

from acmehub.config import Config


class ListenError(Exception):
    """The address cannot be listened on; the text names it and says what to do."""


def bind(config: Config) -> socket.socket:
    """A socket bound to `listen`, not listening yet; without a host it takes all addresses of both families, or of IPv4
    where the machine has no IPv6."""
    host, port = config.address
    wanted = socket.AF_UNSPEC
    if not host:
        wanted = socket.AF_INET6 if socket.has_dualstack_ipv6() else socket.AF_INET
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host or None, port, family=wanted, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        bound = socket.socket(family, kind, protocol)
    except OSError as error:
        raise ListenError(f"{config.listen}: {error.strerror}: choose another address with --listen") from None
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family is socket.AF_INET6:
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0 if not host else 1)
        bound.bind(address)
    except OSError as error:
        bound.close()
        raise ListenError(f"{config.listen}: {_hint(error)}") from None
    return bound


def _hint(error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return "the port is in use by another process: stop that one, or choose another with --listen HOST:PORT"
    if error.errno == errno.EACCES:
        return "not allowed to listen on this port: choose one above 1023, or grant CAP_NET_BIND_SERVICE"
    return f"{error.strerror}: choose another address with --listen HOST:PORT"
