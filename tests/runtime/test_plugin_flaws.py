"""What an author may do wrong is told in one line that names the plugin and what to change."""

import logging
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from acmehub import PluginContext, PluginSettings, Secret, SettingsError, SystemClock, read_settings
from acmehub.ports.plugins import Registration
from acmehub.runtime import plugins
from acmehub.runtime.plugin_factory import AUTHORITY, DNS_PROVIDER, NOTIFIER, make_object
from acmehub.runtime.plugins import PluginBroken, PluginError, PluginMissing, build_registry
from acmehub.testing.fakes import FakeDnsProvider, FakeSigner
from tests.installed_plugins import install_plugin

Install = Callable[..., None]
BEGIN = """
    from acmehub import PluginSettings, hookimpl

    class Settings(PluginSettings):
        place: str = ""

"""


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    monkeypatch.syspath_prepend(str(tmp_path))
    return partial(install_plugin, tmp_path)


def said(name: str = "dns_x") -> str:
    """What loading a plugin says: one line."""
    with pytest.raises(PluginError) as caught:
        build_registry([name], built_ins=())
    text = str(caught.value)
    assert "\n" not in text
    assert f"plugin '{name}'" in text
    return text


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        (
            "@hookimpl\ndef register_dns_provider(register): ...",
            r"unknown hook.*did you mean 'register_dns_providers'\?",
        ),
        ("@hookimpl\ndef brew(coffee): ...", r"unknown hook 'brew': docs/hooks.md"),
        ("@hookimpl\ndef order_finished(happening): ...", r"argument 'happening'.*its arguments are event$"),
        ("@hookimpl\ndef order_finished(event=None): ...", r"default for 'event'.*drop"),
        ("@hookimpl\nasync def order_finished(event): ...", r"order_finished is `async def`: hooks are called without"),
        ("def register_dns_providers(register): ...", r"not marked: write @hookimpl above it"),
        ("", r"it has no hook: mark a function with @hookimpl"),
        ("@hookimpl\ndef register_dns_providers(register):\n    {}['x']", r"raised KeyError: 'x' \(plugin_third_dns_x"),
        ("import nothing_like_this", r"does not load: ModuleNotFoundError: No module named 'nothing_like_this'"),
        ("assert False, 'not here'", r"does not load: AssertionError: not here"),
        ("raise SystemExit('no licence')", r"does not load: SystemExit: no licence"),
        ("def oops(:", r"does not load: SyntaxError"),
    ],
)
def test_hooks_and_imports(install: Install, source: str, expected: str) -> None:
    lines = source.replace("\n", "\n    ")
    install("dns_x", f"{BEGIN if 'hookimpl' in source else ''}    {lines}\n")
    import re

    assert re.search(expected, said())


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ("'dns_x', object, dict", "the settings are `dict`, expected a subclass of acmehub.PluginSettings"),
        ("'dns_x', object, Settings()", "expected a subclass of acmehub.PluginSettings"),
        ("'dns_x', 'mine', Settings", "the factory is 'mine', expected a class or function of (settings, context)"),
        ("'', object, Settings", "the name is '', expected text"),
        ("'dns_y', object, Settings", "it registers 'dns_y'; its names are 'dns_x' and 'dns_x.…'"),
        ("'dns_x', object, Odd", "Odd.folder: settings are TOML, which has no `PurePath`: use str"),
        ("'dns_x', object, Lost", "Lost: the type of a field cannot be read"),
        ("'dns_x'", "missing 2 required positional arguments"),
    ],
)
def test_registrations(install: Install, arguments: str, expected: str) -> None:
    source = f"""{BEGIN}
    from pathlib import PurePath

    class Odd(PluginSettings):
        folder: PurePath | None = None

    class Lost(PluginSettings):
        folder: "Nowhere"

    @hookimpl
    def register_dns_providers(register):
        register({arguments})
    """
    install("dns_x", source)
    assert expected in said()


def test_a_name_that_is_registered_twice(install: Install) -> None:
    twice = "@hookimpl\n    def register_dns_providers(register):\n        "
    install("dns_x", f"{BEGIN}    {twice}register('dns_x', object, Settings); register('dns_x', object, Settings)\n")
    assert "offers the DNS provider of that name twice: register it once" in said()


def test_a_distribution_without_the_entry_point_is_named_with_what_it_lacks(install: Install) -> None:
    install("dns_x", "", distribution="acmehub-dns-x", group="acmehub.plugins")
    with pytest.raises(PluginMissing) as caught:
        build_registry(["dns_x"], built_ins=())
    assert str(caught.value) == (
        "plugin 'dns_x' is not installed: acmehub-dns-x is, but has no entry point 'dns_x' in the group 'acmehub'"
        " (its groups: acmehub.plugins): add it below [project.entry-points.acmehub] in its pyproject.toml, and"
        " install it again"
    )


def test_a_slow_import_is_told(
    install: Install, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(plugins, "_SLOW", 0.0)
    install("dns_x", f"{BEGIN}    @hookimpl\n    def register_dns_providers(register): ...\n")
    with caplog.at_level(logging.WARNING):
        build_registry(["dns_x"], built_ins=())
    assert "plugin dns_x took" in caplog.text


def test_what_is_wrong_is_listed_and_stops_no_other(install: Install) -> None:
    install("dns_x", "import nothing_like_this")
    install("dns_y", "", distribution="one")
    install("dns_y", "", distribution="two")
    registry = build_registry()
    with pytest.raises(PluginBroken):
        registry.load("dns_x")
    lines = {(item.name, item.distribution): item for item in registry.installed()}
    assert "nothing_like_this" in lines["dns_x", "third-dns-x"].reason
    for distribution in ("one", "two"):
        line = lines["dns_y", distribution]
        assert (line.state, line.reason) == ("broken", "is offered twice, by one and two: uninstall one of them")
    assert lines["ca_local", "acmehub"].state == "active"


# ----------------------------------------------------------------------------------------------- what a factory makes


class Settings(PluginSettings, frozen=True):
    token: Secret = Secret("hunter2-hunter2")


class Sync(FakeDnsProvider):
    def add_txt(self, zone: str, name: str, value: str) -> None:  # type: ignore[override]
        return None


class Short(FakeDnsProvider):
    async def add_txt(self, zone: str, name: str) -> None:  # type: ignore[override]
        return None


class Half:
    async def add_txt(self, zone: str, name: str, value: str) -> None:
        return None


class ClosesNow(FakeDnsProvider):
    def aclose(self) -> None:
        return None


class AsynchronousChoice(FakeSigner):
    async def sign(self, csr: bytes) -> str:  # type: ignore[override]
        return ""


def context() -> PluginContext:
    return PluginContext("tests", Path(), SystemClock())


def made(factory: Any, kinds: tuple[type, ...] = DNS_PROVIDER) -> Any:
    return make_object(Registration("dns_x", factory, Settings), Settings(), context(), kinds)


def raises(settings: Settings, _context: PluginContext) -> object:
    raise RuntimeError(f"cannot log in with {settings.token.reveal()}")


@pytest.mark.parametrize(
    ("factory", "kinds", "expected"),
    [
        (lambda _s, _c: None, DNS_PROVIDER, "`NoneType` is no DnsProvider: it has no add_txt"),
        (lambda _s, _c: Half(), DNS_PROVIDER, "`Half` is no DnsProvider: it has no remove_txt"),
        (lambda _s, _c: Sync(), DNS_PROVIDER, "add_txt: write `async def`, as the hub awaits it"),
        (lambda _s, _c: Short(), DNS_PROVIDER, "add_txt is called with (zone, name, value): too many positional"),
        (lambda _s, _c: ClosesNow(), DNS_PROVIDER, "`ClosesNow` is no Closes: aclose: write `async def`"),
        (lambda _s, _c: AsynchronousChoice(SystemClock()), AUTHORITY, "sign is called with (csr, request)"),
        (lambda _s, _c: Half(), AUTHORITY, "`Half` is no SigningAuthority: it has no sign"),
        (lambda _s, _c: Half(), NOTIFIER, "`Half` is no Notifier: it has no notify"),
        (
            lambda _s: FakeDnsProvider(),
            DNS_PROVIDER,
            "factory(settings, context), raised TypeError (plugin_factory.py:",
        ),
    ],
)
def test_objects(factory: Any, kinds: tuple[type, ...], expected: str) -> None:
    with pytest.raises(PluginBroken) as caught:
        made(factory, kinds)
    assert str(caught.value).startswith("plugin 'dns_x' is broken: ")
    assert expected in str(caught.value)


def test_a_factory_that_raises_is_told_by_place_and_shows_no_secret() -> None:
    with pytest.raises(PluginBroken) as caught:
        made(raises)
    assert "raised RuntimeError (test_plugin_flaws.py:" in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_what_a_factory_may_raise_comes_through() -> None:
    def refuses(_settings: Settings, _context: PluginContext) -> object:
        raise SettingsError("no such file")

    with pytest.raises(SettingsError, match="no such file"):
        made(refuses)


def test_an_object_that_is_as_it_should_be_is_taken() -> None:
    assert isinstance(made(lambda _s, _c: FakeDnsProvider()), FakeDnsProvider)
    assert isinstance(made(lambda _s, _c: FakeSigner(SystemClock()), AUTHORITY), FakeSigner)


# ---------------------------------------------------------------------------------------------------------- validate


def settings_with(validate: Any) -> type[PluginSettings]:
    return type("Own", (Settings,), {"validate": validate, "__module__": __name__}, frozen=True)


def test_validate_may_give_nothing_itself_or_other_settings() -> None:
    assert read_settings({"token": "a"}, settings_with(lambda self: None)).token == Secret("a")  # type: ignore[attr-defined]
    assert read_settings({"token": "a"}, settings_with(lambda self: self)).token == Secret("a")  # type: ignore[attr-defined]
    other = settings_with(lambda self: self if self.token == Secret("b") else type(self)(token=Secret("b")))
    assert read_settings({"token": "a"}, other).token == Secret("b")  # type: ignore[attr-defined]


async def soon(self: Settings) -> Settings:
    return self


@pytest.mark.parametrize(
    ("validate", "expected"),
    [
        (lambda self: True, r"Own.validate\(\) gave `bool`: it gives back the settings, or None"),
        (soon, r"Own.validate\(\) gave `coroutine`"),
        (lambda self: {}[self.token.reveal()], r"Own.validate\(\) raised KeyError \(test_plugin_flaws.py:\d+\)$"),
    ],
)
def test_a_validate_that_does_something_else_is_told(validate: Any, expected: str) -> None:
    with pytest.raises(SettingsError, match=expected):
        read_settings({"token": "hunter2"}, settings_with(validate))
