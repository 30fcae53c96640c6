"""The fields of a resource are written once, in its `New…` struct; patch, view and the command's options derive from
it."""

from collections.abc import Collection
from typing import TYPE_CHECKING, Annotated, Any, Generic, TypeVar, Union, cast, get_args, get_origin

import msgspec
from msgspec import UNSET, UnsetType

N = TypeVar("N", bound=msgspec.Struct)
V = TypeVar("V", bound=msgspec.Struct)


def described(description: str, *, change: str = "", clear: str = "", **cli: Any) -> msgspec.Meta:
    """The texts of a field: `description` where a resource is made, `change` where it is changed (the same
    unless given), `clear` where its value is taken away (empty: that cannot be done by an option of its own).

    `cli` is for the command line: `option` and `no_option` where the names are not the regular ones, `metavar`,
    `switch` (an option that can be turned off, too), `empty` (whether an empty text is a value).
    """
    return msgspec.Meta(description=description, extra={"change": change or description, "clear": clear, **cli})


def meta_of(field: msgspec.structs.FieldInfo) -> tuple[Any, str, dict[str, Any]]:
    """A field's type, its description, and the rest of `described`."""
    if get_origin(field.type) is not Annotated:
        return field.type, "", {}
    kind, *metas = get_args(field.type)
    meta = next((item for item in metas if isinstance(item, msgspec.Meta)), msgspec.Meta())
    return kind, meta.description or "", meta.extra or {}


class Patch(msgspec.Struct, Generic[N], frozen=True, kw_only=True, omit_defaults=True):
    """What to change of a resource that is made from an `N`; a field that is unset stays."""

    if TYPE_CHECKING:

        def __init__(self, **changes: Any) -> None: ...

    def given(self, *without: str) -> dict[str, Any]:
        """The fields to change, but those in `without`."""
        values = msgspec.structs.asdict(self)
        return {name: value for name, value in values.items() if value is not UNSET and name not in without}

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(self.given())})"  # values may be secrets


def patch_of(name: str, new: type[N], *, without: Collection[str] = (), **others: Any) -> type[Patch[N]]:
    """The struct `name` that changes what a `new` makes: its fields but those in `without`, and `others` (name to
    type), each unset unless given."""
    types = {field.name: field.type for field in msgspec.structs.fields(new) if field.name not in without} | others
    fields = [(field, Union[kind, UnsetType], UNSET) for field, kind in types.items()]  # noqa: UP007  kinds are values
    made = msgspec.defstruct(name, fields, bases=(Patch,), module=new.__module__, frozen=True, kw_only=True)
    return cast(type[Patch[N]], made)


def view_of(view: type[V], item: msgspec.Struct, **others: Any) -> V:
    """A stored `item` as a `view`: fields of the same name are taken over, the `others` are given."""
    taken = {name: getattr(item, name) for name in view.__struct_fields__ if name not in others}
    return view(**taken, **others)
