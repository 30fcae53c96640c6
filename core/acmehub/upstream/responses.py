"""A CA's response and its headers."""

import re

from acmehub.http_client.messages import HttpResponse

_NEXT_LINK = re.compile(r",\s*(?=<)")


class UpstreamResponse(HttpResponse, frozen=True):
    """A CA's response, read to its end; `retry_after` in seconds from now."""

    retry_after: float | None = None

    def links(self, relation: str) -> list[str]:
        """The targets of the links (RFC 8288) of a relation, as they are."""
        found = []
        for link in _NEXT_LINK.split(",".join(self.lines("Link"))):
            target, _, parameters = link.strip().removeprefix("<").partition(">")
            for parameter in parameters.split(";"):
                name, _, value = parameter.partition("=")
                if name.strip().lower() == "rel" and target and relation in value.strip(" \t\"'").lower().split():
                    found.append(target)
        return found
