"""The settings of a plugin, told in words: what `acmehub plugin show` prints."""

from typing import Annotated, Any

import msgspec
from msgspec import inspect

from acmehub.ports.settings import PluginSettings, Secret, public_value, secret_fields


class SettingField(msgspec.Struct, frozen=True):
    """One setting: its type in words, and its default (None for a secret's); `required` has none."""

    name: str
    type: str
    description: str
    required: bool
    default: Any
    secret: bool

    @property
    def takes_text(self) -> bool:
        """Whether any text is a value."""
        return not {"text", "secret text"}.isdisjoint(self.type.split(" or "))


def setting_fields(kind: type[PluginSettings]) -> tuple[SettingField, ...]:
    """The settings of `kind` in their order, described by `Annotated[…, msgspec.Meta(description=…)]`."""
    info = inspect.type_info(kind)
    assert isinstance(info, inspect.StructType)
    secrets = secret_fields(kind)
    return tuple(_field(field, field.name in secrets) for field in info.fields)


def settings_schema(kind: type[PluginSettings]) -> dict[str, Any]:
    """The JSON schema of `kind`, for programs that make a form of it; secrets are marked `writeOnly`."""
    shown = [
        _shown(field, item) for field, item in zip(msgspec.structs.fields(kind), setting_fields(kind), strict=True)
    ]
    namespace = {"__doc__": kind.__doc__}
    clone = msgspec.defstruct(kind.__name__, shown, kw_only=True, forbid_unknown_fields=True, namespace=namespace)
    return msgspec.json.schema(clone, schema_hook=lambda _: {"type": "string"})  # a path: it is written as a text


def _shown(field: msgspec.structs.FieldInfo, item: SettingField) -> tuple[str, Any, Any]:
    """A field of the struct whose schema is given out: a secret is a text without a default."""
    if item.secret:
        meta = msgspec.Meta(
            description=item.description or None, extra_json_schema={"format": "password", "writeOnly": True}
        )
        secret = Annotated[str | None, meta]
        return (field.name, secret, msgspec.NODEFAULT if item.required else None)
    return (field.name, field.type, msgspec.NODEFAULT if item.required else item.default)


def _field(field: inspect.Field, secret: bool) -> SettingField:
    type, description = field.type, ""
    if isinstance(type, inspect.Metadata):
        description = str((type.extra_json_schema or {}).get("description", ""))
        type = type.type
    default = None
    if not field.required and not secret:
        default = public_value(field.default if field.default is not msgspec.NODEFAULT else field.default_factory())
    return SettingField(field.name, _words(type), description, field.required, default, secret)


def _words(type: inspect.Type) -> str:
    """A type as people call it; the name of its class where there are no words for it."""
    match type:
        case inspect.Metadata():
            return _words(type.type)
        case inspect.UnionType():
            return " or ".join(_words(item) for item in type.types if not isinstance(item, inspect.NoneType))
        case inspect.LiteralType():
            return f"one of {', '.join(map(str, type.values))}"
        case inspect.EnumType():
            return f"one of {', '.join(str(item.value) for item in type.cls)}"
        case inspect.VarTupleType() | inspect.ListType() | inspect.SetType():
            return f"list of {_words(type.item_type)}"
        case inspect.IntType():
            return f"integer{_range(type)}"
        case inspect.FloatType():
            return f"number{_range(type)}"
        case inspect.StrType():
            return "text"
        case inspect.BoolType():
            return "true or false"
        case inspect.CustomType():
            return "secret text" if type.cls is Secret else type.cls.__name__
        case inspect.DictType() | inspect.StructType():
            return "table"
    return type.__class__.__name__.removesuffix("Type").lower()


def _range(type: inspect.IntType | inspect.FloatType) -> str:
    bounds = {"at least": type.ge, "more than": type.gt, "at most": type.le, "less than": type.lt}
    words = [f"{word} {bound:g}" for word, bound in bounds.items() if bound is not None]
    return f", {', '.join(words)}" if words else ""
