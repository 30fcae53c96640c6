"""JSON schemas of the API's types, for its OpenAPI document."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any, get_args

import msgspec

from acmehub.ports.settings import Secret

REF = "#/components/schemas/{name}"
Schema = dict[str, Any]


class Schemas:
    """The schemas of what is sent (`inputs`) and of what is answered (`outputs`), by name in `components`.

    A body with an unknown key is refused, and an answer has all fields: the schemas say both.
    """

    def __init__(self, inputs: Iterable[Any], outputs: Iterable[Any]) -> None:
        inputs, outputs = list(inputs), list(outputs)
        shown, self.components = _components([*inputs, *outputs])
        self._of = {repr(kind): schema for kind, schema in zip([*inputs, *outputs], shown, strict=True)}
        for kind in _structs([*inputs, *outputs]):
            _say_times(kind, self.components[kind.__name__])
        sent = _components(inputs)[1].keys()
        for name, schema in self.components.items():
            if "properties" not in schema:
                continue
            if name in sent:
                schema["additionalProperties"] = False
            else:
                schema["required"] = list(schema["properties"])

    def of(self, kind: Any) -> Schema:
        """The schema of a type that was given, mostly a reference."""
        return self._of[repr(kind)]

    def properties(self, kind: Any) -> dict[str, Schema]:
        """The schemas of a struct's fields."""
        return dict(self.resolved(self.of(kind)).get("properties", {}))

    def resolved(self, schema: Schema) -> Schema:
        """A schema instead of the reference to it."""
        reference = schema.get("$ref")
        return self.components[reference.rpartition("/")[2]] if reference else schema

    def sample(self, schema: Schema, name: str = "") -> Any:
        """A value that fits: what is usual for a field of this `name`, else the default, else the plainest one."""
        schema = self.resolved(schema)
        if "default" in schema:
            return schema["default"]
        if "enum" in schema:
            return schema["enum"][0]
        for part in schema.get("anyOf", ()):
            if part.get("type") != "null":
                return self.sample(part, name)
        match schema.get("type"):
            case "object":
                return {key: self.sample(part, key) for key, part in schema.get("properties", {}).items()}
            case "array":
                return [self.sample(schema["items"], name)] if schema.get("items") else []
            case "string":
                return _FORMATS.get(schema.get("format", "")) or _USUAL.get(name, "text")
            case "integer" | "number":
                return max(1, schema.get("minimum", 1))
            case "boolean":
                return True
        return None


_ID = "0199c0ffee0042a1b2c3d4e5f60718293a4b5c6d7e8f"
_FORMATS = {"date-time": "2026-12-01T12:00:00Z", "duration": "P30D", "password": "8UIJ3lBrTuUvXqLm0Wc2vQ"}
_USUAL = {
    "id": _ID,
    "account": _ID,
    "order": _ID,
    "order_id": _ID,
    "certificate": _ID,
    "kid": _ID,
    "name": "firewall-01",
    "names": "www.corp.test",
    "title": "Firewall 01",
    "principal": "firewall-01",
    "token": "Firewall 01",
    "authority": "letsencrypt",
    "plugin": "ca_acme",
    "contact": "mailto:admin@corp.test",
    "serial": "04d2e1f00a",
}


def nullable(schema: Schema) -> Schema:
    """The same, or null."""
    if any(part.get("type") == "null" for part in schema.get("anyOf", ())):
        return schema
    return {"anyOf": [schema, {"type": "null"}]}


def without_null(schema: Schema) -> Schema:
    """The same without null, which a query parameter cannot have."""
    kept = {name: value for name, value in schema.items() if not (name == "default" and value is None)}
    parts = [part for part in kept.get("anyOf", ()) if part.get("type") != "null"]
    if not parts:
        return kept
    del kept["anyOf"]
    return {**kept, **parts[0]} if len(parts) == 1 else {**kept, "anyOf": parts}


def _components(kinds: list[Any]) -> tuple[tuple[Schema, ...], dict[str, Schema]]:
    return msgspec.json.schema_components(kinds, schema_hook=_of_other, ref_template=REF)


def _of_other(kind: type) -> Schema:
    return {"type": "string", "format": "password"} if kind is Secret else {"type": "string"}


def _structs(kinds: Iterable[Any]) -> set[type[msgspec.Struct]]:
    """All structs within types."""
    found: set[type[msgspec.Struct]] = set()
    waiting = list(kinds)
    while waiting:
        kind = waiting.pop()
        waiting += get_args(kind)
        if isinstance(kind, type) and issubclass(kind, msgspec.Struct) and kind not in found:
            found.add(kind)
            waiting += [field.type for field in msgspec.structs.fields(kind)]
    return found


def _say_times(kind: type[msgspec.Struct], schema: Schema) -> None:
    """Times are texts of a format: msgspec says so only of those that must have a time zone."""
    for field in msgspec.structs.fields(kind):
        if datetime in _parts(field.type):
            found = schema["properties"][field.encode_name]
            text = next(part for part in (found, *found.get("anyOf", ())) if part.get("type") == "string")
            text["format"] = "date-time"


def _parts(kind: Any) -> tuple[Any, ...]:
    return (kind, *(part for argument in get_args(kind) for part in _parts(argument)))
