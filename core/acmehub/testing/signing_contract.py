"""The contract suite for authorities that sign by themselves. It needs pytest with pytest-asyncio.

class TestMine(SigningAuthorityContract):
    @pytest.fixture
    def lab(self, tmp_path): ...    # an object with the members of `SigningLab`
"""

from datetime import UTC, datetime, timedelta
from typing import Protocol

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID

from acmehub import (
    CompletesSettings,
    GrantsLifetimes,
    Identifier,
    IssueRequest,
    SigningAuthority,
    UpstreamRefused,
)
from acmehub.testing.acme_keys import with_version
from acmehub.testing.authority_samples import csr_for, names_of, request_for


class SigningLab(Protocol):
    """The environment of the suite: an authority that signs, and the longest validity of its certificates."""

    longest: timedelta

    async def authority(self) -> SigningAuthority:
        """An authority that is ready to sign; the same CA each time."""
        ...


class SigningAuthorityContract:
    """The contract of `SigningAuthority`."""

    @pytest.mark.parametrize("size", [256, 384, 2048])
    async def test_a_chain_is_for_the_key_and_the_names_and_leads_to_the_root(self, lab: SigningLab, size: int) -> None:
        authority = await lab.authority()
        key = _key(size)
        chain = await authority.sign(csr_for("a.test", key=key), request_for("a.test", "*.a.test"))
        leaf, *above = x509.load_pem_x509_certificates(chain.encode())
        root = x509.load_pem_x509_certificate(authority.root.encode())
        assert leaf.public_key() == key.public_key()
        assert names_of(leaf) == {"a.test", "*.a.test"}
        assert root not in above
        for child, parent in zip((leaf, *above), (*above, root), strict=True):
            child.verify_directly_issued_by(parent)
        root.verify_directly_issued_by(root)

    @pytest.mark.parametrize("number", [1, 2])
    async def test_a_csr_whose_version_field_is_wrong_is_signed_too(self, lab: SigningLab, number: int) -> None:
        authority = await lab.authority()
        key = _key(256)
        csr = with_version(csr_for("a.test", key=key), number, key)
        leaf = x509.load_pem_x509_certificate((await authority.sign(csr, request_for("a.test"))).encode())
        assert leaf.public_key() == key.public_key()

    async def test_a_leaf_is_for_tls_servers_and_no_authority(self, lab: SigningLab) -> None:
        leaf = await _sign(lab, request_for("a.test"))
        assert not leaf.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
        assert not leaf.extensions.get_extension_for_class(x509.KeyUsage).value.key_cert_sign
        purposes = leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
        assert ExtendedKeyUsageOID.SERVER_AUTH in purposes

    async def test_serial_numbers_are_long_and_differ(self, lab: SigningLab) -> None:
        serials = {(await _sign(lab, request_for("a.test"))).serial_number for _ in range(20)}
        assert len(serials) == 20
        assert all(64 <= serial.bit_length() <= 159 for serial in serials)

    async def test_a_leaf_is_valid_now_and_no_longer_than_allowed(self, lab: SigningLab) -> None:
        leaf = await _sign(lab, request_for("a.test"))
        now = datetime.now(UTC)
        assert leaf.not_valid_before_utc <= now < leaf.not_valid_after_utc <= now + lab.longest

    async def test_the_times_of_a_request_are_kept(self, lab: SigningLab) -> None:
        start = datetime.now(UTC).replace(microsecond=0) + timedelta(minutes=5)
        end = start + lab.longest / 3
        request = IssueRequest((Identifier("dns", "a.test"),), not_before=start, not_after=end.replace(microsecond=0))
        leaf = await _sign(lab, request)
        assert (leaf.not_valid_before_utc, leaf.not_valid_after_utc) == (request.not_before, request.not_after)

    async def test_the_longest_lifetime_that_it_names_is_granted(self, lab: SigningLab) -> None:
        authority = await lab.authority()
        if not isinstance(authority, GrantsLifetimes):
            return
        longest = timedelta(days=authority.longest_days)
        assert longest <= lab.longest
        end = (datetime.now(UTC) + longest).replace(microsecond=0)
        leaf = await _sign(lab, IssueRequest((Identifier("dns", "a.test"),), not_after=end))
        assert leaf.not_valid_after_utc == end

    async def test_times_that_cannot_be_kept_are_refused(self, lab: SigningLab) -> None:
        now = datetime.now(UTC)
        name = (Identifier("dns", "a.test"),)
        for request in (
            IssueRequest(name, not_after=now + 2 * lab.longest),
            IssueRequest(name, not_after=now - timedelta(days=1)),
            IssueRequest(name, not_before=now - timedelta(days=2)),
            IssueRequest(name, not_before=now + timedelta(days=2), not_after=now + timedelta(days=1)),
        ):
            with pytest.raises(UpstreamRefused):
                await _sign(lab, request)

    async def test_what_it_does_not_offer_is_refused(self, lab: SigningLab) -> None:
        for request in (
            IssueRequest((Identifier("email", "a@a.test"),)),
            IssueRequest((Identifier("dns", "a.test"),), profile="no such profile"),
        ):
            with pytest.raises(UpstreamRefused):
                await _sign(lab, request)

    async def test_revoking_takes_own_leaves(self, lab: SigningLab) -> None:
        authority = await lab.authority()
        leaf = await _sign(lab, request_for("a.test"))
        await authority.revoke_signed(leaf.public_bytes(serialization.Encoding.DER), 1)

    async def test_settings_that_are_complete_stay_as_they_are(self, lab: SigningLab) -> None:
        authority = await lab.authority()
        if isinstance(authority, CompletesSettings):
            assert await authority.complete() is None


def _key(size: int) -> ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey:
    if size >= 1024:
        return rsa.generate_private_key(65537, size)
    return ec.generate_private_key(ec.SECP384R1() if size == 384 else ec.SECP256R1())


async def _sign(lab: SigningLab, request: IssueRequest) -> x509.Certificate:
    authority = await lab.authority()
    chain = await authority.sign(csr_for("a.test", key=_key(256)), request)
    return x509.load_pem_x509_certificate(chain.encode())
