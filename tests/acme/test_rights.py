"""Rights that were taken: each way to take one, at each place where it is used (docs/security.md).

One hub for all of it, with a CA, a signer and a DNS API by script and time by hand; each test has a client, a managed
challenge and a profile of its own.
"""

import functools
import itertools
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from random import Random
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from msgspec.structs import replace

from acmehub.config import Verify
from acmehub.issuance.idle_orders import INTERVAL, IdleOrders
from acmehub.models import (
    Account,
    AccountStatus,
    Actor,
    AuthorizationMode,
    AuthorizationStatus,
    Certificate,
    ChallengeType,
    EventKind,
    ManagedChallenge,
    OrderStatus,
    Principal,
    PrincipalType,
    Profile,
    Propagation,
    PropagationMode,
    Role,
    RoleAssignment,
    Stage,
    new_id,
)
from acmehub.models.identifiers import Identifier
from acmehub.models.problems import URN, Problem, ProblemType
from acmehub.models.wire import NewOrder, RevokeCert
from acmehub.ports.authority import UpstreamUnavailable
from acmehub.rules import orders
from acmehub.rules.jws import canonical_jwk
from acmehub.rules.orders import OrderBundle
from acmehub.runtime.rights import FRESH
from acmehub.testing.acme_client import AcmeClient
from acmehub.testing.acme_keys import AccountKey, b64, make_csr
from acmehub.validation import dns01
from tests.acme.lab import BASE
from tests.acme.machine_world import LEASE, Crash, World

REMEMBER = 30
_KEY = ec.generate_private_key(ec.SECP256R1())
_JWK = canonical_jwk(AccountKey.generate().jwk)
_numbers = itertools.count(1)


class Tenant:
    """An account whose names, profile and managed challenge are its own; `names` are two of its names.

    It asks the services behind the resources, which get the actor of a request that was let in.
    """

    def __init__(
        self,
        world: World,
        names: tuple[str, str] | None = None,
        *,
        signing: bool = False,
        mode: AuthorizationMode = AuthorizationMode.PREAPPROVED,
    ) -> None:
        self.world = world
        number = next(_numbers)
        self.tag = f"t{number}"
        self.profile = f"p{number}"
        self.names = names or (f"c{number}.corp.test", f"www.c{number}.corp.test")
        world.run(self._found("outside.signer" if signing else "outside.relay", mode))

    async def _found(self, authority: str, mode: AuthorizationMode) -> None:
        hub, now, id = self.world.hub, self.world.clock.now(), new_id()
        (row,) = await hub.store.authorities.named(authority)
        await hub.store.profiles.add(Profile(name=self.profile, description="d", authority_id=row.id, created=now))
        self.challenge = ManagedChallenge(
            id=id,
            name=self.tag,
            plugin="outside.dns",
            match=", ".join(self.names),
            tags=(self.tag,),
            propagation=Propagation(PropagationMode.NONE),
            sealed_settings=hub.vault.seal("managed_challenge.settings", id, b"{}"),
            created=now,
        )
        await hub.store.managed_challenges.add(self.challenge)
        principal = Principal(
            name=self.tag,
            type=PrincipalType.APPLICATION,
            roles=(RoleAssignment(Role.MANAGED_ACME_CONSUMER, (self.tag,)),),
            profiles=(self.profile,),
            created=now,
        )
        await hub.store.principals.add(principal)
        self.token, self.external = await self.world.lab.token(principal, authorization=mode)
        account = Account(jwk=_JWK, thumbprint=new_id(), token_id=self.token.id, principal_id=principal.id, created=now)
        await hub.store.accounts.bind(account, lambda token, _principal: token)
        self.account_id = account.id

    async def actor(self) -> Actor:
        """As stored now."""
        found = await self.world.hub.store.accounts.actor(self.account_id)
        assert found is not None
        return found

    # ---------------------------------------------------------------------------------------------- the client

    def order(self, *names: str) -> str:
        """newOrder for these names, or for the first one; the order's id."""
        identifiers = tuple(Identifier("dns", name) for name in names or self.names[:1])
        asked = NewOrder(identifiers=identifiers, profile=self.profile)
        return self.world.run(self.world.hub.orders.open(self.world.run(self.actor()), asked)).order.id

    def finalize(self, order_id: str) -> None:
        names = [item.value for item in self.stored(order_id).order.identifiers]
        actor = self.world.run(self.actor())
        self.world.run(self.world.hub.orders.finalize(actor, order_id, make_csr(names, key=_KEY)[0]))

    def certificate(self, order_id: str) -> Certificate:
        """What the client downloads."""
        certificate_id = self.stored(order_id).order.certificate_id
        assert certificate_id is not None
        return self.world.run(self.world.hub.orders.certificate(self.world.run(self.actor()), certificate_id))

    def respond(self, order_id: str) -> None:
        """Respond to the order's first challenge, by dns-01."""
        item, actor = self.stored(order_id).authorizations[0], self.world.run(self.actor())
        self.world.run(self.world.hub.orders.answer(actor, item, ChallengeType.DNS_01))

    def prove(self, order_id: str) -> None:
        """The same, and the hub has found the proof."""
        self.respond(order_id)
        item, now = self.stored(order_id).authorizations[0], self.world.clock.now()
        rule = functools.partial(orders.verified, authorization_id=item.id, now=now, remember=timedelta(days=REMEMBER))
        self.world.run(self.world.hub.store.orders.apply(order_id, rule))

    def issue(self) -> str:
        """An order to its end; its id."""
        order_id = self.order()
        self.work()
        self.finalize(order_id)
        self.work()
        assert self.stored(order_id).order.status is OrderStatus.VALID
        return order_id

    # ---------------------------------------------------------------------------------------------- the worker

    def work(self) -> None:
        """What is due, and what becomes due of it."""
        self.world.run(self.world.work())
        while self.world.until_due():
            self.world.run(self.world.work())

    def stored(self, order_id: str) -> OrderBundle:
        found = self.world.run(self.world.hub.store.orders.get(order_id))
        assert found is not None
        return found

    def kinds(self, order_id: str) -> list[EventKind]:
        return [event.kind for event in self.world.run(self.world.hub.store.records.timeline(order_id))]

    # ------------------------------------------------------------------------------------------ what came of it

    def check_ended(self, order_id: str) -> None:
        """The order is invalid, for the reason that the right was taken, and no TXT record is left."""
        self.work()
        order = self.stored(order_id).order
        assert order.status is OrderStatus.INVALID
        assert order.error is not None
        assert order.error.type == f"{URN}unauthorized"
        assert order.error.detail.startswith("no longer allowed: ")
        assert EventKind.RIGHT_TAKEN in self.kinds(order_id)
        assert not self.world.run(self.world.hub.store.txt_records.of_order(order.id))
        assert not any(self.names[0] in name for _zone, name in self.world.provider.records)


# ------------------------------------------------------------------------------------------------ what is taken

Loss = Callable[[Tenant], Awaitable[object]]


def _of_token(**fields: Any) -> Loss:
    async def take(tenant: Tenant) -> None:
        await tenant.world.hub.store.tokens.replace(replace((await tenant.actor()).token, **fields))

    return take


def _of_principal(**fields: Any) -> Loss:
    async def take(tenant: Tenant) -> None:
        await tenant.world.hub.store.principals.replace(replace((await tenant.actor()).principal, **fields))

    return take


async def _revoke(tenant: Tenant) -> None:
    await _of_token(revoked=tenant.world.clock.now())(tenant)


async def _expire(tenant: Tenant) -> None:
    await _of_token(expires=tenant.world.clock.now() - timedelta(seconds=1))(tenant)


async def _disable_challenge(tenant: Tenant) -> None:
    await tenant.world.hub.store.managed_challenges.replace(replace(tenant.challenge, enabled=False))


async def _deactivate(tenant: Tenant) -> None:
    account = (await tenant.actor()).account
    await tenant.world.hub.store.accounts.replace(replace(account, status=AccountStatus.DEACTIVATED))


LOSSES: dict[str, Loss] = {
    "names narrowed": _of_token(names="elsewhere.test"),
    "tag taken": _of_principal(roles=(RoleAssignment(Role.MANAGED_ACME_CONSUMER, ("elsewhere",)),)),
    "role taken": _of_principal(roles=(RoleAssignment(Role.AUDITOR),)),
    "profile taken": _of_principal(profiles=("another",)),
    "token disabled": _of_token(enabled=False),
    "token revoked": _revoke,
    "token expired": _expire,
    "principal disabled": _of_principal(enabled=False),
    "challenge disabled": _disable_challenge,
    "account deactivated": _deactivate,
}
KEPT = {"token expired"}  # accounts that it has bound keep working, so that devices can renew (docs/security.md)


class Taking:
    """The moment when a right is taken, and what must come of it."""

    def __init__(self, world: World, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
        self.world = world
        self.name = name
        self.allowed = name in KEPT
        self._monkeypatch = monkeypatch

    def tenant(self, names: tuple[str, str] | None = None, **kind: Any) -> Tenant:
        """The tenant that loses its right: the last one that was made."""
        self.subject = Tenant(self.world, names, **kind)
        return self.subject

    def check(self, ask: Callable[[], object], *, kinds: Sequence[ProblemType] = (ProblemType.UNAUTHORIZED,)) -> None:
        """What is asked for after the right was taken: it is given, or refused with one of these types."""
        if self.allowed:
            ask()
            return
        with pytest.raises(Problem) as refusal:
            ask()
        assert refusal.value.type in kinds

    def check_order(self, order_id: str) -> None:
        """The order after its right was taken: it goes on, or is invalid for that reason."""
        if self.allowed:
            assert self.subject.stored(order_id).order.status is not OrderStatus.INVALID
        else:
            self.subject.check_ended(order_id)

    async def take(self) -> None:
        """Now, and longer ago than a step may judge by."""
        await LOSSES[self.name](self.subject)
        self.world.clock.advance(FRESH + 0.01)

    def now(self) -> None:
        self.world.run(self.take())

    def when(self, thing: object, verb: str) -> None:
        """While `verb` is called for the first time from now on, before it does anything."""
        does = getattr(thing, verb)
        calls = itertools.count()

        async def call(*args: Any, **named: Any) -> Any:
            if next(calls) == 0:
                await self.take()
            return await does(*args, **named)

        self._monkeypatch.setattr(thing, verb, call)

    def results(self, thing: object, verb: str) -> list[Any]:
        """What each call of `verb` from now on has returned."""
        does = getattr(thing, verb)
        found: list[Any] = []

        async def call(*args: Any, **named: Any) -> Any:
            found.append(await does(*args, **named))
            return found[-1]

        self._monkeypatch.setattr(thing, verb, call)
        return found


@pytest.fixture(scope="module")
def world(founded: Path) -> Iterator[World]:
    made = World(founded, verify=Verify(remember_days=REMEMBER))
    made.run(made.lab.authority("outside.signer", default=False))
    for row in made.run(made.hub.store.managed_challenges.list()):
        made.run(made.hub.store.managed_challenges.remove(row))
    yield made
    made.close()


@pytest.fixture(params=list(LOSSES))
def taking(world: World, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Taking:
    world.relay.calls.clear()
    world.provider.calls.clear()
    return Taking(world, request.param, monkeypatch)


async def nobody(_order: object) -> None:
    """Hears of no order."""


def der(certificate: Certificate) -> bytes:
    """The leaf."""
    return x509.load_pem_x509_certificates(certificate.chain.encode())[0].public_bytes(Encoding.DER)


# ------------------------------------------------------------------------------------------- at the front, now

REFUSALS = (ProblemType.UNAUTHORIZED, ProblemType.REJECTED_IDENTIFIER, ProblemType.INVALID_PROFILE)
"""Of newOrder."""


def test_new_order(taking: Taking) -> None:
    tenant = taking.tenant()
    taking.now()
    taking.check(tenant.order, kinds=REFUSALS)


def test_new_authz(taking: Taking) -> None:
    tenant = taking.tenant()
    taking.now()
    taking.allowed |= taking.name == "profile taken"  # newAuthz names no profile
    asked = NewOrder(identifiers=(Identifier("dns", tenant.names[0]),))
    actor, open_order = taking.world.run(tenant.actor()), taking.world.hub.orders.open
    taking.check(lambda: taking.world.run(open_order(actor, asked, preauthorization=True)), kinds=REFUSALS)


def test_finalize(taking: Taking) -> None:
    tenant = taking.tenant()
    order_id = tenant.order()
    tenant.work()
    taking.now()
    taking.check(lambda: tenant.finalize(order_id))
    assert (tenant.stored(order_id).order.csr is not None) is taking.allowed
    taking.check_order(order_id)


def test_authorization_reuse(taking: Taking) -> None:
    tenant = taking.tenant(mode=AuthorizationMode.VERIFY)
    tenant.prove(tenant.order())
    taking.now()
    found: list[str] = []
    taking.check(lambda: found.append(tenant.order(*tenant.names)), kinds=REFUSALS)
    for order_id in found:
        states = [item.status for item in tenant.stored(order_id).authorizations]
        assert states == [AuthorizationStatus.VALID, AuthorizationStatus.PENDING]


def test_revocation_by_authorization(taking: Taking) -> None:
    owner = taking.tenant()
    leaf = der(owner.certificate(owner.issue()))
    tenant = taking.tenant(owner.names)
    tenant.order()
    taking.now()
    actor, revoke = taking.world.run(tenant.actor()), taking.world.hub.client_revocations.by_account
    taking.check(lambda: taking.world.run(revoke(actor, RevokeCert(certificate=b64(leaf)))))
    assert [item for item, _reason in taking.world.relay.revoked if item == leaf] == [leaf] * taking.allowed


def test_download_after_the_upstream_finalize(taking: Taking) -> None:
    tenant = taking.tenant()
    order_id = tenant.order()
    tenant.work()
    tenant.finalize(order_id)
    taking.when(taking.world.relay, "finalize")
    tenant.work()
    order = tenant.stored(order_id).order
    assert order.status is OrderStatus.VALID
    assert taking.world.run(taking.world.hub.store.certificates.get(order.certificate_id or "")) is not None
    taking.check(lambda: tenant.certificate(order_id))


# ------------------------------------------------------------------------------------------------ steps of issuance


def test_upstream_order(taking: Taking) -> None:
    tenant = taking.tenant()
    order_id = tenant.order()
    taking.now()
    tenant.work()
    assert ("new_order" in taking.world.relay.calls) is taking.allowed
    taking.check_order(order_id)


def test_planning_of_txt_records(taking: Taking) -> None:
    tenant = taking.tenant()
    order_id = tenant.order()
    taking.when(taking.world.relay, "authorization")
    plans = taking.results(taking.world.hub.solver, "plan")
    tenant.work()
    assert bool(plans) is taking.allowed
    taking.check_order(order_id)


def test_txt_record(taking: Taking) -> None:
    tenant = taking.tenant()
    order_id = tenant.order(*tenant.names)
    taking.when(taking.world.hub.solver, "plan")
    tenant.work()
    assert any(verb == "add_txt" for verb, *_ in taking.world.provider.calls) is taking.allowed
    taking.check_order(order_id)


def test_propagation(taking: Taking) -> None:
    tenant = taking.tenant()
    order_id = tenant.order()
    taking.when(taking.world.provider, "add_txt")
    looks = taking.results(taking.world.hub.solver, "propagated")
    tenant.work()
    assert bool(looks) is taking.allowed
    taking.check_order(order_id)


def test_response_to_the_upstream_challenge(taking: Taking) -> None:
    tenant = taking.tenant()
    order_id = tenant.order()
    taking.when(taking.world.hub.solver, "propagated")
    tenant.work()
    assert ("answer" in taking.world.relay.calls) is taking.allowed
    taking.check_order(order_id)


def test_upstream_validation(taking: Taking, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(taking.world.relay, "validation_looks", 2)
    tenant = taking.tenant()
    order_id = tenant.order()
    taking.when(taking.world.relay, "answer")
    tenant.work()
    taking.check_order(order_id)


def test_upstream_finalize(taking: Taking) -> None:
    tenant = taking.tenant()
    order_id = tenant.order()
    tenant.work()
    tenant.finalize(order_id)
    taking.when(taking.world.relay, "order")
    tenant.work()
    assert ("finalize" in taking.world.relay.calls) is taking.allowed
    taking.check_order(order_id)


def test_upstream_finalize_after_a_step_that_failed_before_it(taking: Taking) -> None:
    tenant = taking.tenant()
    order_id = tenant.order()
    tenant.work()
    tenant.finalize(order_id)
    taking.world.relay.fail("order", UpstreamUnavailable("no answer"))
    taking.world.run(taking.world.work())
    assert tenant.stored(order_id).order.stage is Stage.AUTHORIZED
    taking.now()
    tenant.work()
    assert ("finalize" in taking.world.relay.calls) is taking.allowed
    taking.check_order(order_id)


def test_signature(taking: Taking) -> None:
    tenant = taking.tenant(signing=True)
    order_id = tenant.order()
    tenant.finalize(order_id)
    taking.now()
    signatures = taking.results(taking.world.signer, "sign")
    tenant.work()
    assert bool(signatures) is taking.allowed
    taking.check_order(order_id)


def test_validation_in_mode_verify(taking: Taking) -> None:
    tenant = taking.tenant(mode=AuthorizationMode.VERIFY)
    order_id = tenant.order()
    tenant.respond(order_id)
    taking.now()
    looks = taking.results(dns01, "find_place")
    tenant.work()
    assert bool(looks) is taking.allowed
    if not taking.allowed:
        tenant.check_ended(order_id)


def test_order_that_waits_for_its_client(taking: Taking) -> None:
    tenant = taking.tenant()
    order_id = tenant.order()
    tenant.work()
    assert tenant.stored(order_id).order.run_at is None
    taking.now()
    for _ in range(2):  # ready orders and pending ones
        taking.world.clock.advance(INTERVAL)
        taking.world.run(taking.world.worker.idle_orders.work_off())
    taking.check_order(order_id)


def test_orders_that_wait_are_looked_at_in_turn_and_a_few_a_minute(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    taking = Taking(world, "names narrowed", monkeypatch)
    tenants = [Tenant(world, mode=mode) for mode in (AuthorizationMode.VERIFY, *[AuthorizationMode.PREAPPROVED] * 3)]
    waiting = {tenant.order() for tenant in tenants}
    for tenant in tenants:
        tenant.work()
    loop = IdleOrders(world.hub.store, world.hub.rights, world.clock, Random(1), nobody)
    loop.places.count = loop.refill = 2
    pages = taking.results(loop, "claim")
    looked: set[str] = set()
    while not waiting <= looked:
        assert len(pages) < 1000
        world.run(loop.work_off())
        looked |= {order.id for page in pages for order in page}
        world.clock.advance(INTERVAL)
    assert max(map(len, pages)) == 2


# ------------------------------------------------------------------------------------- what may have been sent


@pytest.mark.parametrize("when", ["answer lost", "process died"])
def test_once_the_upstream_finalize_may_have_been_sent_the_order_runs_to_its_end(
    world: World, when: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    taking = Taking(world, "names narrowed", monkeypatch)
    tenant = taking.tenant()
    order_id = tenant.order()
    tenant.work()
    tenant.finalize(order_id)
    if when == "answer lost":
        world.relay.fail("finalize", UpstreamUnavailable("no answer"))  # lost on its way: the order stays ready
        world.run(world.work())
    else:
        world.relay.fail("finalize", Crash())
        with suppress(Crash):
            world.run(world.work())
        world.crash("none", 1)
        world.clock.advance(LEASE + 1)
    assert tenant.stored(order_id).order.stage is Stage.FINALIZING
    taking.now()
    tenant.work()
    assert tenant.stored(order_id).order.status is OrderStatus.VALID
    assert EventKind.RIGHT_TAKEN not in tenant.kinds(order_id)


def test_a_record_that_was_planned_for_a_disabled_challenge_is_not_written_by_it(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    taking = Taking(world, "challenge disabled", monkeypatch)
    tenant = taking.tenant()
    later = tenant.challenge.created + timedelta(seconds=1)
    other = replace(tenant.challenge, id=new_id(), name=f"{tenant.tag} too", created=later)
    sealed = world.hub.vault.seal("managed_challenge.settings", other.id, b"{}")
    other = replace(other, sealed_settings=sealed)
    world.run(world.hub.store.managed_challenges.add(other))
    order_id = tenant.order()
    taking.when(world.hub.solver, "plan")
    rows = taking.results(world.hub.solver, "plan")
    tenant.work()
    tenant.finalize(order_id)
    tenant.work()
    assert tenant.stored(order_id).order.status is OrderStatus.VALID
    assert [row.managed_challenge_id for planned in rows for row in planned] == [tenant.challenge.id, other.id]
    assert EventKind.MANAGED_CHALLENGE_CHANGED in tenant.kinds(order_id)


def test_an_order_is_judged_by_what_was_read_a_quarter_of_a_second_ago_and_not_by_more(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert FRESH == 0.25
    for seconds, status in ((FRESH - 0.01, OrderStatus.READY), (FRESH + 0.01, OrderStatus.INVALID)):
        taking = Taking(world, "token disabled", monkeypatch)
        tenant = taking.tenant()
        order_id = tenant.order()
        world.run(world.hub.rights.require_step(tenant.stored(order_id).order))  # as the step before
        world.run(LOSSES[taking.name](tenant))
        world.clock.advance(seconds)
        world.run(world.work())
        assert tenant.stored(order_id).order.status is status


def test_judging_each_step_costs_a_quick_order_one_read(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each step reads the revisions once, as without rights; the first one reads the actor for those that follow."""
    taking = Taking(world, "token expired", monkeypatch)
    tenant = taking.tenant()
    order_id = tenant.order()
    actors = taking.results(world.hub.store.accounts, "actor")
    revisions = taking.results(world.hub.store, "revisions")
    steps = taking.results(world.hub.store.orders, "apply")
    world.run(world.work())
    assert tenant.stored(order_id).order.stage is Stage.VALIDATING
    assert len(actors) == 1
    assert len(revisions) <= len(steps) + 2  # a provider each for writing and for looking


# ------------------------------------------------------------------------------------------------- what clients see


async def _client(tenant: Tenant) -> AcmeClient:
    client = await tenant.world.lab.stranger()
    await client.register(tenant.external, status=201)
    tenant.account_id = client.kid.rpartition("/")[2]
    return client


def test_finalize_is_unauthorized_and_the_order_says_why(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    taking = Taking(world, "names narrowed", monkeypatch)
    tenant = taking.tenant()
    client = world.run(_client(tenant))
    placed = world.run(client.new_order(tenant.names, profile=tenant.profile))
    taking.now()
    refusal = world.run(client.finalize(placed.json, make_csr(tenant.names)[0], status=403))
    assert refusal.problem == "unauthorized"
    assert [item["identifier"]["value"] for item in refusal.json["subproblems"]] == list(tenant.names)
    shown = world.run(client.order(placed.location)).json
    assert (shown["status"], shown["error"]) == ("invalid", refusal.json)


def test_a_valid_order_shows_its_certificate_and_the_download_is_refused_while_the_right_is_gone(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    taking = Taking(world, "names narrowed", monkeypatch)
    tenant = taking.tenant()
    client = world.run(_client(tenant))
    url = f"{BASE}/acme/order/{tenant.issue()}"
    taking.now()
    shown = world.run(client.order(url)).json
    assert shown["status"] == "valid"
    for address in (shown["certificate"], f"{shown['certificate']}/1"):
        refusal = world.run(client.post(address, status=403))
        assert refusal.problem == "unauthorized"
        assert tenant.names[0] in refusal.json["detail"]
    again = world.run(client.post(f"{url}/finalize", {"csr": b64(make_csr(tenant.names[:1])[0])}, status=403))
    assert again.problem == "unauthorized"
    assert world.run(client.order(url)).json["status"] == "valid"
    token = world.run(tenant.actor()).token
    world.run(world.hub.store.tokens.replace(replace(token, names="")))
    world.run(client.certificate(shown["certificate"]))


def test_an_order_outlives_its_profile_until_its_certificate_is_fetched(world: World) -> None:
    tenant = Tenant(world)
    (profile,) = world.run(world.hub.store.profiles.named(tenant.profile))
    order_id = tenant.order()
    world.run(world.hub.store.profiles.replace(replace(profile, enabled=False)))
    tenant.work()
    tenant.finalize(order_id)
    tenant.work()
    assert tenant.certificate(order_id).profile == tenant.profile
