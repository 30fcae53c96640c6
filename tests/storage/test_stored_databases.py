"""Databases that earlier versions wrote open with this one: they are migrated, every verb reads them, and their open
orders end with certificates.

A folder of `tests/data` with `acmehub.sqlite` also has what the outside knew then: the CA's objects, the DNS, the
clients' keys (its README has the details). A version that changes what is stored adds a folder of its own.
"""

import base64
import json
import shutil
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import httpx
import pytest
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from acmehub.app.asgi import create_app
from acmehub.app.hub import Hub, build_hub
from acmehub.cli.root import run
from acmehub.cli.shared.exit_status import Exit
from acmehub.config import Acme, Config, Dns, TlsMode, Verify, Worker
from acmehub.models import EventKind, OrderStatus
from acmehub.models.identifiers import Identifier
from acmehub.ports.authority import IssueRequest
from acmehub.ports.plugins import Registration
from acmehub.runtime.plugins import Offers
from acmehub.storage.sqlite.driver import SqliteDriver
from acmehub.storage.store import SqlStore
from acmehub.testing.acme_client import AcmeClient, Reply
from acmehub.testing.acme_keys import AccountKey, SigningKey, make_csr
from acmehub.testing.dns_server import DnsServer
from acmehub.testing.fake_relay import FakeAuthorization, FakeOrder
from acmehub.testing.fakes import FakeDnsProvider, FakeRelay, ManualClock
from acmehub.validation.dns01 import record_value

FOLDERS = sorted(path.parent for path in (Path(__file__).parents[1] / "data").glob("*/acmehub.sqlite"))
LISTS = {  # noun: what `show` calls one of them by
    "order": "id",
    "certificate": "id",
    "account": "id",
    "principal": "name",
    "token": "title",
    "challenge": "name",
    "authority": "name",
    "profile": "name",
}
FINAL = (OrderStatus.VALID, OrderStatus.INVALID)

pytestmark = pytest.mark.parametrize("source", FOLDERS, ids=lambda path: path.name)


@pytest.fixture
def index(source: Path) -> Any:
    return json.loads((source / "index.json").read_text())


@pytest.fixture
def data_dir(source: Path, tmp_path: Path) -> Path:
    """A data directory with a copy of the database and its master key."""
    folder = tmp_path / "data"
    folder.mkdir(mode=0o700)
    for name, copy in (("acmehub.sqlite", "acmehub.db"), ("master.key", "master.key")):
        shutil.copyfile(source / name, folder / copy)
        (folder / copy).chmod(0o600)
    return folder


# ------------------------------------------------------------------------------------------------------- operators


def test_every_verb_that_reads_works(
    data_dir: Path, index: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(data_dir)

    def said(*verb: str) -> Any:
        capsys.readouterr()
        status = run((*verb, "--data-dir", str(data_dir), "--json"))
        out, err = capsys.readouterr()
        assert (status, err) == (0, ""), verb
        return json.loads(out)

    assert run(("order", "list", "--data-dir", str(data_dir))) == Exit.UNAVAILABLE  # no verb that reads migrates
    assert "run `acmehub db upgrade`" in capsys.readouterr().err
    assert said("db", "upgrade")["steps"] > 0
    for noun, key in LISTS.items():
        found = said(noun, "list", *(("--limit", "1000") if noun == "order" else ()))
        assert found, noun
        if noun == "order":
            assert {item["id"] for item in found} == {item["id"] for item in index["orders"]}
        differ = ("type", "status", "stage", "enabled", "revoked", "expires", "replaced_by")
        one_of_each = {tuple(str(item.get(name))[:9] for name in differ): item for item in found}
        for item in one_of_each.values():
            assert said(noun, "show", item[key]), item[key]
    assert said("certificate", "campaigns")
    assert run(("export", "--data-dir", str(data_dir))) == 0


async def test_every_event_has_a_kind(data_dir: Path, index: Any) -> None:
    store = SqlStore(SqliteDriver(data_dir / "acmehub.db"))
    assert await store.migrate() > 0
    await store.open()
    try:
        kinds = {event.kind for item in index["orders"] for event in await store.records.timeline(item["id"])}
        assert kinds <= set(EventKind) - {EventKind.NOTED}  # that is for texts that no version wrote
        assert len(kinds) > 50
        assert await store.records.audited()
    finally:
        await store.close()


# --------------------------------------------------------------------------------------------- devices, the worker


def upstream(source: Path, clock: ManualClock, provider: FakeDnsProvider) -> FakeRelay:
    """The CA as it was, with every object at the URL that the rows have."""
    stored = json.loads((source / "upstream.json").read_text())
    account = stored["account"]["url"]
    relay = FakeRelay(clock, provider.has)
    relay.accounts[stored["account"]["key"].encode()] = account
    for one in stored["orders"]:
        relay.orders[one["url"]] = FakeOrder(
            url=one["url"],
            account=account,
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


class Resumed:
    """A hub on the stored database, with the CA, the DNS and the clients as they were."""

    def __init__(self, source: Path, hub: Hub, clock: ManualClock, dns: DnsServer, http: httpx.AsyncClient) -> None:
        self.source = source
        self.hub = hub
        self.clock = clock
        self.dns = dns
        self.http = http

    async def client(self, account: Mapping[str, str], base_url: str) -> AcmeClient:
        key = load_pem_private_key((self.source / account["key_file"]).read_bytes(), password=None)
        client = await AcmeClient.discover(
            self.http,
            f"{base_url}/acme/directory",
            key=AccountKey(cast(SigningKey, key)),
            user_agent=account["user_agent"],
        )
        client.kid = account["url"]
        return client

    async def work(self, seconds: float = 900.0) -> None:
        """The worker works, time passes, until nothing is due within these seconds."""
        store, end = self.hub.store, self.clock.now() + timedelta(seconds=seconds)
        while True:
            await self.hub.worker.work_off()
            await self.hub.worker.txt_cleanup.work_off()
            due = [at for at in (await store.orders.next_due(), await store.txt_records.next_due()) if at]
            if not due or min(due) > end:
                return
            self.clock.advance(max(0.0, (min(due) - self.clock.now()).total_seconds()) + 0.001)

    async def respond(self, client: AcmeClient, order: Reply) -> None:
        """The client does for each pending authorization what its mode asks for."""
        for url in order.json["authorizations"]:
            found = await client.authorization(url)
            if found.json["status"] == "pending":
                challenges = found.json["challenges"]
                challenge = next(item for item in challenges if item["type"] == "dns-01")
                value = record_value(f"{challenge['token']}.{client.key.thumbprint}")  # what mode `verify` looks for
                self.dns.zones.add(f"_acme-challenge.{found.json['identifier']['value']}", "TXT", f'"{value}"')
                if all(item["status"] == "pending" for item in challenges):
                    await client.respond(challenge["url"])


def replace_plugin(offers: Offers, name: str, stand_in: object) -> None:
    """Have the stand-in made where the plugin's object would be; stored settings are read as ever."""
    settings = offers[name].settings
    offers.drop(name)
    offers.take(Registration(name, lambda _settings, _context: stand_in, settings))


@asynccontextmanager
async def resumed(source: Path, data_dir: Path, base_url: str) -> AsyncIterator[Resumed]:
    clock = ManualClock()
    provider = FakeDnsProvider()
    async with DnsServer(["corp.test"]) as dns:
        provider.on_add = lambda name, value: dns.zones.add(name, "TXT", f'"{value}"')
        provider.on_remove = lambda name, value: dns.zones.remove(name, "TXT", f'"{value}"')
        for name, values in json.loads((source / "dns.json").read_text()).items():
            for value in values:
                await provider.add_txt("corp.test", name, value)
        config = Config(
            public_url=base_url,
            data_dir=data_dir,
            tls=TlsMode(mode="off"),
            acme=Acme(hold=0.0),
            dns=Dns(resolvers=(f"127.0.0.1:{dns.port}",), port=dns.port, timeout=0.4),
            verify=Verify(networks=("127.0.0.0/8",)),
            worker=Worker(keep_days=0.0),  # else orders whose certificates have long expired are forgotten
        )
        hub = build_hub(config, clock=clock)
        relay = upstream(source, clock, provider)
        replace_plugin(hub.registry.authorities, "ca_acme", relay)
        replace_plugin(hub.registry.dns_providers, "dns_rfc2136", provider)
        transport = httpx.ASGITransport(create_app(hub))  # type: ignore[arg-type]
        async with (
            hub.running(serve=True),
            httpx.AsyncClient(transport=transport, base_url=base_url, timeout=60) as http,
        ):
            yield Resumed(source, hub, clock, dns, http)


async def test_every_open_order_is_finished(source: Path, data_dir: Path, index: Any) -> None:
    open_orders = [
        item for item in index["orders"] if item["status"] not in FINAL and "pre-authorization" not in item["what"]
    ]
    assert len(open_orders) > 40
    async with resumed(source, data_dir, index["base_url"]) as world:
        names = {item["account"] for item in open_orders}
        clients = {name: await world.client(index["accounts"][name], index["base_url"]) for name in names}
        for item in open_orders:
            client = clients[item["account"]]
            await world.respond(client, await client.order(item["url"]))
        await world.work()
        for item in open_orders:
            client = clients[item["account"]]
            order = await client.order(item["url"])
            if order.json["status"] == "ready":
                await client.finalize(order.json, make_csr(item["names"])[0])
        await world.work()
        for item in open_orders:
            client = clients[item["account"]]
            order = await client.order(item["url"])
            timeline = await world.hub.store.records.timeline(item["id"])
            assert order.json["status"] == "valid", (item["what"], order.json, [event.kind for event in timeline])
            assert "BEGIN CERTIFICATE" in await client.certificate(order.json["certificate"])
        for item in index["orders"]:
            bundle = await world.hub.store.orders.get(item["id"])
            assert bundle is not None
            assert bundle.order.status in FINAL or bundle.order.preauthorization, item["what"]
            if item["status"] in FINAL:
                assert bundle.order.status == item["status"]
        assert not await world.hub.store.txt_records.list()
