"""Resources files as bodies of requests, and errors that came back with the lines of the file."""

from collections.abc import Sequence
from typing import Any

import msgspec

from acmehub.admin.resources.document import Document, InvalidFile, name_of
from acmehub.admin.resources.fields import Patch


def without_defaults(item: msgspec.Struct) -> dict[str, Any]:
    """The fields of a struct that have another value than their default: an older hub may not know the others."""
    found = {}
    for info in msgspec.structs.fields(item):
        value = getattr(item, info.name)
        default = info.default if info.default_factory is msgspec.NODEFAULT else info.default_factory()
        if value != default:
            found[info.encode_name] = value
    return found


def plain_body(body: msgspec.Struct) -> dict[str, Any]:
    """A body as plain members. In a merge patch (RFC 7396) a struct says each of its fields: one that is left out would
    stay as it is."""
    if isinstance(body, Document):
        tables: dict[str, list[dict[str, Any]]] = {}
        for kind, new in body.entries():
            tables.setdefault(kind, []).append(without_defaults(new))
        return tables
    if isinstance(body, Patch):
        return {
            name: msgspec.structs.asdict(value) if isinstance(value, msgspec.Struct) else value
            for name, value in body.given().items()
        }
    return without_defaults(body)


def with_places(lines: Sequence[str], document: Document) -> InvalidFile:
    """The errors of a hub that has seen the entries and not the file, each with where its entry stands."""
    return InvalidFile(tuple(_placed(line, document) for line in lines))


def _placed(line: str, document: Document) -> str:
    for kind, new in document.entries():
        entry, words = f"[[{kind}]] {name_of(new)!r}", line.partition(": ")[2]
        if line.startswith(f"{entry}: "):
            return f"{document.place(kind, new, words.partition(': ')[0])}: {words}"
    return line
