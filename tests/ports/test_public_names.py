"""What a plugin's author reads of in the documents, or meets in a signature, can be imported and is explained."""

import builtins
import enum
import importlib
import inspect
import pkgutil
import re
import typing
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

import acmehub
from acmehub import ports, storage_api, testing
from acmehub.app.plugin_hub import PluginHub
from acmehub.ports import hookspecs, plugins
from acmehub.ports.copying import CopiesRows
from acmehub.ports.store import Store

ROOT = Path(__file__).parents[2]
PAGES = ("docs/hooks.md", "docs/write-a-plugin.md")
HOOKS_PAGE = (ROOT / "docs/hooks.md").read_text()
ROW = re.compile(r"^\| `(\w+)` \|(.*)\|$", re.MULTILINE)
NOT_OURS = {*vars(builtins), "Annotated", "Group", "Literal", "Meta"}
VERBS_OF_ALL = (  # whose members have a row each
    "RelayAuthority",
    "SigningAuthority",
    "CompletesSettings",
    "IssuesForAddresses",
    "InformsOfRenewal",
    "AnswersProbe",
    "AllowsLeafOnly",
    "PollsFirst",
    "GrantsLifetimes",
    "DnsProvider",
    "AddsManyRecords",
    "RewritesRecordSets",
    "WaitsForPropagation",
    "Notifier",
    "Closes",
    "Clock",
)


def protocols() -> list[type]:
    """Every Protocol of `acmehub.ports`."""
    found = []
    for item in pkgutil.iter_modules(ports.__path__, f"{ports.__name__}."):
        module = importlib.import_module(item.name)
        for _, kind in inspect.getmembers(module, inspect.isclass):
            if kind.__module__ == module.__name__ and getattr(kind, "_is_protocol", False):
                found.append(kind)
    return found


def members(kind: type) -> dict[str, Any]:
    """What a Protocol asks for."""
    return {
        name: item
        for name, item in vars(kind).items()
        if not name.startswith("_") and (inspect.isfunction(item) or isinstance(item, property))
    }


def classes(hint: Any) -> Iterator[type]:
    """Classes of this package in a type, parts included."""
    for kind in (hint, typing.get_origin(hint)):
        if isinstance(kind, type) and kind.__module__.startswith("acmehub"):
            yield kind
    for part in typing.get_args(hint):
        if isinstance(part, list):
            for item in part:
                yield from classes(item)
        else:
            yield from classes(part)


def mentioned(kinds: Iterable[type]) -> set[type]:
    """Classes in the signatures of Protocols."""
    found: set[type] = set()
    for kind in kinds:
        for item in members(kind).values():
            function = item.fget if isinstance(item, property) else item
            for hint in typing.get_type_hints(function).values():
                found.update(classes(hint))
        for hint in typing.get_type_hints(kind).values():
            found.update(classes(hint))
    return found


def with_fields(kinds: Iterable[type]) -> set[type]:
    """These, and what they hold."""
    found: set[type] = set()
    left = list(kinds)
    while left:
        kind = left.pop()
        if kind in found:
            continue
        found.add(kind)
        if issubclass(kind, msgspec.Struct):
            for hint in typing.get_type_hints(kind).values():
                left.extend(classes(hint))
        elif getattr(kind, "_is_protocol", False):
            left.extend(mentioned([kind]))
    return found


def of_hooks() -> set[type]:
    hooks = [item for item in vars(hookspecs).values() if hasattr(item, f"{hookspecs.PROJECT}_spec")]
    names = {"click": importlib.import_module("click"), "PluginHub": PluginHub}
    hints = [typing.get_type_hints(hook, localns=names) for hook in hooks]
    return {kind for found in hints for hint in found.values() for kind in classes(hint)}


OF_STORAGE = with_fields([Store, CopiesRows])
SMALL = {plugins.Registration}  # what the hub makes of a call of `register`
EVERY_OTHER = with_fields({*of_hooks(), *(kind for kind in protocols() if kind not in OF_STORAGE)}) - SMALL


def rows() -> dict[str, str]:
    """First cell → the rest, of every table of docs/hooks.md whose first cell is one name."""
    return dict(ROW.findall(HOOKS_PAGE))


def name_of(kind: type) -> str:
    return kind.__name__


def sentence(text: str | None) -> str:
    """The first sentence of a docstring."""
    return re.split(r"(?<=[.:;])\s", " ".join((text or "").split()).replace("`", ""), maxsplit=1)[0].rstrip(".:;")


def test_there_is_something_to_look_at() -> None:
    names = {kind.__name__ for kind in EVERY_OTHER}
    assert {"Closes", "Identifier", "IssueRequest", "Principal", "Token", "UpstreamOrder", "ProblemDocument"} <= names
    assert {"Order", "Lease", "TokensTaken"} <= {kind.__name__ for kind in OF_STORAGE}


@pytest.mark.parametrize("kind", sorted(EVERY_OTHER, key=str), ids=name_of)
def test_a_type_that_a_plugin_meets_is_public(kind: type) -> None:
    assert kind.__name__ in acmehub.__all__
    assert getattr(acmehub, kind.__name__) is kind


@pytest.mark.parametrize("kind", sorted(OF_STORAGE - EVERY_OTHER, key=str), ids=name_of)
def test_a_type_that_a_storage_meets_is_public_for_storages(kind: type) -> None:
    place = acmehub if kind.__name__ in acmehub.__all__ else storage_api
    assert kind.__name__ in place.__all__
    assert getattr(place, kind.__name__) is kind
    assert kind.__name__ in rows()


@pytest.mark.parametrize("page", PAGES)
def test_a_name_that_the_pages_mention_can_be_imported(page: str) -> None:
    text = (ROOT / page).read_text()
    suites = {
        name
        for item in pkgutil.iter_modules(testing.__path__, f"{testing.__name__}.")
        if item.name.endswith(("_contract", ".dns_server"))
        for name in vars(importlib.import_module(item.name))
    }
    names = {part for found in re.findall(r"`([^`\n]+)`", text) for part in re.findall(r"\b[A-Z][a-z]\w+", found)}
    assert names
    known = {*acmehub.__all__, *storage_api.__all__, *suites, *NOT_OURS}
    assert {name for name in names if name not in known and name not in _of_examples()} == set()


def _of_examples() -> set[str]:
    """Classes that the examples define."""
    files = [path.read_text() for path in (ROOT / "examples").rglob("*.py")]
    return {name for text in files for name in re.findall(r"^class (\w+)", text, re.MULTILINE)} | {"MyProvider"}


@pytest.mark.parametrize("name", [name for name in acmehub.__all__ if name != "__version__"])
def test_a_public_name_has_a_row(name: str) -> None:
    row = rows().get(name)
    assert row is not None, f"docs/hooks.md has no row `{name}`"
    thing = getattr(acmehub, name)
    if inspect.isclass(thing) and issubclass(thing, msgspec.Struct):
        lacking = [field for field in thing.__struct_fields__ if f"`{field}`" not in row]
        assert lacking == []
    if inspect.isclass(thing) and issubclass(thing, enum.StrEnum):
        assert [item.value for item in thing if f"`{item.value}`" not in row] == []


@pytest.mark.parametrize("name", VERBS_OF_ALL)
def test_each_member_of_a_protocol_has_a_row_with_its_signature_and_sentence(name: str) -> None:
    section = HOOKS_PAGE.partition(f"**`{name}`**")[2].partition("\n**`")[0].partition("\n#")[0]
    for member, item in members(getattr(acmehub, name)).items():
        function: Any = item.fget if isinstance(item, property) else item
        arguments = ", ".join(list(inspect.signature(function).parameters)[1:])
        head = f"| `{member}` |" if isinstance(item, property) else f"| `{member}({arguments})` |"
        row = next((line for line in section.splitlines() if line.startswith(head)), "")
        assert row, f"docs/hooks.md: no row {head} below {name}"
        for kind in classes(typing.get_type_hints(function).get("return")):
            assert f"`{kind.__name__}`" in row, row
        assert sentence(function.__doc__) in row.replace("`", ""), row


def test_the_protocols_with_rows_are_all_that_a_plugin_may_implement() -> None:
    found = {kind.__name__ for kind in protocols() if kind in EVERY_OTHER}
    assert found - {"Register"} == set(VERBS_OF_ALL)
