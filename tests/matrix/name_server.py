"""A name server for clients that ask one for the hub's name, and no file: every name is 127.0.0.1."""

import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import dns.message
import dns.rdatatype
import dns.rrset


class _Local(socketserver.BaseRequestHandler):
    """Every name is 127.0.0.1."""

    def handle(self) -> None:
        data, answered = self.request
        query = dns.message.from_wire(data)
        answer = dns.message.make_response(query)
        if query.question[0].rdtype == dns.rdatatype.A:
            answer.answer.append(dns.rrset.from_text(query.question[0].name, 60, "IN", "A", "127.0.0.1"))
        answered.sendto(answer.to_wire(), self.client_address)


@contextmanager
def name_server() -> Iterator[int]:
    """The UDP port of 127.0.0.1 where it listens, until the block ends."""
    with socketserver.UDPServer(("127.0.0.1", 0), _Local) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield int(server.server_address[1])
        finally:
            server.shutdown()
            thread.join()
