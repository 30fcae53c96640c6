"""What clients do in the state machine, each act with what its answer must be.

docs/client-rules.md sections 4.1 and 4.2.
"""

import asyncio
import hashlib
import json
from collections.abc import Sequence
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.serialization import Encoding

from acmehub.models import AuthorizationMode
from acmehub.testing.acme_client import AcmeClient, Reply, check_authorization, check_order
from acmehub.testing.acme_keys import AccountKey, b64, compact, make_csr
from tests.acme.machine_model import Known
from tests.acme.machine_world import World

BAD_CSRS = ("other names", "account key", "garbage")


class Acts:
    """One account under test, another one that is curious, and what is known of the first one's orders.

    `orders` are those of the account, `orphans` those of accounts that were deactivated.
    """

    def __init__(self, world: World, agent: str, mode: AuthorizationMode) -> None:
        self.world = world
        self.mode = mode
        self.orders: list[Known] = []
        self.orphans: list[Known] = []
        self.client, self._external = world.run(world.client(agent, mode))
        self.stranger, _ = world.run(world.client("strict-client/1", AuthorizationMode.PREAPPROVED))

    def post(self, url: str, payload: object = None, *, by: AcmeClient | None = None) -> Reply:
        return self.world.run(self.world.act(by or self.client, url, payload))

    def refused(self, reply: Reply, status: int, problem: str) -> None:
        assert (reply.status, reply.problem) == (status, problem), reply.body

    # ------------------------------------------------------------------------------------------------ orders

    def order(self, names: Sequence[str]) -> None:
        """Rules 2, 3, 7, 11; the answer may be an order that is open already."""
        asked = {"identifiers": [{"type": "dns", "value": name} for name in names]}
        reply = self.post(self.client.directory["newOrder"], asked)
        assert reply.status == 201, reply.body
        check_order(reply)
        found = reply.json
        assert found["status"] in ("pending", "ready")
        joined = next((item for item in self.orders if item.url == reply.location), None)
        if joined is not None:
            joined.saw_order(found)
            return
        assert [item["value"] for item in found["identifiers"]] == names
        self.orders.append(Known(reply.location, found))

    def read(self, known: Known) -> None:
        reply = self.post(known.url)
        assert (reply.status, reply.location) == (200, known.url)
        check_order(reply)
        known.saw_order(reply.json)

    def read_authorization(self, known: Known, url: str) -> dict[str, Any]:
        reply = self.post(url)
        assert reply.status == 200
        check_authorization(reply)
        found: dict[str, Any] = reply.json
        asked = known.seen["identifiers"][known.seen["authorizations"].index(url)]["value"]
        assert found["identifier"]["value"] == asked.removeprefix("*.")
        assert found.get("wildcard", False) == asked.startswith("*.")
        known.saw_authorization(url, found)
        return found

    def answer(self, known: Known, url: str, kind: int | str, *, plants: bool = True, times: int = 1) -> None:
        """Rules 5, 15: a challenge that is listed can be answered in any state, and again."""
        found = self.read_authorization(known, url)
        listed = found["challenges"]
        wanted = [item for item in listed if item["type"] == kind]
        challenge = wanted[0] if wanted else listed[0 if isinstance(kind, str) else kind % len(listed)]
        if plants:
            digest = hashlib.sha256(f"{challenge['token']}.{self.client.key.thumbprint}".encode()).digest()
            self.world.plant(found["identifier"]["value"], b64(digest))
        for _ in range(times):
            reply = self.post(challenge["url"], {})
            assert reply.status == 200, reply.body
            assert reply.json["url"] == challenge["url"]
            assert reply.links("up") == [url]
            assert reply.retry_after is None or reply.json["status"] in ("pending", "processing")
            assert "error" not in reply.json or reply.json["status"] == "invalid"

    def deactivate_authorization(self, known: Known, url: str) -> None:
        """Rule 10; what is over for another reason stays as it is."""
        before = known.authorizations[url]
        reply = self.post(url, {"status": "deactivated"})
        assert reply.status == 200, reply.body
        check_authorization(reply)
        over = {"pending": {"deactivated", "invalid"}, "valid": {"deactivated", "expired"}}.get(before, {before})
        assert reply.json["status"] in over, f"{before} -> {reply.json['status']}"

    # ---------------------------------------------------------------------------------------------- finalize

    def csr(self, known: Known, kind: str = "good") -> bytes:
        names = [item["value"] for item in known.seen["identifiers"]]
        match kind:
            case "same" if known.csr is not None:
                return known.csr
            case "of another order":
                used = [item.csr for item in self.orders if item.csr and item.names == known.names]
                return used[0] if used else make_csr(names)[0]
            case "other names":
                return make_csr([*names, "evil.test"])[0]
            case "account key":
                key = self.client.key.private
                assert isinstance(key, EllipticCurvePrivateKey)
                return make_csr(names, key=key)[0]
            case "garbage":
                return b"\x30\x03\x02\x01\x00"
        return make_csr(names)[0]

    def finalize(self, known: Known, kind: str = "good") -> None:
        """Rules 3, 4, 5: taken when the order is ready, and the same CSR again; else refused in words."""
        csr, before = self.csr(known, kind), known.status
        reply = self.post(known.seen["finalize"], {"csr": b64(csr)})
        if kind in BAD_CSRS:
            self.refused(reply, 400, "badCSR")
        elif (known.csr == csr and before != "invalid") or self._can_finalize(known):
            self._taken(known, csr, reply)
        else:
            self.refused(reply, 403, "orderNotReady")

    def finalize_twice(self, known: Known, *, same: bool, works: bool) -> None:
        """Two CSRs at once: one is taken; the same one twice: both are answered alike. The worker may be at it."""
        first = self.csr(known)
        second = first if same else self.csr(known)
        can, world, url = self._can_finalize(known), self.world, known.seen["finalize"]

        async def both() -> list[Reply]:
            async with asyncio.TaskGroup() as group:
                acts = [group.create_task(world.act(self.client, url, {"csr": b64(csr)})) for csr in (first, second)]
                if works:
                    group.create_task(world.work())
            return [act.result() for act in acts]

        replies = world.run(both())
        statuses = sorted(reply.status for reply in replies)
        if can:
            assert statuses == ([200, 200] if same else [200, 403]), statuses
        elif known.status != "pending" or not works:  # the worker may have made it ready in between
            assert statuses == [403, 403], statuses
        for csr, reply in zip((first, second), replies, strict=True):
            if reply.status == 200:
                self._taken(known, csr, reply)
            else:
                self.refused(reply, 403, "orderNotReady")

    def _can_finalize(self, known: Known) -> bool:
        return known.csr is None and known.status == "ready" and known.expires > self.world.clock.now()

    def _taken(self, known: Known, csr: bytes, reply: Reply) -> None:
        assert (reply.status, reply.location) == (200, known.url), reply.body
        check_order(reply)
        known.csr = csr
        known.saw_order(reply.json)

    def download(self, known: Known) -> None:
        """The leaf is for the CSR's key and the order's names; every alternate that is offered is there."""
        assert known.csr is not None
        reply = self.post(known.seen["certificate"])
        assert (reply.status, reply.headers["content-type"]) == (200, "application/pem-certificate-chain")
        leaf = x509.load_pem_x509_certificates(reply.body)[0]
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        assert set(names.get_values_for_type(x509.DNSName)) == known.names
        assert leaf.public_key() == x509.load_der_x509_csr(known.csr).public_key()
        for url in reply.links("alternate"):
            assert self.post(url).status == 200

    def go_on(self, known: Known) -> None:
        """What a client that knows its business does next."""
        match known.status:
            case "pending":
                for url in known.seen["authorizations"]:
                    self.answer(known, url, "dns-01")
            case "ready" if known.expires > self.world.clock.now():
                self.finalize(known)
            case "valid":
                self.download(known)
        self.read(known)

    # ---------------------------------------------------------------------------------------------- accounts

    def register_again(self) -> None:
        """Rule 11: 200 and the same URL, without another binding."""
        for members in ({}, {"onlyReturnExisting": True}, {"contact": ["mailto:ops@example.org"]}):
            kid, self.client.kid = self.client.kid, ""
            reply = self.post(self.client.directory["newAccount"], members)
            self.client.kid = kid
            assert (reply.status, reply.location) == (200, kid)

    def deactivate_account(self) -> None:
        """Nothing is served to it any more; its owner begins anew, with the same credentials."""
        gone, new_order = self.client, self.client.directory["newOrder"]
        reply = self.post(gone.kid, {"status": "deactivated"})
        assert (reply.status, reply.json["status"]) == (200, "deactivated")
        for url in (gone.kid, new_order, *(item.url for item in self.orders)):
            self.refused(self.post(url, {} if url == new_order else None), 401, "unauthorized")
        self.orphans += self.orders
        self.orders = []
        self.client = self.world.run(self.world.lab.stranger(gone.user_agent))
        self.world.run(self.client.register(self._external, status=201))

    def change_key(self) -> None:
        """The account goes on under its new key, also with what is under way, and the old one is refused."""
        old, new, url = self.client.key, AccountKey.generate(), self.client.directory["keyChange"]
        asked = compact({"account": self.client.kid, "oldKey": old.jwk})
        reply = self.post(url, json.loads(new.jws({"url": url, "jwk": new.jwk}, asked)))
        assert reply.status == 200, reply.body
        self.refused(self.post(self.client.kid), 400, "malformed")
        self.client.key = new

    def revoke(self, known: Known) -> None:
        """Once is 200, twice is `alreadyRevoked`; a CA that cannot do it now is a 503 that says when to come back."""
        chain = self.post(known.seen["certificate"])
        leaf = x509.load_pem_x509_certificates(chain.body)[0].public_bytes(Encoding.DER)
        reply = self.post(self.client.directory["revokeCert"], {"certificate": b64(leaf)})
        if known.revoked:
            self.refused(reply, 400, "alreadyRevoked")
        else:
            assert reply.status in (200, 503), reply.body
            known.revoked = reply.status == 200

    def list_orders(self) -> None:
        """Those that are invalid need not be listed (RFC 8555 section 7.1.2.1)."""
        reply = self.post(f"{self.client.kid}/orders")
        assert reply.status == 200
        listed = set(reply.json["orders"])
        assert listed <= {item.url for item in self.orders}
        assert listed >= {item.url for item in self.orders if item.status != "invalid"}

    def ask_as_a_stranger(self, known: Known) -> None:
        """Foreign and missing objects answer alike, for every verb."""
        missing = self.post(self.world.urls.order("0" * 44), by=self.stranger)
        authorization, challenges = next(iter(known.challenges.items()))
        tries: list[tuple[str, object]] = [
            (known.url, None),
            (known.seen["finalize"], {"csr": b64(self.csr(known))}),
            (authorization, None),
            (authorization, {"status": "deactivated"}),
            (challenges[0], {}),
            (f"{self.client.kid}/orders", None),
            (self.client.kid, {"status": "deactivated"}),
        ]
        if known.status == "valid":
            tries.append((known.seen["certificate"], None))
        for url, payload in tries:
            reply = self.post(url, payload, by=self.stranger)
            assert (reply.status, reply.body) == (404, missing.body), url

    def replay(self, known: Known) -> None:
        """The very same request once more is refused by its nonce."""
        run = self.world.run
        body = run(self.client.sign(known.url, b""))
        first, second = (run(self.client.send(known.url, body)) for _ in range(2))
        assert first.status == 200 or first.problem == "badNonce"  # too old, when an hour has passed since
        self.refused(second, 400, "badNonce")
