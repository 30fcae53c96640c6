"""`ca_local`: the contract, and what is its own."""

import json
from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from acmehub import (
    CompletesSettings,
    Identifier,
    IssueRequest,
    Secret,
    SettingsError,
    SigningAuthority,
    UpstreamRefused,
)
from acmehub.plugins.ca_local.authority import LocalAuthority
from acmehub.plugins.ca_local.settings import LocalSettings
from acmehub.ports.clock import SystemClock
from acmehub.ports.settings import dump_settings, public_settings, read_settings
from acmehub.testing.authority_contract import SigningAuthorityContract, csr_for, names_of, request_for


class ClockAt:
    """A clock that stands still."""

    def __init__(self, when: datetime) -> None:
        self.when = when

    def now(self) -> datetime:
        return self.when

    def monotonic(self) -> float:
        return self.when.timestamp()


async def completed(settings: LocalSettings | None = None) -> LocalSettings:
    done = await LocalAuthority(settings or LocalSettings(), SystemClock()).complete()
    assert done is not None
    return done


class LocalLab:
    longest = timedelta(days=30)

    def __init__(self, settings: LocalSettings) -> None:
        self._settings = settings

    async def authority(self) -> SigningAuthority:
        return LocalAuthority(self._settings, SystemClock())


class TestContract(SigningAuthorityContract):
    @pytest.fixture
    async def lab(self) -> LocalLab:
        return LocalLab(await completed(LocalSettings(lifetime_days=30)))


@pytest.fixture
async def authority() -> LocalAuthority:
    return LocalAuthority(await completed(), SystemClock())


def leaf_of(chain: str) -> x509.Certificate:
    return x509.load_pem_x509_certificate(chain.encode())


KEY = ec.generate_private_key(ec.SECP256R1())


async def test_root_and_intermediate_are_made_once_and_survive_being_stored() -> None:
    settings = await completed(LocalSettings(name="Example Works"))
    stored = read_settings(json.loads(dump_settings(settings)), LocalSettings)
    assert stored == settings
    again = LocalAuthority(stored, SystemClock())
    assert isinstance(again, CompletesSettings)
    assert await again.complete() is None
    assert again.root == settings.root_certificate


async def test_the_authorities_certificates_are_what_rfc_5280_wants_of_them() -> None:
    settings = await completed()
    root = x509.load_pem_x509_certificate(settings.root_certificate.encode())
    intermediate = x509.load_pem_x509_certificate(settings.intermediate_certificate.encode())
    for certificate, path_length in ((root, 1), (intermediate, 0)):
        constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints)
        assert constraints.critical
        assert (constraints.value.ca, constraints.value.path_length) == (True, path_length)
        usage = certificate.extensions.get_extension_for_class(x509.KeyUsage)
        assert usage.critical
        assert usage.value.key_cert_sign
        identifier = certificate.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value.key_identifier
        root_identifier = root.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest
        assert identifier == root_identifier
        certificate.verify_directly_issued_by(root)


async def test_no_secret_is_shown() -> None:
    settings = await completed()
    secrets = [settings.root_key.reveal(), settings.intermediate_key.reveal()]
    shown = repr(settings) + json.dumps(public_settings(settings)) + repr(LocalAuthority(settings, SystemClock()))
    for secret in secrets:
        assert secret.splitlines()[1] not in shown
    assert public_settings(settings)["intermediate_key"] is None


async def test_a_chain_is_the_leaf_and_the_intermediate(authority: LocalAuthority) -> None:
    chain = await authority.sign(csr_for("a.test", key=KEY), request_for("a.test"))
    assert chain.count("BEGIN CERTIFICATE") == 2


async def test_the_leaf_is_the_one_that_the_builder_of_cryptography_would_have_made() -> None:
    now = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
    settings = await LocalAuthority(LocalSettings(), ClockAt(now)).complete()
    assert settings is not None
    intermediate = x509.load_pem_x509_certificate(settings.intermediate_certificate.encode())
    signing_key = serialization.load_pem_private_key(settings.intermediate_key.reveal().encode(), None)
    assert isinstance(signing_key, ec.EllipticCurvePrivateKey)
    for names, common_name in ((["a.test"], ""), ([f"h{n}.corp.test" for n in range(60)], "h7.corp.test")):
        csr = x509.CertificateSigningRequestBuilder().subject_name(
            x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)] if common_name else [])
        )
        chain = await LocalAuthority(settings, ClockAt(now)).sign(
            csr.sign(KEY, hashes.SHA256()).public_bytes(serialization.Encoding.DER), request_for(*names)
        )
        leaf = leaf_of(chain)
        builder = x509.CertificateBuilder(
            issuer_name=intermediate.subject,
            subject_name=leaf.subject,
            public_key=KEY.public_key(),
            serial_number=leaf.serial_number,
            not_valid_before=now - timedelta(minutes=1),
            not_valid_after=now + timedelta(days=90),
            extensions=[],
        )
        usage = x509.KeyUsage(True, False, False, False, False, False, False, False, False)
        identifier = leaf.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
        for extension, critical in (
            (x509.BasicConstraints(ca=False, path_length=None), True),
            (usage, True),
            (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), False),
            (x509.AuthorityKeyIdentifier.from_issuer_public_key(signing_key.public_key()), False),
            (identifier, False),
            (x509.SubjectAlternativeName([x509.DNSName(name) for name in names]), not common_name),
        ):
            builder = builder.add_extension(extension, critical=critical)
        assert leaf.tbs_certificate_bytes == builder.sign(signing_key, hashes.SHA256()).tbs_certificate_bytes


async def test_a_common_name_is_taken_when_it_is_one_of_the_names_and_short_enough(authority: LocalAuthority) -> None:
    long_name = f"{'a' * 60}.corp.test"
    for asked, names, expected in (
        ("a.test", ("a.test", "b.test"), "a.test"),
        ("A.test", ("a.test",), "a.test"),
        ("c.test", ("a.test",), ""),
        ("\u212a.test", ("k.test",), ""),  # the Kelvin sign, whose lower case is k
        (long_name[:64], (long_name, "a.test"), ""),
    ):
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, asked)])
        csr = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(KEY, hashes.SHA256())
        chain = await authority.sign(csr.public_bytes(serialization.Encoding.DER), request_for(*names))
        leaf = leaf_of(chain)
        found = [str(item.value) for item in leaf.subject]
        assert found == ([expected] if expected else [])
        san = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName)
        assert san.critical is (not expected)


async def test_client_authentication_is_given_to_who_asks_for_it(authority: LocalAuthority) -> None:
    wish = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH])
    for extensions, expected in (((), False), ((wish,), True)):
        csr = csr_for("a.test", key=KEY, extensions=extensions)
        leaf = leaf_of(await authority.sign(csr, request_for("a.test")))
        purposes = leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
        assert (ExtendedKeyUsageOID.CLIENT_AUTH in purposes) is expected


async def test_nothing_else_of_the_csr_gets_into_the_leaf(authority: LocalAuthority) -> None:
    wishes = (
        x509.BasicConstraints(ca=True, path_length=None),
        x509.TLSFeature([x509.TLSFeatureType.status_request]),
        x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CODE_SIGNING]),
    )
    leaf = leaf_of(await authority.sign(csr_for("evil.test", key=KEY, extensions=wishes), request_for("a.test")))
    assert names_of(leaf) == {"a.test"}
    assert not leaf.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    assert list(leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value) == [
        ExtendedKeyUsageOID.SERVER_AUTH
    ]
    assert not [item for item in leaf.extensions if isinstance(item.value, x509.TLSFeature)]


async def test_names_are_written_in_lower_case(authority: LocalAuthority) -> None:
    leaf = leaf_of(await authority.sign(csr_for("a.test", key=KEY), request_for("WWW.A.test")))
    assert names_of(leaf) == {"www.a.test"}


async def test_addresses_are_certified_beside_names(authority: LocalAuthority) -> None:
    asked = (Identifier("dns", "a.test"), Identifier("ip", "192.0.2.1"), Identifier("ip", "2001:db8::1"))
    leaf = leaf_of(await authority.sign(csr_for("a.test", key=KEY), IssueRequest(asked)))
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert [str(item) for item in names.get_values_for_type(x509.IPAddress)] == ["192.0.2.1", "2001:db8::1"]
    assert names.get_values_for_type(x509.DNSName) == ["a.test"]


async def test_another_kind_of_name_is_refused_as_an_unsupported_identifier(authority: LocalAuthority) -> None:
    with pytest.raises(UpstreamRefused) as caught:
        await authority.sign(csr_for("a.test", key=KEY), IssueRequest((Identifier("email", "a@a.test"),)))
    assert caught.value.problem.type.endswith(":unsupportedIdentifier")


async def test_an_intermediate_near_its_end_is_renewed_with_the_same_key() -> None:
    settings = await completed(LocalSettings(lifetime_days=90))
    old = x509.load_pem_x509_certificate(settings.intermediate_certificate.encode())
    leaf = leaf_of(
        await LocalAuthority(settings, SystemClock()).sign(csr_for("a.test", key=KEY), request_for("a.test"))
    )
    later = ClockAt(old.not_valid_after_utc - timedelta(days=179))
    renewed = await LocalAuthority(settings, later).complete()
    assert renewed is not None
    new = x509.load_pem_x509_certificate(renewed.intermediate_certificate.encode())
    assert new.not_valid_after_utc > old.not_valid_after_utc
    assert renewed.root_certificate == settings.root_certificate
    leaf.verify_directly_issued_by(new)
    assert await LocalAuthority(settings, ClockAt(old.not_valid_after_utc - timedelta(days=181))).complete() is None


async def test_a_leaf_does_not_outlive_the_intermediate() -> None:
    settings = await completed()
    end = x509.load_pem_x509_certificate(settings.intermediate_certificate.encode()).not_valid_after_utc
    late = LocalAuthority(settings, ClockAt(end - timedelta(days=10)))
    leaf = leaf_of(await late.sign(csr_for("a.test", key=KEY), request_for("a.test")))
    assert leaf.not_valid_after_utc == end


async def test_times_from_2050_on_are_written_as_rfc_5280_wants() -> None:
    now = datetime(2049, 12, 1, tzinfo=UTC)
    settings = await LocalAuthority(LocalSettings(), ClockAt(now)).complete()
    assert settings is not None
    leaf = leaf_of(await LocalAuthority(settings, ClockAt(now)).sign(csr_for("a.test", key=KEY), request_for("a.test")))
    assert leaf.not_valid_after_utc == now + timedelta(days=90)


async def test_a_certificate_of_somebody_else_cannot_be_revoked(authority: LocalAuthority) -> None:
    other = LocalAuthority(await completed(), SystemClock())
    leaf = leaf_of(await other.sign(csr_for("a.test", key=KEY), request_for("a.test")))
    with pytest.raises(UpstreamRefused):
        await authority.revoke_signed(leaf.public_bytes(serialization.Encoding.DER), None)
    with pytest.raises(UpstreamRefused):
        await authority.revoke_signed(b"no certificate", None)


async def test_an_authority_without_keys_says_so() -> None:
    with pytest.raises(SettingsError, match="completed first"):
        await LocalAuthority(LocalSettings(), SystemClock()).sign(csr_for("a.test", key=KEY), request_for("a.test"))


async def test_a_key_that_does_not_fit_its_certificate_is_noticed() -> None:
    settings, other = await completed(), await completed()
    mixed = msgspec.structs.replace(settings, intermediate_key=other.intermediate_key)
    with pytest.raises(SettingsError, match="does not belong"):
        await LocalAuthority(mixed, SystemClock()).sign(csr_for("a.test", key=KEY), request_for("a.test"))
    broken = msgspec.structs.replace(settings, intermediate_key=Secret("no key at all"))
    with pytest.raises(SettingsError, match="cannot be loaded") as caught:
        await LocalAuthority(broken, SystemClock()).sign(csr_for("a.test", key=KEY), request_for("a.test"))
    assert "no key at all" not in str(caught.value)


@pytest.mark.parametrize(
    ("raw", "field"),
    [
        ({"name": ""}, r"\$\.name"),
        ({"lifetime_days": 0}, r"\$\.lifetime_days"),
        ({"lifetime_days": 1000}, r"\$\.lifetime_days"),
        ({"root_certificate": "x"}, r"\$\.root_certificate"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_settings_that_do_not_fit_are_named(raw: dict[str, object], field: str) -> None:
    with pytest.raises(SettingsError, match=field):
        read_settings(raw, LocalSettings)
