"""`--hub` and its friends: what they take, and what is refused before anything is sent."""

import os
import socket
import stat
import threading
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from acmehub.cli.remote.token_file import read_token
from acmehub.cli.shared.exit_status import Exit, Failed
from acmehub.cli.shared.remote_hub import MACHINE_VERBS
from tests.cli.conftest import RemoteTerminal, Terminal
from tests.cli.remote.conftest import TOKEN
from tests.cli.test_commands import LEAVES
from tests.cli.test_no_hub import arguments_of


@pytest.fixture
def nobody() -> Iterator[tuple[str, socket.socket]]:
    """The URL of a hub that never accepts a connection, and the socket at which one would be seen."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.setblocking(False)
        yield f"http://127.0.0.1:{listening.getsockname()[1]}", listening


def was_asked(listening: socket.socket) -> bool:
    try:
        listening.accept()[0].close()
    except BlockingIOError:
        return False
    return True


@pytest.mark.parametrize(
    ("name", "command"), [item for item in LEAVES if item[0].split()[0] in MACHINE_VERBS], ids=lambda item: str(item)
)
def test_verbs_of_the_hubs_machine_say_so_before_anything_is_sent(
    name: str,
    command: click.Command,
    empty_terminal: Terminal,
    nobody: tuple[str, socket.socket],
    token_file: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    url, listening = nobody
    verb = (*name.split(), *arguments_of(command))
    words = f"'{verb[0]}' runs on the hub's own machine, without --hub (or ACMEHUB_HUB): nothing was sent"
    assert words in empty_terminal.refused(Exit.USAGE, "--hub", url, "--token-file", str(token_file), *verb)
    monkeypatch.setenv("ACMEHUB_HUB", url)
    assert words in empty_terminal.refused(Exit.USAGE, *verb)
    assert not was_asked(listening)
    assert empty_terminal.ok(*verb[: len(name.split())], "--help").startswith(f"Usage: acmehub {name}")
    assert [item.name for item in empty_terminal.folder.iterdir()] == ["hub.token"]


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("hub.test", "is not https://HOST[:PORT], without a path"),
        ("https://hub.test/acme/directory", "is not https://HOST[:PORT], without a path"),
        ("https://hub.test?x=1", "is not https://HOST[:PORT], without a path"),
        ("https://a@hub.test", "is not https://HOST[:PORT], without a path"),
        ("http://hub.test", "the token would be sent in clear; write https://"),
        ("ftp://hub.test", "is not https://HOST[:PORT], without a path"),
    ],
)
def test_a_url_that_is_none_of_a_hub_is_refused(empty_terminal: Terminal, url: str, words: str) -> None:
    assert words in empty_terminal.refused(Exit.USAGE, "--hub", url, "order", "list")


def test_a_hub_elsewhere_and_a_folder_here_are_two_hubs(
    empty_terminal: Terminal, nobody: tuple[str, socket.socket], token_file: Path
) -> None:
    url, listening = nobody
    options = ("--hub", url, "--token-file", str(token_file))
    for verb in (("order", "list"), ("plugin", "list"), ("plugin", "show", "ca_acme")):
        said = empty_terminal.refused(Exit.USAGE, *options, *verb, "--data-dir", "data")
        assert "--data-dir is for a hub on this machine" in said
        said = empty_terminal.refused(Exit.USAGE, *options, *verb, "--config", "acmehub.toml")
        assert "--config is for a hub on this machine" in said
    assert not was_asked(listening)


def test_a_token_is_wanted_before_anything_is_sent(
    empty_terminal: Terminal, nobody: tuple[str, socket.socket], token_file: Path
) -> None:
    url, listening = nobody
    said = empty_terminal.refused(Exit.USAGE, "--hub", url, "order", "list")
    assert "--hub needs an API token: name its file by --token-file or ACMEHUB_TOKEN_FILE" in said
    token_file.chmod(0o640)
    said = empty_terminal.refused(Exit.USAGE, "--hub", url, "--token-file", "hub.token", "order", "list")
    assert "hub.token: others may read this token (mode 0640): chmod 600 hub.token" in said
    assert not was_asked(listening)


@pytest.mark.parametrize("mode", [0o604, 0o640, 0o660, 0o777, 0o620])
def test_a_token_that_others_can_read_or_change_is_refused(token_file: Path, mode: int) -> None:
    token_file.chmod(mode)
    with pytest.raises(Failed, match=f"mode 0{mode:o}"):
        read_token(token_file)


def test_a_token_is_one_line_of_its_form(token_file: Path) -> None:
    assert read_token(token_file).reveal() == TOKEN
    for wrong in ("", "nonsense", f"{TOKEN}\n{TOKEN}", f"Bearer {TOKEN}", TOKEN.replace("s", "\u00e9"), TOKEN[:40]):
        token_file.write_text(wrong)
        with pytest.raises(Failed, match="this is no API token") as raised:
            read_token(token_file)
        assert "sss" not in raised.value.message
        assert raised.value.status is Exit.USAGE
    with pytest.raises(Failed, match="cannot be read: No such file"):
        read_token(token_file.with_name("none"))
    with pytest.raises(Failed, match="cannot be read: Is a directory"):
        read_token(token_file.parent)


def test_a_token_may_come_through_a_pipe(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe, 0o600)
    writer = threading.Thread(target=lambda: pipe.write_text(TOKEN))
    writer.start()
    assert read_token(pipe).reveal() == TOKEN
    writer.join()


@pytest.mark.over_api
def test_an_operator_works_from_a_laptop_with_a_real_token(
    terminal: Terminal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal.ok("principal", "add", "alice", "--type", "user", "--role", "operator")
    made = terminal.json("token", "add", "laptop", "--principal", "alice", "--scope", "operator", "--out", "hub.token")
    assert "secret" not in made
    token = Path("hub.token")
    assert stat.S_IMODE(token.stat().st_mode) == 0o600
    assert read_token(token).reveal().startswith(f"acmehub_{made['id']}_")
    assert terminal.refused(1, "token", "add", "other", "--principal", "alice", "--out", "hub.token") != ""
    assert [item["title"] for item in terminal.json("token", "list")] == ["laptop"]
    assert isinstance(terminal, RemoteTerminal)
    options = terminal.options
    monkeypatch.setenv("ACMEHUB_HUB", options[1])
    monkeypatch.setenv("ACMEHUB_TOKEN_FILE", str(token.absolute()))
    monkeypatch.setenv("ACMEHUB_CA_FILE", options[-1])
    monkeypatch.chdir(tmp_path.parent)
    here = Terminal.__call__
    status, out, err = here(terminal, "challenge", "list")
    assert (status, out) == (0, "no managed challenges\n"), err
    status, _, err = here(terminal, "principal", "set", "alice", "--role", "administrator")
    assert status == Exit.FAILED
    assert "alice may not handle" in err
    status, _, err = here(terminal, "principal", "show", "nobody")
    assert status == Exit.NOT_FOUND
    token_text = token_of(tmp_path / "hub.token")
    (tmp_path / "hub.token").write_text(f"{token_text[:-1]}x\n")
    status, _, err = here(terminal, "order", "list")
    assert status == Exit.FAILED
    assert f"refuses the API token in {tmp_path / 'hub.token'}" in err
    assert token_text[-20:] not in err


def token_of(path: Path) -> str:
    return path.read_text().strip()
