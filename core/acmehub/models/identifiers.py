"""Identifiers: the names of a certificate (RFC 8555 section 9.7.7).

`Identifier.value` keeps a name as the client wrote it; every comparison goes through `canonical`.
"""

import msgspec


class Identifier(msgspec.Struct, frozen=True, order=True):
    """One identifier: `type` is `dns` (a wildcard is `*.` + name), or `ip` (RFC 8738) for an address."""

    type: str
    value: str


def canonical(name: str) -> str:
    """The form for comparisons: lower case, no trailing dot."""
    return name.rstrip(".").lower()


def is_wildcard(name: str) -> bool:
    """Whether `name` is a wildcard: its first label is `*`."""
    return name.startswith("*.")


def base_name(name: str) -> str:
    """`name` without the wildcard label, as authorizations have it (RFC 8555 section 7.1.4)."""
    return name[2:] if is_wildcard(name) else name


def is_address(name: str) -> bool:
    """Whether a valid name of an order is an IP address: no DNS name has a colon, or a number as its last label."""
    return ":" in name or name.rpartition(".")[2].isdecimal()


def identifier_of(name: str) -> Identifier:
    """The identifier for a name that a person typed: an address, or a DNS name."""
    value = canonical(name)
    return Identifier("ip" if is_address(value) else "dns", value)


def name_set(identifiers: tuple[Identifier, ...]) -> str:
    """A canonical text, equal for equal sets of identifiers; the single-flight lock and order reuse compare it."""
    return " ".join(sorted({_key(item) for item in identifiers}))


def _key(identifier: Identifier) -> str:
    name = canonical(identifier.value)
    return name if identifier.type == "dns" else f"{identifier.type}:{name}"


def labels(name: str) -> tuple[str, ...]:
    """The labels of `name` from the right: `a.example.com` gives `("com", "example", "a")`."""
    return tuple(reversed(canonical(name).split(".")))
