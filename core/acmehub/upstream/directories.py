"""The CA's directory (RFC 8555 section 7.1.1), read at its first use, after an hour, and when a resource has moved."""

import threading
from collections.abc import Callable

import msgspec

from acmehub.ports.authority import UpstreamUnavailable

LIFETIME = 3600.0


class Meta(msgspec.Struct, frozen=True, rename="camel"):
    """The members of a directory's `meta` that the hub uses."""

    terms_of_service: str = ""
    external_account_required: bool = False
    profiles: dict[str, str] = {}


class UpstreamDirectory(msgspec.Struct, frozen=True, rename="camel"):
    """The members of a CA's directory that the hub uses."""

    new_nonce: str
    new_account: str
    new_order: str
    revoke_cert: str = ""
    renewal_info: str = ""
    meta: Meta = Meta()


class DirectoryCache:
    """Caches the directory for an hour; while one thread reads it, the others wait."""

    def __init__(self, url: str, read: Callable[[str], bytes], monotonic: Callable[[], float]) -> None:
        self._url = url
        self._read = read
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._kept: tuple[UpstreamDirectory, float] | None = None

    def current(self) -> UpstreamDirectory:
        """The directory. Raises an `UpstreamError`."""
        with self._lock:
            if self._kept is None or self._monotonic() >= self._kept[1]:
                self._kept = None
                self._kept = (self._parse(self._read(self._url)), self._monotonic() + LIFETIME)
            return self._kept[0]

    def forget(self, directory: UpstreamDirectory) -> None:
        """Drop `directory` from the cache, unless another one has replaced it."""
        with self._lock:
            if self._kept is not None and self._kept[0] is directory:
                self._kept = None

    def _parse(self, body: bytes) -> UpstreamDirectory:
        try:
            return msgspec.json.decode(body, type=UpstreamDirectory)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise UpstreamUnavailable(f"{self._url} is not an ACME directory: {error}", server=self._url) from error
