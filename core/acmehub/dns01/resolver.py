"""DNS queries; the one module of the core that uses dnspython.

Resolvers are asked with recursion, authoritative servers without. Names are lower case without a trailing dot.
"""

import asyncio
import ipaddress
import itertools
from collections.abc import Collection, Iterable, Iterator, Sequence

import dns.asyncquery
import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.rdtypes.ANY.CAA
import dns.rdtypes.ANY.CNAME
import dns.rdtypes.ANY.NS
import dns.rdtypes.ANY.TXT
import dns.resolver
import dns.rrset
import msgspec
from msgspec.structs import replace

from acmehub.config import Dns
from acmehub.dns01.errors import DnsUnclear, DnsWrong
from acmehub.models.identifiers import canonical
from acmehub.models.text import escape_controls
from acmehub.rules.names import is_public_suffix

TRIES = 2  # one lost datagram must not make a server "unreachable"
MOST_LEVELS = 16  # of a name that are asked for an SOA record
MOST_SERVERS = 13  # name servers of a zone that are looked up
MOST_DIRECT = 4  # of them that are asked about a name that no resolver could answer for
EACH_KIND = 2  # addresses of a name server that are kept per protocol
MOST_ADDRESSES = 32  # of a host that are read per protocol
KEPT_SECONDS = 30.0
KEPT_ZONES = 1024


class Address(msgspec.Struct, frozen=True, order=True):
    """Where a server is asked."""

    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return self.host if self.port == 53 else f"{host}:{self.port}"


class NameServer(msgspec.Struct, frozen=True):
    """A name server of a zone; without addresses it cannot be asked. At most two of each protocol are kept."""

    name: str
    addresses: tuple[Address, ...]


class Caa(msgspec.Struct, frozen=True):
    """A CAA record (RFC 8659) and its owner name; tag and value with control characters escaped."""

    name: str
    flags: int
    tag: str
    value: str


class Resolver:
    """The queries of solver and validator. Every verb raises `DnsUnclear` when no server gives a usable answer."""

    def __init__(self, settings: Dns) -> None:
        self._settings = settings
        self._resolvers: tuple[Address, ...] = ()
        self._kept: dict[str, tuple[float, tuple[NameServer, ...]]] = {}
        self._reading = asyncio.Lock()
        self._suffixes_read = False

    def asking(self, resolvers: Sequence[str]) -> "Resolver":
        """A resolver like this one that asks `resolvers`; without any, this one."""
        return Resolver(replace(self._settings, resolvers=tuple(resolvers))) if resolvers else self

    @property
    def timeout(self) -> float:
        """Seconds for one question to one server."""
        return self._settings.timeout

    async def resolvers(self) -> tuple[Address, ...]:
        """Who is asked with recursion: the configured ones, else the system's."""
        if not self._resolvers:
            if self._settings.resolvers:
                self._resolvers = tuple(parse_address(item, 53) for item in self._settings.resolvers)
            else:
                self._resolvers = await asyncio.to_thread(_system_resolvers)
        return self._resolvers

    async def cname(self, name: str) -> str | None:
        """Where a CNAME at `name` points, if there is one."""
        return _cname(await self._resolve(name, dns.rdatatype.CNAME), name)

    async def authoritative_cname(self, zone: str, name: str) -> str | None:
        """As `cname`, asked of the servers of `zone` directly, one after the other.

        Raises `DnsUnclear` for a name that is delegated to other servers, and when no server can be asked; it is
        `answered` when a server has an error code for the name and none has an answer.
        """
        addresses = [address for server in await self.servers(zone) for address in server.addresses]
        unclear = DnsUnclear(f"no name server of {zone} can be asked")
        for address in addresses[:MOST_DIRECT]:
            try:
                response = await self._ask(name, dns.rdatatype.CNAME, address, recursive=False)
            except DnsUnclear as error:
                unclear = error if error.answered or not unclear.answered else unclear
                continue
            if response.flags & dns.flags.AA:
                return _cname(response, name)
            unclear = DnsUnclear(f"{address} is not authoritative for {name}")
        raise unclear

    async def glance(self, name: str, own: Collection[str] = ()) -> tuple[str | None, str]:
        """What one question, for the SOA record of `name`, tells: where a CNAME there points, or, if there is none, the
        zone of `name`. Without both more has to be asked. `own` is as in `zone_of`.
        """
        await self._read_suffixes()
        if not _may_be_zone(name, own):
            return None, ""
        try:
            response = await self._resolve(name, dns.rdatatype.SOA)
        except DnsUnclear as error:
            if not error.answered:
                raise
            return None, ""
        target = _cname(response, name)
        if target is not None:
            return target, ""
        return None, next((apex for apex in _zones_above(response, _name(name)) if _may_be_zone(apex, own)), "")

    async def zone_of(self, name: str, own: Collection[str] = ()) -> str:
        """The zone that `name` lies in, by the SOA nearest above it; `DnsWrong` when there is none.

        A single label or a public suffix is a zone only if it is one of `own`. A name that a server answers with an
        error code (SERVFAIL, REFUSED, NOTIMP …) is passed over for its parent; without a zone above it the answer is
        `DnsUnclear`.
        """
        await self._read_suffixes()
        wanted = _name(name)
        unclear: DnsUnclear | None = None
        only = ""
        for depth in itertools.islice(range(len(wanted.labels), 1, -1), MOST_LEVELS):
            candidate = wanted.split(depth)[1]
            if not _may_be_zone(_text(candidate), own):
                continue
            try:
                response = await self._resolve(_text(candidate), dns.rdatatype.SOA)
            except DnsUnclear as error:
                if not error.answered:
                    raise
                unclear = error
                continue
            if any(rrset.name == candidate for rrset in _of(response.answer, dns.rdatatype.CNAME)):
                continue  # what follows is about the target
            for apex in _zones_above(response, candidate):
                if _may_be_zone(apex, own):
                    return apex
                only = f", only that of {apex}"
        if unclear is not None:
            raise unclear
        raise DnsWrong(
            f"no zone (SOA record) found for {name}{only}: is the domain registered and delegated?"
            " A public suffix or a single label has to be named as a zone: `zone` of the managed challenge,"
            " in mode verify `zones` of [verify]"
        )

    async def servers(self, zone: str) -> tuple[NameServer, ...]:
        """The name servers of a zone, at most 13, with their addresses; kept for half a minute.

        `DnsWrong` when it has none.
        """
        now = asyncio.get_running_loop().time()
        until, kept = self._kept.get(zone, (0.0, ()))
        if until > now:
            return kept
        response = await self._resolve(zone, dns.rdatatype.NS)
        names = sorted(
            {
                _text(item.target)
                for rrset in _of([*response.answer, *response.authority], dns.rdatatype.NS)
                if _text(rrset.name) == zone
                for item in rrset
                if isinstance(item, dns.rdtypes.ANY.NS.NS)
            }
        )[:MOST_SERVERS]
        if not names:
            raise DnsWrong(f"zone {zone} has no name servers (NS records)")
        addresses = await asyncio.gather(*(self._addresses(item) for item in names))
        found = tuple(NameServer(item, at) for item, at in zip(names, addresses, strict=True))
        if any(addresses):  # else they could not be learnt, and the next look asks again
            if len(self._kept) >= KEPT_ZONES:
                self._kept.clear()
            self._kept[zone] = (now + KEPT_SECONDS, found)
        return found

    async def located(self, server: str, port: int) -> tuple[Address, ...]:
        """The addresses of a configured server, `HOST[:PORT]`, HOST a name or an address."""
        address = parse_address(server, port)
        if _is_address(address.host):
            return (address,)
        found = await self._addresses(address.host)
        return tuple(Address(item.host, address.port) for item in found)

    async def addresses(self, name: str) -> tuple[str, ...]:
        """The addresses of a host, along CNAMEs, IPv6 first; none when it has none."""
        kinds = (dns.rdatatype.AAAA, dns.rdatatype.A)
        answers = await asyncio.gather(*(self._resolve(name, kind) for kind in kinds), return_exceptions=True)
        found: list[str] = []
        unclear: DnsUnclear | None = None
        for kind, answer in zip(kinds, answers, strict=True):
            if isinstance(answer, dns.message.Message):
                there = (item.to_text() for rrset in _of(answer.answer, kind) for item in rrset)
                found += itertools.islice(there, MOST_ADDRESSES)
            elif isinstance(answer, DnsUnclear):
                unclear = answer
            else:
                raise answer
        if unclear is not None and not found:
            raise unclear
        return tuple(found)

    async def authoritative_txt(self, name: str, server: Address) -> frozenset[str]:
        """The TXT values that an authoritative server has at `name`, asked directly."""
        response = await self._ask(name, dns.rdatatype.TXT, server, recursive=False)
        if not response.flags & dns.flags.AA:
            raise DnsUnclear("it says that it is not authoritative", server=str(server))
        return _txt_values(response)

    async def resolved_txt(self, name: str, server: Address) -> frozenset[str]:
        """The TXT values that a resolver finds for `name`."""
        return _txt_values(await self._ask(name, dns.rdatatype.TXT, server, recursive=True))

    async def caa(self, name: str) -> tuple[Caa, ...]:
        """The CAA records that hold for `name`: those of the nearest name upwards that has any (RFC 8659 section 3)."""
        parts = name.split(".")
        for start in range(len(parts)):
            at = ".".join(parts[start:])
            response = await self._resolve(at, dns.rdatatype.CAA)
            found = tuple(
                Caa(at, item.flags, _shown(item.tag), _shown(item.value))
                for rrset in _of(response.answer, dns.rdatatype.CAA)
                for item in rrset
                if isinstance(item, dns.rdtypes.ANY.CAA.CAA)
            )
            if found:
                return found
        return ()

    async def _read_suffixes(self) -> None:
        """Have the Public Suffix List read in a thread: that takes a tenth of a second, in which answers come."""
        if not self._suffixes_read:
            async with self._reading:
                if not self._suffixes_read:
                    await asyncio.to_thread(is_public_suffix, "test")
                    self._suffixes_read = True

    async def _addresses(self, name: str) -> tuple[Address, ...]:
        """Addresses of a name server, two of each protocol at most, in turns; none when they cannot be learnt, which
        makes it one that cannot be asked."""
        kinds = (dns.rdatatype.A, dns.rdatatype.AAAA)
        answers = await asyncio.gather(*(self._resolve(name, kind) for kind in kinds), return_exceptions=True)
        found: list[list[Address]] = []
        for kind, answer in zip(kinds, answers, strict=True):
            if isinstance(answer, dns.message.Message):
                there = sorted(item.to_text() for rrset in _of(answer.answer, kind) for item in rrset)
                found.append([Address(host, self._settings.port) for host in there[:EACH_KIND]])
            elif not isinstance(answer, DnsUnclear):
                raise answer
        return tuple(item for pair in itertools.zip_longest(*found) for item in pair if item is not None)

    async def _resolve(self, name: str, kind: dns.rdatatype.RdataType) -> dns.message.Message:
        """The first usable answer of a resolver; one that keeps silent is asked last from then on."""
        failures = []
        answered = False
        for server in await self.resolvers():
            try:
                return await self._ask(name, kind, server, recursive=True)
            except DnsUnclear as error:
                failures.append(f"{error.server}: {error.detail}")
                answered = answered or error.answered
                if not error.answered:
                    self._resolvers = (*(item for item in self._resolvers if item != server), server)
        raise DnsUnclear(
            f"no resolver could answer for {dns.rdatatype.to_text(kind)} of {name} ({'; '.join(failures)})",
            server=", ".join(str(item) for item in self._resolvers),
            answered=answered,
        )

    async def _ask(
        self, name: str, kind: dns.rdatatype.RdataType, server: Address, *, recursive: bool
    ) -> dns.message.Message:
        """One question to one server, over TCP when the answer was truncated."""
        flags = dns.flags.RD if recursive else 0
        query = dns.message.make_query(_name(name), kind, use_edns=0, payload=1232, flags=flags)
        message = ""
        for _ in range(TRIES):
            try:
                response, _tcp = await dns.asyncquery.udp_with_fallback(
                    query,
                    server.host,
                    timeout=self._settings.timeout / TRIES,
                    port=server.port,
                    ignore_unexpected=True,
                    ignore_errors=True,
                )
            except dns.exception.Timeout:
                message = f"no answer within {self._settings.timeout:g} s"
            except (dns.exception.DNSException, OSError, EOFError) as error:
                message = f"{type(error).__name__}: {error}".rstrip(": ")
            else:
                if response.rcode() in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN):
                    return response
                code = dns.rcode.to_text(response.rcode())
                raise DnsUnclear(f"answers {code}", server=str(server), answered=True)
        raise DnsUnclear(message, server=str(server))


def parse_address(text: str, port: int) -> Address:
    """`HOST[:PORT]`, an IPv6 address with a port in brackets; `port` where none is given."""
    if _is_address(text):
        return Address(text, port)
    host, colon, number = text.rpartition(":")
    if colon and number.isdecimal():
        return Address(host.strip("[]"), int(number))
    return Address(text.strip("[]"), port)


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _system_resolvers() -> tuple[Address, ...]:
    try:
        system = dns.resolver.Resolver()
    except dns.resolver.NoResolverConfiguration as error:
        raise DnsUnclear("this machine has no resolver: set `resolvers` in [dns] of acmehub.toml") from error
    return tuple(Address(str(item), system.port) for item in system.nameservers)


def _may_be_zone(name: str, own: Collection[str]) -> bool:
    return name in own or not is_public_suffix(name)


def _name(text: str) -> dns.name.Name:
    try:
        return dns.name.from_text(text)
    except dns.exception.DNSException as error:
        raise DnsWrong(f"{text} is no name that DNS can have: {error}") from error


def _text(name: dns.name.Name) -> str:
    return name.to_text(omit_final_dot=True).lower()


def _of(section: Iterable[dns.rrset.RRset], kind: dns.rdatatype.RdataType) -> Iterator[dns.rrset.RRset]:
    return (rrset for rrset in section if rrset.rdtype == kind)


def _zones_above(response: dns.message.Message, name: dns.name.Name) -> Iterator[str]:
    """The zones at or above `name` whose SOA record an answer has."""
    for rrset in _of([*response.answer, *response.authority], dns.rdatatype.SOA):
        if name.is_subdomain(rrset.name) and rrset.name != dns.name.root:
            yield _text(rrset.name)


def _cname(response: dns.message.Message, name: str) -> str | None:
    for rrset in _of(response.answer, dns.rdatatype.CNAME):
        if _text(rrset.name) == canonical(name):
            target = rrset[0]
            assert isinstance(target, dns.rdtypes.ANY.CNAME.CNAME)
            return _text(target.target)
    return None


def _txt_values(response: dns.message.Message) -> frozenset[str]:
    found: Sequence[bytes] = [
        b"".join(item.strings)
        for rrset in _of(response.answer, dns.rdatatype.TXT)
        for item in rrset
        if isinstance(item, dns.rdtypes.ANY.TXT.TXT)
    ]
    return frozenset(map(_shown, found))


def _shown(data: bytes) -> str:
    """Text out of DNS, with control characters escaped."""
    return escape_controls(data.decode("utf-8", "replace"))
