"""A hub with one of everything, and API tokens of principals with each role."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import httpx
from msgspec.structs import replace

from acmehub.admin.resources.authorities import NewAuthority
from acmehub.admin.resources.campaigns import NewCampaign
from acmehub.admin.resources.managed_challenges import NewManagedChallenge
from acmehub.admin.resources.principals import NewPrincipal
from acmehub.admin.resources.profiles import NewProfile
from acmehub.admin.resources.tokens import NewToken, TokenPatch
from acmehub.api.examples import EXAMPLES
from acmehub.api.table import Operation
from acmehub.app.asgi import create_app
from acmehub.config import Api
from acmehub.models import Role, RoleAssignment
from acmehub.ports.idempotency import IdempotencyKeys
from acmehub.rules.orders import Change
from acmehub.rules.permissions import Acting
from acmehub.testing.store_samples import Seed, a_certificate
from tests.acme.lab import BASE, Lab

API = "/api/v1"
ROOT = Acting.machine("test")
FRIDAY = datetime(2099, 11, 27, tzinfo=UTC)
CONSUMER = (RoleAssignment(Role.MANAGED_ACME_CONSUMER),)
UNLIMITED: dict[str, Any] = {"address_requests": 0, "token_requests": 0, "new_credentials": 0}
RFC2136 = {"server": "192.0.2.53", "key_name": "acmehub", "key_secret": "c2VjcmV0LW9mLXRoZS1rZXk="}
THERE: dict[str, str | int] = {
    "principal": "app",
    "challenge": "zone",
    "authority": "ca",
    "profile": "short",
    "campaign": "incident",
    "plugin": "ca_acme",
    "entry": 1,
}


class Desk:
    """The hub, and how to ask its API."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.hub = lab.hub
        self.admin = lab.hub.admin
        self.http = lab.http
        self.bearers: dict[str, str] = {}
        self.ids: dict[str, str] = {}

    async def furnish(self) -> None:
        """One of everything, with the names that the tests use."""
        for role in Role:
            self.bearers[role] = await self.bearer(f"an {role}", role)
        await self.admin.principals.add(NewPrincipal(name="app", roles=CONSUMER), ROOT)
        await self.admin.principals.add(NewPrincipal(name="idle"), ROOT)
        await self.admin.tokens.add(NewToken(title="EAB", principal="app", secret_directory=True), ROOT)
        await self.admin.tokens.add(NewToken(title="unused", principal="app"), ROOT)
        zone = NewManagedChallenge(name="zone", plugin="dns_rfc2136", match="b.test", settings=RFC2136)
        await self.admin.managed_challenges.add(zone, ROOT)
        await self.admin.authorities.add(NewAuthority(name="ca", plugin="ca_stand_in", default=True), ROOT)
        await self.admin.authorities.add(NewAuthority(name="spare", plugin="ca_stand_in"), ROOT)
        await self.admin.profiles.add(NewProfile(name="short", description="Short"), ROOT)
        await self.admin.campaigns.add(NewCampaign(name="incident", renew_by=FRIDAY), ROOT)
        await self._with_orders()

    async def bearer(self, name: str, *roles: Role, tags: tuple[str, ...] = (), **token: Any) -> str:
        """The `Authorization` of a new principal with these roles."""
        assignments = tuple(RoleAssignment(role, tags) for role in roles)
        await self.admin.principals.add(NewPrincipal(name=name, roles=assignments), ROOT)
        flags = {"reveal": True, "delegates": True, **token}
        added = await self.admin.tokens.add(NewToken(title=f"of {name}", principal=name, scope=roles, **flags), ROOT)
        return f"Bearer acmehub_{added.token.id}_{added.secret.reveal()}"

    async def disable(self, name: str) -> None:
        """The token of a principal."""
        await self.admin.tokens.set(f"of {name}", TokenPatch(enabled=False), ROOT)

    async def ask(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        as_: str | None = Role.ADMINISTRATOR,
        http: httpx.AsyncClient | None = None,
        **headers: str,
    ) -> httpx.Response:
        """A request with the token of a role (None: without one)."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if as_ is not None:
            sent.setdefault("authorization", self.bearers[as_])
        if method == "PATCH":
            sent.setdefault("content-type", "application/merge-patch+json")
        return await (http or self.http).request(method, API + path, json=body, headers=sent)

    async def get(self, path: str, **rest: Any) -> Any:
        """The JSON of a GET that succeeds."""
        answer = await self.ask("GET", path, **rest)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def path(self, item: Operation) -> str:
        """The path of an operation on what is here."""
        known = {**THERE, **self.ids}
        return item.url(*(known[name] for name, _ in item.path_arguments)).removeprefix(API)

    async def ask_operation(self, item: Operation, **rest: Any) -> httpx.Response:
        """An operation on what is here, with the example as its body."""
        return await self.ask(item.method, self.path(item), EXAMPLES.get(item.id), **rest)

    async def state(self) -> list[object]:
        """All rows of all resources."""
        store = self.hub.store
        nouns = (store.principals, store.tokens, store.managed_challenges, store.authorities, store.profiles)
        order = await store.orders.get(self.ids["order"])
        return [*[await noun.list() for noun in nouns], await store.campaigns.list(), order]

    @asynccontextmanager
    async def another(self, keys: IdempotencyKeys | None = None, **api: Any) -> AsyncIterator[httpx.AsyncClient]:
        """The application of the same hub once more, with other settings of `[api]` and a store of keys."""
        config = self.hub.config
        self.hub.config = replace(config, api=Api(**{**UNLIMITED, **api}))
        if keys is not None:
            self.hub.store.idempotency = keys
        transport = httpx.ASGITransport(create_app(self.hub))  # type: ignore[arg-type]
        self.hub.config = config
        async with httpx.AsyncClient(transport=transport, base_url=BASE) as http:
            yield http

    async def _with_orders(self) -> None:
        token = await self.admin.tokens.rows.find("EAB")
        owner = await self.admin.principals.rows.find("app")
        await self.lab.client(principal=owner)
        [account] = await self.hub.store.accounts.list()
        account_id = account.id
        actor = await self.hub.store.accounts.actor(account_id)
        assert actor is not None
        authority = await self.admin.authorities.rows.find("ca")
        challenge = await self.admin.managed_challenges.rows.find("zone")
        seed = Seed(actor, authority, challenge)
        now = datetime.now(UTC)
        done, waiting = seed.order("a.b.test", created=now), seed.order("b.test", created=now)
        certificate = a_certificate(done.order)
        await self.hub.store.orders.add(done)
        await self.hub.store.orders.add(waiting)
        await self.hub.store.orders.apply(
            done.order.id, lambda stored: Change(order=stored.order, certificate=certificate)
        )
        self.ids = {
            "account": account_id,
            "order": waiting.order.id,
            "certificate": certificate.id,
            "token": token.id,
        }
