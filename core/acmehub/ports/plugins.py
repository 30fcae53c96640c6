"""Objects that hooks take and return, and the ports for notifiers and for objects that need closing."""

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
    """What a factory gets from the hub: the User-Agent for its requests, a folder for its files, the clock."""

    user_agent: str
    data_dir: Path
    clock: Clock


class Registration(msgspec.Struct, frozen=True):
    """A named factory: `factory(settings, context)` makes the object; `settings` is its PluginSettings type."""

    name: str
    factory: Callable[[Any, PluginContext], Any]
    settings: type[PluginSettings]
    summary: str = ""


class Register(Protocol):
    """The argument of the `register_…` hooks."""

    def __call__(
        self,
        name: str,
        factory: Callable[[Any, PluginContext], Any],
        settings: type[PluginSettings],
        summary: str = "",
    ) -> None:
        """Offer `factory` under `name`, which must not be taken."""
        ...


class OrderRequest(msgspec.Struct, frozen=True):
    """An order that a policy decides about: its principal and token, its names and its profile."""

    principal: Principal
    token: Token
    identifiers: tuple[Identifier, ...]
    profile: str | None = None


class Candidate(msgspec.Struct, frozen=True):
    """An authority that could issue for an order."""

    id: str
    name: str
    plugin: str
    default: bool
    created: datetime
    tags: tuple[str, ...] = ()
    profiles: tuple[str, ...] = ()


class Selection(msgspec.Struct, frozen=True):
    """A policy's choice of an authority; the reason is shown in the order's timeline."""

    authority_id: str
    reason: str
    profile: str | None = None


class OrderFinished(msgspec.Struct, frozen=True):
    """An order became valid, or invalid (`error` says why)."""

    order_id: str
    principal: str
    names: tuple[str, ...]
    status: str
    authority: str
    at: datetime
    error: str = ""


class AccountCreated(msgspec.Struct, frozen=True):
    """A client created an ACME account with a token."""

    account_id: str
    principal: str
    token_id: str
    at: datetime


class Notifier(Protocol):
    """Sends notifications to people: mail, chat, a webhook."""

    async def notify(self, news: OrderFinished | AccountCreated) -> None:
        """Send one notification; the hub logs a failure, which does not affect the order."""
        ...


@runtime_checkable
class Closes(Protocol):
    """A plugin's object that holds connections or files; the hub closes it when it stops."""

    async def aclose(self) -> None:
        """Close connections and files; the hub does not use the object afterwards."""
        ...
