"""Fuzzing of the whole server: correctly signed requests with invalid payloads and URLs."""

import json
from collections.abc import Callable
from functools import partial
from random import Random
from typing import Any
from urllib.parse import quote

from cryptography.hazmat.primitives.serialization import Encoding

from acmehub.models import AuthorizationMode
from acmehub.testing.acme_keys import AccountKey, b64, compact
from tests.acme.machine_acts import Acts
from tests.acme.machine_world import World
from tests.fuzz.certificates import make_csr
from tests.fuzz.jws import damaged
from tests.fuzz.mutation import mutate_bytes, mutate_der, mutate_json
from tests.fuzz.running import Target

LONGEST = 0.5  # a request that opens an order, and the client's own work for it
NAMES = ["a.corp.test", "*.b.corp.test"]
Payload = Callable[[Random], bytes]


class Server:
    """A hub with an order in each state; every input is a signed POST to one of its resources."""

    def __init__(self) -> None:
        self.world = World()
        self.acts = Acts(self.world, "fuzzer/1", AuthorizationMode.PREAPPROVED)
        for _ in range(2):
            self.acts.order(NAMES)
        for known in self.acts.orders:
            known.together(*self.world.run(self.world.shown(known.url)))
        self.world.run(self.world.work())
        issued = self.acts.orders[-1]
        self.acts.finalize(issued)
        self.world.settle()
        self.acts.read(issued)
        self._resources = tuple(self._with_payloads())

    def close(self) -> None:
        """End the hub."""
        self.world.close()

    def target(self) -> Target:
        """What to fuzz."""
        return Target("http", self.make, self.take, LONGEST)

    def make(self, chance: Random) -> bytes:
        """A URL's path and a payload; now and then the path is damaged as well."""
        url, payload = chance.choice(self._resources)
        path = url.removeprefix(self.world.urls.base)
        if chance.random() < 0.1:
            path = "/acme/" + quote(mutate_bytes(chance, path[6:].encode()))
        return path.encode() + b"\n" + payload(chance)

    def take(self, data: bytes) -> str:
        """The status and the problem's type; `World.act` asserts that it is no 500."""
        path, _, payload = data.partition(b"\n")
        url = self.world.urls.base + path.decode("latin-1")
        reply = self.world.run(self.world.act_raw(self.acts.client, url, payload))
        return f"{reply.status} {reply.problem}"

    def _with_payloads(self) -> list[tuple[str, Payload]]:
        client, pending = self.acts.client, self.acts.orders[0]
        directory, authorization = client.directory, next(iter(pending.authorizations))
        identifiers = [{"type": "dns", "value": name} for name in NAMES]
        profile = {"profile": "x", "replaces": "aGk.aGk", "notBefore": "2026-11-24T00:00:00Z"}
        status = {"status": "deactivate"}  # one letter from it
        plain: list[tuple[str, dict[str, Any]]] = [
            (directory["newOrder"], {"identifiers": identifiers}),
            (directory["newOrder"], {"identifiers": identifiers[:1], **profile}),
            (directory["newAuthz"], {"identifier": identifiers[0]}),
            (directory["newAccount"], {"onlyReturnExisting": True}),
            (client.kid, {"contact": ["mailto:ops@example.org"], **status}),
            (f"{client.kid}/orders", {}),
            (authorization, status),
            (next(iter(pending.challenges.values()))[0], {}),
            (pending.url, {}),
            (self.acts.orders[-1].seen["certificate"], {}),
        ]
        found: list[tuple[str, Payload]] = [(url, partial(_json, good)) for url, good in plain]
        finalize = partial(_of_der, "csr", make_csr)
        found += [(known.seen["finalize"], finalize) for known in self.acts.orders]
        leaf = self.world.relay.ca.issued[0].public_bytes(Encoding.DER)
        found.append(
            (directory["revokeCert"], partial(_of_der, "certificate", lambda chance: mutate_der(chance, leaf)))
        )
        found.append((directory["keyChange"], self._key_change))
        return found

    def _key_change(self, chance: Random) -> bytes:
        client, new, url = self.acts.client, AccountKey.generate(), self.acts.client.directory["keyChange"]
        asked = {"account": client.kid, "oldKey": client.key.jwk}
        if chance.random() < 0.5:
            asked["account"] = client.kid[:-1]  # else the key might change
        return damaged(chance, {"alg": new.alg, "url": url + "s", "jwk": new.jwk}, asked, new.sign)


def _json(good: dict[str, Any], chance: Random) -> bytes:
    return mutate_json(chance, good).encode("utf-8", "surrogatepass") if chance.random() < 0.9 else compact(good)


def _of_der(member: str, make: Payload, chance: Random) -> bytes:
    return json.dumps({member: b64(make(chance)[:30_000]), "reason": chance.choice((0, 1, 2, 99))}).encode()
