"""The CA's directory (RFC 8555 section 7.1.1), read at first use and again after an hour or when it has moved."""

import threading
from collections.abc import Callable

import msgspec

from acmehub.ports.authority import UpstreamUnavailable

LIFETIME = 3600.0


class Meta(msgspec.Struct, frozen=True, rename="camel"):
    """What the CA says of itself."""

    terms_of_service: str = ""
    external_account_required: bool = False
    profiles: dict[str, str] = {}


class UpstreamDirectory(msgspec.Struct, frozen=True, rename="camel"):
    """The resources that we use."""

    new_nonce: str
    new_account: str
    new_order: str
    revoke_cert: str = ""
    renewal_info: str = ""
    meta: Meta = Meta()


class DirectoryCache:
    """Keeps the directory for an hour; threads that find none wait for one reading."""

    def __init__(self, url: str, read: Callable[[str], bytes], monotonic: Callable[[], float]) -> None:
        self._url = url
        self._read = read
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._kept: tuple[UpstreamDirectory, float] | None = None

    def current(self) -> UpstreamDirectory:
        """The directory; raises an `UpstreamError`."""
        with self._lock:
            if self._kept is None or self._monotonic() >= self._kept[1]:
                self._kept = None
                self._kept = (self._parse(self._read(self._url)), self._monotonic() + LIFETIME)
            return self._kept[0]

    def forget(self, directory: UpstreamDirectory) -> None:
        """Read it anew next time, unless that has happened already."""
        with self._lock:
            if self._kept is not None and self._kept[0] is directory:
                self._kept = None

    def _parse(self, body: bytes) -> UpstreamDirectory:
        try:
            return msgspec.json.decode(body, type=UpstreamDirectory)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise UpstreamUnavailable(f"{self._url} is no ACME directory: {error}", server=self._url) from error
