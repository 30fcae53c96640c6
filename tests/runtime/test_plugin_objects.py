"""Plugin objects from stored rows: kept while the row's version holds, completed once, with one account each."""

import asyncio
import threading
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import msgspec
import pytest

from acmehub.models import Authority, ManagedChallenge, new_id
from acmehub.ports.authority import UpstreamAccount, UpstreamAccountLost, UpstreamUnavailable
from acmehub.ports.clock import SystemClock
from acmehub.ports.plugins import PluginContext, Registration
from acmehub.ports.settings import PluginSettings, Secret, SettingsError, dump_settings
from acmehub.ports.store import Missing, Store
from acmehub.runtime.plugin_objects import (
    AUTHORITY_ACCOUNT_KEY,
    AUTHORITY_SETTINGS,
    MANAGED_CHALLENGE_SETTINGS,
    PluginObjects,
)
from acmehub.runtime.plugins import PluginBroken, PluginMissing, Registry, build_registry
from acmehub.runtime.snapshot import Snapshots
from acmehub.runtime.vault import Vault, VaultError
from acmehub.testing.fakes import FakeSigner


class Settings(PluginSettings, frozen=True, kw_only=True):
    directory: str
    token: Secret = Secret("")
    port: int = 1


class Ca:
    """A CA's accounts by key, and what was asked of it."""

    def __init__(self) -> None:
        self.accounts: dict[bytes, str] = {}
        self.deactivated: set[bytes] = set()
        self.keys_made = 0
        self.key_makers: set[threading.Thread] = set()
        self.registrations: list[bytes] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.asked = asyncio.Event()
        self.down = False

    def make(self, settings: Settings, _context: PluginContext) -> "Relay":
        return Relay(self, settings)


class Relay:
    """What of `RelayAuthority` these tests need."""

    def __init__(self, ca: Ca, settings: Settings) -> None:
        self.ca = ca
        self.settings = settings

    @property
    def server(self) -> str:
        return self.settings.directory

    def new_account_key(self) -> bytes:
        self.ca.keys_made += 1
        self.ca.key_makers.add(threading.current_thread())
        return f"key {self.ca.keys_made}".encode()

    async def register(self, key: bytes) -> UpstreamAccount:
        self.ca.registrations.append(key)
        await self.ca.gate.wait()
        if self.ca.down:
            raise UpstreamUnavailable("no route")
        if key in self.ca.deactivated:
            raise UpstreamAccountLost("deactivated")
        url = self.ca.accounts.setdefault(key, f"https://ca.test/account/{len(self.ca.accounts) + 1}")
        return UpstreamAccount(url, key)

    async def never(self, *_: Any) -> Any:
        raise AssertionError("not asked for here")

    new_order = order = authorization = answer = finalize = certificate = revoke = never

    def choose(self, chains: tuple[str, ...]) -> int:
        return 0


class Completing(Relay):
    """A CA that fills in a token, another one at each asking."""

    asked = 0

    async def complete(self) -> Settings | None:
        if self.settings.token:
            return None
        type(self).asked += 1
        self.ca.asked.set()
        await self.ca.gate.wait()
        return msgspec.structs.replace(self.settings, token=Secret(f"fetched {type(self).asked}"))


class Provider:
    def __init__(self, settings: Settings, _context: PluginContext) -> None:
        self.settings = settings

    async def add_txt(self, zone: str, name: str, value: str) -> None: ...

    async def remove_txt(self, zone: str, name: str, value: str) -> None: ...


class ClosingProvider(Provider):
    closed = 0

    async def aclose(self) -> None:
        type(self).closed += 1


class Lab:
    """One storage, and as many processes' `PluginObjects` on it as a test needs."""

    def __init__(self, store: Store, context: PluginContext) -> None:
        self.store = store
        self.context = context
        self.vault = Vault([bytes(32)])
        self.ca = Ca()
        self.registry = Registry()
        Completing.asked = 0
        for offers, name, factory in (
            (self.registry.authorities, "ca_fake", self.ca.make),
            (self.registry.authorities, "ca_completing", lambda settings, _context: Completing(self.ca, settings)),
            (self.registry.authorities, "ca_signing", lambda settings, _context: FakeSigner(SystemClock())),
            (self.registry.dns_providers, "dns_fake", Provider),
            (self.registry.dns_providers, "dns_closing", ClosingProvider),
            (self.registry.dns_providers, "dns_wrong", lambda settings, _context: object()),
        ):
            offers.take(Registration(name, factory, Settings))

    def process(self) -> PluginObjects:
        return PluginObjects(self.store, Snapshots(self.store), self.registry, self.vault, self.context)

    async def authority(self, plugin: str = "ca_fake", settings: PluginSettings | None = None) -> Authority:
        id = new_id()
        clear = dump_settings(settings or Settings(directory="https://ca.test/dir"))
        sealed = self.vault.seal(AUTHORITY_SETTINGS, id, clear)
        row = Authority(id=id, name=f"a {id}", plugin=plugin, sealed_settings=sealed, created=datetime.now(UTC))
        await self.store.authorities.add(row)
        return row

    async def challenge(self, plugin: str = "dns_fake", clear: bytes | None = None) -> ManagedChallenge:
        id = new_id()
        sealed = self.vault.seal(MANAGED_CHALLENGE_SETTINGS, id, clear or dump_settings(Settings(directory="d")))
        now = datetime.now(UTC)
        row = ManagedChallenge(id=id, name=id, plugin=plugin, match="a.test", sealed_settings=sealed, created=now)
        await self.store.managed_challenges.add(row)
        return row


@pytest.fixture
async def lab(tmp_path: Path) -> AsyncIterator[Lab]:
    context = PluginContext("acmehub/test", tmp_path, SystemClock())
    registration = build_registry((), built_ins=("storage_sqlite",)).storages["storage_sqlite"]
    store = cast(Store, registration.factory(registration.settings(), context))
    await store.migrate()
    await store.open()
    yield Lab(store, context)
    await store.close()


async def test_an_object_is_kept_while_its_row_stays_the_same(lab: Lab) -> None:
    row = await lab.authority()
    plugin_objects = lab.process()
    first = await plugin_objects.authority(row.id)
    assert await plugin_objects.authority(row.id) is first
    assert cast(Relay, first.object).settings.directory == "https://ca.test/dir"


async def test_a_changed_setting_gives_a_new_object(lab: Lab) -> None:
    row = await lab.authority()
    plugin_objects = lab.process()
    first = await plugin_objects.authority(row.id)
    clear = dump_settings(Settings(directory="https://other.test/dir"))
    await lab.store.authorities.replace(
        msgspec.structs.replace(row, sealed_settings=lab.vault.seal(AUTHORITY_SETTINGS, row.id, clear))
    )
    second = await plugin_objects.authority(row.id)
    assert second.object is not first.object
    assert cast(Relay, second.object).server == "https://other.test/dir"


async def test_another_name_gives_the_new_row_with_the_same_object(lab: Lab) -> None:
    row = await lab.authority()
    plugin_objects = lab.process()
    first = await plugin_objects.authority(row.id)
    await lab.store.authorities.replace(msgspec.structs.replace(row, name="renamed"))
    second = await plugin_objects.authority(row.id)
    assert (second.row.name, second.object) == ("renamed", first.object)


async def test_an_unknown_row_is_missing(lab: Lab) -> None:
    for verb in (lab.process().authority, lab.process().provider, lab.process().account):
        with pytest.raises(Missing):
            await verb("none")


async def test_a_missing_plugin_is_named(lab: Lab) -> None:
    row = await lab.authority(plugin="ca_nowhere")
    with pytest.raises(PluginMissing, match="ca_nowhere"):
        await lab.process().authority(row.id)


async def test_settings_that_no_longer_fit_name_the_resource_and_the_field(lab: Lab) -> None:
    row = await lab.challenge(clear=b'{"directory": "d", "port": "many"}')
    with pytest.raises(SettingsError, match=rf"{row.name}.*dns_fake.*\$\.port"):
        await lab.process().provider(row.id)


async def test_settings_sealed_for_another_row_do_not_open(lab: Lab) -> None:
    row, other = await lab.authority(), await lab.authority()
    await lab.store.authorities.replace(msgspec.structs.replace(row, sealed_settings=other.sealed_settings))
    with pytest.raises(VaultError):
        await lab.process().authority(row.id)


async def test_a_provider_is_kept_and_made_anew_with_its_row(lab: Lab) -> None:
    row = await lab.challenge()
    plugin_objects = lab.process()
    first = await plugin_objects.provider(row.id)
    assert await plugin_objects.provider(row.id) is first
    await lab.store.managed_challenges.replace(msgspec.structs.replace(row, match="b.test"))
    assert (await plugin_objects.provider(row.id)).row.match == "b.test"


async def test_at_the_end_every_provider_is_closed_once_also_one_that_was_replaced(lab: Lab) -> None:
    row = await lab.challenge(plugin="dns_closing")
    plugin_objects = lab.process()
    await plugin_objects.provider(row.id)
    await lab.store.managed_challenges.replace(msgspec.structs.replace(row, match="b.test"))
    await plugin_objects.provider(row.id)
    await lab.process().close()
    assert ClosingProvider.closed == 0
    await plugin_objects.close()
    await plugin_objects.close()
    assert ClosingProvider.closed == 2


async def test_a_factory_that_gives_no_provider_is_an_error(lab: Lab) -> None:
    row = await lab.challenge(plugin="dns_wrong")
    with pytest.raises(PluginBroken, match="'dns_wrong' is broken: `object` is no DnsProvider: it has no add_txt"):
        await lab.process().provider(row.id)


async def test_settings_are_completed_once_and_stored(lab: Lab) -> None:
    row = await lab.authority("ca_completing")
    first = await lab.process().authority(row.id)
    assert cast(Relay, first.object).settings.token == Secret("fetched 1")
    second = await lab.process().authority(row.id)
    assert cast(Relay, second.object).settings.token == Secret("fetched 1")
    assert Completing.asked == 1


async def test_two_processes_that_complete_at_once_end_with_the_same_settings(lab: Lab) -> None:
    row = await lab.authority("ca_completing")
    lab.ca.gate.clear()
    processes = [asyncio.create_task(lab.process().authority(row.id)) for _ in range(4)]
    async with asyncio.timeout(60):
        while Completing.asked < 4:
            lab.ca.asked.clear()
            await lab.ca.asked.wait()
    lab.ca.gate.set()
    found = await asyncio.gather(*processes)
    tokens = {cast(Relay, item.object).settings.token.reveal() for item in found}
    assert len(tokens) == 1


async def test_settings_that_an_operator_changes_while_they_are_completed_are_completed_themselves(lab: Lab) -> None:
    row = await lab.authority("ca_completing")
    lab.ca.gate.clear()
    task = asyncio.create_task(lab.process().authority(row.id))
    await lab.ca.asked.wait()
    other = dump_settings(Settings(directory="https://other.test/dir"))
    await lab.store.authorities.replace(
        msgspec.structs.replace(row, sealed_settings=lab.vault.seal(AUTHORITY_SETTINGS, row.id, other))
    )
    lab.ca.gate.set()
    settings = cast(Relay, (await task).object).settings
    assert settings == Settings(directory="https://other.test/dir", token=Secret("fetched 2"))


async def test_the_account_key_is_stored_before_the_registration(lab: Lab) -> None:
    row = await lab.authority()
    lab.ca.gate.clear()
    task = asyncio.create_task(lab.process().account(row.id))
    async with asyncio.timeout(5):
        while not lab.ca.registrations:
            await asyncio.sleep(0)
    stored = await lab.store.authorities.get(row.id)
    assert stored is not None
    assert lab.vault.open(AUTHORITY_ACCOUNT_KEY, row.id, stored.sealed_account_key) == lab.ca.registrations[0]
    assert stored.account_url == ""
    lab.ca.gate.set()
    assert (await task).url == "https://ca.test/account/1"


async def test_an_account_is_registered_once_and_then_read(lab: Lab) -> None:
    row = await lab.authority()
    first = await lab.process().account(row.id)
    second = await lab.process().account(row.id)
    assert (first.url, first.key) == (second.url, second.key)
    assert len(lab.ca.registrations) == 1


async def test_an_account_key_is_not_made_on_the_event_loop(lab: Lab) -> None:
    await lab.process().account((await lab.authority()).id)
    assert len(lab.ca.key_makers - {threading.current_thread()}) == 1


async def test_two_processes_that_register_at_once_share_one_account(lab: Lab) -> None:
    row = await lab.authority()
    lab.ca.gate.clear()
    tasks = [asyncio.create_task(lab.process().account(row.id)) for _ in range(4)]
    async with asyncio.timeout(5):
        while len(lab.ca.registrations) < 4:
            await asyncio.sleep(0)
    lab.ca.gate.set()
    accounts = await asyncio.gather(*tasks)
    assert len({(item.url, item.key) for item in accounts}) == 1
    assert len(lab.ca.accounts) == 1


async def test_a_registration_whose_answer_was_lost_is_repeated_with_the_same_key(lab: Lab) -> None:
    row = await lab.authority()
    lab.ca.down = True
    with pytest.raises(UpstreamUnavailable):
        await lab.process().account(row.id)
    lab.ca.down = False
    await lab.process().account(row.id)
    assert len(set(lab.ca.registrations)) == 1


async def test_a_lost_account_is_registered_anew_with_its_key(lab: Lab) -> None:
    row = await lab.authority()
    plugin_objects = lab.process()
    before = await plugin_objects.account(row.id)
    lab.ca.accounts.clear()
    await plugin_objects.forget_account(row.id, before.url)
    after = await plugin_objects.account(row.id)
    assert after.key == before.key
    assert lab.ca.accounts == {after.key: after.url}


async def test_an_account_that_the_ca_has_deactivated_gets_a_new_key(lab: Lab) -> None:
    row = await lab.authority()
    plugin_objects = lab.process()
    before = await plugin_objects.account(row.id)
    lab.ca.deactivated.add(before.key)
    await plugin_objects.forget_account(row.id, before.url)
    after = await lab.process().account(row.id)
    assert after.key != before.key
    assert after.url != before.url


async def test_a_late_notice_of_loss_does_not_drop_the_new_account(lab: Lab) -> None:
    row = await lab.authority()
    plugin_objects = lab.process()
    old = await plugin_objects.account(row.id)
    lab.ca.deactivated.add(old.key)
    await plugin_objects.forget_account(row.id, old.url)
    new = await plugin_objects.account(row.id)
    asked = len(lab.ca.registrations)
    await lab.process().forget_account(row.id, old.url)
    assert (await plugin_objects.account(row.id)).url == new.url
    assert len(lab.ca.registrations) == asked


async def test_an_authority_that_signs_by_itself_has_no_account(lab: Lab) -> None:
    row = await lab.authority("ca_signing")
    with pytest.raises(SettingsError, match="signs by itself"):
        await lab.process().account(row.id)


async def test_a_change_by_an_operator_in_between_is_kept(lab: Lab) -> None:
    row = await lab.authority()
    lab.ca.gate.clear()
    task = asyncio.create_task(lab.process().account(row.id))
    async with asyncio.timeout(5):
        while not lab.ca.registrations:
            await asyncio.sleep(0)
    stored = await lab.store.authorities.get(row.id)
    assert stored is not None
    await lab.store.authorities.replace(msgspec.structs.replace(stored, name="renamed meanwhile"))
    lab.ca.gate.set()
    account = await task
    after = await lab.store.authorities.get(row.id)
    assert after is not None
    assert (after.name, after.account_url) == ("renamed meanwhile", account.url)


async def test_a_registration_that_hangs_does_not_hold_up_those_who_need_the_object(lab: Lab) -> None:
    row = await lab.authority()
    plugin_objects = lab.process()
    first = await plugin_objects.authority(row.id)
    lab.ca.gate.clear()
    account = asyncio.create_task(plugin_objects.account(row.id))
    while not lab.ca.registrations:
        await asyncio.sleep(0.01)
    async with asyncio.timeout(20):
        found = await plugin_objects.authority(row.id)
    assert found.object is first.object
    assert found.row.sealed_account_key, "the row as it is stored now"
    lab.ca.gate.set()
    assert (await plugin_objects.authority(row.id)).object is first.object
    assert (await account).url


@pytest.mark.parametrize(
    ("clear", "flaw"),
    [
        (b'{"directory": "d"}', ""),
        (b'{"directory": "d", "port": "many"}', "$.port"),
        (b'{"directory": "d", "old": 1}', "old"),
    ],
)
async def test_what_is_wrong_with_a_stored_authority_is_told_without_connecting(
    lab: Lab, clear: bytes, flaw: str
) -> None:
    row = await lab.authority()
    sealed = lab.vault.seal(AUTHORITY_SETTINGS, row.id, clear)
    told = lab.process().flaw(msgspec.structs.replace(row, sealed_settings=sealed))
    assert (flaw in told) if flaw else not told
    assert lab.ca.registrations == []
    assert "ca_nowhere" in lab.process().flaw(msgspec.structs.replace(row, plugin="ca_nowhere"))
