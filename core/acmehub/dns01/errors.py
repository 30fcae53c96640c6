"""Errors of DNS: those that may pass by themselves, and those that a person must fix."""


class DnsError(Exception):
    """Base of both; `detail` is for people, `server` is the one that answered (empty: none did)."""

    def __init__(self, detail: str, *, server: str = "") -> None:
        super().__init__(detail)
        self.detail = detail
        self.server = server


class DnsUnclear(DnsError):
    """No usable answer (timeout, SERVFAIL, unreachable): a later query may work."""


class DnsWrong(DnsError):
    """A clear answer that rules the record out: a CNAME loop, a zone that is not allowed, no zone at all."""
