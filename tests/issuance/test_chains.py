"""Before an order turns valid its certificate is looked at (docs/reliability.md 2.7, F25, F27, F28)."""

from collections.abc import Callable
from datetime import timedelta

import pytest
from cryptography import x509

from acmehub.models import OrderStatus
from acmehub.ports.authority import UpstreamUnavailable
from acmehub.testing.fakes import make_csr
from tests.issuance.rig import Rig


def another_key(rig: Rig) -> Callable[[str], str]:
    other = rig.relay.ca.chains(make_csr(["www.corp.test"]), ["www.corp.test"], rig.clock.now())[0]
    return lambda _chain: other


def other_names(rig: Rig) -> Callable[[str], str]:
    def substitute(_chain: str) -> str:
        (csr,) = rig.csrs.values()
        return rig.relay.ca.chains(csr, ["www.corp.test", "evil.test"], rig.clock.now())[0]

    return substitute


def leaf_alone(_rig: Rig) -> Callable[[str], str]:
    return lambda chain: chain[: chain.index("-----END CERTIFICATE-----") + 26]


def five_megabytes(_rig: Rig) -> Callable[[str], str]:
    return lambda chain: chain * 3000


def garbage(_rig: Rig) -> Callable[[str], str]:
    return lambda _chain: "<html>Bad Gateway</html>"


@pytest.mark.parametrize("wrong", [another_key, other_names, leaf_alone, five_megabytes, garbage])
async def test_a_wrong_chain_never_reaches_the_client(rig: Rig, wrong: Callable[[Rig], Callable[[str], str]]) -> None:
    rig.relay.substitute = wrong(rig)
    order_id = await rig.open(finalize=True)
    await rig.go()
    order = await rig.order(order_id)
    assert order.status is OrderStatus.INVALID
    assert order.certificate_id is None
    assert order.error is not None
    assert order.error.detail.startswith("the CA gave a wrong certificate: ")
    whats = await rig.whats(order_id)
    assert "wrong certificate refused" in whats
    if wrong is not garbage:
        assert "wrong certificate revoked" in whats
        ((revoked, reason),) = rig.relay.revoked
        assert reason is None
        assert x509.load_der_x509_certificate(revoked).serial_number
    await rig.assert_clean()


async def test_a_revocation_that_fails_is_noted(rig: Rig) -> None:
    rig.relay.substitute = another_key(rig)
    rig.relay.fail("revoke", UpstreamUnavailable("503"))
    order_id = await rig.open(finalize=True)
    await rig.go()
    assert "wrong certificate could not be revoked" in await rig.whats(order_id)


async def test_text_around_the_chain_is_dropped(rig: Rig) -> None:
    rig.relay.substitute = lambda chain: f"subject=CN = www\n{chain}\nbye\n"
    order_id = await rig.open(finalize=True)
    await rig.go()
    await rig.assert_valid(order_id)
    certificate = await rig.store.certificates.get((await rig.order(order_id)).certificate_id or "")
    assert certificate is not None
    assert certificate.chain.startswith("-----BEGIN CERTIFICATE-----")
    assert "subject" not in certificate.chain


async def test_the_preferred_chain_is_kept_and_the_others_are_alternates(rig: Rig) -> None:
    rig.relay.alternates = True
    rig.relay.preferred = 1
    order_id = await rig.open(finalize=True)
    await rig.go()
    await rig.assert_valid(order_id)
    certificate = await rig.store.certificates.get((await rig.order(order_id)).certificate_id or "")
    assert certificate is not None
    (upstream,) = rig.relay.orders.values()
    assert certificate.chain == upstream.chains[1]
    assert certificate.alternates == (upstream.chains[0],)


async def test_an_alternate_that_does_not_fit_is_left_out(rig: Rig) -> None:
    rig.relay.alternates = True
    answers: list[str] = []

    def first_only(chain: str) -> str:
        answers.append(chain)
        return chain if len(answers) == 1 else "broken"

    rig.relay.substitute = first_only
    order_id = await rig.open(finalize=True)
    await rig.go()
    await rig.assert_valid(order_id)
    certificate = await rig.store.certificates.get((await rig.order(order_id)).certificate_id or "")
    assert certificate is not None
    assert certificate.alternates == ()


@pytest.mark.parametrize("hours", [-2, 2])
async def test_a_ca_whose_clock_is_two_hours_off_is_no_reason_to_fail(rig: Rig, hours: int) -> None:
    begin = rig.relay.ca.chains
    rig.relay.ca.chains = lambda csr, names, now, *rest: begin(csr, names, now + timedelta(hours=hours + 1), *rest)  # type: ignore[method-assign]
    order_id = await rig.open(finalize=True)
    await rig.go()
    await rig.assert_valid(order_id)
