"""What every request has at hand: the hub's parts, the URLs, nonces, account keys, held answers."""

import asyncio
from collections import OrderedDict
from ipaddress import ip_network
from typing import Protocol

import msgspec

from acmehub.bulletin import Bulletin
from acmehub.config import Config
from acmehub.faults import FaultPoints
from acmehub.http.addresses import Network
from acmehub.http.holding import Holding
from acmehub.http.nonces import LocalNonces, Nonces, SharedNonces
from acmehub.http.urls import Urls
from acmehub.jws import load_key
from acmehub.keys import AccountKey
from acmehub.models import Account
from acmehub.ports.clock import Clock
from acmehub.ports.store import Store
from acmehub.registry import Registry
from acmehub.services.accounts import AccountService
from acmehub.services.learning import LearningService
from acmehub.services.ordering import OrderService
from acmehub.services.revocation import RevocationService
from acmehub.vault import Vault

_MOST_KEYS = 10_000


class Engine(Protocol):
    """The parts of a hub that the front uses. `ordering` may be exchanged while the hub starts; `stopping` is set when
    the process is to end."""

    config: Config
    clock: Clock
    store: Store
    vault: Vault
    registry: Registry
    bulletin: Bulletin
    faults: FaultPoints
    accounts: AccountService
    ordering: OrderService
    learning: LearningService
    revocation: RevocationService
    stopping: asyncio.Event


class Keys:
    """Loaded account keys, the least recently used ones forgotten; a key never changes, its thumbprint names it."""

    def __init__(self) -> None:
        self._loaded: OrderedDict[str, AccountKey] = OrderedDict()

    def of(self, account: Account) -> AccountKey:
        """The key of an account."""
        key = self._loaded.get(account.thumbprint)
        if key is None:
            key = self._loaded[account.thumbprint] = load_key(account.jwk)
            if len(self._loaded) > _MOST_KEYS:
                self._loaded.popitem(last=False)
        else:
            self._loaded.move_to_end(account.thumbprint)
        return key


class Front(msgspec.Struct, frozen=True):
    """What the resources share; one per application."""

    hub: Engine
    urls: Urls
    nonces: Nonces
    keys: Keys
    holding: Holding
    proxies: tuple[Network, ...]


def build_front(hub: Engine) -> Front:
    """The front of a hub whose storage need not be open yet."""
    nonces: Nonces
    if hub.store.shared:
        nonces = SharedNonces(hub.vault.derive("nonce"), hub.store.nonces, hub.clock)
    else:
        nonces = LocalNonces(hub.clock)
    return Front(
        hub=hub,
        urls=Urls(hub.config.base_url),
        nonces=nonces,
        keys=Keys(),
        holding=Holding(hub.bulletin, hub.stopping, hub.clock, hub.config.acme.hold),
        proxies=tuple(ip_network(network) for network in hub.config.trusted_proxies),
    )
