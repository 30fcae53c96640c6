"""Reads what a request says: its body, its query, the fields of a patch. Every error names the field."""

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

import msgspec
from msgspec import UNSET, UnsetType

from acmehub.admin.resources.document import Document, read_document, read_tables
from acmehub.api.problems import ApiError, invalid, near
from acmehub.api.table import JSON, TOML
from acmehub.models.choices import explained

_AT = re.compile(r"(?: - at `(?:key in )?\$\.?([^`]*)`)$")
_INT64 = 2**63
_BODY = "the body of the request"


def read_json(body: bytes, media: str, expected: Sequence[str]) -> Any:
    """The JSON of a body as plain values; 400, 415, 422 for a value that no storage can hold."""
    if media not in expected:
        raise ApiError("unsupported-media-type", f"Content-Type is {media or 'missing'}; send {' or '.join(expected)}")
    try:
        raw = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ApiError("malformed", f"the body is not JSON: {error}") from None
    except RecursionError:
        raise ApiError("malformed", "the body is nested too deeply") from None
    for place, flaw in _flaws(raw, ""):
        raise invalid(place, flaw)
    return raw


def read_file(body: bytes, media: str) -> Document:
    """A resources file: TOML, or JSON with the same tables; 400, 415, `InvalidFile`."""
    if media != TOML:
        raw = read_json(body, media, (JSON, TOML))
        if not isinstance(raw, dict):
            raise ApiError("malformed", "the body must be a JSON object")
        return read_tables(raw)
    try:
        text = body.decode()
    except UnicodeDecodeError:
        raise ApiError("malformed", "the body is not UTF-8") from None
    return read_document(text, "body")


def read_new(body: bytes, media: str, kind: Any) -> Any:
    """A body of the type `kind`."""
    return convert(read_json(body, media, (JSON,)), kind)


def convert(raw: Any, kind: Any) -> Any:
    """Plain values as `kind`: unknown keys are errors with the nearest known one, times need a time zone."""
    if not isinstance(raw, dict):
        raise ApiError("malformed", "the body must be a JSON object")
    for place, flaw in _unknown(raw, kind, ""):
        raise invalid(place, flaw)
    try:
        made = msgspec.convert(raw, kind)
    except (msgspec.ValidationError, ValueError, OverflowError) as error:
        raise _wrong(error, kind) from None
    for place in _naive(made, ""):
        raise invalid(place, "needs a time zone (2027-01-31T12:00:00Z)")
    return made


def read_patch(raw: Any, kind: Any, new: Any, current: Mapping[str, Any]) -> Any:
    """A merge patch (RFC 7396) as the patch struct `kind`: null is the default that `new` has.

    `current`: the resource as it is shown. A field that only the hub sets may stand there with its present value.
    """
    if not isinstance(raw, dict):
        raise ApiError("malformed", "the body must be a JSON object")
    known, defaults = _types(kind), _defaults(new)
    changes: dict[str, Any] = {}
    for name, value in raw.items():
        if name not in known:
            if name not in current:
                raise invalid(name, f"unknown key{near(name, known)}")
            if value != current[name]:
                raise invalid(name, "only the hub sets this: leave it out, or as it is")
        elif value is None:
            if name in defaults:
                changes[name] = defaults[name]
            elif name in _types(new):
                raise invalid(name, "has no default that null could stand for")
        elif name == "settings":
            changes[name] = _settings(value, raw, current)
        elif isinstance(value, dict) and isinstance(current.get(name), dict):
            changes[name] = _merged(current[name], value)
        else:
            changes[name] = value
    return convert(changes, kind)


def _settings(value: Any, raw: Mapping[str, Any], current: Mapping[str, Any]) -> Any:
    """Settings of the same plugin without the secrets that are null: they are shown so, and stay as they are."""
    secrets = current.get("secrets") or {}
    if not isinstance(value, dict) or raw.get("plugin", current.get("plugin")) != current.get("plugin"):
        return value
    return {name: item for name, item in value.items() if item is not None or name not in secrets}


def read_query(given: Sequence[tuple[str, str]], kinds: Mapping[str, type[msgspec.Struct]]) -> dict[str, Any]:
    """Query parameters as one struct for each of `kinds`; no name is in two of them."""
    known = {name: key for key, kind in kinds.items() for name in kind.__struct_fields__}
    values: dict[str, dict[str, str]] = {key: {} for key in kinds}
    for name, value in given:
        if name not in known:
            raise invalid(name, f"unknown parameter{near(name, known)}")
        if name in values[known[name]]:
            raise invalid(name, "is given twice")
        if flaw := next(_flaws(value, name), None):
            raise invalid(*flaw)
        values[known[name]][name] = value
    made: dict[str, Any] = {}
    for key, kind in kinds.items():
        try:
            made[key] = msgspec.convert(values[key], kind, strict=False)
        except (msgspec.ValidationError, ValueError, OverflowError) as error:
            raise _wrong(error, kind) from None
        for place in _naive(made[key], ""):
            raise invalid(place, "needs a time zone (2027-01-31T12:00:00Z)")
        for name, value in values[key].items():  # msgspec takes the text "null" for none
            if getattr(made[key], name) is None:
                raise invalid(name, f"{value!r} is no value; leave the parameter out")
    return made


# ------------------------------------------------------------------------------------------------- the details


def _wrong(error: Exception, kind: Any) -> ApiError:
    text = explained(str(error), kind)
    found = _AT.search(text)
    what = text[: found.start()] if found else text
    return invalid(found[1] if found else "", f"{what[:1].lower()}{what[1:]}")


def _flaws(value: Any, place: str) -> Iterator[tuple[str, str]]:
    """Values that JSON has and a storage has not: NUL in a text, numbers beyond 64 bits."""
    if isinstance(value, str):
        if "\0" in value:
            yield place, "contains the character NUL"
        elif not value.isascii() and any("\ud800" <= letter <= "\udfff" for letter in value):
            yield place, "contains half of a surrogate pair"
    elif isinstance(value, int):
        if not -_INT64 <= value < _INT64:
            yield place, "is a number beyond 64 bits"
    elif isinstance(value, dict):
        for name, item in value.items():
            yield from _flaws(name, place)
            yield from _flaws(item, f"{place}.{name}" if place else name)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _flaws(item, f"{place}[{index}]")


def _naive(value: Any, place: str) -> Iterator[str]:
    """The times in a struct that have no time zone."""
    if isinstance(value, datetime):
        if value.tzinfo is None:
            yield place
    elif isinstance(value, msgspec.Struct):
        for name in value.__struct_fields__:
            yield from _naive(getattr(value, name), f"{place}.{name}" if place else name)


def _unknown(raw: Any, kind: Any, place: str) -> Iterator[tuple[str, str]]:
    """The keys of objects that the structs within `kind` do not have."""
    struct = _struct(kind)
    if struct is None or not isinstance(raw, dict):
        items = _items(kind)
        if items is not None and isinstance(raw, list):
            for index, item in enumerate(raw):
                yield from _unknown(item, items, f"{place}[{index}]")
        return
    types = _types(struct)
    for name, value in raw.items():
        at = f"{place}.{name}" if place else name
        if name not in types:
            yield at, f"unknown key{near(name, types)}"
        else:
            yield from _unknown(value, types[name], at)


def _alternatives(kind: Any) -> Iterator[Any]:
    origin = get_origin(kind)
    if origin is Annotated:
        yield from _alternatives(get_args(kind)[0])
    elif origin in (Union, UnionType):
        for part in get_args(kind):
            yield from _alternatives(part)
    elif kind not in (type(None), UnsetType):
        yield kind


def _struct(kind: Any) -> type[msgspec.Struct] | None:
    return next((one for one in _alternatives(kind) if isinstance(one, type) and issubclass(one, msgspec.Struct)), None)


def _items(kind: Any) -> Any:
    """The type of the items of a list; None for another type."""
    return next((get_args(one)[0] for one in _alternatives(kind) if get_origin(one) in (tuple, list)), None)


def _types(kind: Any) -> dict[str, Any]:
    return {field.name: field.type for field in msgspec.structs.fields(kind)}


def _defaults(kind: Any) -> dict[str, Any]:
    """The defaults of a struct as plain values."""
    found: dict[str, Any] = {}
    for field in msgspec.structs.fields(kind):
        default = field.default if field.default_factory is msgspec.NODEFAULT else field.default_factory()
        if default is not msgspec.NODEFAULT and default is not UNSET:
            found[field.name] = msgspec.to_builtins(default)
    return found


def _merged(before: dict[str, Any], patch: dict[str, Any]) -> dict[str, Any]:
    """RFC 7396 for one object within a resource: what is null goes."""
    merged = {**before, **patch}
    return {name: value for name, value in merged.items() if value is not None}
