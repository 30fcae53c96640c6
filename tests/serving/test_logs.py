"""Logs: their two forms, and libraries that would tell secrets held quiet."""

import json
import logging
import sys
from collections.abc import Iterator

import pytest

from acmehub.config import Log
from acmehub.serving.logs import JsonFormatter, TextFormatter, set_up_logs


@pytest.fixture(autouse=True)
def loggers_as_they_were() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    logging.captureWarnings(False)
    root.handlers[:] = handlers
    root.setLevel(level)


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
    for name in ("acme.client", "urllib3.connectionpool", "httpx", "httpcore.http11", "josepy", "uvicorn.error"):
        logging.getLogger(name).info("POST /acme {'signature': 'secret'}")
    logging.getLogger("acmehub.upstream").debug("asked")
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [line["logger"] for line in lines] == ["acmehub.upstream"]


def test_setting_up_twice_writes_each_line_once(capsys: pytest.CaptureFixture[str]) -> None:
    set_up_logs(Log())
    set_up_logs(Log())
    logging.getLogger("acmehub").info("once")
    assert capsys.readouterr().err.count("once") == 1


def test_lines_that_clients_cause_are_bounded_a_minute_and_counted(capsys: pytest.CaptureFixture[str]) -> None:
    set_up_logs(Log())
    front, own = logging.getLogger("acmehub.acme.orders.x"), logging.getLogger("acmehub.issuance.x")
    handler = logging.getLogger().handlers[0]

    def say(logger: logging.Logger, second: float, line: int = 7) -> None:
        made = logging.makeLogRecord({"name": logger.name, "levelno": 40, "levelname": "ERROR", "msg": "cannot"})
        made.created, made.lineno, made.pathname = 60 * 1000 + second, line, "x.py"
        handler.handle(made)

    for _ in range(200):
        say(front, 1)
        say(own, 1)
    say(front, 2, line=8)
    assert len(capsys.readouterr().err.splitlines()) == 60 + 200 + 1
    say(front, 61)
    say(front, 61)
    first, second = capsys.readouterr().err.splitlines()
    assert first.endswith("cannot left_out=140")
    assert second.endswith("cannot")
