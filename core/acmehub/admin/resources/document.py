"""A resources file (TOML; docs/configure.md, "Resources") as structs; the storage is not read here."""

import difflib
import tomllib
from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

import msgspec

from acmehub.admin.access.errors import Invalid, ServiceError
from acmehub.admin.resources.authorities import NewAuthority
from acmehub.admin.resources.managed_challenges import NewManagedChallenge
from acmehub.admin.resources.principals import NewPrincipal, parse_role
from acmehub.admin.resources.profiles import NewProfile
from acmehub.admin.resources.tokens import NewToken
from acmehub.config import line_of, path_of
from acmehub.models.choices import explained

New = NewAuthority | NewManagedChallenge | NewProfile | NewPrincipal | NewToken
N = TypeVar("N", NewAuthority, NewManagedChallenge, NewProfile, NewPrincipal, NewToken)


class InvalidFile(ServiceError):
    """A resources file that cannot be applied; `errors` has all of them, one line each."""

    def __init__(self, errors: tuple[str, ...]) -> None:
        super().__init__("\n".join(errors))
        self.errors = errors


class Document(msgspec.Struct, frozen=True, kw_only=True):
    """The resources of a file, in its order; `file` is how messages call it (empty: it is none), `places` where each
    entry stands in its
    `text`."""

    authorities: tuple[NewAuthority, ...] = ()
    managed_challenges: tuple[NewManagedChallenge, ...] = ()
    profiles: tuple[NewProfile, ...] = ()
    principals: tuple[NewPrincipal, ...] = ()
    tokens: tuple[NewToken, ...] = ()
    file: str = ""
    text: str = ""
    places: Mapping[tuple[str, tuple[str, str]], tuple[str | int, ...]] = {}

    def entries(self) -> Iterator[tuple[str, New]]:
        """Each entry with its kind, in the order in which one may need another."""
        everything: tuple[tuple[str, tuple[New, ...]], ...] = (
            ("authority", self.authorities),
            ("managed_challenge", self.managed_challenges),
            ("profile", self.profiles),
            ("principal", self.principals),
            ("token", self.tokens),
        )
        return ((kind, new) for kind, items in everything for new in items)

    def place(self, kind: str, new: New, field: str = "") -> str:
        """An entry of the file in messages, with the line of its `field` if that is there."""
        at = self.places.get((kind, _identity(new)), ())
        where = f"{self.file}:{line_of(self.text, (*at, *path_of(field)))}: " if at and self.file else ""
        return f"{where}[[{kind}]] {name_of(new)!r}"


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
    return read_tables(raw, file, text)


def read_tables(raw: Mapping[str, Any], file: str = "", text: str = "") -> Document:
    """The resources of tables that are read already; with `file` and its `text`, messages say where each stands.

    Raises `InvalidFile` with all errors.
    """

    def where(*path: str | int) -> str:
        return f"{file}:{line_of(text, path)}: " if file else ""

    errors: list[str] = [f"{where(key)}{key}: unknown table{_near(key, _KINDS)}" for key in raw if key not in _KINDS]
    places: dict[tuple[str, tuple[str, str]], tuple[str | int, ...]] = {}

    def entries(kind: str, new: type[N]) -> tuple[N, ...]:
        found: dict[tuple[str, str], N] = {}
        for number, (at, entry) in enumerate(_tables(raw, kind), 1):
            try:
                made = _read(entry, new)
            except Invalid as error:
                errors.append(f"{where(*at, *path_of(error.field))}{place_of(kind, entry, number)}: {error}")
                continue
            key = _identity(made)
            if key in found:
                errors.append(f"{where(*at)}{place_of(kind, entry, number)}: declared twice")
            found[key] = made
            places[kind, key] = at
        return tuple(found.values())

    document = Document(
        authorities=entries("authority", NewAuthority),
        managed_challenges=entries("managed_challenge", NewManagedChallenge),
        profiles=entries("profile", NewProfile),
        principals=entries("principal", NewPrincipal),
        tokens=entries("token", NewToken),
        file=file,
        text=text,
        places=places,
    )
    defaults = [item for item in document.authorities if item.default]
    if len(defaults) > 1:
        names = " and ".join(item.name for item in defaults)
        at = (*places["authority", _identity(defaults[1])], "default")
        errors.append(f"{where(*at)}[[authority]]: only one can be the default, not {names}")
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


def _tables(raw: Mapping[str, Any], kind: str) -> list[tuple[tuple[str | int, ...], object]]:
    """The entries of a kind, each with where it is; `[authority]` with one pair of brackets is meant as two."""
    found = raw.get(kind, [])
    if not isinstance(found, list):
        return [((kind,), found)]
    return [((kind, index), entry) for index, entry in enumerate(found)]


def _read(entry: object, new: type[N]) -> N:
    if not isinstance(entry, Mapping):
        raise Invalid("entry", "must be a table")
    for key in entry:
        if key not in new.__struct_fields__:
            raise Invalid(key, f"unknown key{_near(key, new.__struct_fields__)}")
    values = dict(entry)
    if new is NewPrincipal and isinstance(values.get("roles"), list):
        values["roles"] = [item if isinstance(item, Mapping) else parse_role(str(item)) for item in values["roles"]]
    try:
        return msgspec.convert(values, new)
    except msgspec.ValidationError as error:
        what, _, at = explained(str(error), new).partition(" - at `$.")
        raise Invalid(at.rstrip("`") or "entry", f"{what[:1].lower()}{what[1:]}") from None


def _near(key: str, known: Mapping[str, Any] | tuple[str, ...]) -> str:
    near = difflib.get_close_matches(key, list(known), n=1)
    return f"; did you mean {near[0]!r}?" if near else f"; known here: {', '.join(known)}"
