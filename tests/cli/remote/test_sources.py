"""`env:` and `file:` are read where the command runs, in secrets alone, before anything is sent."""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from acmehub.admin.access.errors import Invalid
from acmehub.admin.resources.authorities import AuthorityPatch
from acmehub.admin.resources.document import InvalidFile, read_document
from acmehub.admin.resources.managed_challenges import ManagedChallengePatch, NewManagedChallenge
from acmehub.admin.resources.tokens import TokenPatch
from acmehub.admin.resources.with_plugins import Sources
from acmehub.cli.remote.admin import remote_admin
from acmehub.cli.shared.remote_hub import RemoteHub
from acmehub.cli.shared.session import NOBODY
from acmehub.models import TokenLimits
from acmehub.runtime.plugin_details import plugin_details
from acmehub.runtime.plugins import Registry
from tests.http_client.servers import Answering, ok, serving

FILE = """
[[managed_challenge]]
name = "zone"
plugin = "dns_rfc2136"
match = "a.test"
settings = { server = "env:SERVER", key_name = "hub.", key_secret = "file:tsig" }

[[principal]]
name = "p"
"""


def done(item: Any) -> bytes:
    return ok(msgspec.json.encode(item), "Content-Type: application/json")


PLUGIN = done(plugin_details(Registry(), "dns_rfc2136"))
VIEW = done(
    {
        "name": "zone",
        "plugin": "dns_rfc2136",
        "match": "a.test",
        "id": "1",
        "version": 1,
        "created": "2027-01-01T00:00:00Z",
    }
)


class Sent:
    """What a server was sent while a verb ran."""

    def __init__(self, *answers: bytes) -> None:
        self.server = Answering(*answers)

    @property
    def body(self) -> Any:
        return json.loads(self.server.requests[-1].body)


async def test_secrets_are_read_here_and_other_settings_go_as_they_are(tmp_path: Path, token_file: Path) -> None:
    (tmp_path / "tsig").write_text("c2VjcmV0\n")
    sources = Sources({"SERVER": "no"}, tmp_path)
    sent = Sent(PLUGIN, VIEW)
    settings = {"server": "env:SERVER", "key_name": "hub.", "key_secret": "file:tsig"}
    new = NewManagedChallenge(name="zone", plugin="dns_rfc2136", match="a.test", settings=settings)
    async with serving(sent.server) as port, remote_admin(at(port, token_file)) as (admin, _):
        await admin.managed_challenges.add(new, NOBODY, sources=sources)
    assert sent.body["settings"] == {**settings, "key_secret": "c2VjcmV0"}
    assert [line.split()[:2] for line in sent.server.lines] == [
        ["GET", "/api/v1/plugins/dns_rfc2136"],
        ["POST", "/api/v1/managed-challenges"],
    ]


async def test_a_change_of_settings_asks_which_plugin_it_is_about(tmp_path: Path, token_file: Path) -> None:
    sent = Sent(VIEW, PLUGIN, VIEW)
    async with serving(sent.server) as port, remote_admin(at(port, token_file)) as (admin, _):
        patch = ManagedChallengePatch(settings={"key_secret": "env:TSIG", "port": None})
        await admin.managed_challenges.set("zone", patch, NOBODY, sources=Sources({"TSIG": "x"}, tmp_path))
    assert sent.body == {"settings": {"key_secret": "x", "port": None}}


async def test_a_source_that_is_missing_is_told_and_nothing_is_sent(tmp_path: Path, token_file: Path) -> None:
    sent = Sent(PLUGIN)
    new = NewManagedChallenge(name="z", plugin="dns_rfc2136", match="a.test", settings={"key_secret": "env:TSIG"})
    async with serving(sent.server) as port, remote_admin(at(port, token_file)) as (admin, _):
        with pytest.raises(Invalid, match=r"settings\.key_secret: the environment has no variable TSIG"):
            await admin.managed_challenges.add(new, NOBODY, sources=Sources({}, tmp_path))
        document = read_document(FILE, "r.toml")
        with pytest.raises(InvalidFile) as raised:
            await admin.resources_file.apply(document, NOBODY, sources=Sources({}, tmp_path))
    assert raised.value.errors[0].startswith(
        f"r.toml:6: [[managed_challenge]] 'zone': settings.key_secret: {tmp_path / 'tsig'} cannot be read"
    )
    assert {line.split()[0] for line in sent.server.lines} == {"GET"}


async def test_a_file_is_sent_as_its_entries_with_what_they_say(tmp_path: Path, token_file: Path) -> None:
    (tmp_path / "tsig").write_text("c2VjcmV0")
    sent = Sent(PLUGIN, done({"changes": []}))
    async with serving(sent.server) as port, remote_admin(at(port, token_file)) as (admin, _):
        document = read_document(FILE, "r.toml")
        await admin.resources_file.apply(document, NOBODY, sources=Sources({}, tmp_path), dry_run=True)
    assert sent.server.lines[-1] == "POST /api/v1/apply?dry_run=true HTTP/1.1"
    assert sent.body == {
        "managed_challenge": [
            {
                "name": "zone",
                "plugin": "dns_rfc2136",
                "match": "a.test",
                "settings": {"server": "env:SERVER", "key_name": "hub.", "key_secret": "c2VjcmV0"},
            }
        ],
        "principal": [{"name": "p"}],
    }


async def test_a_struct_of_a_change_says_each_of_its_fields(token_file: Path) -> None:
    sent = Sent(ok(b"", "Content-Type: application/json"))
    async with serving(sent.server) as port, remote_admin(at(port, token_file)) as (admin, _):
        with pytest.raises(Exception, match="not what this command knows"):
            await admin.tokens.set("a/b", TokenPatch(limits=TokenLimits(names=9)), NOBODY)
    assert sent.server.lines[0].startswith("GET /api/v1/tokens?")  # which id has this name?


async def test_a_merge_patch_takes_away_what_is_not_given(token_file: Path) -> None:
    sent = Sent(ok(b"{}", "Content-Type: application/json"))
    async with serving(sent.server) as port, remote_admin(at(port, token_file)) as (admin, _):
        with pytest.raises(Exception, match="not what this command knows"):
            await admin.tokens.set("t", TokenPatch(limits=TokenLimits(names=9)), NOBODY)
        with pytest.raises(Exception, match="not what this command knows"):
            await admin.authorities.set("a", AuthorityPatch(enabled=False), NOBODY)
    limits = json.loads(sent.server.requests[0].body)["limits"]
    assert {name for name, value in limits.items() if value is None} == set(TokenLimits.__struct_fields__) - {"names"}
    assert limits["names"] == 9
    assert sent.body == {"enabled": False}
    assert sent.server.requests[0].headers["content-type"] == "application/merge-patch+json"


def at(port: int, token_file: Path) -> RemoteHub:
    return RemoteHub(f"http://127.0.0.1:{port}", token_file, None)
