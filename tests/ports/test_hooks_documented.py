"""docs/hooks.md is complete and says what hookspecs says, and every hook is exercised by a test."""

import inspect
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from acmehub.ports import hookspecs

ROOT = Path(__file__).parents[2]
HOOKS: dict[str, Callable[..., object]] = {
    name: function
    for name, function in inspect.getmembers(hookspecs, inspect.isfunction)
    if hasattr(function, f"{hookspecs.PROJECT}_spec")
}


def _sections() -> dict[str, str]:
    """Hook name → its heading and what follows, up to the next heading."""
    text = (ROOT / "docs/hooks.md").read_text()
    parts = re.split(r"^#+ ", text, flags=re.MULTILINE)
    return {match[1]: part for part in parts if (match := re.match(r"`(\w+)\(", part))}


def test_there_are_hooks_to_look_at() -> None:
    assert {"register_dns_providers", "select_authority", "order_finished"} <= HOOKS.keys()


def test_the_page_names_the_hooks_that_there_are_and_no_others() -> None:
    assert _sections().keys() == HOOKS.keys()


@pytest.mark.parametrize("name", HOOKS)
def test_the_page_has_a_hooks_arguments_and_its_sentence(name: str) -> None:
    section = " ".join(_sections()[name].split())
    arguments = ", ".join(inspect.signature(HOOKS[name]).parameters)
    assert section.startswith(f"`{name}({arguments})`")
    sentence = " ".join((HOOKS[name].__doc__ or "").replace("`", "").split())
    assert sentence in section.replace("`", "")


@pytest.mark.parametrize("name", HOOKS)
def test_a_hook_is_exercised_by_a_test(name: str) -> None:
    """Named in a test that is not this one: implemented there, or called."""
    own = Path(__file__)
    tests = [path for path in (ROOT / "tests").rglob("test_*.py") if path != own]
    assert any(re.search(rf"\b{name}\b", path.read_text()) for path in tests), f"no test names {name}"
