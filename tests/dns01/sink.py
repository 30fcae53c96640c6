"""A UDP port of every loopback address that counts what arrives, and says nothing."""

import asyncio
import contextlib
import ipaddress
import socket
from collections.abc import Iterator
from contextlib import contextmanager

IP_PKTINFO = 8  # Linux; `socket` has it from Python 3.12 on


class Sink:
    """Datagrams by the address that they were sent to."""

    def __init__(self, made: socket.socket) -> None:
        self._socket = made
        self.port: int = made.getsockname()[1]
        self.seen: list[str] = []

    def read(self) -> None:
        """Count what has arrived."""
        with contextlib.suppress(BlockingIOError):
            while True:
                _data, ancillary, _flags, _peer = self._socket.recvmsg(2048, 256)
                for level, kind, data in ancillary:
                    if (level, kind) == (socket.IPPROTO_IP, IP_PKTINFO):
                        self.seen.append(str(ipaddress.IPv4Address(data[8:12])))


@contextmanager
def sink() -> Iterator[Sink]:
    """One that is read in the running loop."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as made:
        made.setblocking(False)
        made.setsockopt(socket.IPPROTO_IP, IP_PKTINFO, 1)
        made.bind(("0.0.0.0", 0))
        found = Sink(made)
        asyncio.get_running_loop().add_reader(made, found.read)
        try:
            yield found
        finally:
            asyncio.get_running_loop().remove_reader(made)
