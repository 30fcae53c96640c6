"""`acmehub token … --secret-directory`: made, pinned, shown, rotated, taken away, declared in files, never exported."""

import re

from tests.cli.conftest import Terminal

URL = re.compile(r"https://localhost:8443/acme/[A-Za-z0-9]{32}/directory")
ADD = ("token", "add", "NAS", "--names", "nas.corp.test")
FILE = """
[[principal]]
name = "nas"
roles = ["managed_acme_consumer"]

[[token]]
title = "NAS"
principal = "nas"
secret_directory = true
"""


def urls(text: str) -> set[str]:
    return set(URL.findall(text))


def test_a_token_has_no_secret_directory_unless_asked_for(terminal: Terminal) -> None:
    assert terminal.json(*ADD)["secret_directory"] is False
    assert "secret" not in terminal.ok("token", "show", "NAS")
    assert "secret_directory" not in terminal.json("token", "eab", "NAS")


def test_the_url_is_shown_to_those_who_may_see_it(terminal: Terminal) -> None:
    made = terminal.json(*ADD, "--secret-directory")
    assert made["secret_directory"] is True
    (url,) = urls(made["secret_directory_url"])
    assert urls(terminal.ok("token", "show", "NAS")) == {url}
    assert terminal.json("token", "eab", "NAS")["secret_directory"] == url
    said = terminal.ok("token", "eab", "NAS")
    assert urls(said) == {url}
    assert "acme-tiny" in said
    assert urls(terminal.ok("token", "list")) == set()
    key = url.split("/")[4]
    assert key.encode() not in (terminal.folder / "data" / "acmehub.db").read_bytes()


def test_pinned_it_binds_one_key(terminal: Terminal) -> None:
    assert terminal.json(*ADD, "--secret-directory", "--pin")["use_limit"] == 1
    assert "--pin is a limit of one use" in terminal.refused(2, "token", "add", "x", "--pin", "--use-limit", "3")


def test_the_url_is_rotated_and_taken_away(terminal: Terminal) -> None:
    first = urls(terminal.ok(*ADD, "--secret-directory"))
    second = urls(terminal.ok("token", "set", "NAS", "--secret-directory"))
    assert len(first | second) == 2
    assert urls(terminal.ok("token", "set", "NAS", "--names", "a.test")) == second
    assert urls(terminal.ok("token", "set", "NAS", "--no-secret-directory")) == set()
    assert terminal.json("token", "show", "NAS")["secret_directory"] is False


def test_a_file_can_ask_for_it_and_an_export_has_no_key(terminal: Terminal) -> None:
    (terminal.folder / "r.toml").write_text(FILE)
    assert urls(terminal.ok("apply", "r.toml")) == set()
    url = terminal.json("token", "eab", "NAS")["secret_directory"]
    assert {item["step"] for item in terminal.json("apply", "r.toml")["changes"]} == {"unchanged"}
    assert terminal.json("token", "eab", "NAS")["secret_directory"] == url
    text = terminal.ok("export")
    assert "secret_directory = true" in text
    assert url.split("/")[4] not in text
    (terminal.folder / "r.toml").write_text(FILE.replace("secret_directory = true\n", ""))
    assert "~ token 'NAS': secret_directory" in terminal.ok("apply", "r.toml")
    assert "secret_directory" not in terminal.json("token", "eab", "NAS")
