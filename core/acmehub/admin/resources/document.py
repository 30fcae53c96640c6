"""A resources file (TOML; docs/configure.md, "Resources") as structs; the storage is not read here."""

import difflib
import tomllib
from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec

from acmehub.admin.access.errors import Invalid, ServiceError
from acmehub.admin.resources.authorities import NewAuthority
from acmehub.admin.resources.managed_challenges import NewManagedChallenge
from acmehub.admin.resources.principals import NewPrincipal, parse_role
from acmehub.admin.resources.profiles import NewProfile
from acmehub.admin.resources.tokens import NewToken

New = NewAuthority | NewManagedChallenge | NewProfile | NewPrincipal | NewToken
N = TypeVar("N", NewAuthority, NewManagedChallenge, NewProfile, NewPrincipal, NewToken)


class InvalidFile(ServiceError):
    """A resources file that cannot be applied; `errors` has all of them, one line each."""

    def __init__(self, errors: tuple[str, ...]) -> None:
        super().__init__("\n".join(errors))
        self.errors = errors


class Document(msgspec.Struct, frozen=True, kw_only=True):
    """The resources of a file, in its order."""

    authorities: tuple[NewAuthority, ...] = ()
    managed_challenges: tuple[NewManagedChallenge, ...] = ()
    profiles: tuple[NewProfile, ...] = ()
    principals: tuple[NewPrincipal, ...] = ()
    tokens: tuple[NewToken, ...] = ()


_KINDS: dict[str, type[New]] = {
    "authority": NewAuthority,
    "managed_challenge": NewManagedChallenge,
    "profile": NewProfile,
    "principal": NewPrincipal,
    "token": NewToken,
}


def read_document(text: str, file: str) -> Document:
    """The resources in a file's text; `file` is how messages call it. Raises `InvalidFile` with all errors."""
    try:
        raw = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:  # its text has line and column
        raise InvalidFile((f"{file}: not TOML: {error}",)) from None
    errors = [f"{file}: {key}: unknown table{_near(key, _KINDS)}" for key in raw if key not in _KINDS]

    def entries(kind: str, new: type[N]) -> tuple[N, ...]:
        found: dict[tuple[str, str], N] = {}
        for number, entry in enumerate(_tables(raw, kind), 1):
            place = f"{file}: {place_of(kind, entry, number)}"
            try:
                made = _read(entry, new)
            except Invalid as error:
                errors.append(f"{place}: {error}")
                continue
            key = _identity(made)
            if key in found:
                errors.append(f"{place}: declared twice")
            found[key] = made
        return tuple(found.values())

    document = Document(
        authorities=entries("authority", NewAuthority),
        managed_challenges=entries("managed_challenge", NewManagedChallenge),
        profiles=entries("profile", NewProfile),
        principals=entries("principal", NewPrincipal),
        tokens=entries("token", NewToken),
    )
    defaults = [item.name for item in document.authorities if item.default]
    if len(defaults) > 1:
        errors.append(f"{file}: [[authority]]: only one can be the default, not {' and '.join(defaults)}")
    if errors:
        raise InvalidFile(tuple(errors))
    return document


def name_of(new: New) -> str:
    """The name that people use."""
    return new.title if isinstance(new, NewToken) else new.name


def _identity(new: New) -> tuple[str, str]:
    return (name_of(new), new.principal if isinstance(new, NewToken) else "")


def place_of(kind: str, entry: object, number: int) -> str:
    """An entry of the file in messages: by its name, else by its number."""
    name = (entry.get("name") or entry.get("title")) if isinstance(entry, Mapping) else None
    return f"[[{kind}]] {name!r}" if isinstance(name, str) else f"[[{kind}]] number {number}"


def _tables(raw: Mapping[str, Any], kind: str) -> list[object]:
    found = raw.get(kind, [])
    return (
        list(found) if isinstance(found, list) else [found]
    )  # `[authority]` with one pair of brackets is meant the same


def _read(entry: object, new: type[N]) -> N:
    if not isinstance(entry, Mapping):
        raise Invalid("entry", "must be a table")
    for key in entry:
        if key not in new.__struct_fields__:
            raise Invalid(key, f"unknown key{_near(key, new.__struct_fields__)}")
    values = dict(entry)
    if new is NewPrincipal and isinstance(values.get("roles"), list):
        values["roles"] = [parse_role(str(text)) for text in values["roles"]]
    try:
        return msgspec.convert(values, new)
    except msgspec.ValidationError as error:
        what, _, at = str(error).partition(" - at `$.")
        raise Invalid(at.rstrip("`") or "entry", f"{what[:1].lower()}{what[1:]}") from None


def _near(key: str, known: Mapping[str, Any] | tuple[str, ...]) -> str:
    near = difflib.get_close_matches(key, list(known), n=1)
    return f"; did you mean {near[0]!r}?" if near else f"; known here: {', '.join(known)}"
