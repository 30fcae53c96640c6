"""Opens a copy of this folder's database and finishes every order in it. A record, as `make.py` is.

    .venv/bin/python tests/data/2026-11-27-before-the-rebuild/check.py [YEAR]

With a YEAR the hub's clock stands there.
"""
# mypy: ignore-errors

import asyncio
import base64
import json
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
from acmehub.http import create_app
from acmehub.hub import build_hub
from acmehub.identifiers import Identifier
from acmehub.proofs.dns01 import record_value
from acmehub.relay.settings import RelaySettings
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from acmehub.config import Acme, Config, Dns, TlsMode, Verify, Worker
from acmehub.models import OrderStatus
from acmehub.ports.authority import IssueRequest
from acmehub.ports.plugins import Registration
from acmehub.testing.acme_client import AcmeClient
from acmehub.testing.acme_keys import AccountKey, make_csr
from acmehub.testing.dns_server import DnsServer, tsig_key
from acmehub.testing.fake_relay import FakeAuthorization, FakeOrder
from acmehub.testing.fakes import FakeRelay, ManualClock

HERE = Path(__file__).parent
INDEX = json.loads((HERE / "index.json").read_text())
VERBS = (
    "order list --limit 1000",
    "certificate list",
    "certificate campaigns",
    "account list",
    "principal list",
    "token list",
    "challenge list",
    "authority list",
    "profile list",
)


def unpack(data_dir: Path) -> None:
    data_dir.mkdir(mode=0o700)
    shutil.copyfile(HERE / "acmehub.sqlite", data_dir / "acmehub.db")
    shutil.copyfile(HERE / "master.key", data_dir / "master.key")
    for name in ("acmehub.db", "master.key"):
        (data_dir / name).chmod(0o600)


def look(data_dir: Path) -> None:
    """Every verb that lists, and `show` of every order, as an operator calls them."""
    shows = [f"order show {item['id']}" for item in INDEX["orders"]]
    shows += [f"token show {item['token']}" for item in INDEX["accounts"].values() if " " not in item["token"]]
    for verb in (*VERBS, *shows):
        command = [Path(sys.executable).with_name("acmehub"), *verb.split(), "--data-dir", data_dir]
        done = subprocess.run(command, capture_output=True, text=True, cwd=data_dir, check=False)
        assert done.returncode == 0, (verb, done.stderr)
        assert not done.stderr, (verb, done.stderr)
        if verb in VERBS:
            print(f"{verb}: {len(done.stdout.splitlines()) - 1} rows")


def upstream(clock, sees) -> FakeRelay:
    """The CA as it was, with every object at the URL that the rows have."""
    stored = json.loads((HERE / "upstream.json").read_text())
    relay = FakeRelay(clock, sees)
    relay.accounts[stored["account"]["key"].encode()] = stored["account"]["url"]
    for one in stored["orders"]:
        relay.orders[one["url"]] = FakeOrder(
            url=one["url"],
            account=stored["account"]["url"],
            request=IssueRequest(tuple(Identifier("dns", name) for name in one["names"]), profile=one["profile"]),
            status=one["status"],
            csr=base64.b64decode(one["csr"]) if one["csr"] else None,
            chains=tuple(one["chains"]),
            authorizations=[
                FakeAuthorization(
                    url=item["url"],
                    identifier=Identifier("dns", item["name"]),
                    wildcard=item["wildcard"],
                    status=item["status"],
                    challenge=item["challenge"],
                    value=item["value"],
                )
                for item in one["authorizations"]
            ],
        )
    return relay


class Checker:
    def __init__(self, hub, clock, dns, http) -> None:
        self.hub = hub
        self.clock = clock
        self.dns = dns
        self.http = http

    async def client(self, name: str) -> AcmeClient:
        account = INDEX["accounts"][name]
        private = load_pem_private_key((HERE / account["key_file"]).read_bytes(), password=None)
        client = await AcmeClient.discover(
            self.http,
            f"{INDEX['base_url']}/acme/directory",
            key=AccountKey(private),
            user_agent=account["user_agent"],
        )
        client.kid = account["url"]
        return client

    async def work(self, seconds: float = 900.0) -> None:
        end = self.clock.now() + timedelta(seconds=seconds)
        while True:
            await self.hub.fulfilment.work_off()
            await self.hub.fulfilment.janitor.work_off()
            store = self.hub.store
            due = [at for at in (await store.orders.next_due(), await store.ledger.next_due()) if at]
            if not due or min(due) > end:
                return
            self.clock.advance(max(0.0, (min(due) - self.clock.now()).total_seconds()) + 0.001)

    async def answer(self, client: AcmeClient, order) -> None:
        for url in order.json["authorizations"]:
            found = await client.authorization(url)
            if found.json["status"] == "pending":
                challenge = next(item for item in found.json["challenges"] if item["type"] == "dns-01")
                value = record_value(f"{challenge['token']}.{client.key.thumbprint}")  # what mode `verify` looks for
                self.dns.zones.add(f"_acme-challenge.{found.json['identifier']['value']}", "TXT", f'"{value}"')
                if all(item["status"] == "pending" for item in found.json["challenges"]):
                    await client.respond(challenge["url"])

    async def finish(self) -> None:
        clients = {name: await self.client(name) for name in ("accept", "preapproved", "verify", "auto")}
        under_way = [
            item
            for item in INDEX["orders"]
            if item["status"] not in ("valid", "invalid") and "pre-authorization" not in item["what"]
        ]
        for item in under_way:
            client = clients[item["account"]]
            await self.answer(client, await client.order(item["url"]))
        await self.work()
        for client in clients.values():
            client._nonces.clear()
        for item in under_way:
            client = clients[item["account"]]
            order = await client.order(item["url"])
            if order.json["status"] == "ready":
                await client.finalize(order.json, make_csr(item["names"])[0])
        await self.work()
        for client in clients.values():
            client._nonces.clear()
        for item in under_way:
            client = clients[item["account"]]
            order = await client.order(item["url"])
            if order.json["status"] != "valid":
                timeline = await self.hub.store.records.timeline(item["id"])
                raise AssertionError((item["what"], order.json, [event.what for event in timeline]))
            assert "BEGIN CERTIFICATE" in await client.certificate(order.json["certificate"])
        print(
            f"{len(under_way)} orders finished:", Counter(f"{item['authority']} {item['stage']}" for item in under_way)
        )
        for item in INDEX["orders"]:
            order = (await self.hub.store.orders.get(item["id"])).order
            if item not in under_way:
                assert order.status == item["status"]
            assert order.status in (OrderStatus.VALID, OrderStatus.INVALID) or order.preauthorization
        assert not await self.hub.store.ledger.list()


async def finish(data_dir: Path, clock) -> None:
    port, secret = INDEX["dns"]["port"], INDEX["dns"]["key_secret"]
    config = Config(
        public_url=INDEX["base_url"],
        data_dir=data_dir,
        tls=TlsMode(mode="off"),
        acme=Acme(hold=0.0),
        dns=Dns(resolvers=(f"127.0.0.1:{port}",), port=port, timeout=0.4),
        verify=Verify(networks=("127.0.0.0/8",)),
        worker=Worker(keep_days=0.0),
    )
    hub = build_hub(config, clock=clock)
    async with DnsServer(["corp.test"], port=port, keys=[tsig_key("hub.", "hmac-sha256", secret)]) as dns:
        for name, values in json.loads((HERE / "dns.json").read_text()).items():
            dns.zones.add(name, "TXT", *(f'"{value}"' for value in values))
        relay = upstream(clock, lambda name, value: value in dns.zones.txt().get(name, ()))
        hub.registry.authorities.drop("ca_acme")
        hub.registry.authorities.take(Registration("ca_acme", lambda _settings, _context: relay, RelaySettings))
        async with (
            hub.running(serve=True),
            httpx.AsyncClient(
                transport=httpx.ASGITransport(create_app(hub)), base_url=INDEX["base_url"], timeout=60
            ) as http,
        ):
            await Checker(hub, clock, dns, http).finish()
            print("left in DNS:", {name: values for name, values in dns.zones.txt().items() if "proof" in str(values)})


def main() -> None:
    clock = ManualClock(datetime(int(sys.argv[1]), 1, 1, tzinfo=UTC) if sys.argv[1:] else None)
    with tempfile.TemporaryDirectory() as folder:
        unpack(Path(folder) / "data")
        look(Path(folder) / "data")
    with tempfile.TemporaryDirectory() as folder:
        unpack(Path(folder) / "data")
        asyncio.run(finish(Path(folder) / "data", clock))


if __name__ == "__main__":
    main()
