"""tls-alpn-01 (RFC 8737) against real TLS servers on loopback, and its certificate rule by rule."""

import hashlib
import socket
import ssl
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from acmehub.models import Authorization, ChallengeType
from acmehub.models.identifiers import identifier_of
from acmehub.models.problems import ProblemType
from acmehub.testing.dns_server import DnsServer
from acmehub.validation.egress import Egress
from acmehub.validation.tls_alpn01 import ACME_IDENTIFIER, ALPN, server_name
from tests.validation.conftest import NAME, THUMBPRINT, Make, authorization, flaw_of, proof_of
from tests.validation.servers import http_server, identity, names, tls_server

ITEM = authorization(kind=ChallengeType.TLS_ALPN_01)
Extension = tuple[x509.ExtensionType, bool]


def digest(item: Authorization = ITEM, *, critical: bool = True, proof: str = "") -> Extension:
    value = b"\x04\x20" + hashlib.sha256((proof or proof_of(item)).encode()).digest()
    return x509.UnrecognizedExtension(ACME_IDENTIFIER, value), critical


def san(*items: str) -> Extension:
    return names(*items), False


async def test_the_certificate_made_for_it_is_the_proof(make_validator: Make, tmp_path: Path) -> None:
    async with tls_server(identity(tmp_path, san(NAME), digest())) as server:
        assert (
            await make_validator(tls_port=server.port).validate(ITEM, THUMBPRINT)
            == f"{ALPN} at 127.0.0.1:{server.port}"
        )
        assert server.names == [NAME]


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_tls_1_2_and_1_3_will_do(make_validator: Make, tmp_path: Path, version: ssl.TLSVersion) -> None:
    context = identity(tmp_path, san(NAME.upper()), digest())
    context.minimum_version = context.maximum_version = version
    async with tls_server(context) as server:
        await make_validator(tls_port=server.port).validate(ITEM, THUMBPRINT)


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
async def test_an_address_is_asked_for_by_its_reverse_name(
    make_validator: Make, tmp_path: Path, dns: DnsServer, address: str
) -> None:
    """RFC 8738 section 6."""
    item = authorization(address, ChallengeType.TLS_ALPN_01)
    async with tls_server(identity(tmp_path, san(address), digest(item)), address=address) as server:
        await make_validator(tls_port=server.port).validate(item, THUMBPRINT)
        assert server.names == [server_name(item.identifier)]
    assert dns.seen == []


def test_the_reverse_names_are_those_of_rfc_1034_and_rfc_3596() -> None:
    assert server_name(identifier_of("192.0.2.1")) == "1.2.0.192.in-addr.arpa"
    six = server_name(identifier_of("2001:db8::1"))
    assert six == "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa"


@pytest.mark.parametrize(
    ("extensions", "word"),
    [
        ([san(NAME)], "no acmeIdentifier"),
        ([san(NAME), digest(critical=False)], "not critical"),
        ([san(NAME), digest(proof="another")], "another digest"),
        ([san(NAME), (x509.UnrecognizedExtension(ACME_IDENTIFIER, b""), True)], "another digest"),
        ([digest()], "is for no name"),
        ([san("other.corp.test"), digest()], "is for other.corp.test"),
        ([san(NAME, "other.corp.test"), digest()], f"not for {NAME} alone"),
        ([san(NAME, NAME), digest()], f"not for {NAME} alone"),
        ([san("*.corp.test"), digest()], "is for *.corp.test"),
        ([san(NAME, "192.0.2.1"), digest()], "192.0.2.1"),
        ([(x509.SubjectAlternativeName([x509.RFC822Name(NAME)]), False), digest()], "RFC822Name"),
    ],
)
async def test_another_certificate_proves_nothing(
    make_validator: Make, tmp_path: Path, extensions: list[Extension], word: str
) -> None:
    async with tls_server(identity(tmp_path, *extensions)) as server:
        flaw = await flaw_of(make_validator(tls_port=server.port), ITEM)
    assert flaw.type is ProblemType.INCORRECT_RESPONSE
    assert word in flaw.detail
    assert flaw.detail.startswith(f"127.0.0.1:{server.port}: ")


@pytest.mark.parametrize("name", ["192.0.2.9", "127.0.0.1"])
async def test_an_address_as_a_dns_name_proves_no_address(make_validator: Make, tmp_path: Path, name: str) -> None:
    item = authorization("127.0.0.1", ChallengeType.TLS_ALPN_01)
    wrong = (x509.SubjectAlternativeName([x509.DNSName(name)]), False)
    async with tls_server(identity(tmp_path, wrong, digest(item))) as server:
        flaw = await flaw_of(make_validator(tls_port=server.port), item)
    assert "is for DNSName" in flaw.detail


async def test_what_a_certificate_says_is_quoted_only_from_networks_that_the_operator_listed(
    make_validator: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Egress, "listed", lambda _self, _host: False)
    for number, extensions in enumerate(((san("secret.corp.test"), digest()), (san(NAME), digest(authorization())))):
        (folder := tmp_path / str(number)).mkdir()
        async with tls_server(identity(folder, *extensions)) as server:
            flaw = await flaw_of(make_validator(tls_port=server.port), ITEM)
        assert flaw.detail in (
            f"127.0.0.1:{server.port}: the certificate is for other names, not for {NAME} alone",
            f"127.0.0.1:{server.port}: another digest than the key authorization's",
        )


@pytest.mark.parametrize("issuer", ["ACME challenge", "Some CA"])
async def test_a_certificate_that_somebody_else_signed_proves_nothing(
    make_validator: Make, tmp_path: Path, issuer: str
) -> None:
    other = ec.generate_private_key(ec.SECP256R1())
    context = identity(tmp_path, san(NAME), digest(), issuer_key=other, issuer=issuer)
    async with tls_server(context) as server:
        flaw = await flaw_of(make_validator(tls_port=server.port), ITEM)
    assert flaw.type is ProblemType.INCORRECT_RESPONSE
    assert "self-signed" in flaw.detail


async def test_a_server_that_knows_nothing_of_the_protocol_proves_nothing(make_validator: Make, tmp_path: Path) -> None:
    async with tls_server(identity(tmp_path, san(NAME), digest()), alpn=()) as server:
        flaw = await flaw_of(make_validator(tls_port=server.port), ITEM)
    assert flaw.type is ProblemType.INCORRECT_RESPONSE
    assert "did not choose the protocol acme-tls/1" in flaw.detail


async def test_a_server_for_other_protocols_alone_proves_nothing(make_validator: Make, tmp_path: Path) -> None:
    async with tls_server(identity(tmp_path, san(NAME), digest()), alpn=("h2", "http/1.1")) as server:
        flaw = await flaw_of(make_validator(tls_port=server.port), ITEM)
    assert flaw.type in (ProblemType.INCORRECT_RESPONSE, ProblemType.TLS)


async def test_a_server_without_tls_is_told(make_validator: Make) -> None:
    async with http_server() as server:
        flaw = await flaw_of(make_validator(tls_port=server.port, timeout=1.0), ITEM)
    assert flaw.type in (ProblemType.TLS, ProblemType.CONNECTION)
    assert f"127.0.0.1:{server.port}" in flaw.detail


async def test_old_tls_is_refused(make_validator: Make, tmp_path: Path) -> None:
    context = identity(tmp_path, san(NAME), digest())
    context.set_ciphers("ALL:@SECLEVEL=0")
    for bound in ("minimum_version", "maximum_version"):
        with pytest.warns(DeprecationWarning, match="TLSv1_1"):
            setattr(context, bound, ssl.TLSVersion.TLSv1_1)
    async with tls_server(context) as server:
        flaw = await flaw_of(make_validator(tls_port=server.port), ITEM)
    assert flaw.type is ProblemType.TLS


async def test_a_server_that_accepts_and_keeps_silent_is_given_up(make_validator: Make) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        flaw = await flaw_of(make_validator(tls_port=port, timeout=0.8), ITEM)
    assert flaw.type is ProblemType.CONNECTION
    assert f"127.0.0.1:{port}" in flaw.detail


async def test_forbidden_networks_are_not_asked(make_validator: Make, tmp_path: Path) -> None:
    async with tls_server(identity(tmp_path, san(NAME), digest())) as server:
        flaw = await flaw_of(make_validator(tls_port=server.port, networks=("0.0.0.0/0",)), ITEM)
        assert "(loopback) is not allowed" in flaw.detail
        assert server.names == []
