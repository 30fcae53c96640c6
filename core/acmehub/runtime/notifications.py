"""Notifications: sends news to the configured notifiers (mail, chat, a webhook: what plugins offer)."""

import asyncio
import logging
from collections.abc import Sequence

import msgspec

from acmehub.ports.hookspecs import hookimpl
from acmehub.ports.plugins import AccountCreated, Closes, Notifier, OrderFinished
from acmehub.runtime.defects import Defects

GRACE = 10.0  # seconds for deliveries under way when the hub ends

_log = logging.getLogger(__name__)


class NamedNotifier(msgspec.Struct, frozen=True):
    """A notifier, and its name for the log."""

    name: str
    notifier: Notifier


class Notifications:
    """Sends news to every notifier. A delivery that fails is logged, once an hour for one reason, and delays nothing
    else."""

    def __init__(self, notifiers: Sequence[NamedNotifier]) -> None:
        self._notifiers = notifiers
        self._defects = Defects()
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
        """Wait up to `GRACE` seconds for running deliveries, then close the notifiers."""
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
            delivery = asyncio.create_task(self._deliver(item, news))
            self._deliveries.add(delivery)
            delivery.add_done_callback(self._deliveries.discard)

    async def _deliver(self, item: NamedNotifier, news: OrderFinished | AccountCreated) -> None:
        kind = type(news).__name__
        try:
            await item.notifier.notify(news)
        except Exception as error:  # noqa: BLE001  plugin code: any exception ends this delivery only
            if self._defects.is_news(error, item.name, kind):
                _log.exception("notifier %s could not deliver %s", item.name, kind)
