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


FOREIGN = (another_key, other_names)


@pytest.mark.parametrize("wrong", [*FOREIGN, leaf_alone, five_megabytes, garbage])
async def test_a_wrong_chain_never_reaches_the_client(rig: Rig, wrong: Callable[[Rig], Callable[[str], str]]) -> None:
    """It is asked for again to the deadline; only a certificate with another key or other names is revoked then."""
    rig.main = rig.worker(hours=1.0)
    rig.relay.substitute = wrong(rig)
    order_id = await rig.open(finalize=True, issuance_timeout=timedelta(hours=1))
    await rig.go(3000)
    assert (await rig.order(order_id)).status is OrderStatus.PROCESSING
    assert rig.relay.revoked == []
    await rig.go(100_000)
    order = await rig.order(order_id)
    assert order.status is OrderStatus.INVALID
    assert order.certificate_id is None
    assert order.error is not None
    assert "wrong certificate refused" in order.error.detail
    assert order.upstream_certificate is not None
    assert order.upstream_certificate in order.error.detail
    whats = await rig.whats(order_id)
    assert whats.count("wrong certificate refused") > 10
    assert ("wrong certificate revoked" in whats) is (wrong in FOREIGN)
    assert [reason for _leaf, reason in rig.relay.revoked] == [None] * (wrong in FOREIGN)
    for leaf, _reason in rig.relay.revoked:
        assert x509.load_der_x509_certificate(leaf).serial_number
    assert rig.relay.issued_for("www.corp.test") == 1
    await rig.assert_clean()


@pytest.mark.parametrize("wrong", [another_key, leaf_alone, garbage])
async def test_a_wrong_chain_that_the_ca_puts_right_is_taken(
    rig: Rig, wrong: Callable[[Rig], Callable[[str], str]]
) -> None:
    begin = rig.relay.substitute
    rig.relay.substitute = wrong(rig)
    order_id = await rig.open(finalize=True)
    await rig.go(3600)
    rig.relay.substitute = begin
    await rig.go(3600)
    await rig.assert_valid(order_id)
    assert rig.relay.revoked == []
    assert rig.relay.calls.count("new_order") == 1


async def test_the_certificate_of_another_order_that_the_ca_mixes_up_is_not_revoked(rig: Rig) -> None:
    rig.main = rig.worker(hours=1.0)
    other = await rig.open("other.corp.test", finalize=True)
    await rig.go()
    await rig.assert_valid(other)
    (upstream,) = rig.relay.orders.values()
    rig.relay.substitute = lambda _chain: upstream.chains[0]
    order_id = await rig.open(finalize=True, issuance_timeout=timedelta(hours=1))
    await rig.go(100_000)
    assert (await rig.order(order_id)).status is OrderStatus.INVALID
    assert rig.relay.revoked == []


async def test_a_leaf_alone_is_taken_from_an_authority_that_may_give_it(rig: Rig) -> None:
    rig.relay.allows_leaf_only = True
    rig.relay.substitute = leaf_alone(rig)
    order_id = await rig.open(finalize=True)
    await rig.go()
    await rig.assert_valid(order_id)


async def test_a_revocation_that_fails_is_noted(rig: Rig) -> None:
    rig.main = rig.worker(hours=1.0)
    rig.relay.substitute = another_key(rig)
    rig.relay.fail("revoke", UpstreamUnavailable("503"))
    order_id = await rig.open(finalize=True, issuance_timeout=timedelta(hours=1))
    await rig.go(100_000)
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
