"""Mode `verify`: the hub looks for the client's own proof, in DNS and on the client's server."""

import asyncio
from datetime import timedelta

import pytest
from acme import challenges
from cryptography.hazmat.primitives.asymmetric import ec
from josepy.b64 import b64encode
from josepy.jwk import JWKEC
from msgspec.structs import replace

from acmehub.config import Verify
from acmehub.issuance import IssuanceWorker
from acmehub.models import Authorization, AuthorizationMode, AuthorizationStatus, ChallengeType, OrderStatus
from acmehub.models.problems import URN
from acmehub.testing.dns_server import FaultKind
from acmehub.validation.dns01 import record_value
from acmehub.validation.validator import key_authorization
from tests.issuance.rig import Rig
from tests.validation.servers import http_server


def proof_value(token: str, thumbprint: str) -> str:
    return record_value(key_authorization(token, thumbprint))


def publish(rig: Rig, authorization: Authorization, at: str = "") -> None:
    value = proof_value(authorization.token, rig.actor.account.thumbprint)
    rig.dns.zones.add(at or f"_acme-challenge.{authorization.identifier.value}", "TXT", f'"{value}"')


async def opened(rig: Rig, *names: str, signing: bool = True) -> tuple[str, tuple[Authorization, ...]]:
    order_id = await rig.open(*names, mode=AuthorizationMode.VERIFY, signing=signing)
    return order_id, (await rig.bundle(order_id)).authorizations


def test_the_proof_is_what_another_implementation_computes() -> None:
    """RFC 8555 sections 8.1 and 8.4."""
    key = JWKEC(key=ec.generate_private_key(ec.SECP256R1()))
    thumbprint = b64encode(key.thumbprint()).decode()
    challenge = challenges.DNS01(token=b"t" * 32)
    assert proof_value(challenge.encode("token"), thumbprint) == challenge.validation(key)


@pytest.mark.parametrize("signing", [True, False])
async def test_a_proof_that_stands_makes_the_order_ready_and_the_certificate_follows(rig: Rig, signing: bool) -> None:
    order_id, authorizations = await opened(rig, "corp.test", "*.corp.test", signing=signing)
    for position, item in enumerate(authorizations):
        publish(rig, item)
        await rig.answer(order_id, position)
    await rig.main.work_off()
    bundle = await rig.bundle(order_id)
    assert bundle.order.status is OrderStatus.READY
    assert {item.status for item in bundle.authorizations} == {AuthorizationStatus.VALID}
    assert {item.answered for item in bundle.authorizations} == {ChallengeType.DNS_01}
    seen = [event for event in await rig.timeline(order_id) if event.kind == "validated"]
    assert len(seen) == 2
    assert seen[0].seconds is not None
    await rig.finalize(order_id)
    await rig.go()
    assert (await rig.order(order_id)).status is OrderStatus.VALID


async def test_nothing_is_looked_for_before_the_client_says_so(rig: Rig) -> None:
    order_id, authorizations = await opened(rig, "corp.test")
    publish(rig, authorizations[0])
    await rig.go()
    assert rig.dns.seen == []
    assert (await rig.order(order_id)).status is OrderStatus.PENDING


async def test_a_proof_that_comes_a_few_seconds_late_is_seen(rig: Rig) -> None:
    order_id, authorizations = await opened(rig, "corp.test")
    await rig.answer(order_id)
    await rig.go(4)
    assert (await rig.order(order_id)).status is OrderStatus.PENDING
    publish(rig, authorizations[0])
    await rig.go()
    assert (await rig.order(order_id)).status is OrderStatus.READY


async def test_a_proof_that_does_not_come_fails_the_order_after_ten_seconds(rig: Rig) -> None:
    order_id, _ = await opened(rig, "corp.test", "www.corp.test")
    await rig.answer(order_id, 0)
    begun = rig.clock.now()
    await rig.go()
    assert timedelta(seconds=10) < rig.clock.now() - begun < timedelta(seconds=15)
    bundle = await rig.bundle(order_id)
    assert bundle.order.status is OrderStatus.INVALID
    assert bundle.order.error is not None
    assert bundle.order.error.type == f"{URN}dns"
    assert "no TXT record at _acme-challenge.corp.test" in bundle.order.error.detail
    first = bundle.authorizations[0]
    assert first.status is AuthorizationStatus.INVALID
    assert first.error is not None
    assert first.error.type == f"{URN}dns"


async def test_another_value_is_an_incorrect_response(rig: Rig) -> None:
    order_id, _ = await opened(rig, "corp.test")
    rig.dns.zones.add("_acme-challenge.corp.test", "TXT", '"something else"')
    await rig.answer(order_id)
    await rig.go()
    error = (await rig.order(order_id)).error
    assert error is not None
    assert error.type == f"{URN}incorrectResponse"


async def test_a_proof_behind_a_cname_in_another_zone_counts(rig: Rig) -> None:
    order_id, authorizations = await opened(rig, "www.corp.test")
    rig.dns.zones.add("_acme-challenge.www.corp.test", "CNAME", "www.far.test.")
    publish(rig, authorizations[0], "www.far.test")
    await rig.answer(order_id)
    await rig.go()
    assert (await rig.order(order_id)).status is OrderStatus.READY


async def test_name_servers_that_cannot_be_asked_prove_nothing(rig: Rig) -> None:
    order_id, authorizations = await opened(rig, "www.corp.test")
    publish(rig, authorizations[0])
    await rig.answer(order_id)
    with rig.dns.fault(FaultKind.SERVFAIL, rdtype="TXT"):
        await rig.go()
    error = (await rig.order(order_id)).error
    assert error is not None
    assert error.type == f"{URN}dns"
    assert "SERVFAIL" in error.detail


async def test_a_second_answer_gets_looks_of_its_own(rig: Rig) -> None:
    order_id, authorizations = await opened(rig, "a.corp.test", "b.corp.test")
    await rig.answer(order_id, 0)
    await rig.go(6)
    publish(rig, authorizations[0])
    await rig.answer(order_id, 1)
    await rig.go(6)
    assert (await rig.order(order_id)).status is OrderStatus.PENDING
    publish(rig, authorizations[1])
    await rig.go()
    assert (await rig.order(order_id)).status is OrderStatus.READY


async def test_the_proof_of_another_account_does_not_count(rig: Rig) -> None:
    order_id, authorizations = await opened(rig, "corp.test")
    other = await rig.account()
    value = proof_value(authorizations[0].token, other.account.thumbprint)
    rig.dns.zones.add("_acme-challenge.corp.test", "TXT", f'"{value}"')
    await rig.answer(order_id)
    await rig.go()
    assert (await rig.order(order_id)).status is OrderStatus.INVALID


# ----------------------------------------------------------------------------------------- on the client's server


def looking(rig: Rig, port: int, **settings: float) -> IssuanceWorker:
    verify = Verify(http_port=port, networks=("127.0.0.0/8",), timeout=1.0)
    return rig.worker(owner="looking", verify=replace(verify, **settings))


def path_of(authorization: Authorization) -> str:
    return f"/.well-known/acme-challenge/{authorization.token}"


@pytest.mark.parametrize("signing", [True, False])
async def test_http_01_on_the_clients_server_makes_the_order_ready(rig: Rig, signing: bool) -> None:
    rig.dns.zones.add("www.corp.test", "A", "127.0.0.1")
    order_id, (authorization,) = await opened(rig, "www.corp.test", signing=signing)
    async with http_server() as server:
        server.serve(path_of(authorization), key_authorization(authorization.token, rig.actor.account.thumbprint))
        await rig.answer(order_id, kind=ChallengeType.HTTP_01)
        await looking(rig, server.port, remember_days=30).work_off()
    bundle = await rig.bundle(order_id)
    assert bundle.order.status is OrderStatus.READY
    assert bundle.authorizations[0].answered is ChallengeType.HTTP_01
    assert bundle.authorizations[0].expires > rig.clock.now() + timedelta(days=29)
    (seen,) = [event for event in await rig.timeline(order_id) if event.kind == "validated"]
    assert seen.server == "the client's servers"
    assert (
        seen.detail
        == f"www.corp.test: http://www.corp.test:{server.port}{path_of(authorization)} at 127.0.0.1:{server.port}"
    )


async def test_each_name_is_proven_by_the_method_its_client_chose(rig: Rig) -> None:
    rig.dns.zones.add("www.corp.test", "A", "127.0.0.1")
    order_id, (first, second) = await opened(rig, "www.corp.test", "*.corp.test")
    publish(rig, second)
    async with http_server() as server:
        server.serve(path_of(first), key_authorization(first.token, rig.actor.account.thumbprint))
        await rig.answer(order_id, 0, ChallengeType.HTTP_01)
        await rig.answer(order_id, 1)
        await rig.go(worker=looking(rig, server.port))
    assert (await rig.order(order_id)).status is OrderStatus.READY


async def test_a_wrong_answer_of_the_server_fails_the_order_with_the_challenges_error(rig: Rig) -> None:
    rig.dns.zones.add("www.corp.test", "A", "127.0.0.1")
    order_id, (authorization,) = await opened(rig, "www.corp.test")
    async with http_server() as server:
        server.serve(path_of(authorization), "hello")
        await rig.answer(order_id, kind=ChallengeType.HTTP_01)
        await rig.go(worker=looking(rig, server.port))
        assert len(server.seen) == 6  # a server that is late by seconds is waited for
    error = (await rig.bundle(order_id)).authorizations[0].error
    assert error is not None
    assert error.type == f"{URN}incorrectResponse"
    assert "127.0.0.1" in error.detail
    assert "'hello'" in error.detail


async def test_servers_that_are_slow_do_not_keep_a_worker_for_long(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """A look that takes its whole time counts for several."""
    rig.dns.zones.add("www.corp.test", "A", "127.0.0.1")
    order_id, _ = await opened(rig, "www.corp.test")
    async with http_server() as server:
        server.silent = True
        await rig.answer(order_id, kind=ChallengeType.HTTP_01)
        worker = looking(rig, server.port, timeout=0.5)
        validate = worker._context.validator.validate

        async def slow(authorization: Authorization, thumbprint: str) -> str:
            rig.clock.advance(10.0)  # as the machine's clock would have it, with a limit of ten seconds
            await asyncio.sleep(0)
            return await validate(authorization, thumbprint)

        monkeypatch.setattr(worker._context.validator, "validate", slow)
        await rig.go(worker=worker)
        assert len(server.seen) == 2
    assert (await rig.order(order_id)).status is OrderStatus.INVALID
