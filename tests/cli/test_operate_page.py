"""docs/operate.md says what happens: its table of what orders wait for is the command line's advice, and its commands
are there."""

import re
import shlex
from pathlib import Path

import click
import pytest

from acmehub.cli.root import root
from acmehub.models import EventKind
from acmehub.models.events import MENDABLE, MENDED_AT_START
from acmehub.runtime.advice import ADVISED

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "operate.md").read_text()
SAID_BELOW = {EventKind.CA_PAUSED, EventKind.CERTIFICATE_NOT_FETCHED}  # in sentences of their own
NO_ADVICE = {EventKind.CA_RATE_LIMITED}  # there is nothing to do
COMMANDS = sorted(set(re.findall(r"`acmehub ([^`]+)`", PAGE)))


def waits() -> dict[EventKind, str]:
    """What orders wait for, by the first column of the table, and when they go on."""
    table = PAGE.partition("| it waits because |")[2].partition("\n\n")[0].splitlines()[2:]
    found: dict[EventKind, str] = {}
    for line in table:
        because, _, goes_on = (cell.strip() for cell in line.strip("|").split(" | "))
        for kind in because.partition(" (")[0].split(" · "):
            found[EventKind(kind)] = goes_on
    return found


def test_the_table_of_what_orders_wait_for_is_the_advice_that_is_printed() -> None:
    assert set(waits()) == ADVISED - SAID_BELOW | NO_ADVICE
    for kind in SAID_BELOW - {EventKind.CERTIFICATE_NOT_FETCHED}:
        assert f"`{kind}`" in PAGE


def test_what_goes_on_at_once_is_what_a_change_wakes() -> None:
    at_once = {kind for kind, goes_on in waits().items() if goes_on.startswith("at once")}
    assert at_once == (MENDABLE | MENDED_AT_START) & ADVISED


@pytest.mark.parametrize("text", COMMANDS)
def test_each_command_of_the_page_is_there_with_its_options(text: str) -> None:
    words = shlex.split(text.replace("…", ""))
    command: click.Command | None = root
    context = click.Context(root)
    while isinstance(command, click.Group) and words and not words[0].startswith("--"):
        command = command.get_command(context, words.pop(0))
    assert command is not None
    known = {name for option in command.params for name in (*option.opts, *option.secondary_opts)} | {"--help"}
    assert {word for word in words if word.startswith("--")} <= known
