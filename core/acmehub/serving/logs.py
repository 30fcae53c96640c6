"""Logs: one line per event on standard error, as text or JSON, without secrets.

Text from outside cannot forge a line, nor reach the terminal's controls: such characters are shown as numbers.

Third-party libraries that log what they send and receive (signed requests, headers, bodies) stay at WARNING,
whatever the level of the hub is.
"""

import logging
import sys
from datetime import UTC, datetime

from acmehub.config import Log
from acmehub.models.text import escape_controls, json_line

_TALKATIVE = (
    "acme",
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
_BY_CLIENTS = ("acmehub.acme.", "uvicorn")
_OF_EVERY_RECORD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName", "color_message"}


class JsonFormatter(logging.Formatter):
    """One JSON object per line: `time`, `level`, `logger`, `message`, `error`, and what was given as `extra`."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "time": _time(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        line.update(_extra(record))
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return json_line(line)


class TextFormatter(logging.Formatter):
    """`TIME LEVEL LOGGER MESSAGE key=value …`, with an indented traceback below when there is one."""

    def format(self, record: logging.LogRecord) -> str:
        extra = "".join(f" {key}={value}" for key, value in _extra(record).items())
        line = f"{_time(record)} {record.levelname.lower():<7} {record.name}: {record.getMessage()}{extra}"
        lines = [line, *(self.formatException(record.exc_info).split("\n") if record.exc_info else ())]
        return "\n    ".join(map(escape_controls, lines))


class Repeats(logging.Filter):
    """Lines that clients can cause: at most `MOST_LINES` a minute of each place in the code.

    The next line of that place has as `left_out` how many more there were.
    """

    def __init__(self) -> None:
        super().__init__()
        self._seen: dict[tuple[str, int], tuple[int, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        if not record.name.startswith(_BY_CLIENTS):
            return True
        place, minute = (record.pathname, record.lineno), int(record.created // 60)
        before, count = self._seen.get(place, (minute, 0))
        if before != minute:
            if count > MOST_LINES:
                record.left_out = count - MOST_LINES
            count = 0
        self._seen[place] = (minute, count + 1)
        return count < MOST_LINES


def set_up_logs(config: Log) -> None:
    """Send this process's logs to standard error as `config` says, replacing what was set up before."""
    handler = logging.StreamHandler(sys.stderr)
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


def _time(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _extra(record: logging.LogRecord) -> dict[str, object]:
    return {key: value for key, value in vars(record).items() if key not in _OF_EVERY_RECORD}
