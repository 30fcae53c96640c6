"""What can be wrong with DNS, in two kinds: what passes by itself, and what somebody must put right."""


class DnsTrouble(Exception):
    """Base of both; `detail` is for people, `server` names who said it (empty: nobody did)."""

    def __init__(self, detail: str, *, server: str = "") -> None:
        super().__init__(detail)
        self.detail = detail
        self.server = server


class DnsUnclear(DnsTrouble):
    """No usable answer (timeout, SERVFAIL, unreachable): ask again later."""


class DnsWrong(DnsTrouble):
    """The answer is clear and does not do: a CNAME loop, a foreign zone, no zone at all."""
