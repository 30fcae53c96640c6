"""Each hook, implemented by a plugin as docs/hooks.md tells it, does what is said there."""

from collections.abc import Sequence
from datetime import UTC, datetime
from types import SimpleNamespace

import pytest

from acmehub import (
    AccountCreated,
    Candidate,
    Identifier,
    OrderFinished,
    OrderRequest,
    PluginContext,
    PluginSettings,
    Problem,
    ProblemType,
    Register,
    Selection,
    hookimpl,
)
from acmehub.models import Principal, PrincipalType, Role, Token
from acmehub.ports.plugins import Registration
from acmehub.runtime.plugins import Registry, build_registry

NOW = datetime(2026, 11, 24, tzinfo=UTC)


class Settings(PluginSettings, frozen=True):
    place: str = ""


def factory(settings: Settings, context: PluginContext) -> str:
    return settings.place


class OffersAllKinds:
    """A plugin that registers one of each kind, and a second DNS provider."""

    @hookimpl
    def register_authorities(self, register: Register) -> None:
        register("mine", factory, Settings, "an authority")

    @hookimpl
    def register_dns_providers(self, register: Register) -> None:
        register("mine", factory, Settings)
        register("mine.second", factory, Settings)

    @hookimpl
    def register_storages(self, register: Register) -> None:
        register("mine", factory, Settings)

    @hookimpl
    def register_notifiers(self, register: Register) -> None:
        register("mine", factory, Settings)


class Policy:
    """A plugin that decides about names below `forbidden.test`, and abstains from all others."""

    @hookimpl
    def authorize_order(self, request: OrderRequest) -> Problem | None:
        if any(item.value.endswith("forbidden.test") for item in request.identifiers):
            return Problem(ProblemType.REJECTED_IDENTIFIER, "not on my watch")
        return None

    @hookimpl
    def select_authority(self, request: OrderRequest, candidates: Sequence[Candidate]) -> Selection | None:
        chosen = [item for item in candidates if request.principal.name in item.tags]
        return Selection(chosen[0].id, "tagged for this principal") if chosen else None


class Listener:
    """A plugin that keeps the news it hears."""

    def __init__(self) -> None:
        self.heard: list[OrderFinished | AccountCreated] = []

    @hookimpl
    def order_finished(self, event: OrderFinished) -> None:
        self.heard.append(event)

    @hookimpl
    def account_created(self, event: AccountCreated) -> None:
        self.heard.append(event)


def request(name: str, *, principal: str = "device") -> OrderRequest:
    owner = Principal(name=principal, type=PrincipalType.APPLICATION, created=NOW)
    token = Token(
        title="t",
        principal_id=owner.id,
        scope=(Role.MANAGED_ACME_CONSUMER,),
        secret_hash=b"",
        sealed_hmac_key=b"",
        created=NOW,
    )
    return OrderRequest(owner, token, (Identifier("dns", name),))


def candidate(id: str, *tags: str, default: bool = False) -> Candidate:
    return Candidate(id=id, name=id, plugin="ca_acme", default=default, created=NOW, tags=tags)


@pytest.fixture
def registry() -> Registry:
    return build_registry()


def test_register_hooks_offer_factories_by_kind(registry: Registry) -> None:
    registry.add("mine", OffersAllKinds())
    for offers in (registry.authorities, registry.dns_providers, registry.storages, registry.notifiers):
        found = offers["mine"]
        assert isinstance(found, Registration)
        assert (found.factory, found.settings) == (factory, Settings)
    assert registry.authorities["mine"].summary == "an authority"
    assert {"mine", "mine.second"} <= set(registry.dns_providers)


def test_authorize_order_refuses_with_the_problem_that_a_plugin_returns(registry: Registry) -> None:
    registry.add("mine", Policy())
    refused = registry.hook.authorize_order(request=request("www.forbidden.test"))
    assert isinstance(refused, Problem)
    assert refused.detail == "not on my watch"
    assert registry.hook.authorize_order(request=request("www.corp.test")) is None


def test_select_authority_asks_plugins_before_the_built_in_policy(registry: Registry) -> None:
    candidates = [candidate("first", default=True), candidate("second", "printer")]
    chosen = registry.hook.select_authority(request=request("a.test", principal="printer"), candidates=candidates)
    assert chosen.authority_id == "first"
    registry.add("mine", Policy())
    chosen = registry.hook.select_authority(request=request("a.test", principal="printer"), candidates=candidates)
    assert (chosen.authority_id, chosen.reason) == ("second", "tagged for this principal")
    chosen = registry.hook.select_authority(request=request("a.test"), candidates=candidates)
    assert chosen.authority_id == "first"


def test_news_hooks_hear_their_event(registry: Registry) -> None:
    listener = Listener()
    registry.add("mine", listener)
    finished = OrderFinished(order_id="1", principal="p", names=("a.test",), status="valid", authority="x", at=NOW)
    created = AccountCreated(account_id="1", principal="p", token_id="t", at=NOW)
    registry.news("order_finished", finished)
    registry.news("account_created", created)
    assert listener.heard == [finished, created]


def test_a_plugin_may_leave_out_arguments_that_it_does_not_need(registry: Registry) -> None:
    @hookimpl
    def select_authority(candidates: Sequence[Candidate]) -> Selection:
        return Selection(candidates[-1].id, "the last")

    registry.add("mine", SimpleNamespace(select_authority=select_authority))
    chosen = registry.hook.select_authority(request=request("a.test"), candidates=[candidate("a"), candidate("b")])
    assert chosen.reason == "the last"
