"""Options whose value is one of several words."""

from collections.abc import Callable
from enum import StrEnum
from typing import Any

import click


def one_of(name: str, kind: type[StrEnum], text: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """An option whose value is one of an enum's."""

    def convert(_context: click.Context, _parameter: click.Parameter, value: str | None) -> StrEnum | None:
        return kind(value) if value is not None else None

    return click.option(name, type=click.Choice([item.value for item in kind]), callback=convert, help=text)
