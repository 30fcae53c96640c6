"""DNS queries; the one module of the core that uses dnspython.

Resolvers are asked with recursion, authoritative servers without. Names are lower case without a trailing dot.
"""

import asyncio
import ipaddress
from collections.abc import Iterable, Iterator, Sequence

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

from acmehub.config import Dns
from acmehub.dns01.errors import DnsUnclear, DnsWrong
from acmehub.models.identifiers import canonical

TRIES = 2  # one lost datagram must not make a server "unreachable"
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
    """A name server of a zone; without addresses it cannot be asked."""

    name: str
    addresses: tuple[Address, ...]


class Caa(msgspec.Struct, frozen=True):
    """A CAA record (RFC 8659) and its owner name."""

    name: str
    flags: int
    tag: str
    value: str


class Resolver:
    """The queries of the solver. Every verb raises `DnsUnclear` when no server gives a usable answer."""

    def __init__(self, settings: Dns) -> None:
        self._settings = settings
        self._resolvers: tuple[Address, ...] = ()
        self._kept: dict[str, tuple[float, tuple[NameServer, ...]]] = {}

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
        response = await self._resolve(name, dns.rdatatype.CNAME)
        for rrset in _of(response.answer, dns.rdatatype.CNAME):
            if _text(rrset.name) == canonical(name):
                target = rrset[0]
                assert isinstance(target, dns.rdtypes.ANY.CNAME.CNAME)
                return _text(target.target)
        return None

    async def zone_of(self, name: str) -> str:
        """The zone that `name` lies in, by the SOA nearest above it; `DnsWrong` when there is none below the root."""
        wanted = _name(name)
        for depth in range(len(wanted.labels), 1, -1):
            candidate = wanted.split(depth)[1]
            response = await self._resolve(_text(candidate), dns.rdatatype.SOA)
            if any(rrset.name == candidate for rrset in _of(response.answer, dns.rdatatype.CNAME)):
                continue  # what follows is about the target
            for rrset in _of([*response.answer, *response.authority], dns.rdatatype.SOA):
                if candidate.is_subdomain(rrset.name) and rrset.name != dns.name.root:
                    return _text(rrset.name)
        raise DnsWrong(f"no zone (SOA record) found for {name}: is the domain registered and delegated?")

    async def servers(self, zone: str) -> tuple[NameServer, ...]:
        """The name servers of a zone with their addresses, kept for half a minute; `DnsWrong` when it has none."""
        now = asyncio.get_running_loop().time()
        until, kept = self._kept.get(zone, (0.0, ()))
        if until > now:
            return kept
        response = await self._resolve(zone, dns.rdatatype.NS)
        names = sorted(
            _text(item.target)
            for rrset in _of([*response.answer, *response.authority], dns.rdatatype.NS)
            if _text(rrset.name) == zone
            for item in rrset
            if isinstance(item, dns.rdtypes.ANY.NS.NS)
        )
        if not names:
            raise DnsWrong(f"zone {zone} has no name servers (NS records)")
        addresses = await asyncio.gather(*(self._addresses(item) for item in names))
        found = tuple(NameServer(item, at) for item, at in zip(names, addresses, strict=True))
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
                found += [item.to_text() for rrset in _of(answer.answer, kind) for item in rrset]
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
                Caa(at, item.flags, item.tag.decode("ascii", "replace"), item.value.decode("utf-8", "replace"))
                for rrset in _of(response.answer, dns.rdatatype.CAA)
                for item in rrset
                if isinstance(item, dns.rdtypes.ANY.CAA.CAA)
            )
            if found:
                return found
        return ()

    async def _addresses(self, name: str) -> tuple[Address, ...]:
        """Addresses of a name server; none when they cannot be learnt, which makes it one that cannot be asked."""
        kinds = (dns.rdatatype.A, dns.rdatatype.AAAA)
        answers = await asyncio.gather(*(self._resolve(name, kind) for kind in kinds), return_exceptions=True)
        found: list[Address] = []
        for kind, answer in zip(kinds, answers, strict=True):
            if isinstance(answer, dns.message.Message):
                found += [
                    Address(item.to_text(), self._settings.port) for rrset in _of(answer.answer, kind) for item in rrset
                ]
            elif not isinstance(answer, DnsUnclear):
                raise answer
        return tuple(found)

    async def _resolve(self, name: str, kind: dns.rdatatype.RdataType) -> dns.message.Message:
        """The first usable answer of a resolver."""
        failures = []
        for server in await self.resolvers():
            try:
                return await self._ask(name, kind, server, recursive=True)
            except DnsUnclear as error:
                failures.append(f"{error.server}: {error.detail}")
        raise DnsUnclear(
            f"no resolver could answer for {dns.rdatatype.to_text(kind)} of {name} ({'; '.join(failures)})",
            server=", ".join(str(item) for item in self._resolvers),
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
                raise DnsUnclear(f"answers {dns.rcode.to_text(response.rcode())}", server=str(server))
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


def _name(text: str) -> dns.name.Name:
    try:
        return dns.name.from_text(text)
    except dns.exception.DNSException as error:
        raise DnsWrong(f"{text} is no name that DNS can have: {error}") from error


def _text(name: dns.name.Name) -> str:
    return name.to_text(omit_final_dot=True).lower()


def _of(section: Iterable[dns.rrset.RRset], kind: dns.rdatatype.RdataType) -> Iterator[dns.rrset.RRset]:
    return (rrset for rrset in section if rrset.rdtype == kind)


def _txt_values(response: dns.message.Message) -> frozenset[str]:
    found: Sequence[bytes] = [
        b"".join(item.strings)
        for rrset in _of(response.answer, dns.rdatatype.TXT)
        for item in rrset
        if isinstance(item, dns.rdtypes.ANY.TXT.TXT)
    ]
    return frozenset(value.decode("utf-8", "replace") for value in found)
