"""An operator's walk: the commands of docs/quickstart.md and docs/operate.md, typed one after the other at one hub.

The walk's moves, to another host and to PostgreSQL and back, are in test_moving.py (fences `console drill …`), as they
need no CA; the exchange of a master key is in tests/cli/test_keys.py. A new user's walk, from README.md alone, is
tests/load/fresh_clone.py.
"""

import asyncio
import os
import shlex
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

import httpx
import pytest

from acmehub.rules.jws import decode_base64url
from acmehub.testing.acme_client import AcmeClient, AcmeRefused
from acmehub.testing.acme_keys import ExternalAccount
from acmehub.testing.fault_proxy import FaultProxy
from acmehub.testing.hub_process import HubFailed, HubProcess
from scripts.certbot import Certbot
from tests.e2e.stack import Stack, eventually
from tests.test_docs import fences

pytestmark = pytest.mark.e2e
TOKEN = "Firewall 01"
ZONE = "corp.test"
LOOP = 2  # orders for the same names a day


class Operator(NamedTuple):
    """A person at the hub's keyboard, who types what the documents say."""

    stack: Stack
    hub: HubProcess

    def types(self, kind: str, *, order: str = "", status: int = 0) -> str:
        """Type the lines of the fence of that kind: what they printed. The last one ends with `status`."""
        said = ""
        lines = self.lines(kind)
        for line in lines:
            said += self.type(line.replace("ORDER", order), status if line == lines[-1] else 0)
        return said

    def lines(self, kind: str) -> list[str]:
        """The commands of a fence, in this world's names."""
        ((_page, body),) = fences(f"console {kind}")
        return [in_this_world(line[2:]) for line in body.splitlines() if line.startswith("$ ")]

    def type(self, line: str, status: int = 0) -> str:
        """Type one line."""
        program, *arguments = shlex.split(line)
        assert program in PROGRAMS
        environment = {**os.environ, "ACMEHUB_CONFIG": "acmehub.toml", "TSIG": self.stack.bind.key.secret}
        done = subprocess.run(
            [Path(sys.executable).with_name(program) if program == "acmehub" else program, *arguments],
            cwd=self.hub.folder,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == status, f"{line}: {done.stdout}{done.stderr}"
        return done.stdout + done.stderr

    def waiting(self, words: str) -> str:
        """The first digits of the id of the one order that fails, once `order show` has these words."""
        found: list[str] = []

        def there() -> bool:
            found[:] = [item["id"] for item in self.hub.json("order", "list", "--failing")]
            return len(found) == 1 and words in self.hub.run("order", "show", found[0])

        eventually(there, lambda: str([self.hub.run("order", "show", item) for item in found]))
        others = [item["id"] for item in self.hub.json("order", "list") if item["id"] != found[0]]
        lengths = range(4, len(found[0]) + 1)
        return next(found[0][:end] for end in lengths if not any(id.startswith(found[0][:end]) for id in others))

    @asynccontextmanager
    async def client(
        self, credentials: Mapping[str, str], *, enrolled: AcmeClient | None = None
    ) -> AsyncIterator[AcmeClient]:
        """A client that registers with EAB credentials, or a later run of one that is enrolled."""
        trust = ssl.create_default_context(cafile=self.hub.ca_file)
        async with httpx.AsyncClient(verify=trust, timeout=60) as http:
            client = await AcmeClient.discover(http, self.hub.directory, key=enrolled.key if enrolled else None)
            if enrolled:
                client.kid = enrolled.kid
            else:
                await client.register(ExternalAccount(credentials["kid"], decode_base64url(credentials["hmac_key"])))
            yield client


PROGRAMS = ("acmehub", "mv", "rm")


def in_this_world(text: str) -> str:
    return text.replace("corp.example.com", ZONE)


@pytest.fixture(scope="module")
def ca(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[FaultProxy]:
    """The way to the CA."""
    target = stack.pebble.directory.removesuffix("/dir")
    with FaultProxy(target, target_ca=stack.pebble.ca_file, folder=tmp_path_factory.mktemp("ca")) as proxy:
        yield proxy


def resources(stack: Stack, ca: FaultProxy) -> str:
    """The file of the quickstart, with this world's servers."""
    (text,) = [body for page, body in fences("toml resources") if page.name == "quickstart.md"]
    changes = {
        'plugin = "ca_letsencrypt"': 'plugin = "ca_acme"',
        "settings = { email": f'settings = {{ directory = "{ca.url}/dir", ca_file = "{ca.ca_file}", email',
        'server = "ns1.example.com"': f'server = "{stack.bind.primary}", port = {stack.bind.port}',
    }
    for before, after in changes.items():
        assert before in text
        text = text.replace(before, after)
    return in_this_world(text)


@pytest.fixture(scope="module")
def operator(stack: Stack, ca: FaultProxy) -> Iterator[Operator]:
    """The quickstart, from the first start to `check --live`; its resources lead to this world's servers."""
    hub = stack.hub(config=f"[limits]\nsame_names = {LOOP}\n", apply=False)
    with hub:
        operator = Operator(stack, hub)
        for page, body in fences("console test"):
            if page.name == "quickstart.md":
                for line in body.splitlines():
                    operator.type(line.removeprefix("$ "))
        (hub.folder / "resources.toml").write_text(resources(stack, ca))
        said = operator.types("walk quickstart")
        assert "✗" not in said
        yield operator


@pytest.fixture
def device(operator: Operator) -> Iterator["Device"]:
    """certbot with the token of the quickstart."""
    with ThreadPoolExecutor(1) as pool:
        yield Device(operator, pool)


class Device(NamedTuple):
    """certbot, which orders in the background."""

    operator: Operator
    pool: ThreadPoolExecutor

    def orders(self, name: str) -> "Future[subprocess.CompletedProcess[str]]":
        """Start an order for a name."""
        hub = self.operator.hub
        folder = self.operator.stack.new_folder("walk")
        credentials = self.operator.stack.credentials(hub, TOKEN)
        return self.pool.submit(Certbot(folder, hub.ca_file, hub.directory, credentials).certonly, [name])


def test_a_dead_ca(operator: Operator, device: Device, ca: FaultProxy) -> None:
    with ca.refusing():
        ordered = device.orders(f"dead-ca.{ZONE}")
        said = operator.types("walk dead CA", order=operator.waiting("CA unavailable"))
        assert f"dead-ca.{ZONE}" in said
        assert ca.url in said
        assert "due now: 1" in said
    operator.type(operator.lines("walk dead CA")[-1])
    done = ordered.result(90)
    assert done.returncode == 0, done.stdout


def test_wrong_dns_credentials(operator: Operator, device: Device) -> None:
    check = operator.lines("walk wrong DNS credentials")[-1]
    operator.type('acmehub challenge set "corp zone" --set key_secret=d3Jvbmc=')
    assert "✗" in operator.type(check, status=1)
    ordered = device.orders(f"wrong-key.{ZONE}")
    order = operator.waiting("DNS provider refused")
    said = operator.types("walk wrong DNS credentials", order=order)
    listed = said.splitlines()[1]
    assert listed.startswith(order)
    assert "DNS provider refused" in listed
    assert "BADSIG" in said
    done = ordered.result(90)
    assert done.returncode == 0, done.stdout


async def test_a_looping_device(operator: Operator) -> None:
    hub = operator.hub
    async with operator.client(operator.stack.credentials(hub, TOKEN)) as client:
        for _ in range(LOOP):
            await client.issue([f"loop.{ZONE}"])
        with pytest.raises(AcmeRefused, match="429"):
            await client.issue([f"loop.{ZONE}"])
        assert "is refused: too many" in hub.log.read_text()
        refused, accounts, stop, again = operator.lines("walk looping device")
        account = client.kid.rpartition("/")[2]
        entries = (await asyncio.to_thread(operator.type, refused)).splitlines()
        assert [f"account {account}" in line for line in entries if "too many orders" in line] == [True]
        listed = (await asyncio.to_thread(operator.type, accounts)).splitlines()
        assert [TOKEN in line for line in listed if line.startswith(account)] == [True]
        await asyncio.to_thread(operator.type, stop)
        with pytest.raises(AcmeRefused, match="disabled"):
            await client.issue([f"other.{ZONE}"])
        await asyncio.to_thread(operator.type, again)
        await client.issue([f"other.{ZONE}"])


def the_words(folder: str = "") -> str:
    """What every command says without the master key, where the data directory is in `folder`."""
    ((_page, words),) = fences("text lost key")
    return words.replace("data/master.key", f"{folder}data/master.key")


async def test_a_lost_key(operator: Operator) -> None:
    hub = operator.hub
    for line in operator.lines("drill old"):  # a backup, from before the device was enrolled
        await asyncio.to_thread(operator.type, line)
    async with operator.client(operator.stack.credentials(hub, TOKEN)) as device:
        (hub.folder / "data" / "master.key").unlink()
        await device.issue([f"lost-key.{ZONE}"])
    assert await asyncio.to_thread(operator.type, "acmehub order list", 1) == the_words()
    await asyncio.to_thread(hub.stop)
    with pytest.raises(HubFailed) as failed:
        await asyncio.to_thread(hub.start)
    assert the_words(f"{hub.folder}/").removeprefix("acmehub: ").strip() in str(failed.value)
    assert hub.exit_status == 1
    await asyncio.to_thread(operator.types, "walk lost key")
    await asyncio.to_thread(hub.start)
    async with operator.client({}, enrolled=device) as device:
        await device.issue([f"lost-key.{ZONE}"])


async def test_a_key_that_nobody_has(operator: Operator) -> None:
    """The last test here: the hub is another one afterwards."""
    hub = operator.hub
    former = operator.stack.credentials(hub, TOKEN)
    (hub.folder / "data" / "master.key").unlink()
    assert await asyncio.to_thread(operator.type, "acmehub export", 1) == the_words()
    await asyncio.to_thread(hub.stop)
    said = await asyncio.to_thread(operator.types, "walk no key")
    credentials = await asyncio.to_thread(hub.eab, TOKEN)
    assert credentials["kid"] in said
    await asyncio.to_thread(hub.start)
    with pytest.raises(AcmeRefused, match="403"):
        async with operator.client(former):
            pass
    async with operator.client(credentials):
        pass
