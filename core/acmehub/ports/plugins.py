"""What a plugin is given, and what it registers: factories with their Settings, notifiers, policy requests."""

from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import msgspec

from acmehub.models import Principal, Token
from acmehub.models.identifiers import Identifier
from acmehub.ports.clock import Clock
from acmehub.ports.settings import PluginSettings


class PluginContext(msgspec.Struct, frozen=True):
    """What the hub lends to a plugin's factory: how to name itself to others, where it may keep files, time."""

    user_agent: str
    data_dir: Path
    clock: Clock


class Registration(msgspec.Struct, frozen=True):
    """A named factory: `factory(settings, context)` gives the object; `settings` is its PluginSettings type."""

    name: str
    factory: Callable[[Any, PluginContext], Any]
    settings: type[PluginSettings]
    summary: str = ""


class Register(Protocol):
    """What the `register_…` hooks are handed."""

    def __call__(
        self,
        name: str,
        factory: Callable[[Any, PluginContext], Any],
        settings: type[PluginSettings],
        summary: str = "",
    ) -> None:
        """Offer `factory` under `name`; a name that is taken is an error."""
        ...


class OrderRequest(msgspec.Struct, frozen=True):
    """What a policy decides about: who asks for which names, with which profile."""

    principal: Principal
    token: Token
    identifiers: tuple[Identifier, ...]
    profile: str | None = None


class Candidate(msgspec.Struct, frozen=True):
    """An authority that could fulfil a request."""

    id: str
    name: str
    plugin: str
    default: bool
    created: datetime
    tags: tuple[str, ...] = ()
    profiles: tuple[str, ...] = ()


class Selection(msgspec.Struct, frozen=True):
    """A policy's choice of an authority, and why: the reason stands in the order's timeline."""

    authority_id: str
    reason: str
    profile: str | None = None


class OrderFinished(msgspec.Struct, frozen=True):
    """News: an order became valid, or invalid (`error` says why)."""

    order_id: str
    principal: str
    names: tuple[str, ...]
    status: str
    authority: str
    at: datetime
    error: str = ""


class AccountCreated(msgspec.Struct, frozen=True):
    """News: an ACME account was bound by a token."""

    account_id: str
    principal: str
    token_id: str
    at: datetime


class Notifier(Protocol):
    """Carries news to people: mail, chat, a webhook."""

    async def notify(self, news: OrderFinished | AccountCreated) -> None:
        """Deliver one piece of news; a failure is logged and does not touch the order."""
        ...


@runtime_checkable
class Closes(Protocol):
    """A plugin's object that holds connections or files: let go of when the hub ends."""

    async def aclose(self) -> None:
        """Let go; nothing is asked of the object after that."""
        ...
