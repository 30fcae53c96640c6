"""Identifiers: the names a certificate is for, as RFC 8555 section 9.7.7 has them.

A name is kept as its owner wrote it on the wire (`Identifier.value`); every comparison goes through `canonical`.
"""

import msgspec


class Identifier(msgspec.Struct, frozen=True, order=True):
    """One RFC 8555 identifier: `type` is `dns` (a wildcard is `*.` + name) or, later, `ip`."""

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


def name_set(identifiers: tuple[Identifier, ...]) -> str:
    """A canonical text for a set of identifiers, equal for equal sets: what single-flight and reuse compare."""
    return " ".join(sorted({canonical(item.value) for item in identifiers}))


def labels(name: str) -> tuple[str, ...]:
    """The labels of `name` from the right: `a.example.com` gives `("com", "example", "a")`."""
    return tuple(reversed(canonical(name).split(".")))
