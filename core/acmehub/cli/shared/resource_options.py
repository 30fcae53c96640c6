"""The options of `add` and `set`, made from the fields of a resource's `New…` struct; and the struct and the patch made
from the options."""

import enum
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from types import UnionType
from typing import Any, TypeVar, get_args, get_origin

import click
import msgspec

from acmehub.admin.resources.fields import Patch, meta_of
from acmehub.admin.resources.principals import parse_role
from acmehub.cli.shared.times import MOMENT
from acmehub.models import RoleAssignment

N = TypeVar("N", bound=msgspec.Struct)
Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]


class _Field:
    """A field as an option."""

    def __init__(self, info: msgspec.structs.FieldInfo) -> None:
        kind, self.description, self.extra = meta_of(info)
        self.name = info.name
        self.required = info.required
        self.default = info.default if info.default_factory is msgspec.NODEFAULT else info.default_factory()
        self.many = get_origin(kind) is tuple
        parts = get_args(kind) if self.many or get_origin(kind) is UnionType else (kind,)
        self.optional = type(None) in parts
        self.kind: Any = next(part for part in parts if part is not type(None))

    @property
    def option(self) -> str:
        """`--tag` for `tags`."""
        name = self.name.removesuffix("s") if self.many else self.name
        return str(self.extra.get("option", f"--{name.replace('_', '-')}"))

    @property
    def no_option(self) -> str:
        """`--no-tags` for `tags`."""
        return str(self.extra.get("no_option", f"--no-{self.name.replace('_', '-')}"))

    def click(self, moment: Any, **others: Any) -> Decorator:
        """The option that takes a value of the field; `moment` is the type of times."""
        kind = self._type(moment)
        return click.option(self.option, self.name, type=kind, multiple=self.many, metavar=self.metavar, **others)

    def argument(self, moment: Any) -> Decorator:
        """The field as an argument."""
        return click.argument(self.name, type=self._type(moment), metavar=self.metavar)

    @property
    def metavar(self) -> str | None:
        """What stands for the value in the help, unless click's own does."""
        return self.extra.get("metavar")

    def _type(self, moment: Any) -> Any:
        if isinstance(self.kind, type) and issubclass(self.kind, enum.Enum):
            return click.Choice([item.value for item in self.kind])
        return {int: click.IntRange(1), datetime: moment}.get(self.kind, str)

    def value(self, given: Any) -> Any:
        """What the field gets for the option's value."""
        if self.many:
            return tuple(map(self._one, given))
        return self._one(given)

    def _one(self, given: Any) -> Any:
        if self.kind is RoleAssignment:
            return parse_role(given)
        if isinstance(self.kind, type) and issubclass(self.kind, enum.Enum):
            return self.kind(given)
        return given


def _fields(new: type[msgspec.Struct]) -> Iterator[_Field]:
    """The fields that have a description."""
    return (field for field in map(_Field, msgspec.structs.fields(new)) if field.description)


def _all(decorators: list[Decorator]) -> Decorator:
    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        for decorator in reversed(decorators):
            function = decorator(function)
        return function

    return decorate


def add_options(new: type[msgspec.Struct]) -> Decorator:
    """The argument and the options that make a `new`; the first field is the argument, `enabled` is `--disabled`."""
    first, *rest = _fields(new)
    decorators = [first.argument(MOMENT)]
    for field in rest:
        if field.name == "enabled":
            decorators.append(click.option("--disabled", is_flag=True, help=field.description))
        elif field.kind is bool:
            decorators.append(click.option(field.option, field.name, is_flag=True, help=field.description))
        elif isinstance(field.default, enum.Enum):
            default = field.default.value
            decorators.append(field.click(MOMENT, default=default, show_default=True, help=field.description))
        elif field.required:
            decorators.append(field.click(MOMENT, required=True, help=field.description))
        else:
            decorators.append(field.click(MOMENT, help=field.description))
    return _all(decorators)


def new_of(new: type[N], options: Mapping[str, Any], **others: Any) -> N:
    """The `new` that the options of `add_options` describe; a field whose option is not given has its default."""
    values = {
        field.name: field.value(options[field.name])
        for field in _fields(new)
        if field.name in options and options[field.name] not in (None, ())
    }
    if "disabled" in options:
        values["enabled"] = not options["disabled"]
    return new(**values, **others)


def set_options(new: type[msgspec.Struct]) -> Decorator:
    """The argument and the options that change what a `new` makes; `new_NAME` is what the first field becomes."""
    first, *rest = _fields(new)
    decorators: list[Decorator] = [
        first.argument(MOMENT),
        click.option(first.option, f"new_{first.name}", help=first.extra["change"]),
    ]
    for field in rest:
        text = field.extra["change"]
        if field.name == "enabled":
            names: tuple[str, ...] = ("--enable/--disable", "--enabled/--disabled", "enabled")
            decorators.append(click.option(*names, default=None, help=text))
        elif field.extra.get("switch"):
            names = (f"{field.option}/{field.no_option}", field.name)
            decorators.append(click.option(*names, default=None, help=text))
        elif field.kind is bool:
            decorators.append(click.option(field.option, field.name, is_flag=True, help=text))
        else:
            decorators.append(field.click(MOMENT, help=text))
        if field.extra["clear"]:
            decorators.append(
                click.option(field.no_option, f"no_{field.name}", is_flag=True, help=field.extra["clear"])
            )
    return _all(decorators)


def patch_from(patch: type[Patch[N]], new: type[N], options: Mapping[str, Any], **others: Any) -> Patch[N]:
    """The patch that the options of `set_options` describe; `others` are fields that are not options."""
    changes: dict[str, Any] = {}
    first, *rest = _fields(new)
    if options[f"new_{first.name}"]:
        changes[first.name] = options[f"new_{first.name}"]
    for field in rest:
        given = options.get(field.name)
        if options.get(f"no_{field.name}"):
            changes[field.name] = () if field.many else None
            if field.many and given:
                changes[field.name] = field.value(given)
        elif given is None or given == () or (given is False and _only_gives(field)):
            continue
        elif given == "" and not field.many:
            if field.optional:
                changes[field.name] = None
            elif not field.required or field.extra.get("empty"):
                changes[field.name] = ""
        else:
            changes[field.name] = field.value(given)
    return patch(**changes, **others)


def _only_gives(field: _Field) -> bool:
    """Whether the option of a bool can turn it on only."""
    return field.kind is bool and field.name != "enabled" and not field.extra.get("switch")


def other_fields(item: msgspec.Struct, *known: str) -> list[tuple[str, object]]:
    """The fields of a view for people that a verb prints in no way of its own; the version is for programs."""
    without = {*known, "version"}
    return [(name.replace("_", " "), getattr(item, name)) for name in item.__struct_fields__ if name not in without]
