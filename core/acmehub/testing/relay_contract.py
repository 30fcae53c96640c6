"""The contract suite for authorities that relay to a CA. It needs pytest with pytest-asyncio.

class TestMine(RelayAuthorityContract):
    @pytest.fixture
    async def lab(self): ...        # an object with the members of `RelayLab`
"""

import asyncio
import itertools
import secrets
from typing import Protocol

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from acmehub import (
    InformsOfRenewal,
    IssuedChain,
    RelayAuthority,
    UpstreamAccount,
    UpstreamAccountLost,
    UpstreamAuthorization,
    UpstreamObjectLost,
    UpstreamOrder,
    UpstreamRefused,
    UpstreamUnavailable,
)
from acmehub.testing.authority_samples import csr_for, names_of, request_for

MOST_READS = 200  # how often the suite reads an object before it gives up
PAUSE = 0.05


class RelayLab(Protocol):
    """The environment of the suite: an authority whose CA validates dns-01, and a `zone` for its names."""

    zone: str

    def authority(self) -> RelayAuthority:
        """An authority with valid settings."""
        ...

    def authority_without_server(self) -> RelayAuthority:
        """An authority whose CA cannot be reached."""
        ...

    async def publish(self, name: str, value: str) -> None:
        """Add a TXT value at a name, where the CA looks it up."""
        ...

    async def deactivate(self, account: UpstreamAccount) -> None:
        """Deactivate an account at the CA."""
        ...


class RelayAuthorityContract:
    """The contract of `RelayAuthority`: from an account key to a chain."""

    async def test_an_account_key_is_pkcs8_pem_and_new_each_time(self, lab: RelayLab) -> None:
        authority = lab.authority()
        keys = {authority.new_account_key() for _ in range(2)}
        assert len(keys) == 2
        for key in keys:
            assert key.startswith(b"-----BEGIN PRIVATE KEY-----")
            serialization.load_pem_private_key(key, password=None)

    async def test_registering_a_key_twice_gives_the_same_account(self, lab: RelayLab) -> None:
        authority = lab.authority()
        key = authority.new_account_key()
        first = await authority.register(key)
        assert first.url
        assert first.key == key
        assert (await lab.authority().register(key)).url == first.url

    async def test_a_new_order_is_pending_and_can_be_read_again(self, lab: RelayLab) -> None:
        authority, account = await _ready(lab)
        order = await authority.new_order(account, request_for(_fresh(lab)))
        assert order.url
        assert order.finalize
        assert order.status == "pending"
        assert order.certificate is None
        again = await lab.authority().order(account, order.url)
        assert (again.url, again.authorizations, again.finalize) == (order.url, order.authorizations, order.finalize)

    async def test_an_apex_and_its_wildcard_have_an_authorization_each_with_a_value_of_its_own(
        self, lab: RelayLab
    ) -> None:
        authority, account = await _ready(lab)
        apex = _fresh(lab)
        order = await authority.new_order(account, request_for(apex, f"*.{apex}"))
        found = [await authority.authorization(account, url) for url in order.authorizations]
        assert sorted((item.identifier.value, item.wildcard) for item in found) == [(apex, False), (apex, True)]
        assert len({item.txt_value for item in found}) == 2
        for item in found:
            assert item.status == item.dns01_status == "pending"
            assert item.dns01_url
            assert len(item.txt_value) == 43
            assert item.error is None

    async def test_a_validated_order_becomes_a_chain_for_the_key_and_names_of_the_csr(self, lab: RelayLab) -> None:
        authority, account = await _ready(lab)
        apex = _fresh(lab)
        key = ec.generate_private_key(ec.SECP256R1())
        issued = await _issue(lab, authority, account, (apex, f"*.{apex}"), csr_for(apex, f"*.{apex}", key=key))
        certificates = x509.load_pem_x509_certificates(issued.chain.encode())
        assert certificates[0].public_key() == key.public_key()
        assert names_of(certificates[0]) == {apex, f"*.{apex}"}
        for child, parent in itertools.pairwise(certificates):
            child.verify_directly_issued_by(parent)
        chains = (issued.chain, *[(await authority.certificate(account, url)).chain for url in issued.alternates])
        assert 0 <= authority.choose(chains) < len(chains)

    async def test_a_wrong_value_makes_the_authorization_invalid_with_the_words_of_the_ca(self, lab: RelayLab) -> None:
        authority, account = await _ready(lab)
        name = _fresh(lab)
        order = await authority.new_order(account, request_for(name))
        found = await authority.authorization(account, order.authorizations[0])
        await lab.publish(f"_acme-challenge.{name}", "x" * 43)
        await _answer(authority, account, found)
        found = await _settled_authorization(authority, account, found.url)
        assert found.status == "invalid"
        assert found.error is not None
        assert found.error.type.startswith("urn:ietf:params:acme:error:")
        assert found.error.detail
        assert (await authority.order(account, order.url)).status == "invalid"

    async def test_answering_and_finalizing_again_after_a_lost_answer_does_no_harm(self, lab: RelayLab) -> None:
        authority, account = await _ready(lab)
        name = _fresh(lab)
        csr = csr_for(name, key=ec.generate_private_key(ec.SECP256R1()))
        order = await authority.new_order(account, request_for(name))
        found = await authority.authorization(account, order.authorizations[0])
        await lab.publish(f"_acme-challenge.{name}", found.txt_value)
        await _answer(authority, account, found)
        await _answer(authority, account, found)
        await _settled_authorization(authority, account, found.url)
        await _answer(authority, account, found)
        first = await authority.finalize(account, order.finalize, order.url, csr)
        second = await authority.finalize(account, order.finalize, order.url, csr)
        assert first.url == second.url == order.url
        done = await _settled_order(authority, account, order.url)
        assert done.status == "valid"
        assert (await authority.finalize(account, order.finalize, order.url, csr)).certificate == done.certificate

    async def test_finalizing_an_order_that_is_not_ready_is_refused(self, lab: RelayLab) -> None:
        authority, account = await _ready(lab)
        name = _fresh(lab)
        order = await authority.new_order(account, request_for(name))
        csr = csr_for(name, key=ec.generate_private_key(ec.SECP256R1()))
        with pytest.raises(UpstreamRefused) as caught:
            await authority.finalize(account, order.finalize, order.url, csr)
        assert caught.value.problem.type.endswith(":orderNotReady")

    async def test_an_order_that_the_ca_does_not_have_is_lost(self, lab: RelayLab) -> None:
        authority, account = await _ready(lab)
        order = await authority.new_order(account, request_for(_fresh(lab)))
        with pytest.raises(UpstreamObjectLost):
            await authority.order(account, order.url + "0")

    async def test_nothing_is_said_of_the_renewal_of_a_certificate_that_the_ca_never_issued(
        self, lab: RelayLab
    ) -> None:
        authority = lab.authority()
        if isinstance(authority, InformsOfRenewal):
            assert await authority.renewal_info("aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE") is None

    async def test_a_deactivated_account_is_lost_and_its_key_with_it(self, lab: RelayLab) -> None:
        authority, account = await _ready(lab)
        order = await authority.new_order(account, request_for(_fresh(lab)))
        await lab.deactivate(account)
        with pytest.raises(UpstreamAccountLost):
            await authority.new_order(account, request_for(_fresh(lab)))
        with pytest.raises(UpstreamAccountLost):
            await authority.order(account, order.url)
        with pytest.raises(UpstreamAccountLost):
            await authority.register(account.key)
        assert (await authority.register(authority.new_account_key())).url != account.url

    async def test_an_account_that_the_ca_never_had_is_lost(self, lab: RelayLab) -> None:
        authority, account = await _ready(lab)
        stranger = UpstreamAccount(url=account.url + "0", key=authority.new_account_key())
        with pytest.raises(UpstreamAccountLost):
            await authority.new_order(stranger, request_for(_fresh(lab)))

    async def test_a_certificate_can_be_revoked_and_revoked_again(self, lab: RelayLab) -> None:
        authority, account = await _ready(lab)
        name = _fresh(lab)
        csr = csr_for(name, key=ec.generate_private_key(ec.SECP256R1()))
        issued = await _issue(lab, authority, account, (name,), csr)
        leaf = x509.load_pem_x509_certificate(issued.chain.encode()).public_bytes(serialization.Encoding.DER)
        await authority.revoke(account, leaf, 4)
        await authority.revoke(account, leaf, None)

    async def test_a_ca_that_cannot_be_reached_is_unavailable_in_words_that_name_it(self, lab: RelayLab) -> None:
        authority = lab.authority_without_server()
        with pytest.raises(UpstreamUnavailable) as caught:
            await authority.register(authority.new_account_key())
        assert caught.value.server == authority.server
        assert caught.value.detail

    async def test_neither_the_authority_nor_the_account_shows_its_key(self, lab: RelayLab) -> None:
        authority, account = await _ready(lab)
        middle = account.key.decode().splitlines()[1]
        assert middle not in repr(account) + repr(authority) + str(account)


async def _ready(lab: RelayLab) -> tuple[RelayAuthority, UpstreamAccount]:
    authority = lab.authority()
    return authority, await authority.register(authority.new_account_key())


def _fresh(lab: RelayLab) -> str:
    return f"h{secrets.token_hex(6)}.{lab.zone}"


async def _answer(authority: RelayAuthority, account: UpstreamAccount, found: UpstreamAuthorization) -> None:
    assert found.dns01_url is not None
    await authority.answer(account, found.dns01_url)


async def _issue(
    lab: RelayLab, authority: RelayAuthority, account: UpstreamAccount, names: tuple[str, ...], csr: bytes
) -> IssuedChain:
    order = await authority.new_order(account, request_for(*names))
    for url in order.authorizations:
        found = await authority.authorization(account, url)
        if found.dns01_status == "pending" and found.status == "pending":
            await lab.publish(f"_acme-challenge.{found.identifier.value}", found.txt_value)
            await _answer(authority, account, found)
            assert (await _settled_authorization(authority, account, url)).status == "valid"
    await authority.finalize(account, order.finalize, order.url, csr)
    done = await _settled_order(authority, account, order.url)
    assert done.status == "valid"
    assert done.certificate is not None
    return await authority.certificate(account, done.certificate)


async def _settled_authorization(
    authority: RelayAuthority, account: UpstreamAccount, url: str
) -> UpstreamAuthorization:
    for _ in range(MOST_READS):
        found = await authority.authorization(account, url)
        if found.status != "pending":
            return found
        await asyncio.sleep(PAUSE)
    raise AssertionError(f"{url} stays pending")


async def _settled_order(authority: RelayAuthority, account: UpstreamAccount, url: str) -> UpstreamOrder:
    for _ in range(MOST_READS):
        order = await authority.order(account, url)
        if order.status in ("valid", "invalid"):
            return order
        await asyncio.sleep(PAUSE)
    raise AssertionError(f"{url} stays {order.status}")
