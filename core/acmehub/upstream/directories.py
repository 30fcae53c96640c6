"""The CA's directory (RFC 8555 section 7.1.1), read at its first use, after an hour, and when a resource has moved."""

import asyncio
from collections.abc import Awaitable, Callable

import msgspec

from acmehub.ports.authority import UpstreamUnavailable
from acmehub.upstream.hosts import Hosts
from acmehub.upstream.members import Members, decode
from acmehub.upstream.responses import UpstreamResponse

LIFETIME = 3600.0


class Meta(msgspec.Struct, frozen=True):
    """The members of a directory's `meta` that the hub uses."""

    terms_of_service: str = ""
    external_account_required: bool = False
    profiles: frozenset[str] = frozenset()


class UpstreamDirectory(msgspec.Struct, frozen=True):
    """The members of a CA's directory that the hub uses; `url` is where it was read."""

    url: str
    new_nonce: str
    new_account: str
    new_order: str
    revoke_cert: str = ""
    renewal_info: str = ""
    meta: Meta = Meta()


class DirectoryCache:
    """Caches the directory for an hour; while one task reads it, the others wait."""

    def __init__(
        self, url: str, read: Callable[[str], Awaitable[UpstreamResponse]], hosts: Hosts, monotonic: Callable[[], float]
    ) -> None:
        self._url = url
        self._read = read
        self._hosts = hosts
        self._monotonic = monotonic
        self._lock = asyncio.Lock()
        self._kept: tuple[UpstreamDirectory, float] | None = None

    async def current(self) -> UpstreamDirectory:
        """The directory. Raises an `UpstreamError`."""
        if self._kept is not None and self._monotonic() < self._kept[1]:
            return self._kept[0]
        async with self._lock:
            if self._kept is None or self._monotonic() >= self._kept[1]:
                self._kept = None
                self._kept = (self._parse(await self._read(self._url)), self._monotonic() + LIFETIME)
            return self._kept[0]

    async def again(self) -> UpstreamDirectory:
        """The directory as the CA has it now. Raises an `UpstreamError`."""
        self._kept = None
        return await self.current()

    def forget(self, directory: UpstreamDirectory) -> None:
        """Drop `directory` from the cache, unless another one has replaced it."""
        if self._kept is not None and self._kept[0] is directory:
            self._kept = None

    def _parse(self, answer: UpstreamResponse) -> UpstreamDirectory:
        members = decode(answer.body)
        if members is None:
            raise self._not_a_directory("it is no JSON object")
        return UpstreamDirectory(
            url=answer.url,
            new_nonce=self._needed(answer.url, members, "newNonce"),
            new_account=self._needed(answer.url, members, "newAccount"),
            new_order=self._needed(answer.url, members, "newOrder"),
            revoke_cert=members.plain("revokeCert"),  # resolved when it is used
            renewal_info=members.plain("renewalInfo"),
            meta=_meta(members.object("meta")),
        )

    def _needed(self, base: str, members: Members, name: str) -> str:
        reference = members.plain(name)
        if not reference:
            raise self._not_a_directory(f"it has no {name}")
        return self._hosts.resolve(base, reference)

    def _not_a_directory(self, why: str) -> UpstreamUnavailable:
        return UpstreamUnavailable(f"{self._url} is not an ACME directory: {why}", server=self._url)


def _meta(members: Members | None) -> Meta:
    if members is None:
        return Meta()
    profiles = members.object("profiles")
    return Meta(
        terms_of_service=members.text("termsOfService"),
        external_account_required=members.flag("externalAccountRequired"),
        profiles=frozenset(profiles.names()) if profiles is not None else frozenset(),
    )
