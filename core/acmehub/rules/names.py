"""Names that any order may have: their syntax, and names that no policy can allow (docs/reliability.md section 5).

A name is a DNS name as in RFC 8555 section 7.1.4 (ASCII, IDN as A-labels, a wildcard only as the whole first label), or
an address as in RFC 8738 section 3 (in its canonical form). `scopes.py` decides who may have which name.
"""

import functools
import ipaddress
import re
from collections.abc import Sequence

import idna
import msgspec
from publicsuffixlist import PublicSuffixList

from acmehub.models.identifiers import Identifier, base_name, is_wildcard
from acmehub.models.problems import Problem, ProblemType, gathered, subproblem

MAX_IDENTIFIERS = 100
MAX_NAME = 253  # RFC 1035 section 2.3.4, without the root label

_HOME = "home.arpa"  # RFC 8375: every home network's own
_LABEL = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?")
_NUMBER = re.compile(r"[0-9]+|0[xX][0-9A-Fa-f]*")  # the last label of an IPv4 address


class Flaw(msgspec.Struct, frozen=True):
    """Why a name cannot be ordered: problem type and message."""

    type: ProblemType
    detail: str


def check_identifiers(identifiers: Sequence[Identifier]) -> None:
    """Check the identifiers of an order; raises one Problem with a subproblem for each that cannot be ordered.

    `malformed` for syntax, `unsupportedIdentifier` for a type other than `dns` and `ip`, `rejectedIdentifier` for names
    that no CA may issue for.
    """
    if not identifiers:
        raise Problem(ProblemType.MALFORMED, "an order needs at least one identifier")
    if len(identifiers) > MAX_IDENTIFIERS:
        raise Problem(
            ProblemType.MALFORMED, f"{len(identifiers)} identifiers in one order; at most {MAX_IDENTIFIERS} are allowed"
        )
    flaws = [(item, found) for item in identifiers if (found := identifier_flaw(item)) is not None]
    if flaws:
        parts = [subproblem(found.type, found.detail, item) for item, found in flaws]
        raise gathered(f"{len(parts)} of {len(identifiers)} identifiers cannot be ordered", parts)


def identifier_flaw(identifier: Identifier) -> Flaw | None:
    """What is wrong with an identifier; None if nothing."""
    if identifier.type == "dns":
        return name_flaw(identifier.value)
    if identifier.type == "ip":
        return address_flaw(identifier.value)
    return Flaw(
        ProblemType.UNSUPPORTED_IDENTIFIER,
        f"identifiers of type {identifier.type[:32]!a} are not supported, only 'dns' and 'ip'",
    )


def name_flaw(name: str) -> Flaw | None:
    """What is wrong with a DNS name or a wildcard; None if nothing."""
    text = syntax_flaw(base_name(name))
    if text is not None:
        return Flaw(ProblemType.MALFORMED, f"{shown(name)}: {text}")
    if len(name) > MAX_NAME:
        return Flaw(ProblemType.MALFORMED, f"{shown(name)}: longer than {MAX_NAME} characters")
    if _NUMBER.fullmatch(name.rpartition(".")[2]):
        return Flaw(ProblemType.REJECTED_IDENTIFIER, f"{shown(name)}: looks like an IP address, not like a DNS name")
    if is_wildcard(name) and is_public_suffix(base_name(name)):
        return Flaw(ProblemType.REJECTED_IDENTIFIER, f"{shown(name)}: a wildcard directly under a public suffix")
    return None


def address_flaw(text: str) -> Flaw | None:
    """What is wrong with an address (RFC 1123 for IPv4, RFC 5952 section 4 for IPv6); None if nothing."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return Flaw(ProblemType.MALFORMED, f"{shown(text)}: not an IP address (192.0.2.1 or 2001:db8::1, no network)")
    if isinstance(address, ipaddress.IPv6Address) and address.scope_id is not None:
        return Flaw(ProblemType.MALFORMED, f"{shown(text)}: an address with a zone belongs to one machine alone")
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return Flaw(ProblemType.REJECTED_IDENTIFIER, f"{shown(text)}: ask for {address.ipv4_mapped} instead")
    if str(address) != text:
        return Flaw(ProblemType.MALFORMED, f"{shown(text)}: write it as {address} (RFC 5952)")
    if address.is_unspecified or address.is_multicast or text == "255.255.255.255":
        return Flaw(ProblemType.REJECTED_IDENTIFIER, f"{shown(text)}: no host can have this address")
    return None


def syntax_flaw(name: str) -> str | None:
    """What is wrong with the syntax of a DNS name without a wildcard label; None if nothing."""
    if not name:
        return "the name is empty"
    if len(name) > MAX_NAME:
        return f"longer than {MAX_NAME} characters"
    if not name.isascii():
        return "not ASCII; write international names as A-labels (xn--...)"
    if "*" in name:
        return "'*' may only be the whole first label"
    for label in name.split("."):
        if not _LABEL.fullmatch(label):
            return _label_flaw(label)
        if label[2:4] == "--" and not _is_a_label(label.lower()):
            return f"{label!a} is not a valid A-label"
    return None


def is_public_suffix(name: str) -> bool:
    """Whether domains are registered directly below `name`, according to the ICANN part of the Public Suffix List; true
    for an unknown top-level label."""
    return _suffixes().is_public(name.lower())


def is_listed_suffix(name: str) -> bool:
    """`is_public_suffix`, but false for what may be somebody's own: an unknown top-level label (`lan`), `home.arpa`."""
    name = name.lower()
    return name != _HOME and bool(_suffixes().publicsuffix(name, accept_unknown=False) == name)


def resolver_flaw(text: str) -> str | None:
    """What is wrong with a resolver, written `ADDRESS[:PORT]` (an IPv6 address with a port in brackets)."""
    if _is_address(text.strip("[]")):
        return None
    host, _, port = text.rpartition(":")
    if not _is_address(host.strip("[]")) or (":" in host and not host.startswith("[")):
        return "not an address with or without a port (192.0.2.53, 192.0.2.53:5353, [2001:db8::53]:5353)"
    return None if port.isdecimal() and 0 < int(port) < 65_536 else f"{port!a} is no port"


def shown(name: str) -> str:
    """A name from a client, made safe for messages: ASCII, limited in length."""
    return ascii(name if len(name) <= MAX_NAME else name[:60] + "...")[1:-1]


@functools.cache
def _suffixes() -> PublicSuffixList:
    return PublicSuffixList(only_icann=True)  # read once, at the first wildcard; constant per installed package


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _label_flaw(label: str) -> str:
    if not label:
        return "empty label (two dots in a row, or a dot at an end)"
    if len(label) > 63:
        return "a label is longer than 63 characters"
    return f"{label!a} may only have letters, digits and inner hyphens"


def _is_a_label(label: str) -> bool:
    try:
        return idna.alabel(idna.ulabel(label)) == label.encode()
    except idna.IDNAError:
        return False
