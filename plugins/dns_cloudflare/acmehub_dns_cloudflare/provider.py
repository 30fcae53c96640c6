"""The provider: TXT records over Cloudflare's API."""

import re

import msgspec

from acmehub import DnsProviderRefused, DnsProviderUnavailable
from acmehub_dns_cloudflare.api import CloudflareApi, Refusal

ZONES_PER_PAGE = 50
RECORDS_PER_PAGE = 100
RECORD_EXISTS = frozenset({81057, 81058})
NOT_FOUND = 404


class Zone(msgspec.Struct, frozen=True):
    """A zone; `status` is `active` once the zone is delegated to Cloudflare."""

    id: str
    name: str
    status: str = "active"


class Record(msgspec.Struct, frozen=True):
    """A DNS record; the content of a TXT record has quotation marks or has none."""

    id: str
    name: str = ""
    content: str = ""


class Deleted(msgspec.Struct, frozen=True):
    """The result of a deletion."""

    id: str


class CloudflareProvider:
    """A `DnsProvider`; `aclose` ends its connections."""

    def __init__(self, api: CloudflareApi, *, ttl: int) -> None:
        self._api = api
        self._ttl = ttl
        self._zone_ids: dict[str, str] = {}

    async def add_txt(self, zone: str, name: str, value: str) -> None:
        # Cloudflare refuses a record that exists already: then the record is as wanted.
        body = {"type": "TXT", "name": name, "content": quoted(value), "ttl": self._ttl}
        try:
            await self._api.one("POST", await self._records_of(zone), Record, body=body)
        except Refusal as refusal:
            if not refusal.codes & RECORD_EXISTS:
                raise self._explained(refusal, zone) from refusal

    async def remove_txt(self, zone: str, name: str, value: str) -> None:
        records = await self._records_of(zone)
        try:
            # Search by content: if other processes remove records meanwhile, this one cannot move to a page that was
            # read already. `contains`, because the content of a record has quotation marks or has none.
            query = {"type": "TXT", "name.exact": name, "content.contains": value}
            found = await self._api.pages(records, Record, per_page=RECORDS_PER_PAGE, **query)
        except Refusal as refusal:
            raise self._explained(refusal, zone) from refusal
        for record in found:
            if record.name.lower() == name and unquoted(record.content) == value:
                await self._delete(f"{records}/{record.id}")

    async def aclose(self) -> None:
        """Close the connections."""
        await self._api.aclose()

    async def _delete(self, path: str) -> None:
        try:
            await self._api.one("DELETE", path, Deleted)
        except Refusal as refusal:
            if refusal.status != NOT_FOUND:
                raise

    async def _records_of(self, zone: str) -> str:
        """The path of a zone's records; the zone's id is requested once and cached."""
        if zone not in self._zone_ids:
            found = await self._api.pages("zones", Zone, per_page=ZONES_PER_PAGE, name=zone)
            matching = sorted((item for item in found if item.name == zone), key=lambda item: item.status != "active")
            if not matching:
                raise DnsProviderRefused(
                    f"the API token sees no zone {zone}: is it at Cloudflare, and among the token's zone resources "
                    "with Zone:Zone:Read?"
                )
            self._zone_ids[zone] = matching[0].id
        return f"zones/{self._zone_ids[zone]}/dns_records"

    def _explained(self, refusal: Refusal, zone: str) -> Exception:
        """Forget the id of a zone that is not found under it (moved or removed): the next try requests it again."""
        if refusal.status != NOT_FOUND:
            return refusal
        self._zone_ids.pop(zone, None)
        return DnsProviderUnavailable(f"{refusal.detail}; the zone {zone} is looked up again", server=refusal.server)


def quoted(value: str) -> str:
    """`value` as the content of a TXT record: a quoted character string (RFC 1035 section 5.1)."""
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def unquoted(content: str) -> str:
    """The value of a TXT record's content, which has no quotation marks in older records."""
    if len(content) > 1 and content[0] == content[-1] == '"':
        return re.sub(r"\\(.)", r"\1", content[1:-1])
    return content
