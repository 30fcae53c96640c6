"""All hooks. Hooks are synchronous; only methods of registered objects may await."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pluggy

from acmehub.models.problems import Problem
from acmehub.ports.plugins import AccountCreated, Candidate, OrderFinished, OrderRequest, Register, Selection

if TYPE_CHECKING:
    import click

    from acmehub.app.plugin_hub import PluginHub

PROJECT = "acmehub"
hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@hookspec
def register_authorities(register: Register) -> None:
    """Offer kinds of authorities: the factory's object is a `RelayAuthority` or a `SigningAuthority`."""


@hookspec
def register_dns_providers(register: Register) -> None:
    """Offer kinds of DNS providers: the factory's object is a `DnsProvider`."""


@hookspec
def register_storages(register: Register) -> None:
    """Offer kinds of storage: the factory's object is a `Store`."""


@hookspec
def register_notifiers(register: Register) -> None:
    """Offer kinds of notifiers: the factory's object is a `Notifier`."""


@hookspec
def register_routes(hub: "PluginHub") -> Sequence[object]:  # type: ignore[empty-body]
    """Give Litestar route handlers or routers to be served beside the hub's own, outside `/acme` and `/api/v1`."""


@hookspec
def register_commands(cli: "click.Group") -> None:
    """Add commands to `acmehub`."""


@hookspec(firstresult=True)
def select_authority(request: OrderRequest, candidates: Sequence[Candidate]) -> Selection | None:
    """Choose the authority for an order among the candidates, or abstain with None; the first choice holds."""


@hookspec(firstresult=True)
def authorize_order(request: OrderRequest) -> Problem | None:
    """Refuse an order by returning a Problem, after the hub's own checks; None has no objection."""


@hookspec
def order_finished(event: OrderFinished) -> None:
    """An order became valid or invalid."""


@hookspec
def account_created(event: AccountCreated) -> None:
    """An ACME account was bound by a token."""
