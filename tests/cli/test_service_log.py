"""`serve` and `worker` say everything in the form of their log, from the first line on."""

import json
import logging
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from acmehub.cli.root import run
from acmehub.config import Log, log_of

pytestmark = pytest.mark.usefixtures("loggers_as_they_were")
JSON = '[log]\nformat = "json"\n'


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("config", "arguments", "status", "words"),
    [
        (JSON, ("serve", "--nonsense"), 2, "No such option"),
        (JSON, ("serve", "--config"), 2, "requires an argument"),
        (JSON, ("worker", "--config", "nowhere.toml"), 2, "nowhere.toml: no such file"),
        (JSON + "[tls]\nmod = 1\n", ("serve",), 2, "unknown key; did you mean mode?"),
        (JSON + "[tls\n", ("serve",), 2, "not TOML"),
        ('log = { format = "json", level = "loud" }\n', ("serve",), 2, "level"),
        ('log.format = "json"\nplugins = ["dns_nowhere"]\n', ("serve", "--listen", "127.0.0.1:0"), 3, "dns_nowhere"),
        (JSON, ("serve", "--listen", "192.0.2.1:8443"), 1, "192.0.2.1:8443"),
        (JSON, ("worker", "--data-dir", "/proc/hub"), 6, "no hub in /proc/hub: nothing has been founded there"),
        (JSON, ("serve", "--listen", "127.0.0.1:0", "--data-dir", "/proc/hub"), 2, "choose another with --data-dir"),
    ],
)
def test_what_makes_a_start_impossible_is_a_line_of_json(
    folder: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    config: str,
    arguments: tuple[str, ...],
    status: int,
    words: str,
) -> None:
    (folder / "acmehub.toml").write_text(config)
    if arguments[-1] == "nowhere.toml":
        monkeypatch.setenv("ACMEHUB_LOG__FORMAT", "json")
    assert run(arguments) == status
    said = capsys.readouterr()
    (line,) = [json.loads(text) for text in said.err.splitlines()]
    assert (line["level"], line["logger"]) == ("error", "acmehub")
    assert words in line["message"]
    assert said.out == ""


def test_a_text_log_has_one_form_as_well(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "acmehub.toml").write_text("[tls]\nmod = 1\n")
    assert run(["serve"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    time, level, logger, *_ = line.split()
    assert (time[-1], level, logger) == ("Z", "error", "acmehub:")


def test_other_verbs_speak_to_people(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "acmehub.toml").write_text(JSON + "[tls]\nmod = 1\n")
    assert run(["order", "list"]) == 2
    assert capsys.readouterr().err.startswith("acmehub: ")


@pytest.mark.parametrize(
    ("text", "environ", "expected"),
    [
        ("", {}, Log()),
        (JSON, {}, Log(format="json")),
        (JSON + "access = true\nlevel = 'debug'\nnonsense = 1\n", {}, Log(level="debug", format="json", access=True)),
        ("[tls\n" + JSON, {}, Log(format="json")),
        ("[log]\nformat = json\n", {}, Log()),
        ("log = 3\n", {}, Log()),
        ("", {"ACMEHUB_LOG__FORMAT": "json", "ACMEHUB_LOG__ACCESS": "true"}, Log(format="json", access=True)),
        (JSON, {"ACMEHUB_LOG__FORMAT": "text"}, Log()),
        (JSON, {"ACMEHUB_LOG__FORMAT": "xml", "ACMEHUB_LOG__LEVEL": "error"}, Log(level="error")),
    ],
)
def test_the_form_is_made_out_of_a_configuration_that_is_wrong_elsewhere(
    folder: Path, text: str, environ: dict[str, str], expected: Log
) -> None:
    path = folder / "acmehub.toml"
    path.write_text(text)
    assert log_of(path, environ) == expected
    assert log_of(folder / "nowhere.toml", {}) == Log()


CRASHES = """
import sys, threading, warnings
from acmehub.cli.serve import begin_log

begin_log(["serve"])
warnings.warn("old ways", DeprecationWarning, stacklevel=1)

class Bad:
    def __del__(self):
        raise ValueError("at the end of an object")

Bad()
thread = threading.Thread(target=lambda: 1 / 0)
thread.start()
thread.join()
raise RuntimeError("two\\nlines")
"""


def test_warnings_and_crashes_are_lines_of_json(folder: Path) -> None:
    command = [sys.executable, "-W", "always", "-c", CRASHES]
    environ = {"ACMEHUB_LOG__FORMAT": "json", "PATH": ""}
    done = subprocess.run(command, cwd=folder, env=environ, capture_output=True, text=True, check=False, timeout=300)
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    assert done.returncode == 1
    assert [(line["logger"], line["level"]) for line in lines] == [
        ("py.warnings", "warning"),
        ("acmehub.serving.logs", "error"),
        ("acmehub.serving.logs", "error"),
        ("acmehub", "critical"),
    ]
    assert "at the end of an object" in lines[1]["error"]
    assert "ZeroDivisionError" in lines[2]["error"]
    assert "two\nlines" in lines[3]["error"]


def test_a_doubtful_configuration_is_told_in_the_log(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("acmehub.cli.shared.session.warnings_of", lambda *_: ["the file is mounted"])
    (folder / "acmehub.toml").write_text(JSON)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        assert run(["serve", "--listen", f"127.0.0.1:{taken.getsockname()[1]}"]) == 1
    first, second = [json.loads(text) for text in capsys.readouterr().err.splitlines()]
    assert (first["level"], first["message"]) == ("warning", "the file is mounted")
    assert "in use" in second["message"]
    assert logging.getLogger().handlers
