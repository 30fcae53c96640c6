"""What all ACME resources share: the hub's parts, URLs, nonces, account keys, long polls."""

import asyncio
from typing import Protocol

import msgspec

from acmehub.acme.accounts.service import AccountService
from acmehub.acme.orders.learning import LearningService
from acmehub.acme.orders.revocation import ClientRevocations
from acmehub.acme.orders.service import OrderService
from acmehub.acme.server.client_address import TrustedProxies
from acmehub.acme.server.long_poll import LongPolls
from acmehub.acme.server.nonces import LocalNonces, Nonces, SharedNonces
from acmehub.acme.server.urls import Urls
from acmehub.config import Config
from acmehub.models import Account
from acmehub.ports.clock import Clock
from acmehub.ports.store import Store
from acmehub.rules.jws import load_key
from acmehub.rules.keys import AccountKey
from acmehub.runtime.client_limits.limits import ClientLimits
from acmehub.runtime.client_limits.refusals import Refusals
from acmehub.runtime.crash_points import CrashPoints
from acmehub.runtime.lru import Lru
from acmehub.runtime.order_events import OrderEvents
from acmehub.runtime.plugins import Registry
from acmehub.runtime.rights import Rights
from acmehub.runtime.snapshot import Snapshots

_MOST_KEYS = 10_000


class HubParts(Protocol):
    """The parts of a hub that the ACME server uses; `stopping` is set when the process ends."""

    config: Config
    clock: Clock
    store: Store
    snapshots: Snapshots
    rights: Rights
    registry: Registry
    order_events: OrderEvents
    crash_points: CrashPoints
    accounts: AccountService
    orders: OrderService
    learning: LearningService
    client_revocations: ClientRevocations
    client_limits: ClientLimits
    refusals: Refusals
    stopping: asyncio.Event

    def nonce_key(self) -> bytes:
        """The key of nonces of all processes that share the storage; known once the hub runs."""
        ...


class Keys:
    """Loaded account keys by thumbprint."""

    def __init__(self) -> None:
        self._loaded: Lru[str, AccountKey] = Lru(_MOST_KEYS)

    def of(self, account: Account) -> AccountKey:
        """The key of an account."""
        key = self._loaded.get(account.thumbprint)
        if key is None:
            key = load_key(account.jwk)
            self._loaded.put(account.thumbprint, key)
        return key


class AppContext(msgspec.Struct, frozen=True):
    """What the ACME resources of one application share."""

    hub: HubParts
    urls: Urls
    nonces: Nonces
    keys: Keys
    long_polls: LongPolls
    proxies: TrustedProxies


def build_context(hub: HubParts) -> AppContext:
    """The context for a hub; its storage need not be open yet."""
    clock = hub.clock
    return AppContext(
        hub=hub,
        urls=Urls(hub.config.base_url),
        nonces=SharedNonces(hub.nonce_key, hub.store.nonces, clock) if hub.store.shared else LocalNonces(clock),
        keys=Keys(),
        long_polls=LongPolls(hub.order_events, hub.stopping, clock, hub.config.acme.hold),
        proxies=TrustedProxies(hub.config.trusted_proxies),
    )
