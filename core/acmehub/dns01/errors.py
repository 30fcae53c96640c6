"""Errors of DNS: those that may pass by themselves, and those that a person must fix."""

from acmehub.models.text import escape_controls


class DnsError(Exception):
    """Base of both; `detail` is for people, `server` is the one that answered (empty: none did)."""

    def __init__(self, detail: str, *, server: str = "") -> None:
        self.detail = escape_controls(detail)
        self.server = server
        super().__init__(self.detail)


class DnsUnclear(DnsError):
    """No usable answer (timeout, SERVFAIL, unreachable): a later query may work.

    `answered`: a server did answer, with an error code (SERVFAIL, REFUSED, NOTIMP …).
    """

    def __init__(self, detail: str, *, server: str = "", answered: bool = False) -> None:
        super().__init__(detail, server=server)
        self.answered = answered


class DnsWrong(DnsError):
    """A clear answer that rules the record out: a CNAME loop, a zone that is not allowed, no zone at all."""
