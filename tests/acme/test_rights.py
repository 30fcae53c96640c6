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
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from msgspec.structs import replace

from acmehub.config import Verify
from acmehub.models import (
    AccountStatus,
    Actor,
    AuthorizationMode,
    AuthorizationStatus,
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
from acmehub.models.problems import URN
from acmehub.ports.authority import UpstreamUnavailable
from acmehub.rules import orders
from acmehub.runtime.rights import FRESH
from acmehub.testing.acme_client import AcmeClient, Reply
from acmehub.testing.acme_keys import b64, compact, make_csr
from tests.acme.lab import BASE
from tests.acme.machine_world import LEASE, Crash, World

REMEMBER = 30
_numbers = itertools.count(1)


class Tenant:
    """A client whose names, profile and managed challenge are its own; `names` are two of its names."""

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
        hub, lab, id = self.world.hub, self.world.lab, new_id()
        (row,) = await hub.store.authorities.named(authority)
        await hub.store.profiles.add(Profile(name=self.profile, description="d", authority_id=row.id, created=lab.now))
        self.challenge = ManagedChallenge(
            id=id,
            name=self.tag,
            plugin="outside.dns",
            match=", ".join(self.names),
            tags=(self.tag,),
            propagation=Propagation(PropagationMode.NONE),
            sealed_settings=hub.vault.seal("managed_challenge.settings", id, b"{}"),
            created=lab.now,
        )
        await hub.store.managed_challenges.add(self.challenge)
        principal = Principal(
            name=self.tag,
            type=PrincipalType.APPLICATION,
            roles=(RoleAssignment(Role.MANAGED_ACME_CONSUMER, (self.tag,)),),
            profiles=(self.profile,),
            created=lab.now,
        )
        await hub.store.principals.add(principal)
        _, external = await lab.token(principal, authorization=mode)
        self.client = await lab.stranger()
        await self.client.register(external, status=201)

    async def actor(self) -> Actor:
        found = await self.world.hub.store.accounts.actor(self.client.kid.rpartition("/")[2])
        assert found is not None
        return found

    # ---------------------------------------------------------------------------------------------- the client

    def order(self, names: Sequence[str] = (), *, status: int | None = None) -> Reply:
        return self.world.run(self.client.new_order(names or self.names[:1], profile=self.profile, status=status))

    def finalize(self, placed: Reply, *, status: int | None = None) -> Reply:
        csr, _ = make_csr([item["value"] for item in placed.json["identifiers"]])
        return self.world.run(self.client.finalize(placed.json, csr, status=status))

    def prove(self, placed: Reply, *, by_hand: bool = True) -> None:
        """Respond to the order's only challenge in mode `verify`; `by_hand` also finds the proof."""
        authorization = self.world.run(self.client.authorization(placed.json["authorizations"][0])).json
        urls = {item["type"]: item["url"] for item in authorization["challenges"]}
        self.world.run(self.client.respond(urls["dns-01"]))
        if by_hand:
            item, now = self.stored(placed).authorizations[0], self.world.clock.now()
            rule = functools.partial(
                orders.verified, authorization_id=item.id, now=now, remember=timedelta(days=REMEMBER)
            )
            self.world.run(self.world.hub.store.orders.apply(item.order_id, rule))

    def issue(self) -> bytes:
        """An order to its end; the leaf (DER)."""
        self.placed = self.order()
        self.work()
        self.finalize(self.placed)
        self.work()
        shown = self.world.run(self.client.order(self.placed.location)).json
        chain = self.world.run(self.client.certificate(shown["certificate"]))
        return x509.load_pem_x509_certificates(chain.encode())[0].public_bytes(Encoding.DER)

    # ---------------------------------------------------------------------------------------------- the worker

    def work(self) -> None:
        """What is due, and what becomes due of it."""
        self.world.run(self.world.work())
        while self.world.until_due():
            self.world.run(self.world.work())

    def stored(self, placed: Reply) -> orders.OrderBundle:
        return self.world.run(self.world.lab.stored(placed.location))

    def kinds(self, placed: Reply) -> list[EventKind]:
        timeline = self.world.run(self.world.hub.store.records.timeline(self.stored(placed).order.id))
        return [event.kind for event in timeline]

    # ------------------------------------------------------------------------------------------ what came of it

    def check_ended(self, placed: Reply) -> None:
        """The order is invalid, for the reason that the right was taken, and no TXT record is left."""
        self.work()
        order = self.stored(placed).order
        assert order.status is OrderStatus.INVALID
        assert order.error is not None
        assert order.error.type == f"{URN}unauthorized"
        assert order.error.detail.startswith("no longer allowed: ")
        assert EventKind.RIGHT_TAKEN in self.kinds(placed)
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
AT_THE_DOOR = {"role taken", "token disabled", "token revoked", "principal disabled", "account deactivated"}
"""With these, the account may send no request at all."""

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

    def check(self, reply: Reply, status: int) -> None:
        """The answer to a request after the right was taken."""
        if self.allowed:
            assert reply.status == status, reply.body
        else:
            assert 400 <= reply.status < 404, reply.body
            assert reply.problem in ("unauthorized", "rejectedIdentifier", "invalidProfile")

    def check_order(self, placed: Reply) -> None:
        """The order after its right was taken: it goes on, or is invalid for that reason."""
        if self.allowed:
            assert self.subject.stored(placed).order.status is not OrderStatus.INVALID
        else:
            self.subject.check_ended(placed)

    async def take(self) -> None:
        """Now, and longer ago than a step may judge by."""
        await LOSSES[self.name](self.subject)
        self.world.clock.advance(FRESH + 0.01)

    def now(self) -> None:
        self.world.run(self.take())

    def when(self, thing: object, verb: str, *, passage: int = 1) -> None:
        """While `verb` is called for the `passage`th time from now on, before it does anything."""
        does = getattr(thing, verb)
        calls = itertools.count(1)

        async def call(*args: Any, **named: Any) -> Any:
            if next(calls) == passage:
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


def refused(reply: Reply) -> None:
    assert 400 <= reply.status < 404, reply.body
    assert reply.problem in ("unauthorized", "rejectedIdentifier", "invalidProfile")


# ------------------------------------------------------------------------------------------- at the front, now


async def _send(client: AcmeClient, url: str, payload: object = None) -> Reply:
    """A signed POST, whatever the answer."""
    return await client.send(url, await client.sign(url, b"" if payload is None else compact(payload)))


def test_new_order(taking: Taking) -> None:
    tenant = taking.tenant()
    taking.now()
    asked = {"identifiers": [{"type": "dns", "value": tenant.names[0]}], "profile": tenant.profile}
    reply = taking.world.run(_send(tenant.client, tenant.client.directory["newOrder"], asked))
    taking.check(reply, 201)


def test_new_authz(taking: Taking) -> None:
    tenant = taking.tenant()
    taking.now()
    asked = {"identifier": {"type": "dns", "value": tenant.names[0]}}
    reply = taking.world.run(_send(tenant.client, tenant.client.directory["newAuthz"], asked))
    if taking.name == "profile taken":  # newAuthz names no profile
        assert reply.status == 201
    else:
        taking.check(reply, 201)


def test_finalize(taking: Taking) -> None:
    tenant = taking.tenant()
    placed = tenant.order()
    tenant.work()
    taking.now()
    csr, _ = make_csr(tenant.names[:1])
    taking.check(taking.world.run(_send(tenant.client, placed.json["finalize"], {"csr": b64(csr)})), 200)
    assert (tenant.stored(placed).order.csr is not None) is taking.allowed
    if taking.name not in (*KEPT, *AT_THE_DOOR):
        tenant.check_ended(placed)


def test_authorization_reuse(taking: Taking) -> None:
    tenant = taking.tenant(mode=AuthorizationMode.VERIFY)
    placed = tenant.order()
    tenant.prove(placed)
    taking.now()
    asked = {"identifiers": [{"type": "dns", "value": name} for name in tenant.names], "profile": tenant.profile}
    reply = taking.world.run(_send(tenant.client, tenant.client.directory["newOrder"], asked))
    taking.check(reply, 201)
    if taking.allowed:
        states = [item.status for item in tenant.stored(reply).authorizations]
        assert states == [AuthorizationStatus.VALID, AuthorizationStatus.PENDING]


def test_revocation_by_authorization(taking: Taking) -> None:
    owner = taking.tenant()
    leaf = owner.issue()
    tenant = taking.tenant(owner.names)
    tenant.order()
    taking.now()
    reply = taking.world.run(_send(tenant.client, tenant.client.directory["revokeCert"], {"certificate": b64(leaf)}))
    taking.check(reply, 200)
    assert [item for item, _reason in taking.world.relay.revoked if item == leaf] == [leaf] * taking.allowed


def test_download_after_the_upstream_finalize(taking: Taking) -> None:
    tenant = taking.tenant()
    placed = tenant.order()
    tenant.work()
    tenant.finalize(placed)
    taking.when(taking.world.relay, "finalize")
    tenant.work()
    order = tenant.stored(placed).order
    assert order.status is OrderStatus.VALID
    certificate = taking.world.run(taking.world.hub.store.certificates.get(order.certificate_id or ""))
    assert certificate is not None
    url = f"{BASE}/acme/cert/{certificate.id}"
    taking.check(taking.world.run(_send(tenant.client, url)), 200)


# ------------------------------------------------------------------------------------------------ steps of issuance


def test_upstream_order(taking: Taking) -> None:
    tenant = taking.tenant()
    placed = tenant.order()
    taking.now()
    tenant.work()
    assert ("new_order" in taking.world.relay.calls) is taking.allowed
    taking.check_order(placed)


def test_planning_of_txt_records(taking: Taking) -> None:
    tenant = taking.tenant()
    placed = tenant.order()
    taking.when(taking.world.relay, "authorization")
    plans = taking.results(taking.world.hub.solver, "plan")
    tenant.work()
    assert bool(plans) is taking.allowed
    taking.check_order(placed)


def test_txt_record(taking: Taking) -> None:
    tenant = taking.tenant()
    placed = tenant.order(tenant.names)
    taking.when(taking.world.hub.store.txt_records, "of_order")
    tenant.work()
    assert any(verb == "add_txt" for verb, *_ in taking.world.provider.calls) is taking.allowed
    taking.check_order(placed)


def test_propagation(taking: Taking) -> None:
    tenant = taking.tenant()
    placed = tenant.order()
    taking.when(taking.world.provider, "add_txt")
    looks = taking.results(taking.world.hub.solver, "propagated")
    tenant.work()
    assert bool(looks) is taking.allowed
    taking.check_order(placed)


def test_response_to_the_upstream_challenge(taking: Taking) -> None:
    tenant = taking.tenant()
    placed = tenant.order()
    taking.when(taking.world.relay, "authorization", passage=2)
    tenant.work()
    assert ("answer" in taking.world.relay.calls) is taking.allowed
    taking.check_order(placed)


def test_upstream_validation(taking: Taking, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(taking.world.relay, "validation_looks", 2)
    tenant = taking.tenant()
    placed = tenant.order()
    taking.when(taking.world.relay, "answer")
    tenant.work()
    taking.check_order(placed)


def test_upstream_finalize(taking: Taking) -> None:
    tenant = taking.tenant()
    placed = tenant.order()
    tenant.work()
    tenant.finalize(placed)
    taking.when(taking.world.relay, "order")
    tenant.work()
    assert ("finalize" in taking.world.relay.calls) is taking.allowed
    taking.check_order(placed)


def test_upstream_finalize_after_a_step_that_failed_before_it(taking: Taking) -> None:
    tenant = taking.tenant()
    placed = tenant.order()
    tenant.work()
    tenant.finalize(placed)
    taking.world.relay.fail("order", UpstreamUnavailable("no answer"))
    taking.world.run(taking.world.work())
    assert tenant.stored(placed).order.stage is Stage.FINALIZING
    taking.now()
    tenant.work()
    assert ("finalize" in taking.world.relay.calls) is taking.allowed
    taking.check_order(placed)


def test_signature(taking: Taking) -> None:
    tenant = taking.tenant(signing=True)
    placed = tenant.order()
    tenant.finalize(placed)
    taking.now()
    signatures = taking.results(taking.world.signer, "sign")
    tenant.work()
    assert bool(signatures) is taking.allowed
    taking.check_order(placed)


def test_validation_in_mode_verify(taking: Taking, monkeypatch: pytest.MonkeyPatch) -> None:
    tenant = taking.tenant(mode=AuthorizationMode.VERIFY)
    placed = tenant.order()
    tenant.prove(placed, by_hand=False)
    taking.now()
    looks = taking.results(taking.world.hub.solver, "proof")
    tenant.work()
    assert bool(looks) is taking.allowed
    if not taking.allowed:
        tenant.check_ended(placed)


# ------------------------------------------------------------------------------------- what may have been sent


@pytest.mark.parametrize("when", ["answer lost", "process died"])
def test_once_the_upstream_finalize_may_have_been_sent_the_order_runs_to_its_end(
    world: World, when: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    taking = Taking(world, "names narrowed", monkeypatch)
    tenant = taking.tenant()
    placed = tenant.order()
    tenant.work()
    tenant.finalize(placed)
    if when == "answer lost":
        world.relay.fail("finalize", UpstreamUnavailable("no answer"))  # lost on its way: the order stays ready
        world.run(world.work())
    else:
        world.relay.fail("finalize", Crash())
        with suppress(Crash):
            world.run(world.work())
        world.crash("none", 1)
        world.clock.advance(LEASE + 1)
    assert tenant.stored(placed).order.stage is Stage.FINALIZING
    taking.now()
    tenant.work()
    assert tenant.stored(placed).order.status is OrderStatus.VALID
    assert EventKind.RIGHT_TAKEN not in tenant.kinds(placed)


def test_an_order_shows_its_certificate_and_only_the_download_is_refused(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    taking = Taking(world, "names narrowed", monkeypatch)
    tenant = taking.tenant()
    tenant.issue()
    placed = tenant.placed
    taking.now()
    shown = world.run(tenant.client.order(placed.location)).json
    assert shown["status"] == "valid"
    refusal = world.run(tenant.client.post(shown["certificate"], status=403))
    assert refusal.problem == "unauthorized"
    assert tenant.names[0] in refusal.json["detail"]
    again = world.run(_send(tenant.client, placed.json["finalize"], {"csr": b64(make_csr(tenant.names[:1])[0])}))
    assert (again.status, again.problem) == (403, "unauthorized")
    assert tenant.stored(placed).order.status is OrderStatus.VALID
    token = world.run(tenant.actor()).token
    world.run(world.hub.store.tokens.replace(replace(token, names="")))
    world.run(tenant.client.certificate(shown["certificate"]))


def test_a_record_that_was_planned_for_a_disabled_challenge_is_not_written_by_it(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    taking = Taking(world, "challenge disabled", monkeypatch)
    tenant = taking.tenant()
    other = replace(tenant.challenge, id=new_id(), name=f"{tenant.tag} too", created=world.clock.now())
    sealed = world.hub.vault.seal("managed_challenge.settings", other.id, b"{}")
    other = replace(other, sealed_settings=sealed)
    world.run(world.hub.store.managed_challenges.add(other))
    placed = tenant.order()
    taking.when(world.hub.store.txt_records, "of_order")
    rows = taking.results(world.hub.solver, "plan")
    tenant.work()
    tenant.finalize(placed)
    tenant.work()
    assert tenant.stored(placed).order.status is OrderStatus.VALID
    assert [row.managed_challenge_id for planned in rows for row in planned] == [tenant.challenge.id, other.id]
    assert EventKind.MANAGED_CHALLENGE_CHANGED in tenant.kinds(placed)


def test_an_order_outlives_its_profile_until_its_certificate_is_fetched(world: World) -> None:
    tenant = Tenant(world)
    (profile,) = world.run(world.hub.store.profiles.named(tenant.profile))
    placed = tenant.order()
    world.run(world.hub.store.profiles.replace(replace(profile, enabled=False)))
    tenant.work()
    tenant.finalize(placed)
    tenant.work()
    world.run(tenant.client.certificate(world.run(tenant.client.order(placed.location)).json["certificate"]))


def test_an_order_is_judged_by_what_was_read_a_quarter_of_a_second_ago_and_not_by_more(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    for seconds, status in ((FRESH - 0.01, OrderStatus.READY), (FRESH + 0.01, OrderStatus.INVALID)):
        taking = Taking(world, "token disabled", monkeypatch)
        tenant = taking.tenant()
        placed = tenant.order()
        world.run(LOSSES[taking.name](tenant))
        world.clock.advance(seconds)
        world.run(world.work())
        assert tenant.stored(placed).order.status is status
