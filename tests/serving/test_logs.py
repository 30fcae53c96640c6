"""Logs: their two forms, and libraries that would tell secrets held quiet."""

import json
import logging
import sys

import pytest

from acmehub.config import Log
from acmehub.serving.logs import (
    MOST_OF_CALLER,
    MOST_OF_CALLERS,
    JsonFormatter,
    Repeats,
    TextFormatter,
    set_up_logs,
)

pytestmark = pytest.mark.usefixtures("loggers_as_they_were")


def record(**extra: object) -> logging.LogRecord:
    made = logging.makeLogRecord({"name": "acmehub.x", "levelno": 20, "levelname": "INFO", "msg": "%s done"})
    made.args = ("order",)
    made.created = 0.25
    made.__dict__.update(extra)
    return made


def test_text_is_one_line_with_time_level_logger_and_extras() -> None:
    assert TextFormatter().format(record(order="1")) == (
        "1970-01-01T00:00:00.250Z info    acmehub.x: order done order=1"
    )


def test_json_is_one_object_with_the_same_and_types_kept() -> None:
    line = json.loads(JsonFormatter().format(record(seconds=1.5, names=("a.test",))))
    assert line == {
        "time": "1970-01-01T00:00:00.250Z",
        "level": "info",
        "logger": "acmehub.x",
        "message": "order done",
        "seconds": 1.5,
        "names": ["a.test"],
    }


@pytest.mark.parametrize("formatter", [TextFormatter(), JsonFormatter()])
def test_an_exception_is_told_with_its_traceback(formatter: logging.Formatter) -> None:
    try:
        raise ValueError("why")
    except ValueError:
        made = record()
        made.exc_info = sys.exc_info()
    text = formatter.format(made)
    assert "ValueError: why" in text
    if isinstance(formatter, JsonFormatter):
        assert "\n" not in text


def test_libraries_that_log_what_they_send_are_quiet_at_every_level(capsys: pytest.CaptureFixture[str]) -> None:
    set_up_logs(Log(level="debug", format="json"))
    for name in ("acme.client", "aiohttp.client", "httpx", "httpcore.http11", "josepy", "urllib3", "uvicorn.error"):
        logging.getLogger(name).info("POST /acme {'signature': 'secret'}")
    logging.getLogger("acmehub.upstream").debug("asked")
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [line["logger"] for line in lines] == ["acmehub.upstream"]


def test_setting_up_twice_writes_each_line_once(capsys: pytest.CaptureFixture[str]) -> None:
    set_up_logs(Log())
    set_up_logs(Log())
    logging.getLogger("acmehub").info("once")
    assert capsys.readouterr().err.count("once") == 1


def test_values_with_blanks_are_quoted_and_names_stand_side_by_side() -> None:
    line = TextFormatter().format(
        record(names=("a.test", "b c"), token='x" account=forged', reason="", seconds=0.5, count=3, why="a,b")
    )
    assert line.endswith(
        r'order done names=a.test,"b c" token="x\" account=forged" reason="" seconds=0.5 count=3 why="a,b"'
    )


def test_members_are_found_whatever_another_handler_has_added(capsys: pytest.CaptureFixture[str]) -> None:
    made = record(order="1")
    logging.Formatter("%(asctime)s %(message)s").format(made)
    assert TextFormatter().format(made).endswith("order done order=1")
    assert JsonFormatter().format(made).endswith('"message":"order done","order":"1"}')
    assert capsys.readouterr().err == ""


def test_a_line_that_cannot_be_made_is_told_in_the_same_form(capsys: pytest.CaptureFixture[str]) -> None:
    set_up_logs(Log(format="json"))
    logging.getLogger("acmehub.x").info("%d orders", "many")
    (line,) = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert line["message"] == "a log line cannot be written"
    assert "test_logs.py" in line["place"]
    assert "TypeError" in line["error"]


FRONT, OWN = "acmehub.acme.orders.x", "acmehub.issuance.x"


def say(logger: str, second: float, line: int = 7, level: int = 40, **members: object) -> None:
    made = logging.makeLogRecord({"name": logger, "levelno": level, "levelname": "ERROR", "msg": "cannot"})
    made.created, made.lineno, made.pathname = 60 * 1000 + second, line, "x.py"
    made.__dict__.update(members)
    logging.getLogger().handlers[0].handle(made)


def test_lines_that_clients_cause_are_bounded_a_minute_and_counted(capsys: pytest.CaptureFixture[str]) -> None:
    set_up_logs(Log())
    for _ in range(200):
        say(FRONT, 1)
        say(OWN, 1)
        say(FRONT, 1, line=9, level=20)  # a fact, of an order that is stored
    say(FRONT, 2, line=8)
    assert len(capsys.readouterr().err.splitlines()) == 60 + 200 + 200 + 1
    say(FRONT, 61)
    say(FRONT, 61)
    first, second = capsys.readouterr().err.splitlines()
    assert first.endswith("cannot left_out=140")
    assert second.endswith("cannot")


def test_a_line_about_the_same_is_said_once_an_hour(capsys: pytest.CaptureFixture[str]) -> None:
    set_up_logs(Log())
    for second in range(0, 3600, 60):
        say(FRONT, second, said_of=("alice", "a.test"), names=("a.test",))
    say(FRONT, 3599, said_of=("alice", "b.test"))
    assert [line.partition("cannot")[2] for line in capsys.readouterr().err.splitlines()] == [" names=a.test", ""]
    say(FRONT, 3600, said_of=("alice", "a.test"))
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_one_caller_leaves_lines_to_the_others(capsys: pytest.CaptureFixture[str]) -> None:
    set_up_logs(Log())
    for number in range(500):
        say(FRONT, 1, said_of=("alice", number))
    say(FRONT, 2, said_of=("bob", 1), who="bob")
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == MOST_OF_CALLER + 1
    assert lines[-1].endswith("who=bob")
    for number in range(1000):
        say(FRONT, 3, said_of=(f"other {number}", 1))
    assert len(capsys.readouterr().err.splitlines()) == MOST_OF_CALLERS - MOST_OF_CALLER - 1
    say(FRONT, 61, said_of=("carol", 1))
    assert f"left_out={500 + 1 + 1000 - MOST_OF_CALLERS}" in capsys.readouterr().err


def test_what_the_filter_remembers_is_bounded() -> None:
    repeats = Repeats()
    for number in range(30_000):
        made = logging.makeLogRecord({"name": FRONT, "levelno": 40, "said_of": (number,)})
        made.created = 60.0 * number
        repeats.filter(made)
    assert len(repeats._said) == 10_000
    assert len(repeats._callers) == 1
