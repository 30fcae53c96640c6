"""The data of the test DNS server: zones with versions, answers (RFC 1034 section 4.3.2) and updates (RFC 2136).

Names are text, with or without a trailing dot.
"""

import time
from collections.abc import Iterator, Mapping, Sequence

import dns.flags
import dns.message
import dns.name
import dns.opcode
import dns.rcode
import dns.rdata
import dns.rdataclass
import dns.rdatatype
import dns.rdtypes.ANY.SOA
import dns.rrset
import dns.transaction
import dns.update
import dns.versioned

LONGEST_CHAIN = 16
IN = dns.rdataclass.IN
ALONE = (dns.rdatatype.SOA, dns.rdatatype.CNAME)


def dns_name(text: str) -> dns.name.Name:
    """`text` as an absolute name in lower case."""
    return dns.name.from_text(text.lower())


class NoZone(LookupError):
    """Raised when no zone contains the name."""


class TestZone:
    """A zone: SOA, name servers with addresses, and added records; every change makes a new version."""

    __test__ = False

    def __init__(self, apex: str, servers: Sequence[str]) -> None:
        self.apex = dns_name(apex)
        self._zone = dns.versioned.Zone(self.apex, relativize=False, pruning_policy=lambda _zone, _version: False)
        soa = f"ns1.{self.apex} hostmaster.{self.apex} 1 3600 600 86400 1"
        with self._zone.writer() as writer:
            writer.add(self.apex, 60, dns.rdata.from_text(IN, "SOA", soa))
            for number, address in enumerate(servers, 1):
                host = dns.name.from_text(f"ns{number}", self.apex)
                writer.add(self.apex, 60, dns.rdata.from_text(IN, "NS", str(host)))
                writer.add(host, 60, dns.rdata.from_text(IN, "AAAA" if ":" in address else "A", address))
        self._history = [(time.monotonic(), self.version)]

    @property
    def version(self) -> int:
        """The number of the current version."""
        with self._zone.reader() as reader:
            return int(getattr(reader, "version").id)  # noqa: B009 - the attribute is not in dnspython's types

    def version_of(self, ago: float) -> int:
        """The version that was current `ago` seconds ago."""
        limit = time.monotonic() - ago
        return next((version for at, version in reversed(self._history) if at <= limit), self._history[0][1])

    def reader(self, version: int | None = None) -> dns.transaction.Transaction:
        """A view of one version, the current one by default."""
        return self._zone.reader(id=version)

    def change(self, steps: Sequence[dns.rrset.RRset]) -> None:
        """Apply update records (RFC 2136 section 3.4.2), in order, as one version with the next serial."""
        with self._zone.writer() as writer:
            for step in steps:
                self._apply(writer, step)
            if writer.changed():
                writer.update_serial(name=self.apex)
        if self.version != self._history[-1][1]:
            self._history.append((time.monotonic(), self.version))

    def _apply(self, writer: dns.transaction.Transaction, step: dns.rrset.RRset) -> None:
        name, kind = step.name, step.rdtype
        at_apex = name == self.apex
        if step.deleting == dns.rdataclass.ANY:
            for found in list(_rdatasets(writer, name)):
                if kind in (dns.rdatatype.ANY, found.rdtype) and not (at_apex and found.rdtype in _APEX):
                    writer.delete(name, found.rdtype)
        elif step.deleting == dns.rdataclass.NONE:
            present = writer.get(name, kind) or ()
            last_ns = at_apex and kind == dns.rdatatype.NS and len(present) == 1
            if kind != dns.rdatatype.SOA and not last_ns and any(rdata in present for rdata in step):
                writer.delete(name, step)
        else:
            others = [found.rdtype for found in _rdatasets(writer, name) if found.rdtype != kind]
            if dns.rdatatype.CNAME in others or (kind == dns.rdatatype.CNAME and others):
                return
            known = writer.get(name, kind)
            if kind in ALONE:
                writer.replace(name, step)
            elif known is None or known.ttl != step.ttl or not all(rdata in known for rdata in step):
                writer.add(name, step)


_APEX = (dns.rdatatype.SOA, dns.rdatatype.NS)


def _rdatasets(view: dns.transaction.Transaction, name: dns.name.Name) -> Iterator[dns.rrset.RRset]:
    node = view.get_node(name)
    for rdataset in node or ():
        yield dns.rrset.from_rdata_list(name, rdataset.ttl, list(rdataset))


class TestZones:
    """The zones of an authoritative server."""

    __test__ = False

    def __init__(self, zones: Sequence[TestZone]) -> None:
        self._zones = {zone.apex: zone for zone in zones}

    def __iter__(self) -> Iterator[TestZone]:
        return iter(self._zones.values())

    def zone_of(self, name: dns.name.Name) -> TestZone:
        """The deepest zone that contains `name`. Raises `NoZone`."""
        while name not in self._zones:
            if name == dns.name.root:
                raise NoZone
            name = name.parent()
        return self._zones[name]

    def add(self, name: str, kind: str, *values: str, ttl: int = 60) -> None:
        """Add records, written as in a zone file. Raises `NoZone`."""
        self.zone_of(dns_name(name)).change([dns.rrset.from_text(dns_name(name), ttl, IN, kind, *values)])

    def remove(self, name: str, kind: str, *values: str) -> None:
        """Remove the records with `values`, or all of that type if there are none. Raises `NoZone`."""
        if values:
            step = dns.rrset.from_text(dns_name(name), 0, IN, kind, *values)
            step.deleting = dns.rdataclass.NONE
        else:
            step = dns.rrset.RRset(dns_name(name), IN, dns.rdatatype.from_text(kind), deleting=dns.rdataclass.ANY)
        self.zone_of(step.name).change([step])

    def txt(self) -> dict[str, list[str]]:
        """All TXT values of all zones by name, without a trailing dot."""
        found: dict[str, list[str]] = {}
        for zone in self:
            with zone.reader() as view:
                for name, rdataset in view.iterate_rdatasets():
                    if rdataset.rdtype == dns.rdatatype.TXT:
                        key = name.to_text(omit_final_dot=True)
                        found[key] = sorted(b"".join(item.strings).decode() for item in rdataset)
        return found

    def answer(self, response: dns.message.Message, versions: Mapping[dns.name.Name, int]) -> None:
        """Fill `response` for its question from `versions` of the zones (default: the current ones)."""
        question = response.question[0]
        name = question.name
        for _ in range(LONGEST_CHAIN):
            try:
                zone = self.zone_of(name.canonicalize())
            except NoZone:
                if not response.answer:
                    response.set_rcode(dns.rcode.REFUSED)
                return
            with zone.reader(versions.get(zone.apex)) as view:
                target = _answer_from(zone, view, response, name, question.rdtype)
            if target is None:
                return
            name = target

    def transfer(self, response: dns.message.Message) -> None:
        """The whole zone of the question (AXFR, RFC 5936) in one message."""
        try:
            zone = self._zones[response.question[0].name.canonicalize()]
        except KeyError:
            response.set_rcode(dns.rcode.NOTAUTH)
            return
        with zone.reader() as view:
            soa = _rrset(view, zone.apex, dns.rdatatype.SOA)
            response.answer = [
                soa,
                *(
                    dns.rrset.from_rdata_list(name, rdataset.ttl, list(rdataset))
                    for name, rdataset in view.iterate_rdatasets()
                    if rdataset.rdtype != dns.rdatatype.SOA
                ),
                soa,
            ]

    def update(self, message: dns.update.UpdateMessage) -> dns.rcode.Rcode:
        """Apply an update (RFC 2136 section 3) entirely or not at all."""
        if len(message.zone) != 1:
            return dns.rcode.FORMERR
        zone = self._zones.get(message.zone[0].name.canonicalize())
        if zone is None:
            return dns.rcode.NOTAUTH
        if not all(item.name.is_subdomain(zone.apex) for item in (*message.prerequisite, *message.update)):
            return dns.rcode.NOTZONE
        refusal = _unmet(zone, message.prerequisite)
        if refusal is None:
            zone.change(message.update)
        return dns.rcode.NOERROR if refusal is None else refusal


def _rrset(view: dns.transaction.Transaction, name: dns.name.Name, kind: dns.rdatatype.RdataType) -> dns.rrset.RRset:
    rdataset = view.get(name, kind)
    if rdataset is None:
        return dns.rrset.RRset(name, IN, kind)
    return dns.rrset.from_rdata_list(name, rdataset.ttl, list(rdataset))


def _unmet(zone: TestZone, prerequisites: Sequence[dns.rrset.RRset]) -> dns.rcode.Rcode | None:
    """The rcode of the first prerequisite that is not met (RFC 2136 section 3.2)."""
    wanted: dict[tuple[dns.name.Name, dns.rdatatype.RdataType], set[dns.rdata.Rdata]] = {}
    with zone.reader() as view:
        for item in prerequisites:
            name_in_use = view.get_node(item.name) is not None
            rrset_there = bool(_rrset(view, item.name, item.rdtype))
            match item.deleting, item.rdtype == dns.rdatatype.ANY:
                case dns.rdataclass.ANY, True if not name_in_use:
                    return dns.rcode.NXDOMAIN
                case dns.rdataclass.ANY, False if not rrset_there:
                    return dns.rcode.NXRRSET
                case dns.rdataclass.NONE, True if name_in_use:
                    return dns.rcode.YXDOMAIN
                case dns.rdataclass.NONE, False if rrset_there:
                    return dns.rcode.YXRRSET
                case None, _:
                    wanted.setdefault((item.name, item.rdtype), set()).update(item)
        for (name, kind), values in wanted.items():
            if set(_rrset(view, name, kind)) != values:
                return dns.rcode.NXRRSET
    return None


def _answer_from(
    zone: TestZone,
    view: dns.transaction.Transaction,
    response: dns.message.Message,
    name: dns.name.Name,
    kind: dns.rdatatype.RdataType,
) -> dns.name.Name | None:
    """Add the records of one zone for `name`; returns the target of a CNAME that has to be followed."""
    if _referred(zone, view, response, name):
        return None
    response.flags |= dns.flags.AA
    source = _source(zone, view, name)
    found = [] if source is None else list(_rdatasets(view, source))
    cname = next((item for item in found if item.rdtype == dns.rdatatype.CNAME), None)
    if cname is not None and kind not in (dns.rdatatype.CNAME, dns.rdatatype.ANY):
        response.answer.append(dns.rrset.from_rdata_list(name, cname.ttl, list(cname)))
        target: dns.name.Name = cname[0].target
        return target
    matching = [item for item in found if kind in (item.rdtype, dns.rdatatype.ANY)]
    response.answer += [dns.rrset.from_rdata_list(name, item.ttl, list(item)) for item in matching]
    if not matching:
        response.authority.append(_rrset(view, zone.apex, dns.rdatatype.SOA))
        if source is None and not any(item.is_subdomain(name) for item in view.iterate_names()):
            response.set_rcode(dns.rcode.NXDOMAIN)
    return None


def _referred(
    zone: TestZone, view: dns.transaction.Transaction, response: dns.message.Message, name: dns.name.Name
) -> bool:
    """Whether `name` is below a delegation, which is then added to the authority section."""
    for depth in range(len(zone.apex.labels) + 1, len(name.labels) + 1):
        cut = _rrset(view, name.split(depth)[1], dns.rdatatype.NS)
        if cut:
            response.authority.append(cut)
            return True
    return False


def _source(zone: TestZone, view: dns.transaction.Transaction, name: dns.name.Name) -> dns.name.Name | None:
    """The owner of the records for `name`: the name itself, or the wildcard that covers it (RFC 4592)."""
    if view.get_node(name) is not None:
        return name
    names = list(view.iterate_names())
    encloser = name
    while encloser != zone.apex and not any(item.is_subdomain(encloser) for item in names):
        encloser = encloser.parent()
    wildcard = dns.name.from_text("*", encloser)
    return wildcard if encloser != name and wildcard in names else None
