"""The hosts that a CA's documents may send the hub to: no answer of a CA makes the hub connect anywhere else."""

from urllib.parse import urljoin

from acmehub.models.text import escape_controls
from acmehub.ports.authority import UpstreamUnavailable
from acmehub.rules.urls import origin
from acmehub.upstream.settings import RelaySettings

_SHOWN = 200


class Hosts:
    """The hosts of one CA: that of its directory, and those of the setting `url_hosts`."""

    def __init__(self, settings: RelaySettings) -> None:
        self._settings = settings
        self._server = settings.directory
        self._secure = settings.directory.lower().startswith("https:")

    def resolve(self, base: str, reference: str) -> str:
        """The URL that `reference` (RFC 3986 section 5) means in the document at `base`.

        It may lead to the host of that document as well: an order that is open keeps the host it has. Raises
        `UpstreamUnavailable` for a URL that leads elsewhere, with the setting that allows it.
        """
        try:
            url = urljoin(base, reference)
        except ValueError:
            url = reference
        found = origin(url)
        shown = escape_controls(reference[:_SHOWN])
        if found is None:
            raise self._unavailable(f"{base} refers to {shown!r}, which is no URL")
        if self._secure and found.scheme != "https":
            raise self._unavailable(f"the CA refers to a URL that is not https: {url}")
        document = origin(base)
        if (document is None or document.place != found.place) and self._settings.host_flaw(url):
            raise self._unavailable(f"{base} refers to {shown}: {self._settings.host_flaw(url)}")
        return url

    def _unavailable(self, detail: str) -> UpstreamUnavailable:
        return UpstreamUnavailable(detail, server=self._server)
