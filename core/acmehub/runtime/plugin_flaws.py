"""What may be wrong with a plugin, told in one line to its author: hooks, settings, what its factories make."""

import difflib
import inspect
from collections.abc import Iterable, Iterator
from typing import Any

from msgspec import inspect as msgspec_inspect

from acmehub.ports import hookspecs
from acmehub.ports.settings import PluginSettings, Secret, place_of, secret_fields

HOOKS = {
    name: tuple(inspect.signature(hook).parameters)
    for name, hook in vars(hookspecs).items()
    if hasattr(hook, f"{hookspecs.PROJECT}_spec")
}


def hook_flaw(plugin: object) -> str:
    """What is wrong with the hooks of a plugin (a module, usually); empty when nothing is."""
    marked = False
    for name, function in _functions(plugin):
        if hasattr(function, f"{hookspecs.PROJECT}_impl"):
            marked = True
            if flaw := _hook_flaw(name, function):
                return flaw
        elif name in HOOKS:
            return f"{name} is not marked: write @hookimpl above it"
    return "" if marked else "it has no hook: mark a function with @hookimpl (docs/hooks.md has their names)"


def _hook_flaw(name: str, function: Any) -> str:
    if name not in HOOKS:
        near = difflib.get_close_matches(name, HOOKS, n=1)
        return f"unknown hook {name!r}" + (
            f"; did you mean {near[0]!r}?" if near else ": docs/hooks.md has their names"
        )
    if inspect.iscoroutinefunction(function):
        return f"{name} is `async def`: hooks are called without await, only methods of registered objects may await"
    for argument in inspect.signature(function).parameters.values():
        known = argument.name in HOOKS[name]
        if argument.default is not argument.empty and known:
            return f"{name} has a default for {argument.name!r}: the hub passes no such argument; drop the default"
        if argument.default is argument.empty and not known:
            own = ", ".join(HOOKS[name]) or "none"
            return f"{name} has the argument {argument.name!r}, which the hook has not: its arguments are {own}"
    return ""


def _functions(plugin: object) -> Iterator[tuple[str, Any]]:
    for name in dir(plugin):
        if not name.startswith("__") and inspect.isroutine(found := getattr(plugin, name, None)):
            yield name, found


def registration_flaw(name: object, factory: object, settings: object) -> str:
    """What is wrong with the arguments of `register`; empty when nothing is."""
    if not isinstance(name, str) or not name:
        return f"register: the name is {name!r}, expected text"
    if not callable(factory):
        return f"register({name!r}, …): the factory is {factory!r}, expected a class or function of (settings, context)"
    if not (isinstance(settings, type) and issubclass(settings, PluginSettings)):
        given = settings.__name__ if isinstance(settings, type) else repr(settings)
        return f"register({name!r}, …): the settings are `{given}`, expected a subclass of acmehub.PluginSettings"
    return _settings_flaw(settings)


def _settings_flaw(kind: type[PluginSettings]) -> str:
    try:
        secret_fields(kind)
        info = msgspec_inspect.type_info(kind)
    except (NameError, TypeError) as error:
        return f"{kind.__name__}: the type of a field cannot be read: {error}"
    assert isinstance(info, msgspec_inspect.StructType)
    for field in info.fields:
        for type in _custom(field.type):
            if type is not Secret:
                return f"{kind.__name__}.{field.name}: settings are TOML, which has no `{type.__name__}`: use str"
    return ""


def _custom(type: Any) -> Iterator[Any]:
    """The types within a type that msgspec does not know."""
    if isinstance(type, msgspec_inspect.CustomType):
        yield type.cls
    for part in (getattr(type, "type", None), getattr(type, "item_type", None), *getattr(type, "types", ())):
        if isinstance(part, msgspec_inspect.Type):
            yield from _custom(part)


def object_flaw(made: object, kinds: Iterable[type]) -> str:
    """Why an object is none of `kinds` (Protocols), as the one that it comes nearest to; empty when it is one."""
    return min((_flaws(made, kind) for kind in kinds), key=len, default=[""])[0]


def extras_flaw(made: object, kinds: Iterable[type]) -> str:
    """What is wrong with the optional Protocols that an object has."""
    return next((flaws[0] for kind in kinds if isinstance(made, kind) and (flaws := _flaws(made, kind))[0]), "")


def _flaws(made: object, kind: type) -> list[str]:
    """One for each member, and an empty one at the end."""
    name = made.__class__.__name__
    flaws = []
    for member, declared in vars(kind).items():
        if member.startswith("_") or not (inspect.isfunction(declared) or isinstance(declared, property)):
            continue
        if not hasattr(made.__class__, member) and not hasattr(made, member):
            flaws.append(f"`{name}` is no {kind.__name__}: it has no {member}")
        elif inspect.isfunction(declared) and (flaw := _verb_flaw(getattr(made, member), declared)):
            flaws.append(f"`{name}` is no {kind.__name__}: {member}{flaw}")
    return [*flaws, ""]


def _verb_flaw(verb: Any, declared: Any) -> str:
    if not callable(verb):
        return " is no method"
    plain = inspect.isroutine(verb) and not inspect.iscoroutinefunction(verb) and not hasattr(verb, "__wrapped__")
    if plain and inspect.iscoroutinefunction(declared):
        return ": write `async def`, as the hub awaits it"
    _self, *parameters = inspect.signature(declared).parameters.values()
    arguments = [item.name for item in parameters if item.kind is not item.KEYWORD_ONLY]
    named = {item.name: None for item in parameters if item.kind is item.KEYWORD_ONLY}
    try:
        inspect.signature(verb).bind(*arguments, **named)
    except TypeError as error:
        return f" is called with ({', '.join([*arguments, *named])}): {error}"
    except ValueError:  # it has no signature that Python knows
        return ""
    return ""


def told(error: BaseException) -> str:
    """An error in one line, with its text and where it was raised."""
    return " ".join(f"{type(error).__name__}: {error} ({place_of(error)})".split())
