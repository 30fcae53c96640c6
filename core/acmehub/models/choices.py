"""What a field may have, for messages: msgspec says which value is wrong, not which ones are right."""

import enum
import re
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import msgspec

_AT = " - at `$"
_STEP = re.compile(r"([^.\[\]]+)(?![^\[]*\])|\[([^\]]*)\]")
_WRONG = re.compile(r"Invalid enum value ('.*'|-?\d+)")


def explained(message: str, kind: Any) -> str:
    """An error of msgspec's with what would be right: `'yes' is not one of auto, off`, the fields that there are.

    `kind` is the type that was to be read. Any other message stays as it is, and so does the end that says where the
    value is (`$.tls.mode`).
    """
    what, at, where = message.partition(_AT)
    there = _type_at(kind, where.strip("`."))
    if what.startswith("Object contains unknown field"):
        known = ", ".join(next(filter(None, map(_fields_of, _alternatives(there))), ()))
        return f"{what}; known here: {known}{at}{where}" if known else message
    choices = choices_of(there) if at else ()
    if not choices:
        return message
    wrong = _WRONG.fullmatch(what)
    said = f"{wrong[1]} is not one of" if wrong else f"{what}: one of"
    return f"{said} {', '.join(choices)}{at}{where}"


def choices_of(kind: Any) -> tuple[str, ...]:
    """The values of an enum or a `Literal`, as they are written; none for a type of another kind."""
    for one in _alternatives(kind):
        if get_origin(one) is Literal:
            return tuple(map(str, get_args(one)))
        if isinstance(one, type) and issubclass(one, enum.Enum):
            return tuple(str(item.value) for item in one)
    return ()


def _alternatives(kind: Any) -> tuple[Any, ...]:
    """The types of a field without what only wraps them: `Annotated[X, …]`, `X | None`."""
    if get_origin(kind) is Annotated:
        return _alternatives(get_args(kind)[0])
    if get_origin(kind) in (Union, UnionType):
        return tuple(one for part in get_args(kind) for one in _alternatives(part))
    return (kind,)


def _type_at(kind: Any, where: str) -> Any:
    """The type at `principal[0].roles` within `kind`; None where that is not known."""
    for field, index in _STEP.findall(where):
        kind = next(filter(None, (_inner(one, field, index) for one in _alternatives(kind))), None)
    return kind


def _fields_of(kind: Any) -> tuple[str, ...]:
    return kind.__struct_fields__ if isinstance(kind, type) and issubclass(kind, msgspec.Struct) else ()


def _inner(kind: Any, field: str, index: str) -> Any:
    """What lies within a type: the field of a struct, or what a list or a mapping has."""
    if index:
        inner = get_args(kind)
        return (inner[0] if get_origin(kind) in (tuple, list) else inner[-1]) if inner else None
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return get_type_hints(kind).get(field)
    return None
