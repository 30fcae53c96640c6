"""The port for providers of DNS records: two verbs; each optional capability is a Protocol of its own.

Names and zones are lower case A-labels without a trailing dot.
"""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable


class DnsProviderError(Exception):
    """Base of a provider's errors; `server` names the server, `retry_after` is in seconds if the server gave a time."""

    def __init__(self, detail: str, *, server: str = "", retry_after: float | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        self.server = server
        self.retry_after = retry_after


class DnsProviderUnavailable(DnsProviderError):
    """No answer, a timeout, 5xx, 429: the hub tries again."""


class DnsProviderRefused(DnsProviderError):
    """Wrong credentials, no such zone, not allowed: a retry fails until an operator changes something."""


@runtime_checkable
class DnsProvider(Protocol):
    """Adds and removes TXT records of a zone. Both verbs are idempotent and leave all other values as they are."""

    async def add_txt(self, zone: str, name: str, value: str) -> None:
        """Add `value` at `name` and keep the values that are there already."""
        ...

    async def remove_txt(self, zone: str, name: str, value: str) -> None:
        """Remove `value` from `name`; succeeds when it is not there."""
        ...


@runtime_checkable
class AddsManyRecords(Protocol):
    """A provider that can add several TXT records of a zone at once: an order's names then cost one exchange."""

    async def add_txts(self, zone: str, records: Sequence[tuple[str, str]]) -> None:
        """Add two or more records, `(name, value)` each, as `add_txt` would; a name may come more than once.

        Raises `DnsProviderRefused` when any of them may be the reason: the hub then adds each by `add_txt`, so that the
        others stand and the error names the right one. A record that was added nevertheless does no harm.
        """
        ...


@runtime_checkable
class RewritesRecordSets(Protocol):
    """A provider whose API can only replace all values of a name, or a whole zone: it reads, changes and writes back.

    The hub makes one call for a zone at a time, whatever process and order needs it. Inherit from this class,
    or set `rewrites_record_sets = True`.
    """

    @property
    def rewrites_record_sets(self) -> bool:
        """Whether it does."""
        return True


@runtime_checkable
class WaitsForPropagation(Protocol):
    """A provider that can tell when its servers have a change."""

    async def propagated(self, zone: str, name: str, value: str) -> bool:
        """Whether every server of the provider has `value` at `name` now."""
        ...


def rewrites_record_sets(provider: object) -> bool:
    """Whether a provider replaces whole record sets."""
    return isinstance(provider, RewritesRecordSets) and provider.rewrites_record_sets
