"""What the command imports: `--version`, `--help` and verbs that only read do not wait for libraries they do not use.

Each group of commands runs in one fresh interpreter, one command after another. What one of them loads stays loaded,
so a command is answerable for the libraries that are new after it, and all are clean when none brings one.
"""

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import click

from acmehub.cli.root import VERBS, root
from tests.cli.conftest import Cli

VERSION_WITHOUT = ("litestar", "piccolo", "acme", "josepy", "dns", "cryptography", "stevedore", "aiohttp")
HELP_WITHOUT = ("litestar", "piccolo", "acme", "josepy", "dns", "aiohttp")
READING_WITHOUT = ("litestar", "uvicorn", "aiohttp")
READING = ("list", "show", "export", "check")
SCRIPT = """
import contextlib, io, json, sys
from acmehub.cli.root import run

before = set()
for arguments in json.loads(sys.argv[1]):
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        status = run(arguments)
    loaded = {name.partition(".")[0] for name in sys.modules}
    print(json.dumps([arguments, int(status), sorted(loaded - before)]))
    before = loaded
"""

Loaded = list[tuple[list[str], int, list[str]]]


def run(folder: Path, commands: Sequence[Sequence[str]]) -> Loaded:
    """(arguments, exit status, top-level modules that are new) of each command."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, json.dumps(commands)], cwd=folder, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return [tuple(json.loads(line)) for line in done.stdout.splitlines()]


def brought(found: Loaded, unwanted: Sequence[str]) -> dict[str, list[str]]:
    """Of the unwanted libraries, which each command has brought."""
    return {
        " ".join(arguments): sorted(set(unwanted).intersection(new))
        for arguments, _status, new in found
        if set(unwanted).intersection(new)
    }


def every_command() -> list[list[str]]:
    """The words of each command, groups and verbs, found by walking the tree."""
    found: list[list[str]] = []

    def walk(command: click.Command, words: list[str]) -> None:
        found.append(words)
        if isinstance(command, click.Group):
            for name, inner in command.commands.items():
                walk(inner, [*words, name])

    for verb in VERBS:
        command = root.get_command(click.Context(root), verb)
        assert command is not None
        walk(command, [verb])
    return found


def reading(words: Sequence[str]) -> list[str]:
    """The command line of a verb that only reads; it names something that is not there where it wants a name."""
    names = {
        "export": [],
        "list": [],
        "check": ["www.corp.test"],
        "show": ["999" if words[0] == "audit" else "nothing"],
    }
    return [*words, *names[words[-1]]]


def test_version_imports_next_to_nothing(tmp_path: Path) -> None:
    ((_, status, new),) = run(tmp_path, [["--version"]])
    assert status == 0
    assert set(VERSION_WITHOUT).intersection(new) == set()


def test_help_of_every_verb_imports_no_server_storage_or_upstream(tmp_path: Path) -> None:
    found = run(tmp_path, [["--help"], *([*words, "--help"] for words in every_command())])
    assert {status for _, status, _ in found} == {0}
    assert len(found) > 50
    assert brought(found, HELP_WITHOUT) == {}


def test_the_http_client_is_loaded_by_the_first_request_and_not_before() -> None:
    parts = "acmehub.app.hub, acmehub.serving.server, acmehub.plugins.ca_acme, acmehub.upstream.authority"
    script = f"import sys, acmehub_dns_cloudflare, acmehub_ca_zerossl, {parts}; print('aiohttp' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout == "False\n"


def test_verbs_that_only_read_import_no_http_server(cli: Cli) -> None:
    cli.ok("token", "add", "nothing", "--names", "*.corp.test")
    commands = [reading(words) for words in every_command() if words[-1] in READING]
    found = run(cli.folder, commands)
    assert len(found) > 15
    assert {status for _, status, _ in found} <= {0, 1, 3}  # done; `check` says no; nothing of that name
    assert brought(found, READING_WITHOUT) == {}
