"""An authoritative DNS server for tests and the demo: UDP and TCP on loopback, updates with TSIG, faults by script.

    async with DnsServer(["corp.test"], keys=[tsig_key("hub.", "hmac-sha256", secret)]) as server:
        server.zones.add("www.corp.test", "A", "127.0.0.1")

All addresses of a server listen on one port and serve the same zones; each is a name server of every zone
(`ns1.<zone>`, `ns2.<zone>` …) and may lag behind, be silent or lie. As a process of its own:
`python -m acmehub.testing.dns_server --zone corp.test --port 5353 --tsig NAME:ALGORITHM:SECRET-FILE`.
"""

from acmehub.testing.dns_server.server import DnsServer, Fault, FaultKind, tsig_key
from acmehub.testing.dns_server.thread import running_in_thread

__all__ = ["DnsServer", "Fault", "FaultKind", "running_in_thread", "tsig_key"]
