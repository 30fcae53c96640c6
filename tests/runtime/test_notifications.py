"""Notifiers: each gets every piece of news, none holds anything up, and a failing one is logged."""

import asyncio
import logging
from datetime import UTC, datetime
from pathlib import Path

import pytest

from acmehub.app.bootstrap import open_vault, prepare_data_dir
from acmehub.app.hub import Hub, open_store
from acmehub.config import ConfigError, load_config
from acmehub.ports.clock import SystemClock
from acmehub.ports.hookspecs import hookimpl
from acmehub.ports.plugins import AccountCreated, OrderFinished, PluginContext, Register
from acmehub.ports.settings import PluginSettings, Secret
from acmehub.runtime.crash_points import CrashPoints
from acmehub.runtime.plugins import PluginMissing, build_registry

AT = datetime(2026, 11, 24, tzinfo=UTC)
ORDER = OrderFinished("o", "firewall-01", ("www.corp.test",), "valid", "pebble", AT)
ACCOUNT = AccountCreated("a", "firewall-01", "t", AT)


class Settings(PluginSettings, frozen=True, kw_only=True):
    url: str
    password: Secret = Secret("")


class Chat:
    """A notifier that a test can hold up, and that fails for one URL."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.seen: list[object] = []
        self.gate = asyncio.Event()
        self.closed = False

    async def notify(self, news: OrderFinished | AccountCreated) -> None:
        if self.settings.url == "broken":
            raise KeyError("unforeseen")
        await self.gate.wait()
        self.seen.append(news)

    async def aclose(self) -> None:
        self.closed = True


class ChatPlugin:
    def __init__(self) -> None:
        self.made: list[Chat] = []

    def make(self, settings: Settings, _context: PluginContext) -> Chat:
        self.made.append(Chat(settings))
        return self.made[-1]

    @hookimpl
    def register_notifiers(self, register: Register) -> None:
        register("notify_chat", self.make, Settings, "a chat")


def hub_with(folder: Path, plugin: ChatPlugin, notifiers: str) -> Hub:
    file = folder / "acmehub.toml"
    file.write_text(notifiers)
    config = load_config(file, environ={"CHAT_PASSWORD": "hush"}, overrides={"data_dir": folder / "data"})
    prepare_data_dir(config.data_dir)
    registry = build_registry()
    registry.add("notify_chat", plugin)
    clock = SystemClock()
    return Hub(config, clock, CrashPoints(), open_vault(config), registry, open_store(config, registry, clock))


ONE = '[[notifier]]\nplugin = "notify_chat"\nsettings = { url = "one", password = "env:CHAT_PASSWORD" }\n'
BROKEN = '[[notifier]]\nplugin = "notify_chat"\nsettings = { url = "broken" }\n'


async def test_every_configured_notifier_gets_the_news_and_a_failing_one_is_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    plugin = ChatPlugin()
    hub = hub_with(tmp_path, plugin, BROKEN + ONE)
    _broken, chat = plugin.made
    assert chat.settings.password == Secret("hush")
    with caplog.at_level(logging.ERROR):
        async with hub.running():
            hub.registry.news("order_finished", ORDER)
            hub.registry.news("account_created", ACCOUNT)
            hub.registry.news("order_finished", ORDER)
            await asyncio.sleep(0)
            assert chat.seen == []  # nobody has waited for it
            chat.gate.set()
    assert sorted(map(repr, chat.seen)) == sorted(map(repr, [ORDER, ORDER, ACCOUNT]))
    assert chat.closed
    assert [record.getMessage() for record in caplog.records] == [
        "notifier notify_chat could not deliver OrderFinished",
        "notifier notify_chat could not deliver AccountCreated",
    ]


async def test_a_delivery_that_hangs_does_not_keep_the_hub_from_ending(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("acmehub.runtime.notifications.GRACE", 0.05)
    plugin = ChatPlugin()
    hub = hub_with(tmp_path, plugin, ONE)
    async with hub.running():
        hub.registry.news("order_finished", ORDER)
    assert plugin.made[0].closed


async def test_without_a_notifier_nobody_listens_to_the_news(tmp_path: Path) -> None:
    hub = hub_with(tmp_path, ChatPlugin(), "")
    assert hub.registry.hook.order_finished.get_hookimpls() == []


@pytest.mark.parametrize(
    ("notifiers", "error", "words"),
    [
        ('[[notifier]]\nplugin = "notify_nobody"\n', PluginMissing, "notify_nobody"),
        (
            '[[notifier]]\nplugin = "notify_chat"\n',
            ConfigError,
            r"\$\.notifier\[0\]\.settings: .*`url` \(plugin notify_chat\)",
        ),
    ],
)
def test_a_notifier_that_cannot_be_made_stops_the_start(
    tmp_path: Path, notifiers: str, error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        hub_with(tmp_path, ChatPlugin(), notifiers)
