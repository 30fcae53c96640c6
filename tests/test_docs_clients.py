"""docs/clients.md says the same as `acmehub token eab`, and has a row for each client that the matrix runs."""

import re
from pathlib import Path

import pytest

from acmehub.cli.eab import SHOWN
from acmehub.cli.snippets import FILES, FOLDER, Snippet, Values, snippet, snippets
from tests.matrix import page
from tests.matrix.registry import FROM_SOURCE, clients

RUN = ("runs it", "from source")


def test_the_page_shows_what_the_command_line_prints() -> None:
    assert page.between("snippets") == page.snippets(), "python -m tests.matrix --table writes it"


def test_what_is_said_to_be_run_is_what_the_matrix_pastes() -> None:
    modules = (Path(page.__file__).parent).glob("*.py")
    pasted = {name for module in modules for name in re.findall(r'\bpasted\("([^"]+)"', module.read_text())}
    assert {item.client for item in snippets() if item.matrix in RUN} == pasted


@pytest.mark.parametrize("name", [client.name for client in clients()])
def test_every_client_of_the_matrix_has_a_row(name: str) -> None:
    assert f"| {name} " in page.between("results")


@pytest.mark.parametrize("name", [client.name for client in clients(FROM_SOURCE)])
def test_every_client_from_source_has_a_row_with_its_commit(name: str) -> None:
    assert re.search(rf"^\| {re.escape(name)} \S*-g[0-9a-f]{{10}}", page.between("sources"), re.MULTILINE)


def values(ca: str, secret_directory: str = "") -> Values:
    return Values(
        directory="https://hub.test/acme/directory",
        kid="k",
        hmac_key="h",
        name="host.test",
        ca=ca,
        secret_directory=secret_directory,
    )


@pytest.mark.parametrize("item", snippets(), ids=lambda item: item.client)
def test_nothing_is_left_to_be_filled_in(item: Snippet) -> None:
    for ca in ("", "/etc/ca.pem"):
        text = item.filled(values(ca=ca, secret_directory="https://hub.test/acme/s/directory"))
        assert "[[" not in text
        assert "]]" not in text
        assert not [name for name in Values.__struct_fields__ if "{" + name + "}" in text]
        assert ("/etc/ca.pem" in text + item.heading(values(ca=ca))) == bool(ca)
        assert ("/acme/s/directory" in text) == item.secret_directory


def test_every_file_is_shown() -> None:
    assert sorted(item.name for item in FOLDER.iterdir()) == sorted(f"{name}.txt" for name in FILES)


@pytest.mark.parametrize("item", snippets(), ids=lambda item: item.client)
def test_the_head_of_a_file_says_what_is_there(item: Snippet) -> None:
    assert item.needs in ("", "secret directory")
    assert item.matrix in (*RUN, "no") or (Path(page.__file__).parent / item.matrix).is_dir()


def test_a_ca_file_with_a_blank_in_its_name_is_one_word_for_a_shell() -> None:
    assert "REQUESTS_CA_BUNDLE='/my files/ca.pem' certbot" in snippet("certbot").filled(values(ca="/my files/ca.pem"))


def test_a_client_is_found_by_a_part_of_its_name() -> None:
    assert snippet("MOD_MD").client == "Apache mod_md"
    assert snippet("lego").client == "lego"
    with pytest.raises(KeyError):
        snippet("telnet")


def test_those_that_are_always_shown_are_there() -> None:
    assert [snippet(name).client for name in SHOWN] == list(SHOWN)
