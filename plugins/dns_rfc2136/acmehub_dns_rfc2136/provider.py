"""The provider: one signed update per verb, and messages for the rcodes of servers."""

import asyncio
from collections.abc import Sequence

import dns.exception
import dns.message
import dns.name
import dns.query
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.rdtypes.ANY.TXT
import dns.tsig
import dns.update

from acmehub import DnsProviderError, DnsProviderRefused, DnsProviderUnavailable
from acmehub_dns_rfc2136.connections import KeptConnections
from acmehub_dns_rfc2136.settings import Rfc2136Settings

TRY_AGAIN = (dns.rcode.SERVFAIL,)
CLOCKS = "BADTIME: the clocks of the hub and of the server differ by more than the server allows; check NTP on both"


class Rfc2136Provider:
    """A `DnsProvider` for the zones of one primary server; `aclose` ends its connections."""

    def __init__(self, settings: Rfc2136Settings) -> None:
        self._settings = settings
        self._server = f"{settings.server}:{settings.port}"
        self._key = settings.tsig()
        self._connections = KeptConnections(settings.server, settings.port)

    async def add_txt(self, zone: str, name: str, value: str) -> None:
        """Add a record; if it exists, nothing changes (RFC 2136 section 3.4.2.2)."""
        update = self._update(zone)
        update.add(_absolute(name), self._settings.ttl, _txt(value))
        await self._send(zone, update)

    async def add_txts(self, zone: str, records: Sequence[tuple[str, str]]) -> None:
        """Add records, all or none of them (RFC 2136 section 3.4.2)."""
        update = self._update(zone)
        for name, value in records:
            update.add(_absolute(name), self._settings.ttl, _txt(value))
        await self._send(zone, update, together=True)

    async def remove_txt(self, zone: str, name: str, value: str) -> None:
        """Delete one record by value (RFC 2136 section 2.5.4)."""
        update = self._update(zone)
        update.delete(_absolute(name), _txt(value))
        await self._send(zone, update)

    async def aclose(self) -> None:
        """Close the connections that are kept."""
        await self._connections.aclose()

    def _update(self, zone: str) -> dns.update.UpdateMessage:
        return dns.update.UpdateMessage(_absolute(zone), keyring=self._key)

    async def _send(self, zone: str, update: dns.update.UpdateMessage, *, together: bool = False) -> None:
        try:
            async with asyncio.timeout(self._settings.timeout):
                wire = await self._connections.exchange(update.to_wire())
            response = self._verified(update, wire)
        except TimeoutError as error:
            seconds = f"{self._settings.timeout:g}"
            raise self._unavailable(f"no answer to the update of {zone} within {seconds} seconds") from error
        except (OSError, EOFError) as error:
            raise self._unavailable(f"cannot be reached for the update of {zone}: {error}") from error
        except dns.tsig.PeerError as error:
            raise self._refused(self._tsig_message(error)) from error
        except dns.exception.DNSException as error:
            message = str(error) or type(error).__name__
            raise self._unavailable(f"sent no verified response to the update of {zone}: {message}") from error
        self._judge(zone, response.rcode(), together=together)

    def _verified(self, update: dns.update.UpdateMessage, wire: bytes) -> dns.message.Message:
        """The response, its signature verified. Only a refusal may be unsigned."""
        try:
            response = dns.message.from_wire(wire, keyring=self._key, request_mac=update.mac or b"")
        except dns.exception.FormError:
            response = dns.message.from_wire(wire, keyring=lambda _message, _name: False)
            if response.tsig is not None or response.rcode() == dns.rcode.NOERROR:
                raise
        if not update.is_response(response):
            raise dns.query.BadResponse
        return response

    def _judge(self, zone: str, rcode: dns.rcode.Rcode, *, together: bool) -> None:
        """Raise for every rcode but NOERROR, with a message that says what to do.

        SERVFAIL for records that were sent `together` counts as a refusal, after which each is sent by itself: one of
        them may be the reason.
        """
        if rcode == dns.rcode.NOERROR:
            return
        if rcode in TRY_AGAIN:
            message = f"SERVFAIL for the update of {zone}: the server has a problem; see its log"
            raise self._refused(message) if together else self._unavailable(message)
        key = self._settings.key_name
        messages = {
            dns.rcode.REFUSED: f"REFUSED: the server does not let the key {key!r} change this name in {zone}; "
            "see its update-policy (BIND) or ACL",
            dns.rcode.NOTAUTH: f"NOTAUTH: the server is not the primary of the zone {zone}",
            dns.rcode.NOTZONE: f"NOTZONE: the name is not in the zone {zone}",
            dns.rcode.NOTIMP: "NOTIMP: the server does not take updates (RFC 2136)",
            dns.rcode.FORMERR: "FORMERR: the server does not understand the update",
        }
        raise self._refused(messages.get(rcode, f"{dns.rcode.to_text(rcode)} for the update of {zone}"))

    def _tsig_message(self, error: dns.tsig.PeerError) -> str:
        key = self._settings.key_name
        match error:
            case dns.tsig.PeerBadKey():
                return (
                    f"BADKEY: the server has no key {key!r} with algorithm {self._settings.key_algorithm}; "
                    "check key_name and key_algorithm"
                )
            case dns.tsig.PeerBadSignature():
                return f"BADSIG: the server has another secret for the key {key!r}; check key_secret"
            case dns.tsig.PeerBadTime():
                return CLOCKS
        return str(error)

    def _unavailable(self, detail: str) -> DnsProviderError:
        return DnsProviderUnavailable(f"{self._server}: {detail}", server=self._server)

    def _refused(self, detail: str) -> DnsProviderError:
        return DnsProviderRefused(f"{self._server}: {detail}", server=self._server)


def _absolute(name: str) -> dns.name.Name:
    return dns.name.from_text(name)


def _txt(value: str) -> dns.rdtypes.ANY.TXT.TXT:
    return dns.rdtypes.ANY.TXT.TXT(dns.rdataclass.IN, dns.rdatatype.TXT, [value.encode()])
