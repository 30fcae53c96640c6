"""Which plugins load, what they may claim, and how failures of one stay its own."""

import importlib.metadata
import json
import logging
import shlex
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from acmehub.ports.plugins import OrderFinished
from acmehub.runtime.plugins import (
    BUILT_INS,
    PluginBroken,
    PluginMissing,
    Registry,
    build_registry,
    installed_entry_points,
)
from tests.installed_plugins import install_plugin

ROOT = Path(__file__).resolve().parent.parent.parent
PROVIDER = """
    from acmehub import PluginSettings, hookimpl

    class Settings(PluginSettings):
        place: str = ""

    @hookimpl
    def register_dns_providers(register):
        register("{name}", lambda settings, context: None, Settings)
"""

Install = Callable[..., None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Puts a plugin, as a distribution of its own, where this interpreter finds it."""
    monkeypatch.syspath_prepend(str(tmp_path))

    return partial(install_plugin, tmp_path)


def news() -> OrderFinished:
    return OrderFinished(
        order_id="1", principal="p", names=("a.test",), status="valid", authority="local", at=datetime.now(UTC)
    )


def test_the_built_ins_enter_by_the_same_door_as_all_others() -> None:
    points = {point.name: point.dist.name for point in installed_entry_points() if point.dist is not None}
    assert {name: points[name] for name in BUILT_INS} == dict.fromkeys(BUILT_INS, "acmehub")


def test_the_built_ins_offer_their_kinds() -> None:
    registry = build_registry()
    assert set(registry.authorities) == {"ca_acme", "ca_local"}
    assert set(registry.storages) == {"storage_sqlite"}


def test_an_installed_plugin_is_not_active_until_somebody_names_it(install: Install) -> None:
    install("dns_x", "raise RuntimeError('imported')")
    registry = build_registry(built_ins=())
    assert {item.name: item.state for item in registry.installed()}["dns_x"] == "installed"


def test_a_plugin_named_by_the_configuration_is_loaded(install: Install) -> None:
    install("dns_x", PROVIDER.format(name="dns_x"))
    registry = build_registry(["dns_x"], built_ins=())
    assert list(registry.dns_providers) == ["dns_x"]


def test_a_plugin_that_a_resource_names_is_loaded_when_it_is_asked_for(install: Install) -> None:
    install("dns_x", PROVIDER.format(name="dns_x"))
    registry = build_registry(built_ins=())
    assert registry.dns_providers["dns_x"].name == "dns_x"
    assert {item.name: item.state for item in registry.installed()}["dns_x"] == "active"


def test_a_plugin_installed_a_moment_ago_is_found(install: Install) -> None:
    registry = build_registry(built_ins=())
    with pytest.raises(PluginMissing):
        registry.load("dns_x")
    install("dns_x", PROVIDER.format(name="dns_x"))
    registry.load("dns_x")


def test_entry_points_are_read_once_for_all_plugins_of_a_start(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[int] = []

    def counted() -> list[EntryPoint]:
        read.append(1)
        return installed_entry_points()

    monkeypatch.setattr("acmehub.runtime.plugins.installed_entry_points", counted)
    build_registry(["dns_rfc2136"])
    assert len(read) == 1


def test_a_missing_plugin_of_ours_is_named_with_the_command_that_installs_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("acmehub.runtime.plugins.installed_entry_points", lambda: [])
    with pytest.raises(PluginMissing) as caught:
        build_registry(["dns_cloudflare"], built_ins=())
    place = ROOT / "plugins" / "dns_cloudflare"  # where this environment has the hub from
    cure = f"plugin 'dns_cloudflare' is not installed: {sys.executable} -m pip install {place}"
    assert str(caught.value) == cure


@pytest.mark.parametrize("origin", ["there", "gone", "no origin"])
def test_the_command_names_the_wheel_beside_the_hubs_own_and_never_a_package_index(
    origin: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    info = tmp_path / "acmehub-9.9.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: acmehub\nVersion: 9.9\nProvides-Extra: dns-cloudflare\n"
    )
    folder = tmp_path / "the wheels"
    folder.mkdir()
    if origin != "no origin":
        url = (folder / "acmehub-9.9-py3-none-any.whl").as_uri()
        (info / "direct_url.json").write_text(json.dumps({"url": url, "archive_info": {}}))
    wheel = folder / "acmehub_dns_cloudflare-9.9-py3-none-any.whl"
    if origin == "there":
        wheel.touch()
    monkeypatch.setattr("acmehub.runtime.plugins.installed_entry_points", lambda: [])
    found = importlib.metadata.Distribution.at(info)
    monkeypatch.setattr(importlib.metadata, "distribution", lambda _name: found)
    monkeypatch.setattr(importlib.metadata, "metadata", lambda _name: found.metadata)
    with pytest.raises(PluginMissing) as caught:
        build_registry(["dns_cloudflare"], built_ins=())
    cure = str(caught.value).partition("is not installed: ")[2]
    if origin == "there":
        assert shlex.split(cure) == [sys.executable, "-m", "pip", "install", str(wheel)]
    else:
        assert cure == f"pip install {wheel.name} of the release that acmehub itself was installed from"


def test_a_misspelt_plugin_is_named_with_the_nearest_one() -> None:
    with pytest.raises(PluginMissing, match="did you mean 'dns_cloudflare'"):
        build_registry(["dns_cloudfare"], built_ins=())


def test_an_unknown_plugin_gets_no_invented_extra() -> None:
    with pytest.raises(PluginMissing) as caught:
        build_registry(["hsm_zz"], built_ins=())
    assert str(caught.value) == "plugin 'hsm_zz' is not installed: install the distribution that has it"


def test_a_mapping_of_offers_answers_get_and_in_like_a_dict(install: Install) -> None:
    install("dns_x", PROVIDER.format(name="dns_x"))
    registry = build_registry(built_ins=())
    assert registry.dns_providers.get("dns_none") is None
    assert "dns_x" in registry.dns_providers
    assert "dns_none" not in registry.dns_providers
    assert len(registry.dns_providers) == 1


def test_a_plugin_of_another_kind_is_not_what_was_asked_for(install: Install) -> None:
    install("dns_x", PROVIDER.format(name="dns_x"))
    with pytest.raises(PluginMissing, match="offers no authority of that name"):
        build_registry(built_ins=()).authorities["dns_x"]


def test_a_plugin_may_offer_several_under_its_own_name(install: Install) -> None:
    install("dns_x", PROVIDER.format(name="dns_x.eu"))
    registry = build_registry(built_ins=())
    assert registry.dns_providers["dns_x.eu"].name == "dns_x.eu"
    offers = {item.name: item.offers for item in registry.installed()}
    assert offers["dns_x"] == ("DNS provider dns_x.eu",)


def test_a_plugin_that_takes_a_name_of_another_is_broken_and_leaves_nothing_behind(install: Install) -> None:
    install("dns_x", PROVIDER.format(name="ca_local"))
    registry = build_registry(built_ins=())
    with pytest.raises(PluginBroken, match="'ca_local'"):
        registry.load("dns_x")
    assert list(registry.dns_providers) == []
    line = next(item for item in registry.installed() if item.name == "dns_x")
    assert line.state == "broken"
    assert "ca_local" in line.reason


def test_two_distributions_with_one_name_are_an_error_that_names_both(install: Install) -> None:
    install("dns_x", PROVIDER.format(name="dns_x"), distribution="one")
    install("dns_x", PROVIDER.format(name="dns_x"), distribution="two")
    with pytest.raises(PluginBroken, match="offered twice, by one and two"):
        build_registry(["dns_x"], built_ins=())


def test_a_built_in_name_is_reserved(install: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    install("ca_local", PROVIDER.format(name="ca_local"), distribution="thief")
    with pytest.raises(PluginBroken):
        build_registry(["ca_local"], built_ins=())
    points = [point for point in installed_entry_points() if point.dist is not None and point.dist.name == "thief"]
    monkeypatch.setattr("acmehub.runtime.plugins.installed_entry_points", lambda: points)
    with pytest.raises(PluginBroken, match="reserved"):
        build_registry(["ca_local"], built_ins=())


def test_a_plugin_that_does_not_import_is_broken_with_its_reason(install: Install) -> None:
    install("dns_x", "import no_such_module_at_all")
    registry = build_registry(built_ins=())
    with pytest.raises(PluginBroken, match="ModuleNotFoundError: No module named 'no_such_module_at_all'"):
        registry.load("dns_x")
    line = next(item for item in registry.installed() if item.name == "dns_x")
    assert (line.state, line.distribution, line.version) == ("broken", "third-dns-x", "1.2")
    assert "no_such_module_at_all" in line.reason


def test_a_misspelt_hook_is_an_error(install: Install) -> None:
    install("dns_x", "from acmehub import hookimpl\n@hookimpl\ndef register_dns_provider(register): pass\n")
    with pytest.raises(PluginBroken, match="unknown hook 'register_dns_provider'"):
        build_registry(["dns_x"], built_ins=())


def test_a_hook_with_a_wrong_parameter_is_an_error(install: Install) -> None:
    install("dns_x", "from acmehub import hookimpl\n@hookimpl\ndef order_finished(happening): pass\n")
    with pytest.raises(PluginBroken, match="happening"):
        build_registry(["dns_x"], built_ins=())


def test_one_failing_listener_is_logged_and_does_not_keep_news_from_the_others(
    caplog: pytest.LogCaptureFixture,
) -> None:
    heard: list[str] = []
    registry = Registry()
    registry.add("news_a", _Listener(heard, "a"))
    registry.add("news_b", _Listener(heard, "b", fails=True))
    registry.add("news_c", _Listener(heard, "c"))
    with caplog.at_level(logging.ERROR):
        for _ in range(3):
            registry.news("order_finished", news())
    assert sorted(heard) == sorted("abc" * 3)
    assert [record.message for record in caplog.records] == ["plugin news_b failed in order_finished"]


def test_a_deciding_hook_takes_the_first_answer() -> None:
    registry = build_registry(built_ins=("policy_default",))
    assert registry.hook.select_authority.get_hookimpls()


class _Listener:
    def __init__(self, heard: list[str], name: str, *, fails: bool = False) -> None:
        from acmehub import hookimpl

        def order_finished(event: OrderFinished) -> None:
            heard.append(name)
            if fails:
                raise RuntimeError("listener down")

        self.order_finished = hookimpl(order_finished)
