"""Identifiers: the names a certificate is for, as RFC 8555 section 9.7.7 has them.

A name is kept as its owner wrote it on the wire (`Identifier.value`); every comparison goes through `canonical`.
"""

import msgspec


class Identifier(msgspec.Struct, frozen=True, order=True):
    """One identifier: `type` is `dns` (a wildcard is `*.` + name), or `ip` (RFC 8738) for an address."""

    type: str
    value: str


def canonical(name: str) -> str:
    """The form in which names are compared: lower case, no trailing dot."""
    return name.rstrip(".").lower()


def is_wildcard(name: str) -> bool:
    """Whether `name` is a wildcard, that is its whole first label is `*`."""
    return name.startswith("*.")


def base_name(name: str) -> str:
    """`name` without the wildcard label: what an authorization is for (RFC 8555 section 7.1.4)."""
    return name[2:] if is_wildcard(name) else name


def is_address(name: str) -> bool:
    """Whether a name that may stand in an order is an address: no DNS name has a colon, or a number as last label."""
    return ":" in name or name.rpartition(".")[2].isdecimal()


def identifier_of(name: str) -> Identifier:
    """The identifier that a person means by `name`: an address, or a DNS name."""
    value = canonical(name)
    return Identifier("ip" if is_address(value) else "dns", value)


def name_set(identifiers: tuple[Identifier, ...]) -> str:
    """A canonical text for a set of identifiers, equal for equal sets: what single-flight and reuse compare."""
    return " ".join(sorted({_key(item) for item in identifiers}))


def _key(identifier: Identifier) -> str:
    name = canonical(identifier.value)
    return name if identifier.type == "dns" else f"{identifier.type}:{name}"


def labels(name: str) -> tuple[str, ...]:
    """The labels of `name` from the right: `a.example.com` gives `("com", "example", "a")`."""
    return tuple(reversed(canonical(name).split(".")))
