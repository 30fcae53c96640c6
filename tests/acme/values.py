"""Requests with any JSON value in any of their members: for tests that nothing but a refusal comes of it."""

import asyncio
import base64
import json
from collections.abc import Awaitable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, TypeVar

from hypothesis import strategies as st

from acmehub.config import Acme
from acmehub.models import AuthorizationMode, new_id
from acmehub.testing.acme_keys import AccountKey, b64, compact, make_csr
from tests.acme.lab import laboratory

T = TypeVar("T")
NAME = "a.corp.test"
Place = tuple[str | int, ...]

ODD_TEXTS = (
    "",
    "\0",
    "\ud800",
    "\udfff\ud800",
    "a\0b",
    "x" * 5000,
    "null",
    "0001-01-01T00:00:00+23:59",
    "0001-01-01T00:00:00-23:59",
    "9999-12-31T23:59:59.999999-23:59",
    "9999-12-31T23:59:60Z",
    "2026-13-01T00:00:00Z",
    "٢٠٢٦-11-28T00:00:00Z",
    "*.",
    "\u212a.corp.test",
    "https://hub.test/acme/acct/\0",
    "https://hub.test/acme/acct/\ud800",
    f"https://hub.test/acme/acct/{new_id()}",
    "mailto:\0@corp.test",
    "aGk.aGk",
    "AAAA",
)
HARDEST = tuple(text for text in ODD_TEXTS if "\0" in text or "\ud800" in text or "23:59" in text)
TEXTS = st.sampled_from(ODD_TEXTS) | st.text(st.characters(codec=None), max_size=12)
SIMPLE = TEXTS | st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats()
VALUES = st.recursive(SIMPLE, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3))


class Target:
    """A request that is good: where it goes, what it carries, and (for a `key` request) that the key signs it."""

    def __init__(self, url: str, payload: dict[str, Any], *, by_key: bool = False) -> None:
        self.url = url
        self.payload = payload
        self.by_key = by_key


class Server:
    """A hub without a worker, with an order and what belongs to it."""

    def __init__(self, folder: Path, **config: Any) -> None:
        self._runner = asyncio.Runner()
        self._exits = AsyncExitStack()
        self.lab = self.run(self._exits.enter_async_context(laboratory(folder, Acme(hold=0.0), **config)))
        self.targets = self.run(self._prepare())

    def run(self, work: Awaitable[T]) -> T:
        async def wait() -> T:
            return await work

        return self._runner.run(wait())

    def close(self) -> None:
        self.run(self._exits.aclose())
        self._runner.close()

    async def _prepare(self) -> list[Target]:
        lab = self.lab
        await lab.managed_challenge()
        self.client = client = await lab.client(authorization=AuthorizationMode.ACCEPT)
        _, external = await lab.token()
        self.stranger = stranger = await lab.stranger()
        placed = await client.new_order([NAME])
        authorization = placed.json["authorizations"][0]
        challenge = (await client.authorization(authorization)).json["challenges"][0]["url"]
        identifier = {"type": "dns", "value": NAME}
        directory = client.directory
        dates = {"notBefore": "2026-11-28T00:00:00Z", "notAfter": "2036-11-28T00:00:00Z"}
        self.dated = Target(directory["newOrder"], {"identifiers": [identifier], **dates})
        new = AccountKey.generate()
        inner = new.jws(
            {"jwk": new.jwk, "url": directory["keyChange"]}, compact({"account": client.kid, "oldKey": client.key.jwk})
        )
        binding = external.binding(stranger.key, directory["newAccount"])
        account = {"contact": ["mailto:a@corp.test"], "termsOfServiceAgreed": True, "onlyReturnExisting": False}
        return [
            Target(directory["newAccount"], {**account, "externalAccountBinding": binding}, by_key=True),
            Target(client.kid, {"contact": ["mailto:a@corp.test"], "status": "valid"}),
            Target(f"{client.kid}/orders", {}),
            Target(
                directory["newOrder"], {"identifiers": [identifier], "profile": "x", "replaces": "aGk.aGk", **dates}
            ),
            self.dated,
            Target(directory["newAuthz"], {"identifier": identifier}),
            Target(placed.location, {}),
            Target(authorization, {"status": "valid"}),
            Target(challenge, {}),
            Target(placed.json["finalize"], {"csr": b64(make_csr([NAME])[0])}),
            Target(directory["revokeCert"], {"certificate": "MAA", "reason": 1}),
            Target(directory["revokeCert"], {"certificate": "MAA", "reason": 1}, by_key=True),
            Target(directory["keyChange"], json.loads(inner)),
            Target(directory["newNonce"], {}),
        ]

    async def send(self, target: Target, place: Place, value: object) -> int:
        """Send the request with `value` at a place, everything around it well signed; the answer's status."""
        client = self.stranger if target.by_key else self.client
        header: dict[str, Any] = {"alg": client.key.alg, "nonce": await client.nonce(), "url": target.url}
        header |= {"jwk": client.key.jwk} if target.by_key else {"kid": client.kid}
        payload: Any = target.payload
        if place[0] == "header":
            header = replaced(header, place[1:], value)
        elif place[0] == "payload":
            payload = replaced(payload, place[1:], value)
        elif place[0] == "inside":  # a member of the header or the payload of a JWS within the payload
            payload = with_inner(payload, place[1:], value)
        body = json.loads(client.key.jws(header, json.dumps(payload).encode()))
        if place[0] == "body":
            body = replaced(body, place[1:], value)
        return (await client.send(target.url, json.dumps(body).encode())).status


def replaced(item: Any, place: Place, value: object) -> Any:
    """The same JSON with `value` at a place."""
    if not place:
        return value
    if isinstance(item, list):
        return [replaced(part, place[1:], value) if at == place[0] else part for at, part in enumerate(item)]
    within: dict[Any, Any] = item if isinstance(item, dict) else {}
    return {**within, place[0]: replaced(within.get(place[0]), place[1:], value)}


def with_inner(payload: Any, place: Place, value: object) -> Any:
    """The payload whose JWS (`place[0]`, or all of it) has `value` at a place of its `protected` or `payload`."""
    outer, part, *rest = place
    jws = payload[outer] if outer else payload
    changed: Any = {**jws, part: b64(json.dumps(replaced(decoded(jws[part]), tuple(rest), value)).encode())}
    return {**payload, outer: changed} if outer else changed


def decoded(text: str) -> Any:
    """The JSON in base64url."""
    return json.loads(base64.urlsafe_b64decode(text + "=="))


def places(target: Target) -> list[Place]:
    """Every place of a request where a value can stand, and one for a member that means nothing."""
    found: list[Place] = [("payload",), ("payload", "more"), ("header", "more")]
    found += [("header", name) for name in ("alg", "nonce", "url", "kid", "jwk", "crit", "b64")]
    found += [("header", "jwk", name) for name in ("kty", "crv", "x", "y", "n", "e", "d")]
    found += [("body", name) for name in ("protected", "payload", "signature", "header", "more")]
    found += [("payload", *place) for place in _within(target.payload)]
    for outer in ("externalAccountBinding", ""):
        jws = target.payload.get(outer) if outer else target.payload
        if isinstance(jws, dict) and "protected" in jws:
            for part in ("protected", "payload"):
                found += [("inside", outer, part), ("inside", outer, part, "nonce"), ("inside", outer, part, "jwk")]
                found += [("inside", outer, part, *place) for place in _within(decoded(jws[part]))]
    return found


def _within(item: Any) -> Iterator[Place]:
    pairs = item.items() if isinstance(item, dict) else enumerate(item) if isinstance(item, list) else ()
    for name, value in pairs:
        yield (name,)
        yield from ((name, *rest) for rest in _within(value))


def check_any_value(server: Server, data: st.DataObject) -> None:
    """One request: any value at any place is no reason for a 5xx."""
    target = data.draw(st.sampled_from(server.targets))
    place = data.draw(st.sampled_from(places(target)))
    status = server.run(server.send(target, place, data.draw(VALUES)))
    assert status < 500, (target.url, place)
