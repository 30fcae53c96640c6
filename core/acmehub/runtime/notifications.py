"""Carries news to the configured notifiers: mail, chat, a webhook, whatever a plugin offers."""

import asyncio
import logging
from collections.abc import Sequence

import msgspec

from acmehub.ports.hookspecs import hookimpl
from acmehub.ports.plugins import AccountCreated, Closes, Notifier, OrderFinished

GRACE = 10.0  # seconds for deliveries under way when the hub ends

_log = logging.getLogger(__name__)


class NamedNotifier(msgspec.Struct, frozen=True):
    """A notifier, and the name it is logged by."""

    name: str
    notifier: Notifier


class Notifications:
    """Takes part by the news hooks, like any plugin. A delivery that fails is logged and holds nothing up."""

    def __init__(self, notifiers: Sequence[NamedNotifier]) -> None:
        self._notifiers = notifiers
        self._deliveries: set[asyncio.Task[None]] = set()

    @hookimpl
    def order_finished(self, event: OrderFinished) -> None:
        """Send it to every notifier."""
        self._send(event)

    @hookimpl
    def account_created(self, event: AccountCreated) -> None:
        """Send it to every notifier."""
        self._send(event)

    async def aclose(self) -> None:
        """Let deliveries that are under way end, for `GRACE` seconds at most, then have the notifiers let go."""
        if self._deliveries:
            _done, left = await asyncio.wait(self._deliveries, timeout=GRACE)
            for delivery in left:
                delivery.cancel()
            if left:
                await asyncio.wait(left)
        for item in self._notifiers:
            if isinstance(item.notifier, Closes):
                await item.notifier.aclose()

    def _send(self, news: OrderFinished | AccountCreated) -> None:
        for item in self._notifiers:
            delivery = asyncio.create_task(_deliver(item, news))
            self._deliveries.add(delivery)
            delivery.add_done_callback(self._deliveries.discard)


async def _deliver(item: NamedNotifier, news: OrderFinished | AccountCreated) -> None:
    try:
        await item.notifier.notify(news)
    except Exception:  # noqa: BLE001  a stranger's code: whatever it raises concerns its own delivery alone
        _log.exception("notifier %s could not deliver %s", item.name, type(news).__name__)
