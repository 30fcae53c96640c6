"""The composition root: what a first start makes, in which order parts open and close, what ends a process."""

import asyncio
import re
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest

from acmehub.admin.operations.queries import CheckRequest
from acmehub.app.bootstrap import found, prepare_data_dir
from acmehub.app.hub import Hub, build_hub
from acmehub.config import Config, ConfigError, Storage, load_config
from acmehub.models import Authority, ManagedChallenge, Role, new_id
from acmehub.ports.authority import SigningAuthority
from acmehub.ports.settings import Secret
from acmehub.ports.store import StoreAbsent, StoreUnavailable
from acmehub.rules.permissions import Acting
from acmehub.runtime.plugin_objects import AUTHORITY_SETTINGS
from acmehub.runtime.plugins import PluginMissing
from acmehub.runtime.vault import VaultError, encode_key
from acmehub.testing.store_samples import sow


def config_in(folder: Path) -> Config:
    return load_config(overrides={"data_dir": folder / "data"})


async def test_a_first_start_makes_an_administrator_and_an_authority_that_can_sign(tmp_path: Path) -> None:
    hub = build_hub(config_in(tmp_path))
    async with hub.running():
        (administrator,) = await hub.store.principals.list()
        (local,) = await hub.store.authorities.list()
        assert administrator.assignments(Role.ADMINISTRATOR)
        assert local.default
        assert isinstance((await hub.plugin_objects.authority(local.id)).object, SigningAuthority)
        assert {entry.action for entry in await hub.store.records.audited()} == {"principal.add", "authority.add"}


async def test_later_starts_change_nothing_and_bring_back_nothing(tmp_path: Path) -> None:
    hub = build_hub(config_in(tmp_path))
    async with hub.running():
        (local,) = await hub.store.authorities.list()
        await hub.store.authorities.remove(local)
        before = await hub.store.principals.list()
    again = build_hub(config_in(tmp_path))
    async with again.running():
        assert await again.store.authorities.list() == ()
        assert await again.store.principals.list() == before


async def test_two_first_starts_at_once_found_one_storage(tmp_path: Path) -> None:
    hubs = [build_hub(config_in(tmp_path)) for _ in range(3)]
    async with hubs[0].running(), hubs[1].running(), hubs[2].running():
        pass
    fresh = build_hub(config_in(tmp_path / "fresh"))
    await fresh.store.migrate()
    await fresh.store.open()
    now = datetime.now(UTC)
    prepare_data_dir(fresh.config.data_dir)
    await asyncio.gather(*(found(fresh.store, fresh.vault, fresh.registry, now, fresh.config) for _ in range(4)))
    assert len(await fresh.store.principals.list()) == len(await fresh.store.authorities.list()) == 1
    await fresh.store.close()


async def test_the_public_url_is_always_known(tmp_path: Path) -> None:
    assert build_hub(config_in(tmp_path)).config.public_url == "https://localhost:8443"


async def test_master_keys_of_the_configuration_replace_the_file(tmp_path: Path) -> None:
    config = msgspec.structs.replace(config_in(tmp_path), master_keys=(Secret(encode_key(bytes(32))),))
    build_hub(config)
    assert not (tmp_path / "data" / "master.key").exists()
    with pytest.raises(ConfigError, match=r"\$\.master_keys\[0\]: "):
        build_hub(msgspec.structs.replace(config, master_keys=(Secret("short"),)))


async def test_a_missing_plugin_of_the_configuration_or_storage_keeps_the_hub_from_starting(tmp_path: Path) -> None:
    config = config_in(tmp_path)
    with pytest.raises(PluginMissing):
        build_hub(msgspec.structs.replace(config, plugins=("dns_nowhere",)))
    with pytest.raises(PluginMissing):
        build_hub(msgspec.structs.replace(config, storage=Storage(plugin="storage_nowhere")))


async def test_wrong_storage_settings_name_the_plugin_and_the_key(tmp_path: Path) -> None:
    config = msgspec.structs.replace(config_in(tmp_path), storage=Storage(settings={"pfad": "x"}))
    with pytest.raises(ConfigError, match=r"\$\.storage\.settings: .*pfad.* \(plugin storage_sqlite\)"):
        build_hub(config)


async def test_a_stored_resource_whose_plugin_is_missing_is_told_and_stops_nobody(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    hub = build_hub(config_in(tmp_path))
    async with hub.running():
        await hub.store.managed_challenges.add(
            ManagedChallenge(
                name="corp", plugin="dns_nowhere", match="a.test", sealed_settings=b"", created=datetime.now(UTC)
            )
        )
    again = build_hub(config_in(tmp_path))
    async with again.running(serve=True):
        assert await again.load_named_plugins() == [
            "managed challenge 'corp' cannot be used: " + str(_missing(again, "dns_nowhere"))
        ]
    assert "managed challenge 'corp' cannot be used: plugin 'dns_nowhere' is not installed" in caplog.text


def _missing(hub: Hub, name: str) -> PluginMissing:
    with pytest.raises(PluginMissing) as caught:
        hub.registry.load(name)
    return caught.value


async def test_a_second_serve_on_one_sqlite_file_is_refused_and_the_first_goes_on(tmp_path: Path) -> None:
    first, second = build_hub(config_in(tmp_path)), build_hub(config_in(tmp_path))
    async with first.running(serve=True):
        with pytest.raises(StoreUnavailable):
            async with second.running(serve=True):
                pass
        await first.store.ping()
    async with second.running(serve=True):
        pass


async def test_an_order_that_changes_wakes_its_listeners(tmp_path: Path) -> None:
    hub = build_hub(config_in(tmp_path))
    async with hub.running():
        with hub.order_events.subscribe("an order") as subscription:
            hub.stop()
            assert await subscription.wait(0, 1)
    assert hub.stopping.is_set()


async def test_the_storage_is_closed_when_the_body_fails(tmp_path: Path) -> None:
    hub = build_hub(config_in(tmp_path))
    with pytest.raises(ZeroDivisionError):
        async with hub.running(worker=True):
            raise ZeroDivisionError
    with pytest.raises(StoreUnavailable):
        await hub.store.ping()


async def test_a_worker_that_dies_ends_the_process_with_its_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub = build_hub(config_in(tmp_path))

    async def run() -> None:
        raise MemoryError("worker down")

    monkeypatch.setattr(hub.worker, "run", run)
    with pytest.raises(MemoryError, match="worker down"):
        async with hub.running(worker=True):
            await asyncio.Event().wait()


async def test_without_a_worker_no_order_is_claimed_at_finalize(tmp_path: Path) -> None:
    hub = build_hub(config_in(tmp_path))
    before = hub.orders
    async with hub.running(serve=True, worker=False):
        order = (await sow(hub.store)).order().order
        with hub.dispatcher.handing_over(order) as handover:
            assert handover is None
    async with hub.running(serve=True, worker=True):
        with hub.dispatcher.handing_over(order) as handover:
            assert handover is not None
            assert handover.lease.owner == hub.worker.owner
    with hub.dispatcher.handing_over(order) as handover:
        assert handover is None
    assert hub.orders is before


@pytest.mark.parametrize(("mode", "may"), [(0o755, "enter"), (0o710, "enter"), (0o770, "write to")])
def test_the_data_directory_is_made_for_its_owner_and_keeps_its_mode_when_it_is_there(
    tmp_path: Path, mode: int, may: str, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "a" / "data"
    prepare_data_dir(path)
    assert path.stat().st_mode & 0o777 == 0o700
    assert caplog.text == ""
    path.chmod(mode)
    prepare_data_dir(path)
    assert path.stat().st_mode & 0o777 == mode
    assert f"others may {may} the data directory {path} (mode {mode:04o}): chmod 700 {path}" in caplog.text


def test_a_directory_that_everybody_may_write_to_is_refused_unless_it_is_mounted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tmp_path.chmod(0o777)
    with pytest.raises(ConfigError, match="everybody may write to it"):
        prepare_data_dir(tmp_path)
    monkeypatch.setattr("acmehub.app.bootstrap.is_mounted", lambda path: path == tmp_path)
    prepare_data_dir(tmp_path)  # as Kubernetes makes an emptyDir


async def test_founders_with_different_keys_end_up_with_one_hub_and_the_others_say_so(tmp_path: Path) -> None:
    """Several machines that share a storage, each with a data directory of its own and no `master_keys`."""
    first, second = (load_config(overrides={"data_dir": tmp_path / name}) for name in ("one", "two"))
    elsewhere = Storage(settings={"path": str(tmp_path / "shared.db")})
    hubs = [build_hub(msgspec.structs.replace(config, storage=elsewhere)) for config in (first, second)]
    async with hubs[0].running():
        pass
    with pytest.raises(VaultError, match=r"two/master\.key is missing"):
        async with hubs[1].running():
            pass
    assert not (tmp_path / "two" / "master.key").exists()
    (tmp_path / "two" / "master.key").touch(0o600)
    (tmp_path / "two" / "master.key").write_text(encode_key(bytes(32)))
    with pytest.raises(VaultError, match="sealed under a master key that is not in"):
        async with build_hub(msgspec.structs.replace(second, storage=elsewhere)).running():
            pass


async def test_a_founding_that_died_half_way_is_not_finished_with_another_key(tmp_path: Path) -> None:
    hub = build_hub(config_in(tmp_path))
    async with hub.running():
        (administrator,) = await hub.store.principals.list()
        await hub.store.principals.remove(administrator)
    (tmp_path / "data" / "master.key").rename(tmp_path / "kept")
    with pytest.raises(VaultError, match="is missing"):
        async with build_hub(config_in(tmp_path)).running():
            pass
    (tmp_path / "kept").rename(tmp_path / "data" / "master.key")
    again = build_hub(config_in(tmp_path))
    async with again.running():
        assert [item.name for item in await again.store.principals.list()] == ["administrator"]


async def test_what_does_not_found_makes_nothing(tmp_path: Path) -> None:
    for migrate in (False, True):
        with pytest.raises(StoreAbsent):
            async with build_hub(config_in(tmp_path)).running(migrate=migrate, founds=False):
                pass
        assert not (tmp_path / "data").exists()


def test_a_data_directory_that_is_a_file_is_named_with_the_cure(tmp_path: Path) -> None:
    (tmp_path / "data").touch()
    with pytest.raises(ConfigError, match="--data-dir"):
        prepare_data_dir(tmp_path / "data")


REFUSED_NOW = {"directory": "http://127.evil.test/dir"}  # what earlier versions took for this machine
MOVED = {"directory": "https://ca.test/dir"}


@pytest.mark.parametrize(
    ("raw", "account", "why"),
    [
        (REFUSED_NOW, "", r"directory: an https:// URL is needed, http:// only to this machine .* - `\$\.directory`"),
        (MOVED, "https://acme.ca.test/acct/1", r'account is at https://acme\.ca\.test/acct/1.*url_hosts = \["acme\.ca'),
        ({**MOVED, "url_hosts": ["acme.ca.test"]}, "https://acme.ca.test/acct/1", ""),
        (MOVED, "https://ca.test/acct/1", ""),
    ],
)
async def test_an_authority_that_is_refused_since_an_upgrade_is_named_with_its_cure_at_start_and_by_check(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, raw: dict[str, object], account: str, why: str
) -> None:
    hub = build_hub(config_in(tmp_path))
    async with hub.running():
        id = new_id()
        sealed = hub.vault.seal(AUTHORITY_SETTINGS, id, msgspec.json.encode(raw))
        row = Authority(
            id=id,
            name="old",
            plugin="ca_acme",
            default=True,
            sealed_settings=sealed,
            created=datetime.now(UTC),
            account_url=account,
        )
        (local,) = await hub.store.authorities.list()
        await hub.store.authorities.remove(local)
        await hub.store.authorities.add(row)
    again = build_hub(config_in(tmp_path))
    async with again.running(serve=True):
        found = await again.admin.check.check(CheckRequest(names=("www.corp.test",)), Acting.machine("test"))
    if why:
        assert re.search(f"authority 'old' cannot be used: .*{why}", caplog.text)
        assert re.search(why, found.authority.error)
    else:
        assert "cannot be used" not in caplog.text
        assert found.authority.error == ""
