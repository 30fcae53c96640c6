"""A DNS provider for a REST API that can read and replace all TXT values of a name, and nothing else."""

from collections.abc import Callable
from typing import Annotated
from urllib.parse import quote

import msgspec
from msgspec import Meta

from acmehub import (
    DnsProviderRefused,
    DnsProviderUnavailable,
    HttpClient,
    HttpError,
    HttpResponse,
    PluginContext,
    PluginSettings,
    Register,
    Secret,
    hookimpl,
    https_or_loopback,
    parse_retry_after,
)

Values = set[str]


class Settings(PluginSettings, frozen=True):
    url: Annotated[str, Meta(description="where the API is")]
    token: Annotated[Secret, Meta(description="a token that may change TXT records")]
    timeout: Annotated[float, Meta(gt=0, le=60, description="of a request, in seconds")] = 10.0

    def validate(self) -> None:
        if not https_or_loopback(self.url):
            raise ValueError("url: expected https://, so that the token is not sent in clear")


class RecordSet(msgspec.Struct):
    """What the API sends and takes."""

    values: list[str]


class RestProvider:
    rewrites_record_sets = True  # two processes that read, change and write back at once would lose a value

    def __init__(self, settings: Settings, context: PluginContext) -> None:
        self._settings = settings
        self._now = context.clock.now
        self._client = HttpClient(user_agent=context.user_agent, timeout=settings.timeout)

    async def add_txt(self, zone: str, name: str, value: str) -> None:
        await self._change(zone, name, lambda values: values | {value})

    async def remove_txt(self, zone: str, name: str, value: str) -> None:
        await self._change(zone, name, lambda values: values - {value})

    async def aclose(self) -> None:
        await self._client.aclose()

    async def _change(self, zone: str, name: str, change: Callable[[Values], Values]) -> None:
        before = set((await self._exchange("GET", zone, name)).values)
        after = change(before)
        if after != before:
            await self._exchange("PUT", zone, name, RecordSet(sorted(after)))

    async def _exchange(self, method: str, zone: str, name: str, body: RecordSet | None = None) -> RecordSet:
        url = f"{self._settings.url}/zones/{quote(zone)}/txt/{quote(name)}"
        headers = {"Authorization": f"Bearer {self._settings.token.reveal()}"}
        content = msgspec.json.encode(body) if body else None
        try:
            answer = await self._client.send(method, url, headers=headers, body=content)
        except HttpError as error:
            raise self._unavailable(f"no answer: {error.detail}") from error
        return self._read(answer, zone)

    def _read(self, answer: HttpResponse, zone: str) -> RecordSet:
        status, server = answer.status, self._settings.url
        if status in (401, 403):
            raise DnsProviderRefused(f"{server}: the token may not change zone {zone} ({status})", server=server)
        if status == 404:
            raise DnsProviderRefused(f"{server}: it has no zone {zone}", server=server)
        if status != 200:
            raise self._unavailable(f"status {status}", answer.header("Retry-After"))
        try:
            return msgspec.json.decode(answer.body, type=RecordSet)
        except msgspec.DecodeError as error:
            raise self._unavailable(f"no record set: {error}") from error

    def _unavailable(self, what: str, retry_after: str = "") -> DnsProviderUnavailable:
        server = self._settings.url
        seconds = parse_retry_after(retry_after, self._now()) if retry_after else None
        return DnsProviderUnavailable(f"{server}: {what}", server=server, retry_after=seconds)


@hookimpl
def register_dns_providers(register: Register) -> None:
    register("dns_rest", RestProvider, Settings, "TXT records over a REST API that replaces record sets")
