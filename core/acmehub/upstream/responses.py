"""A CA's response and its headers."""

import msgspec
from requests.utils import parse_header_links
from urllib3 import HTTPHeaderDict


class UpstreamResponse(msgspec.Struct, frozen=True):
    """A CA's response, read to its end; `retry_after` in seconds from now."""

    url: str
    status: int
    headers: HTTPHeaderDict
    body: bytes
    retry_after: float | None = None

    def header(self, name: str) -> str:
        """The last line of a header, which counts where a proxy has added one; empty when there is none."""
        return last_line(self.headers, name)

    def links(self, relation: str) -> list[str]:
        """The targets of the links (RFC 8288) of a relation, as they are."""
        found = parse_header_links(", ".join(self.headers.getlist("Link")))
        return [link["url"] for link in found if relation in link.get("rel", "").lower().split() and link["url"]]


def last_line(headers: HTTPHeaderDict, name: str) -> str:
    """The last line of a header; empty when there is none."""
    lines = headers.getlist(name)
    return lines[-1].strip() if lines else ""
