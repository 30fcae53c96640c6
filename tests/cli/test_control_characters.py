"""No control character reaches a terminal or a log: every C0, C1, bidirectional control and line separator is pushed
through each exit, as a CA, a DNS server, a User-Agent or an argument may bring them."""

import asyncio
import json
import logging
import sys
import tomllib
from collections.abc import Iterator

import click
import pytest
from msgspec.structs import replace

from acmehub.app.hub import build_hub
from acmehub.cli.root import root
from acmehub.cli.shared.session import Result, fields, show, table
from acmehub.cli.shared.terminal import say
from acmehub.config import Log, load_config
from acmehub.models.problems import Problem, ProblemDocument, ProblemType, Subproblem
from acmehub.ports.authority import UpstreamUnavailable
from acmehub.rules.orders import Change
from acmehub.serving.logs import JsonFormatter, TextFormatter, set_up_logs
from acmehub.testing.store_samples import a_principal, an_event, sow
from tests.cli.conftest import Terminal

C0 = "".join(map(chr, range(1, 0x20)))
C1 = "".join(map(chr, range(0x7F, 0xA0)))
BIDI = "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
LINES = "\u2028\u2029"
STORED = C0 + C1 + BIDI + LINES
ALL = "\x00" + STORED + "\udfff\ud800"
FORGED = f"words\n2026-11-28T00:00:00.000Z error   acmehub: forged {ALL}"
AS_JSON = FORGED.replace("\udfff\ud800", "\\udfff\\ud800")  # no reader of JSON takes lone surrogates


def assert_clean(text: str, *, lines: int) -> None:
    """`text` has this many lines and no control character; what was pushed is shown as numbers."""
    assert len(text.removesuffix("\n").split("\n")) == lines
    assert sorted({character for character in text if character in ALL and character != "\n"}) == []
    assert "x9b" in text or "u009b" in text
    assert "u202e" in text


def test_a_table_keeps_its_rows_and_columns(capsys: pytest.CaptureFixture[str]) -> None:
    show(Result([], table(("NAME", "STATE"), [(FORGED, "one"), ("b", FORGED)], "none")), as_json=False)
    out = capsys.readouterr().out
    assert_clean(out, lines=3)
    first, second, third = out.splitlines()
    assert first.index("STATE") == second.index("one") == third.index("words")


def test_fields_stay_one_line_each(capsys: pytest.CaptureFixture[str]) -> None:
    show(Result([], fields([("error", FORGED), ("names", [FORGED, "b"])])), as_json=False)
    assert_clean(capsys.readouterr().out, lines=2)


def test_json_has_them_as_numbers_and_reads_back(capsys: pytest.CaptureFixture[str]) -> None:
    show(Result({"error": FORGED}), as_json=True)
    out = capsys.readouterr().out
    assert_clean(out, lines=3)
    assert json.loads(out) == {"error": AS_JSON}


def test_progress_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    say(FORGED, err=True)
    assert_clean(capsys.readouterr().err, lines=1)


async def _fail_an_order(terminal: Terminal, words: str) -> str:
    hub = build_hub(load_config(overrides={"data_dir": terminal.folder / "data"}))
    async with hub.running():
        seed = await sow(hub.store)
        bundle = seed.order()
        await hub.store.orders.add(bundle)
        error = ProblemDocument(
            type=ProblemType.UNAUTHORIZED.urn,
            detail=words,
            status=403,
            subproblems=(Subproblem(type=ProblemType.DNS.urn, detail=words),),
        )
        event = replace(an_event(bundle.order), detail=words, server=words)
        await hub.store.orders.apply(
            bundle.order.id, lambda stored: Change(order=replace(stored.order, error=error), events=(event,))
        )
    return bundle.order.id


def test_an_order_and_its_timeline_are_shown_line_by_line(terminal: Terminal) -> None:
    words = f"words\n  00:00:00.000      +0.00 s  certificate issued {STORED}"
    order_id = asyncio.run(_fail_an_order(terminal, words))
    out = terminal.ok("order", "show", order_id)
    assert_clean(out, lines=len(out.split("\n")) - 1)
    assert sum("certificate issued" in line for line in out.split("\n")) == 3  # error, its subproblem, the event
    assert not any(line.lstrip().startswith("00:00:00.000      +0.00 s  certificate") for line in out.split("\n"))
    assert_clean(terminal.ok("order", "show", order_id, "--json"), lines=len(json_lines := _lines(terminal, order_id)))
    shown = json.loads("\n".join(json_lines))
    assert shown["error"]["detail"] == words
    assert shown["timeline"][-1]["server"] == words


def _lines(terminal: Terminal, order_id: str) -> list[str]:
    return terminal.ok("order", "show", order_id, "--json").removesuffix("\n").split("\n")


ERRORS = [
    click.UsageError(FORGED),
    click.BadParameter(FORGED),
    click.ClickException(FORGED),
    UpstreamUnavailable(FORGED, server=FORGED),
    OSError(5, FORGED, FORGED),
]


@pytest.fixture
def failing() -> Iterator[list[Exception]]:
    """A verb `fail` that raises what stands in this list."""
    errors: list[Exception] = []

    @root.command("fail")
    def fail() -> None:
        raise errors[0]

    yield errors
    root.commands.pop("fail")


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_an_error_is_one_line(terminal: Terminal, failing: list[Exception], error: Exception) -> None:
    failing.append(error)
    _status, out, err = terminal("fail")
    assert out == ""
    assert_clean(err, lines=1)


def test_a_problem_is_one_line_and_one_for_each_name(terminal: Terminal, failing: list[Exception]) -> None:
    parts = [Subproblem(type=ProblemType.DNS.urn, detail=f"{number}{FORGED}") for number in range(2)]
    failing.append(Problem(ProblemType.UNAUTHORIZED, FORGED, subproblems=parts))
    assert_clean(terminal("fail")[2], lines=3)


async def _name_a_principal(terminal: Terminal, words: str) -> None:
    hub = build_hub(load_config(overrides={"data_dir": terminal.folder / "data"}))
    async with hub.running():
        await hub.store.principals.add(a_principal(words))


def test_an_exported_file_is_clean_and_reads_back(terminal: Terminal) -> None:
    asyncio.run(_name_a_principal(terminal, STORED.replace("\n", "").replace("\r", "")))
    out = terminal.ok("export")
    assert_clean(out, lines=len(out.removesuffix("\n").split("\n")))
    assert STORED.replace("\n", "").replace("\r", "") in [item["name"] for item in tomllib.loads(out)["principal"]]


def _record(formatter: logging.Formatter) -> str:
    try:
        raise ValueError(FORGED)
    except ValueError:
        caught = sys.exc_info()
    record = logging.LogRecord("acmehub", logging.ERROR, __file__, 1, "a request of %s", (FORGED,), caught)
    record.__dict__.update({"user_agent": FORGED, "names": (FORGED,)})
    return formatter.format(record)


def test_a_log_line_is_one_line_and_its_traceback_is_indented() -> None:
    first, *traceback = _record(TextFormatter()).split("\n")
    assert_clean(first, lines=1)
    assert len(traceback) > 3
    assert all(line.startswith("    ") for line in traceback)
    assert_clean("\n".join(traceback), lines=len(traceback))


def test_a_log_line_in_json_is_one_line_and_reads_back() -> None:
    text = _record(JsonFormatter())
    assert_clean(text, lines=1)
    line = json.loads(text)
    assert line["message"] == f"a request of {AS_JSON}"
    assert line["names"] == [AS_JSON]


@pytest.mark.parametrize("format", ["text", "json"])
def test_a_line_with_a_surrogate_is_not_lost(capsys: pytest.CaptureFixture[str], format: str) -> None:
    loggers = logging.getLogger()
    before, level = list(loggers.handlers), loggers.level
    try:
        set_up_logs(Log(format="json" if format == "json" else "text"))
        logging.getLogger("acmehub").warning(FORGED)
        assert_clean(capsys.readouterr().err, lines=1)
    finally:
        logging.captureWarnings(False)
        loggers.handlers[:] = before
        loggers.setLevel(level)
