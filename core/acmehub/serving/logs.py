"""Logs: one line per event on standard error, as text or JSON, without secrets.

Text from outside cannot forge a line or a member, nor reach the terminal's controls: such characters are shown as
numbers, and a value with blanks is quoted. Everything that a process of the hub says on standard error comes through
here: Python's warnings, uvicorn's lines, and the traceback of a crash.

Third-party libraries that log what they send and receive (signed requests, headers, bodies) stay at WARNING,
whatever the level of the hub is.
"""

import itertools
import json
import logging
import re
import sys
import threading
import time
from datetime import datetime
from types import TracebackType
from typing import Any

from acmehub.config import Log
from acmehub.models.text import escape_controls, json_line
from acmehub.runtime.lru import Lru

_TALKATIVE = (
    "acme",
    "aiohttp",
    "asyncio",
    "hpack",
    "httpcore",
    "httpx",
    "josepy",
    "piccolo",
    "requests",
    "stevedore",
    "urllib3",
    "uvicorn",
)
MOST_LINES = 60
MOST_OF_CALLER = 60
MOST_OF_CALLERS = 240
FORGET_SECONDS = 3600.0
_MOST_KNOWN = 10_000
_BY_CLIENTS = ("acmehub.acme.", "acmehub.runtime.client_limits.refusals", "uvicorn")
_OF_EVERY_RECORD = len(vars(logging.makeLogRecord({})))
_NO_MEMBERS = frozenset({"message", "asctime", "taskName", "color_message", "said_of"})
_CLEAR = re.compile(r'[^\s"=,]+').fullmatch
_log = logging.getLogger(__name__)


class JsonFormatter(logging.Formatter):
    """One JSON object per line: `time`, `level`, `logger`, `message`, `error`, and what was given as `extra`."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "time": _time(record.created),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        line.update(_members(record))
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return json_line(line)


class TextFormatter(logging.Formatter):
    """`TIME LEVEL LOGGER MESSAGE key=value …`, with an indented traceback below when there is one."""

    def format(self, record: logging.LogRecord) -> str:
        parts = [f"{_time(record.created)} {record.levelname.lower():<7} {record.name}: {record.getMessage()}"]
        for key, value in _members(record):
            parts.append(f"{key}={value if type(value) is str and _CLEAR(value) else _text(value)}")
        line = escape_controls(" ".join(parts))
        if not record.exc_info:
            return line
        return "\n    ".join([line, *map(escape_controls, self.formatException(record.exc_info).split("\n"))])


class Repeats(logging.Filter):
    """Keeps warnings and errors that clients can cause few, however often a client asks.

    A line whose `extra` has `said_of` (a tuple, the caller first) is written once an hour for each of its values, and
    for one caller `MOST_OF_CALLER` times a minute, for all `MOST_OF_CALLERS`. Any other place in the code has at most
    `MOST_LINES` a minute. The next line of a place has as `left_out` how many more there were than these.
    """

    def __init__(self) -> None:
        super().__init__()
        self._seen: dict[tuple[str, int], tuple[int, int, int]] = {}
        self._callers: dict[object, int] = {}
        self._callers_minute = 0
        self._said: Lru[object, float] = Lru(_MOST_KNOWN)

    def filter(self, record: logging.LogRecord) -> bool:
        if record.levelno < logging.WARNING or not record.name.startswith(_BY_CLIENTS):
            return True
        said_of: tuple[object, ...] = getattr(record, "said_of", ())
        if said_of and record.created - (self._said.get(said_of) or -FORGET_SECONDS) < FORGET_SECONDS:
            return False
        place, minute = (record.pathname, record.lineno), int(record.created // 60)
        before, count, left_out = self._seen.get(place, (minute, 0, 0))
        if before != minute:
            count = 0
        most = MOST_OF_CALLERS if said_of else MOST_LINES
        if count >= most or (said_of and self._is_too_loud(said_of[0], minute)):
            self._seen[place] = (minute, count, left_out + 1)
            return False
        if left_out and before != minute:
            record.left_out = left_out
            left_out = 0
        self._seen[place] = (minute, count + 1, left_out)
        if said_of:
            self._said.put(said_of, record.created)
        return True

    def _is_too_loud(self, caller: object, minute: int) -> bool:
        if self._callers_minute != minute:
            self._callers.clear()
            self._callers_minute = minute
        count = self._callers[caller] = self._callers.get(caller, 0) + 1
        return count > MOST_OF_CALLER


class Lines(logging.StreamHandler[Any]):
    """Writes to standard error; a line that cannot be made is told as one that can."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802  the name is logging's
        error = sys.exc_info()[1]
        if isinstance(error, OSError) or record.name == __name__:  # nobody reads, or this very line failed
            return
        _log.error(
            "a log line cannot be written", exc_info=error, extra={"place": f"{record.pathname}:{record.lineno}"}
        )


def set_up_logs(config: Log) -> None:
    """Send this process's logs to standard error as `config` says, replacing what was set up before."""
    handler = Lines(sys.stderr)
    handler.setFormatter(JsonFormatter() if config.format == "json" else TextFormatter())
    handler.addFilter(Repeats())
    root = logging.getLogger()
    for old in list(root.handlers):
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(config.level.upper())
    for name in _TALKATIVE:
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.captureWarnings(True)
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False  # no line says which it was


def log_crashes() -> None:
    """Have what ends the process or a thread, and what Python can only complain of, told in the log."""

    def crashed(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
        logging.getLogger("acmehub").critical("the process ends by a defect", exc_info=(kind, error, traceback))

    def thread_crashed(arguments: threading.ExceptHookArgs) -> None:
        if arguments.exc_value is not None and arguments.exc_type is not SystemExit:
            _log.error("a thread ended by a defect", exc_info=arguments.exc_value)

    def complained(arguments: "sys.UnraisableHookArgs") -> None:
        _log.error("%s", arguments.err_msg or "an error was ignored", exc_info=arguments.exc_value)

    sys.excepthook = crashed
    threading.excepthook = thread_crashed
    sys.unraisablehook = complained


_second = (-1, "")


def _time(created: float) -> str:
    """A time as UTC with milliseconds; the text of a second is made once for all its lines."""
    global _second
    seconds = int(created)
    kept, text = _second
    if kept != seconds:
        text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
        _second = (seconds, text)
    return f"{text}.{int((created - seconds) * 1000):03d}Z"


def _members(record: logging.LogRecord) -> list[tuple[str, object]]:
    """What was given as `extra`: it comes behind the attributes that every record has."""
    values = vars(record)
    if len(values) == _OF_EVERY_RECORD:
        return []
    return [item for item in itertools.islice(values.items(), _OF_EVERY_RECORD, None) if item[0] not in _NO_MEMBERS]


def _text(value: object) -> str:
    """A member's value; one that could be taken for two members or for none is quoted."""
    if isinstance(value, tuple | list):
        return ",".join(map(_text, value))
    if isinstance(value, datetime):
        return value.isoformat()
    text = str(value)
    return text if _CLEAR(text) else json.dumps(text, ensure_ascii=False)
