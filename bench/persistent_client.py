"""An ACME client that does not give up: it goes on where it was when a server dies, and asks whichever is there."""

import asyncio
import itertools
import time
from collections.abc import Sequence
from contextlib import ExitStack, closing
from dataclasses import replace
from typing import Any

from bench.acme_client import AccountKey, Client, Stats, Target, Work, check_chain, make_key, make_work
from bench.http import LoadError

PAUSE = 0.2


class PersistentClient:
    """One account; each exchange goes to the next of `targets` in turn (all serve the same URLs)."""

    def __init__(self, targets: Sequence[Target], credentials: dict[str, str], seconds: float = 200.0) -> None:
        self._targets = [replace(target, timeout=20.0) for target in targets]
        self._key = AccountKey("ec256")
        self._eab = (credentials["kid"], credentials["hmac_key"])
        self._kid = ""
        self._seconds = seconds

    async def register(self) -> None:
        """Register the account."""
        client = self._connections()[0]
        with closing(client):
            await client.account()
        self._kid = client.kid

    def _connections(self) -> list[Client]:
        """A connection to each server, for one order: it can carry one request at a time."""
        clients = [Client(target, Stats(), {}, self._key, self._eab) for target in self._targets]
        for client in clients:
            client.kid = self._kid
        return clients

    async def certificate(self, *names: str) -> dict[str, Any]:
        """Order a certificate; the final order object, with the chain in `pem` when it is valid."""
        work = make_work([("dns", name) for name in names], make_key("ec256"), with_cn=False)
        with ExitStack() as stack:
            return await self._ordered(work, [stack.enter_context(closing(item)) for item in self._connections()])

    async def _ordered(self, work: Work, clients: Sequence[Client]) -> dict[str, Any]:
        turn = itertools.cycle(clients)
        deadline = time.monotonic() + self._seconds
        url = ""
        order: dict[str, Any] = {"status": "not placed"}
        while time.monotonic() < deadline:
            client = next(turn)
            try:
                if not url:
                    placed = await client.new_order(work.identifiers)
                    url = placed.headers["location"]
                order = await self._advance(client, url, work)
            except LoadError as error:
                if not error.kind.startswith("transport:"):
                    raise
                await asyncio.sleep(PAUSE)  # it is being restarted
                continue
            if order["status"] in ("valid", "invalid"):
                return {**order, "url": url}
            await asyncio.sleep(PAUSE)
        raise TimeoutError(f"{work.identifiers}: {order}")

    async def _advance(self, client: Client, url: str, work: Work) -> dict[str, Any]:
        order: dict[str, Any] = (await client.post("order", url)).json()
        if order["status"] == "ready":
            order = (await client.post("finalize", order["finalize"], {"csr": work.csr})).json()
        if order["status"] == "valid":
            answer = await client.post("certificate", order["certificate"])
            if not check_chain(answer.body, work)["leaf_key_ok"]:
                raise LoadError("certificate", "it is not of the request's key")
            return {**order, "pem": answer.body.decode()}
        return order
