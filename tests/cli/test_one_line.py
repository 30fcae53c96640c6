"""Whatever is wrong with what a command is given: a documented status, one line that begins with `acmehub: `."""

import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

import click
import pytest

from acmehub.cli.root import run
from acmehub.cli.shared.exit_status import MEANINGS, Exit
from tests.cli.conftest import Terminal
from tests.cli.test_commands import LEAVES
from tests.cli.test_no_hub import arguments_of

SERVERS = {"serve", "worker"}
FREE_FOLDERS = ("missing.toml", "folder")
TEXTS = ("", "line\nbreak \x1b[31m ü")
NUMBERS = ("0", "-1", "9" * 30, "nan", "x")
TIMES = ("yesterday", "9999-12-31", "99999d", "-1d")
FILES = ("missing.toml", "folder", "latin1.toml", "broken.toml", "latin1.toml/x", "")
COMMON = {"config_file", "data_dir"}  # the same for all: looked at with these
OF_SET = {name.split()[0]: {p.opts[0] for p in command.params} for name, command in LEAVES if name.endswith(" set")}
WITH_COMMON = {"order list", "serve", "worker", "init", "db upgrade"}


NAME = "2030-01-01"  # what `arguments_of` gives
RESOURCES = f"""
[[authority]]
name = "{NAME}"
plugin = "ca_local"
[[managed_challenge]]
name = "{NAME}"
plugin = "dns_rfc2136"
match = "*.corp.test"
settings = {{ server = "192.0.2.1", key_name = "k", key_secret = "AAAA" }}
[[profile]]
name = "{NAME}"
description = "words"
[[principal]]
name = "{NAME}"
roles = ["managed_acme_consumer"]
[[token]]
title = "{NAME}"
principal = "{NAME}"
"""


@pytest.fixture(scope="module")
def furnished(founded: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory with a resource of each kind."""
    folder = tmp_path_factory.mktemp("furnished")
    shutil.copytree(founded, folder / "data")
    (folder / "r.toml").write_text(RESOURCES)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("acmehub.cli.shared.session.set_up_logs", lambda config: None)
        assert run(["apply", str(folder / "r.toml"), "--data-dir", str(folder / "data")]) == 0
    return folder / "data"


@pytest.fixture
def bad_files(empty_terminal: Terminal, furnished: Path) -> Terminal:
    """A folder with a hub, and with files that nothing can be read from."""
    folder = empty_terminal.folder
    shutil.copytree(furnished, folder / "data")
    (folder / "folder").mkdir()
    (folder / "latin1.toml").write_bytes(b"name = '\xe4'\n")
    (folder / "broken.toml").write_text("[[broken\n")
    (folder / "resources.toml").touch()
    for name in ("latin1.toml", "broken.toml"):
        (folder / name).chmod(0o600)
    return empty_terminal


def bad_values(parameter: click.Parameter) -> Sequence[str]:
    """Values that do not fit a parameter, or name what is not there."""
    kind = parameter.type
    if isinstance(kind, click.Path):
        return FILES
    if isinstance(kind, click.Choice):
        return ("", "neither")
    if isinstance(kind, click.types.IntParamType | click.types.FloatParamType):
        return NUMBERS
    if kind.name == "WHEN":
        return TIMES
    if parameter.metavar in ("KEY=VALUE", "HOST:PORT", "URL") or kind.name == "NAME=NUMBER":
        return (*TEXTS, "a=b", "=", "127.0.0.1:99999", "127.0.0.1:-1", "http://x/path")
    return TEXTS


def calls(name: str, command: click.Command) -> Iterator[list[str]]:
    """The verb with each of its parameters wrong in each way, and with too little and too much."""
    words = name.split()
    required = list(arguments_of(command))
    yield [*words, "--no-such-option"]
    yield [*words, *required, "one", "too", "many"] if command.params else [*words, "too much"]
    if required:
        yield words
    for parameter in command.params:
        option = parameter.opts[0]
        if getattr(parameter, "is_flag", False) or (parameter.name in COMMON and name not in WITH_COMMON):
            continue
        if words[-1] == "add" and not parameter.required and option in OF_SET.get(words[0], ()):
            continue  # `set` has it, with an object that is there
        for value in bad_values(parameter):
            if isinstance(parameter, click.Option):
                yield [*words, *required, parameter.opts[0], value]
            else:
                yield [*words, *_instead(command, parameter, value)]


def _instead(command: click.Command, parameter: click.Parameter, value: str) -> Iterator[str]:
    """What `arguments_of` gives, with this argument's value; `--` in front, as a value may begin with a dash."""
    options = [item for item in command.params if item.required and isinstance(item, click.Option)]
    positions = [item for item in command.params if isinstance(item, click.Argument)]
    for option in options:
        yield from arguments_of(click.Command("x", params=[option]))
    yield "--"
    for item in positions:
        yield from [value] if item is parameter else arguments_of(click.Command("x", params=[item]))


@pytest.mark.parametrize(("name", "command"), LEAVES, ids=[name for name, _ in LEAVES])
def test_every_wrong_value_is_one_line(name: str, command: click.Command, bad_files: Terminal) -> None:
    tried = 0
    for call in calls(name, command):
        if name == "serve" and call[-2] == "--data-dir" and call[-1] in FREE_FOLDERS:
            continue  # there it founds a hub, and serves
        there = () if "--data-dir" in call else ("--data-dir", "latin1.toml")  # else it would serve
        status, out, err = bad_files(*call, *(there if name in SERVERS else ()))
        tried += 1
        assert status in MEANINGS, call
        assert name not in SERVERS or status != Exit.DONE, call
        if status == Exit.DONE:
            assert all(line.startswith("acmehub: ") for line in err.splitlines()), call
            continue
        lines = err.splitlines()
        assert len(lines) == 1 or (name == "check" and not lines), (call, status, out, err)
        assert all(line.startswith("acmehub: ") and line.isprintable() for line in lines), (call, err)
        assert "Traceback" not in err, call
        assert len(err) < 8000, call
    assert tried >= 2, name


CONFIGS = {
    "[": "not TOML",
    "listen = 5\n": "expected `str`",
    'listen = "127.0.0.1:99999"\n': "is not HOST:PORT",
    "[worker]\nconcurrency = -1\n": ">= 1",
    "[worker]\nlease = nan\n": "",
    "[worker]\nkeep_days = 1e300\n": "",
    f"[acme]\norder_days = {'9' * 30}\n": "",
    "[tls]\nmode = 'on'\n": "is not one of",
    "nonsense = 1\n": "unknown key",
    "plugins = ['dns_nowhere']\n": "is not installed",
    "[storage]\nplugin = 'storage_nowhere'\n": "is not installed",
    "[storage]\nsettings = { path = 5 }\n": "expected",
    "[storage]\nsettings = { path = '' }\n": "",
    "data_dir = ''\n": "",
    "data_dir = '/proc/none'\n": "",
    "master_keys = ['']\n": "is empty",
    "master_keys = 'x'\n": "expected",
    "[[notifier]]\nplugin = 'none'\n": "is not installed",
}


@pytest.mark.on_machine
@pytest.mark.parametrize(("text", "why"), CONFIGS.items(), ids=repr)
@pytest.mark.parametrize("verb", [("order", "list"), ("init", "--hub"), ("db", "upgrade")], ids=" ".join)
def test_a_wrong_configuration_is_one_line(text: str, why: str, verb: tuple[str, ...], terminal: Terminal) -> None:
    file = terminal.folder / "acmehub.toml"
    file.touch(0o600)
    file.write_text(text)
    status, _, err = terminal(*verb)
    if not why and status == Exit.DONE:
        return
    if verb == ("db", "upgrade") and status == Exit.DONE:
        return  # it needs no plugin beside the storage's, and no key
    assert status in (Exit.USAGE, Exit.NOT_FOUND, Exit.NO_HUB, Exit.UNAVAILABLE), err
    (line,) = err.splitlines()
    assert line.startswith("acmehub: ")
    assert why.lower() in line.lower()


@pytest.mark.on_machine
def test_a_file_that_cannot_be_read_is_named(terminal: Terminal) -> None:
    for verb in (("order", "list", "--config", "/proc/self/mem"), ("apply", "/proc/self/mem")):
        said = terminal.refused(Exit.USAGE, *verb)
        assert said.startswith("acmehub: /proc/self/mem: ")
        assert said.endswith("Input/output error")
