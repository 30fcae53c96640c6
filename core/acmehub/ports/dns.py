"""What a provider of DNS records looks like: two verbs; optional powers are separate Protocols.

Names and zones are lower case A-labels without a trailing dot.
"""

from typing import Protocol, runtime_checkable


class DnsProviderError(Exception):
    """Base of a provider's failures; `server` is who said it, `retry_after` seconds when it gave a time."""

    def __init__(self, detail: str, *, server: str = "", retry_after: float | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        self.server = server
        self.retry_after = retry_after


class DnsProviderUnavailable(DnsProviderError):
    """No answer, a timeout, 5xx, 429: try again."""


class DnsProviderRefused(DnsProviderError):
    """Wrong credentials, no such zone, not allowed: trying again will not help before somebody acts."""


@runtime_checkable
class DnsProvider(Protocol):
    """Writes TXT records of a zone. Both verbs are idempotent and touch no value but their own."""

    async def add_txt(self, zone: str, name: str, value: str) -> None:
        """Make `value` stand at `name`, beside what is there already."""
        ...

    async def remove_txt(self, zone: str, name: str, value: str) -> None:
        """Take `value` away from `name`; fine when it is not there."""
        ...


@runtime_checkable
class WaitsForPropagation(Protocol):
    """A provider that knows itself when its servers have a change."""

    async def propagated(self, zone: str, name: str, value: str) -> bool:
        """Whether every server of the provider has `value` at `name` now."""
        ...
