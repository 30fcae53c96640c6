"""kill -9 of a hub that works on proxied orders and has TXT records in DNS, and its restart at once.

Its clients do not give up. What counts is that each of them gets its certificate, that the CA has signed it once, that
no TXT record is left, and how long the slowest one waits.
"""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from acmehub.testing.hub_process import HubProcess
from bench.acme_client import Target
from bench.acme_load import make_target, parser
from bench.named import ZONE, Named
from bench.pebble import Pebble
from bench.persistent_client import PersistentClient

CLIENTS = 20
PATIENCE = 150.0  # seconds, of a client
REQUEST_SECONDS = 20.0
TXT_SECONDS = 45.0
_LOOK_SECONDS = 0.005


class Kill(NamedTuple):
    """What one kill did: TXT records in DNS at that moment and in the end, seconds of the slowest order, orders
    without a certificate, certificates beyond one per order."""

    txt: int
    lost: int
    extra: int
    left: int
    slowest: float

    @property
    def flawless(self) -> bool:
        """Nothing lost, nothing signed twice, nothing left in DNS."""
        return not (self.lost or self.extra or self.left)


def kill_rounds(hub: HubProcess, pebble: Pebble, named: Named, kills: int) -> Sequence[Kill]:
    """Kill `hub`, which serves, so often; each time when more TXT records are in DNS than the time before, from one
    on."""
    options = parser().parse_args([hub.directory, "--insecure"])
    target = replace(make_target(options), timeout=REQUEST_SECONDS)
    credentials = hub.eab("load")
    found = []
    for number in range(kills):
        wanted = 1 + number % (CLIENTS // 2)
        found.append(asyncio.run(_kill(hub, pebble, named, target, credentials, wanted, f"k{number}")))
        print(f"kill {number + 1} of {kills}: {found[-1]}", flush=True)
    return found


async def _kill(
    hub: HubProcess, pebble: Pebble, named: Named, target: Target, credentials: dict[str, str], wanted: int, name: str
) -> Kill:
    clients = [PersistentClient([target], credentials, PATIENCE) for _ in range(CLIENTS)]
    await asyncio.gather(*(client.register() for client in clients))
    minted = pebble.minted()
    orders = [asyncio.create_task(_seconds(client, f"{name}-{number}.{ZONE}")) for number, client in enumerate(clients)]
    txt = await asyncio.to_thread(_reached, named, wanted, orders)
    hub.kill()
    await asyncio.to_thread(hub.start)
    took = await asyncio.gather(*orders)
    left = await asyncio.to_thread(named.txt_left, TXT_SECONDS)
    done = [seconds for seconds in took if seconds is not None]
    return Kill(
        txt=txt,
        lost=len(took) - len(done),
        extra=max(pebble.minted() - minted - len(done), 0),
        left=left,
        slowest=max(done, default=PATIENCE),
    )


def _reached(named: Named, wanted: int, orders: Sequence["asyncio.Task[float | None]"]) -> int:
    """Wait until so many TXT values are in the zone, or no order is under way; how many there are."""
    while (there := named.txt()) < wanted and not all(order.done() for order in orders):
        time.sleep(_LOOK_SECONDS)
    return there


async def _seconds(client: PersistentClient, name: str) -> float | None:
    """How long an order takes; None when it gives no certificate."""
    begin = time.monotonic()
    try:
        order = await client.certificate(name)
    except TimeoutError:
        return None
    return time.monotonic() - begin if order["status"] == "valid" else None
