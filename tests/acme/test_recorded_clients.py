"""Clients that only `make matrix` runs: what they sent (tests/data/2026-11-28-what-clients-sent) is read again, and
answered by this server. `python -m tests.matrix.record` writes it down."""

import json
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from acmehub.models import AuthorizationMode
from acmehub.rules.jws import Flattened, Jws, load_key, parse, read_flattened, verify
from acmehub.testing.acme_client import Reply
from acmehub.testing.acme_keys import compact
from tests.acme.lab import Lab

FOLDER = Path(__file__).resolve().parent.parent / "data" / "2026-11-28-what-clients-sent"
ORIGIN = "https://localhost"
OWN_HEADER = ("alg", "nonce", "url", "kid", "jwk")


class Post(NamedTuple):
    """A signed request."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def parts(self) -> Flattened:
        return read_flattened(self.body)


class Recording(NamedTuple):
    """One client's way to its certificate."""

    client: str
    user_agent: str
    posts: list[Post]

    def post(self, ending: str) -> Post:
        """The last one to a path with this end: those before it may have been refused, as acme-client's question
        whether there is an account."""
        return [post for post in self.posts if post.path.endswith(ending)][-1]


def read(path: Path) -> Recording:
    told = json.loads(path.read_text())
    posts = [
        Post(item["path"], item["headers"], item["body"].encode())
        for item in told["requests"]
        if item["method"] == "POST"
    ]
    return Recording(told["client"], posts[0].headers.get("user-agent", ""), posts)


RECORDINGS = [read(path) for path in sorted(FOLDER.glob("*.json"))]
each_client = pytest.mark.parametrize("recording", RECORDINGS, ids=lambda item: item.client)


def test_the_clients_are_there() -> None:
    assert {item.client for item in RECORDINGS} == {
        "acme2",
        "acme2-eab",
        "certbot (Debian 11)",
        "certbot (Ubuntu 22.04)",
        "getssl",
        "nginx-acme",
        "OpenBSD acme-client",
        "ruby-acme-client",
    }


@each_client
def test_its_signatures_are_verified_over_the_bytes_that_it_sent(recording: Recording) -> None:
    read_again = [(post, parse(post.body)) for post in recording.posts]
    key = load_key(next(jws.jwk for _, jws in read_again if jws.jwk))
    for post, jws in read_again:
        verify(jws, key)
        assert jws.url == ORIGIN + post.path
        assert post.headers["content-type"] == "application/jose+json"
        assert post.headers.get("user-agent", "") == recording.user_agent


@each_client
async def test_it_gets_an_account_and_an_order_which_takes_its_csr(lab: Lab, recording: Recording) -> None:
    await lab.managed_challenge("fast.test, *.fast.test")
    _, external = await lab.token(authorization=AuthorizationMode.PREAPPROVED)
    asked = recording.post("/new-account")
    client = await lab.stranger(recording.user_agent, kind=_kind(parse(asked.body)))

    async def again(post: Post, url: str, payload: bytes) -> Reply:
        more = {name: value for name, value in post.parts.header.items() if name not in OWN_HEADER}
        body = await client.sign(url, payload, **more)
        return await client.send(url, body, content_type=post.headers["content-type"])

    url = client.directory["newAccount"]
    members = json.loads(asked.parts.payload) | {"externalAccountBinding": external.binding(client.key, url)}
    account = await again(asked, url, compact(members))
    assert account.status == 201, account.body
    told = ["mailto:ops@example.org"] if "contact" in members else None
    assert account.json.get("contact") == told
    client.kid = account.location

    asked = recording.post("/new-order")
    order = await again(asked, client.directory["newOrder"], asked.parts.payload)
    assert order.status == 201, order.body
    assert order.json["status"] == "ready"

    asked = recording.post("/finalize")
    finalized = await again(asked, order.json["finalize"], asked.parts.payload)
    assert finalized.status == 200, finalized.body
    assert finalized.json["status"] == "processing"


def _kind(jws: Jws) -> str:
    """The kind of the account's key, as `AccountKey.generate` takes it."""
    members: dict[str, Any] = json.loads(jws.jwk or b"{}")
    return str(members.get("crv", members["kty"]))
