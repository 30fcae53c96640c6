"""Master keys: made, missing, of another hub, exchanged; each with what to do."""

import asyncio
import stat
from pathlib import Path

import pytest

from acmehub.cli.shared.exit_status import Exit
from acmehub.runtime.vault import decode_key, encode_key
from tests.cli.conftest import Terminal
from tests.test_docs import FENCE, ROOT

pytestmark = pytest.mark.on_machine

TOKEN = ("token", "add", "Firewall 01", "--names", "*.corp.test")
PAGE = ROOT / "docs" / "operate.md"
OTHER = encode_key(bytes(32))


@pytest.fixture
def key_file(terminal: Terminal) -> Path:
    """The master key of the terminal's hub, which has a token."""
    terminal.ok(*TOKEN)
    return terminal.folder / "data" / "master.key"


def test_a_new_key_is_one_that_master_keys_takes(empty_terminal: Terminal) -> None:
    one, other = empty_terminal.ok("key", "new"), empty_terminal.ok("key", "new")
    assert len(decode_key(one)) == 32
    assert one != other
    found = empty_terminal.json("key", "new")
    assert len(decode_key(found["key"])) == 32
    assert list(empty_terminal.folder.iterdir()) == []


def test_a_new_key_in_a_file_is_for_its_owner_and_never_over_another(empty_terminal: Terminal) -> None:
    path = empty_terminal.folder / "new.key"
    said = empty_terminal.ok("key", "new", "--out", "new.key")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    text = path.read_text()
    assert len(decode_key(text)) == 32
    assert text.strip() not in said
    assert "new.key: is there already, " in empty_terminal.refused(Exit.CONFLICT, "key", "new", "--out", "new.key")
    assert path.read_text() == text
    assert empty_terminal.json("key", "new", "--out", "b.key").keys() == {"file", "key_id"}
    assert "no/such/new.key: No such file" in empty_terminal.refused(1, "key", "new", "--out", "no/such/new.key")
    assert "new.key/x: Not a directory" in empty_terminal.refused(1, "key", "new", "--out", "new.key/x")


SERVE = ("serve", "--listen", "127.0.0.1:0")
VERBS = (("order", "list"), ("token", "eab", "Firewall 01"), ("db", "reseal"), ("init", "--hub"), ("worker",), SERVE)


@pytest.mark.parametrize("verb", VERBS, ids=" ".join)
def test_a_founded_hub_without_its_key_says_which_and_makes_none(
    verb: tuple[str, ...], terminal: Terminal, key_file: Path
) -> None:
    key_file.unlink()
    said = terminal.refused(Exit.FAILED, *verb)
    assert said.startswith("acmehub: the master key data/master.key is missing, ")
    assert "put the file back, restore it from a backup, or name the key in master_keys (ACMEHUB_MASTER_KEYS)" in said
    assert not key_file.exists()


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("", "the master key is empty"),
        ("\n", "the master key is empty"),
        (OTHER[:20], "a master key has 15 bytes instead of 32"),
        ("half a key", "a master key is not base64url of 32 bytes"),
        (encode_key(bytes(31)), "a master key has 31 bytes instead of 32"),
        ("ä", "the master key cannot be read: not text"),
    ],
)
def test_a_key_file_that_holds_no_key_is_named(terminal: Terminal, key_file: Path, content: str, why: str) -> None:
    key_file.write_text(content)
    assert terminal.refused(Exit.FAILED, "order", "list") == f"acmehub: data/master.key: {why}"
    assert key_file.read_text() == content


def test_a_directory_instead_of_the_key_file_is_named(terminal: Terminal, key_file: Path) -> None:
    key_file.unlink()
    key_file.mkdir()
    said = terminal.refused(Exit.FAILED, "order", "list")
    assert said == "acmehub: data/master.key: the master key cannot be read: it is a directory"


def test_a_key_of_the_configuration_that_is_none_is_named_by_its_place(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ACMEHUB_MASTER_KEYS", f"{OTHER},short")
    said = terminal.refused(Exit.USAGE, "order", "list")
    assert said.startswith("acmehub: environment variable ACMEHUB_MASTER_KEYS: $.master_keys[1]: ")
    assert said.endswith(": `acmehub key new` makes one")
    monkeypatch.delenv("ACMEHUB_MASTER_KEYS")
    file = terminal.folder / "acmehub.toml"
    file.touch(0o600)
    file.write_text('listen = ":1"\nmaster_keys = ["short"]\n')
    said = terminal.refused(Exit.USAGE, "order", "list")
    assert said.startswith(f"acmehub: {file}:2: $.master_keys[0]: ")


@pytest.mark.parametrize("verb", [("order", "list"), ("db", "reseal"), SERVE, ("worker",)], ids=" ".join)
def test_a_key_that_opens_nothing_is_said_at_the_start(
    verb: tuple[str, ...], terminal: Terminal, key_file: Path
) -> None:
    key_file.write_text(OTHER)
    said = terminal.refused(Exit.FAILED, *verb)
    assert "secrets in the storage are sealed under a master key that is not in data/master.key (key id " in said
    assert said.endswith("): add that key to master_keys, behind the first one")


def test_a_key_in_the_environment_beside_the_file_that_is_needed(
    terminal: Terminal, key_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ACMEHUB_MASTER_KEYS", OTHER)
    said = terminal.refused(Exit.FAILED, "order", "list")
    assert said.endswith(f"it is in data/master.key; add that to master_keys as file:{Path('data/master.key')}")
    monkeypatch.setenv("ACMEHUB_MASTER_KEYS", f"{OTHER},file:data/master.key")
    assert terminal.ok("order", "list") == "no orders\n"


def mixed(terminal: Terminal, monkeypatch: pytest.MonkeyPatch, key_file: Path) -> None:
    """A hub with a token under a key that is gone, and everything else under the one that is there."""
    monkeypatch.setenv("ACMEHUB_MASTER_KEYS", f"{OTHER},{key_file.read_text().strip()}")
    terminal.ok("token", "add", "Lost", "--names", "lost.corp.test")
    monkeypatch.delenv("ACMEHUB_MASTER_KEYS")


def test_reseal_counts_and_names_what_it_could_not_open_and_fails(
    terminal: Terminal, key_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mixed(terminal, monkeypatch, key_file)
    new = terminal.json("key", "new")["key"]
    monkeypatch.setenv("ACMEHUB_MASTER_KEYS", f"{new},{key_file.read_text().strip()}")
    status, out, _ = terminal("db", "reseal")
    assert status == Exit.FAILED
    assert out.startswith(
        "2 of 3 rows sealed again under the first master key; 1 secrets could not be opened:\n✗ token"
    )
    assert "'Lost'" in out
    again = terminal.json("db", "reseal", status=1)
    assert (again["rows"], again["resealed"], len(again["unopened"])) == (3, 0, 1)


def test_a_start_tells_what_of_the_secrets_no_key_opens(
    terminal: Terminal, key_file: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from acmehub.app.hub import build_hub
    from acmehub.config import load_config

    mixed(terminal, monkeypatch, key_file)

    async def start() -> None:
        async with build_hub(load_config(overrides={"data_dir": Path("data")})).running(serve=True):
            return

    asyncio.run(start())
    assert "1 of 3 secrets in the storage are sealed under a master key that is not in data/master.key" in caplog.text


def test_reseal_where_nothing_is_sealed_says_so(terminal: Terminal) -> None:
    terminal.ok("authority", "remove", "local")
    assert terminal.ok("db", "reseal") == "there are no secrets in the storage: nothing to seal again\n"


def test_a_master_key_is_exchanged_as_the_documentation_says(terminal: Terminal) -> None:
    terminal.ok(*TOKEN)
    before = terminal.json("token", "eab", "Firewall 01")
    etc = terminal.folder / "etc"
    etc.mkdir()
    (terminal.folder / "data" / "master.key").rename(etc / "master.key")
    steps = [
        (match["kind"], match["body"].replace("/etc/acmehub", "etc")) for match in FENCE.finditer(PAGE.read_text())
    ]
    steps = [(kind, body) for kind, body in steps if kind.endswith(" rotation")]
    assert [kind.split()[0] for kind, _ in steps] == ["console", "toml", "console", "toml"]
    for kind, body in steps:
        if kind.startswith("toml"):
            (terminal.folder / "acmehub.toml").write_text(body)
        else:
            program, *arguments = body.removeprefix("$ ").split()
            assert program == "acmehub"
            terminal.ok(*arguments)
    (etc / "master.key").unlink()
    assert terminal.json("token", "eab", "Firewall 01") == before
