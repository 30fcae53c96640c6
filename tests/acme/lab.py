"""A hub without a worker behind the real application: tests play the worker, so that every moment can be looked at."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
from msgspec.structs import replace

from acmehub import hookimpl
from acmehub.app.asgi import create_app
from acmehub.app.hub import Hub, build_hub
from acmehub.config import Acme, Config, TlsMode
from acmehub.issuance.validated import approve, is_approved
from acmehub.models import (
    Authority,
    Certificate,
    Event,
    ManagedChallenge,
    Principal,
    PrincipalType,
    Role,
    RoleAssignment,
    Stage,
    Token,
    new_id,
)
from acmehub.models.problems import Problem, ProblemDocument, ProblemType
from acmehub.ports.plugins import PluginContext, Register
from acmehub.ports.settings import PluginSettings
from acmehub.rules import orders
from acmehub.rules.eab import new_hmac_key
from acmehub.rules.orders import Change, OrderBundle
from acmehub.testing.acme_client import AcmeClient
from acmehub.testing.acme_keys import AccountKey, ExternalAccount
from acmehub.testing.fake_relay import FakeRelay

BASE = "https://hub.test"
DIRECTORY = f"{BASE}/acme/directory"
CHAIN = "".join(
    f"-----BEGIN CERTIFICATE-----\n{line}\n-----END CERTIFICATE-----\n" for line in ("bGVhZg==", "aW50ZXI=")
)


class Nothing(PluginSettings, frozen=True, kw_only=True):
    """No settings."""


class StandInRelay(FakeRelay):
    """An authority of the relaying kind that no test lets do anything."""

    def __init__(self, settings: Nothing, context: PluginContext) -> None:
        super().__init__(context.clock)


class StandInPlugin:
    """Offers `ca_stand_in`, and refuses what the test says."""

    def __init__(self) -> None:
        self.objection: Problem | None = None
        self.created: list[object] = []

    @hookimpl
    def register_authorities(self, register: Register) -> None:
        register("ca_stand_in", StandInRelay, Nothing)

    @hookimpl
    def authorize_order(self) -> Problem | None:
        return self.objection

    @hookimpl
    def account_created(self, event: object) -> None:
        self.created.append(event)


class Lab:
    """The hub, its application, and the operator's and the worker's hands."""

    def __init__(self, hub: Hub, http: httpx.AsyncClient, plugin: StandInPlugin) -> None:
        self.hub = hub
        self.http = http
        self.plugin = plugin

    # ------------------------------------------------------------------------------------------- the operator

    async def authority(self, plugin: str = "ca_stand_in", *, default: bool = True, name: str = "") -> Authority:
        id = new_id()
        row = Authority(
            id=id,
            name=name or plugin,
            plugin=plugin,
            default=default,
            sealed_settings=self.hub.vault.seal("authority.settings", id, b"{}"),
            created=self.now,
        )
        await self.hub.store.authorities.add(row)
        return row

    async def no_authority(self) -> None:
        """Take away what the first start has put there."""
        for row in await self.hub.store.authorities.list():
            await self.hub.store.authorities.remove(row)

    async def managed_challenge(self, match: str = "corp.test, *.corp.test") -> None:
        id = new_id()
        sealed = self.hub.vault.seal("managed_challenge.settings", id, b"{}")
        await self.hub.store.managed_challenges.add(
            ManagedChallenge(
                id=id, name=match, plugin="dns_none", match=match, sealed_settings=sealed, created=self.now
            )
        )

    async def principal(self, name: str = "device") -> Principal:
        row = Principal(
            name=name,
            type=PrincipalType.APPLICATION,
            roles=(RoleAssignment(Role.MANAGED_ACME_CONSUMER),),
            created=self.now,
        )
        await self.hub.store.principals.add(row)
        return row

    async def token(self, principal: Principal | None = None, **fields: Any) -> tuple[Token, ExternalAccount]:
        owner = principal or await self.principal(new_id())
        id, key = new_id(), new_hmac_key()
        row = Token(
            id=id,
            title=fields.pop("title", "credentials"),
            principal_id=owner.id,
            scope=fields.pop("scope", (Role.MANAGED_ACME_CONSUMER,)),
            secret_hash=b"",
            sealed_hmac_key=self.hub.vault.seal("token.hmac", id, key),
            created=self.now,
            **fields,
        )
        await self.hub.store.tokens.add(row)
        return row, ExternalAccount(id, key)

    async def client(self, user_agent: str = "strict-client/1", *, kind: str = "P-256", **token: Any) -> AcmeClient:
        """A client with an account, bound by a token of its own."""
        _, external = await self.token(**token)
        client = await self.stranger(user_agent, kind=kind)
        await client.register(external, status=201)
        return client

    async def stranger(self, user_agent: str = "strict-client/1", *, kind: str = "P-256") -> AcmeClient:
        """A client without an account."""
        return await AcmeClient.discover(self.http, DIRECTORY, key=AccountKey.generate(kind), user_agent=user_agent)

    # --------------------------------------------------------------------------------------------- the worker

    async def stored(self, url: str) -> OrderBundle:
        """The order behind a URL."""
        found = await self.hub.store.orders.get(url.rpartition("/order/")[2].split("/")[0])
        assert found is not None
        return found

    async def upstream_validates(self, url: str) -> None:
        """The upstream's authorizations are valid."""
        order = (await self.stored(url)).order
        approved = await is_approved(self.hub.store, order, self.now)

        def rule(bundle: OrderBundle) -> Change:
            bundle = OrderBundle(
                replace(bundle.order, stage=Stage.AUTHORIZED, run_at=None),
                tuple(replace(item, upstream_status="valid") for item in bundle.authorizations),
            )
            after = orders.with_client_status(bundle, self.now)
            events: tuple[Event, ...] = ()
            if approved:
                after, events = approve(after, self.now)
            return Change(order=after.order, authorizations=after.authorizations, events=events)

        await self.hub.store.orders.apply(order.id, rule)

    async def upstream_issues(self, url: str, chain: str = CHAIN, alternates: Sequence[str] = ()) -> None:
        """The chain is there."""

        def rule(bundle: OrderBundle) -> Change:
            order = replace(bundle.order, stage=Stage.DOWNLOADING)
            certificate = Certificate(
                order_id=order.id,
                account_id=order.account_id,
                authority_id=order.authority_id,
                names=tuple(item.value for item in order.identifiers),
                serial="01",
                issuer="CN=test",
                spki_sha256="00",
                not_before=self.now,
                not_after=self.now + timedelta(days=1),
                chain=chain,
                alternates=tuple(alternates),
                created=self.now,
            )
            return orders.issued(order, certificate, self.now)

        await self.hub.store.orders.apply((await self.stored(url)).order.id, rule)

    async def upstream_refuses(self, url: str, detail: str = "CAA record forbids it") -> None:
        """The CA has refused for good."""
        problem = ProblemDocument(type=ProblemType.CAA.urn, detail=detail, status=403)
        await self.hub.store.orders.apply(
            (await self.stored(url)).order.id, lambda bundle: orders.failed(bundle, problem, self.now)
        )

    @property
    def now(self) -> datetime:
        return datetime.now(UTC)


@asynccontextmanager
async def laboratory(folder: Path, acme: Acme, *, worker: bool = False, **config: Any) -> AsyncIterator[Lab]:
    """A running hub on SQLite in `folder`."""
    settings = Config(
        public_url=BASE, data_dir=folder / "data", tls=TlsMode(mode="off"), acme=acme, plugins=(), **config
    )
    hub = build_hub(settings)
    plugin = StandInPlugin()
    hub.registry.add("ca_stand_in", plugin)
    app = create_app(hub)
    migrate = not (folder / "data" / "acmehub.db").exists()
    async with (
        hub.running(serve=True, worker=worker, migrate=migrate),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=BASE, timeout=60) as http,  # type: ignore[arg-type]
    ):
        yield Lab(hub, http, plugin)
