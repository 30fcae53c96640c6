"""Mode `verify` as clients see it: what is offered, proofs on a real server, proofs that are remembered, addresses."""

import ipaddress
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from msgspec.structs import replace

from acmehub.config import Acme, Dns, Verify
from acmehub.models import AuthorizationMode
from acmehub.models.identifiers import is_address
from acmehub.testing.acme_client import AcmeClient, Reply
from acmehub.testing.dns_server import DnsServer
from tests.acme.lab import Lab, laboratory
from tests.validation.servers import HttpServer, http_server

VERIFY = AuthorizationMode.VERIFY
NAMES = "*.corp.test, corp.test, 127.0.0.0/8, 2001:db8::/32"
WWW = "www.corp.test"


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A proof that is not there is looked for twice, without a pause."""
    monkeypatch.setattr("acmehub.issuance.verifying.PAUSES", (0.01,))


class World:
    """A hub whose private CA issues what its clients have proven, and a client's server on loopback."""

    def __init__(self, lab: Lab, dns: DnsServer, server: HttpServer) -> None:
        self.lab = lab
        self.dns = dns
        self.server = server

    async def client(self, mode: AuthorizationMode = VERIFY, names: str = NAMES) -> AcmeClient:
        return await self.lab.client(authorization=mode, names=names)

    def plant(self, client: AcmeClient, token: str) -> None:
        self.server.serve(f"/.well-known/acme-challenge/{token}", f"{token}.{client.key.thumbprint}")


@asynccontextmanager
async def world(folder: Path, **verify: Any) -> AsyncIterator[World]:
    async with DnsServer(["corp.test"]) as dns, http_server() as server:
        dns.zones.add(WWW, "A", "127.0.0.1")
        settings = Verify(http_port=server.port, networks=("127.0.0.0/8",), timeout=2.0, **verify)
        asked = Dns(resolvers=(f"127.0.0.1:{dns.port}",), port=dns.port, timeout=0.5)
        async with laboratory(folder, Acme(hold=20.0), worker=True, verify=settings, dns=asked) as lab:
            yield World(lab, dns, server)


async def order_for(client: AcmeClient, *names: str, status: int | None = None) -> Reply:
    asked = [{"type": "ip" if is_address(name) else "dns", "value": name} for name in names]
    return await client.post(client.directory["newOrder"], {"identifiers": asked}, status=status)


async def challenges(client: AcmeClient, placed: Reply, number: int = 0) -> dict[str, Any]:
    authorization = await client.authorization(placed.json["authorizations"][number])
    return {item["type"]: item for item in authorization.json["challenges"]}


async def prove(made: World, client: AcmeClient, placed: Reply, number: int = 0, *, plant: bool = True) -> Reply:
    """Prove one name by http-01; the authorization as it is then."""
    offered = (await challenges(client, placed, number))["http-01"]
    if plant:
        made.plant(client, offered["token"])
    await client.respond(offered["url"])
    return await client.authorization(placed.json["authorizations"][number])


def csr_for(*names: str) -> bytes:
    alternatives = [
        x509.IPAddress(ipaddress.ip_address(name)) if is_address(name) else x509.DNSName(name) for name in names
    ]
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    builder = builder.add_extension(x509.SubjectAlternativeName(alternatives), False)
    return builder.sign(ec.generate_private_key(ec.SECP256R1()), hashes.SHA256()).public_bytes(Encoding.DER)


async def issued(client: AcmeClient, placed: Reply, *names: str) -> Sequence[str]:
    """Finalize; the alternative names of the certificate."""
    done = (await client.finalize(placed.json, csr_for(*names))).json
    assert done["status"] == "valid", done
    leaf = x509.load_pem_x509_certificate((await client.certificate(done["certificate"])).encode())
    alternatives = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return [
        *alternatives.get_values_for_type(x509.DNSName),
        *map(str, alternatives.get_values_for_type(x509.IPAddress)),
    ]


@pytest.mark.parametrize(
    ("name", "types"),
    [
        (WWW, {"http-01", "dns-01", "tls-alpn-01"}),
        ("*.corp.test", {"dns-01"}),
        ("127.0.0.1", {"http-01", "tls-alpn-01"}),
        ("2001:db8::1", {"http-01", "tls-alpn-01"}),
    ],
)
async def test_what_can_prove_a_name_is_offered_and_nothing_else_taken(
    folder: Path, name: str, types: set[str]
) -> None:
    async with world(folder) as made:
        client = await made.client()
        placed = await order_for(client, name)
        offered = await challenges(client, placed)
        assert set(offered) == types
        one = next(iter(offered.values()))
        for other in {"http-01", "dns-01", "tls-alpn-01"} - types:
            url = one["url"].replace(one["type"], other)
            assert (await client.post(url, status=404)).problem == "malformed"
            assert (await client.post(url, {}, status=400)).problem == "malformed"
        stored = await made.lab.stored(placed.location)
        assert stored.authorizations[0].answered is None


async def test_http_01_on_the_clients_server_leads_to_a_certificate(folder: Path) -> None:
    async with world(folder) as made:
        client = await made.client()
        placed = await order_for(client, WWW)
        assert placed.json["status"] == "pending"
        proven = await prove(made, client, placed)
        assert proven.json["status"] == "valid"
        assert (await client.order(placed.location)).json["status"] == "ready"
        assert await issued(client, placed, WWW) == [WWW]


@pytest.mark.usefixtures("impatient")
async def test_a_wrong_answer_is_the_challenges_error_and_the_others_vanish(folder: Path) -> None:
    async with world(folder) as made:
        client = await made.client()
        placed = await order_for(client, WWW)
        failed = await prove(made, client, placed, plant=False)
        assert failed.json["status"] == "invalid"
        (challenge,) = failed.json["challenges"]
        assert (challenge["type"], challenge["status"]) == ("http-01", "invalid")
        assert challenge["error"]["type"].endswith(":incorrectResponse")
        assert "status 404" in challenge["error"]["detail"]
        assert (await client.order(placed.location)).json["status"] == "invalid"


@pytest.mark.usefixtures("impatient")
async def test_a_clients_name_that_leads_to_a_closed_network_is_not_asked(folder: Path) -> None:
    async with world(folder) as made:
        made.dns.zones.add("inner.corp.test", "A", "169.254.169.254")
        client = await made.client()
        placed = await order_for(client, "inner.corp.test")
        failed = await prove(made, client, placed)
        assert failed.json["challenges"][0]["error"]["type"].endswith(":connection")
        assert "169.254.169.254" in failed.json["challenges"][0]["error"]["detail"]
        assert made.server.seen == []


# ------------------------------------------------------------------------------------------------ remembered proofs


async def test_without_remembering_each_order_is_proven_anew(folder: Path) -> None:
    async with world(folder) as made:
        client = await made.client()
        await prove(made, client, await order_for(client, WWW))
        assert (await order_for(client, WWW, "corp.test")).json["status"] == "pending"


async def test_a_proof_that_is_remembered_makes_the_next_order_ready_at_once(folder: Path) -> None:
    async with world(folder, remember_days=30) as made:
        client = await made.client()
        placed = await order_for(client, WWW)
        first = await prove(made, client, placed)
        await issued(client, placed, WWW)
        made.server.answers.clear()
        again = await order_for(client, WWW)
        assert again.location != placed.location
        assert again.json["status"] == "ready"
        remembered = await client.authorization(again.json["authorizations"][0])
        assert remembered.json["expires"] == first.json["expires"]
        assert {item["validated"] for item in remembered.json["challenges"]} == {
            item["validated"] for item in first.json["challenges"]
        }
        assert await issued(client, again, WWW) == [WWW]
        assert len(made.server.seen) == 1
        timeline = await made.lab.hub.store.records.timeline((await made.lab.stored(again.location)).order.id)
        assert "authorization reused" in [event.kind for event in timeline]


async def test_only_what_is_not_remembered_is_left_to_prove(folder: Path) -> None:
    async with world(folder, remember_days=30) as made:
        client = await made.client()
        placed = await order_for(client, WWW)
        await prove(made, client, placed)
        await issued(client, placed, WWW)
        both = await order_for(client, WWW, "*.corp.test")
        assert both.json["status"] == "pending"
        states = [(await client.authorization(url)).json["status"] for url in both.json["authorizations"]]
        assert states == ["valid", "pending"]


async def test_http_01_is_not_remembered_for_the_wildcard(folder: Path) -> None:
    async with world(folder, remember_days=30) as made:
        made.dns.zones.add("corp.test", "A", "127.0.0.1")
        client = await made.client()
        await prove(made, client, await order_for(client, "corp.test"))
        assert (await order_for(client, "*.corp.test")).json["status"] == "pending"


async def test_nothing_is_remembered_for_another_account(folder: Path) -> None:
    async with world(folder, remember_days=30) as made:
        client, other = await made.client(), await made.client()
        await prove(made, client, await order_for(client, WWW))
        assert (await order_for(other, WWW)).json["status"] == "pending"


async def test_nothing_that_was_only_preapproved_is_remembered(folder: Path) -> None:
    async with world(folder, remember_days=30) as made:
        client = await made.client(AuthorizationMode.PREAPPROVED)
        placed = await order_for(client, WWW)
        await issued(client, placed, WWW)
        stored = await made.lab.stored(placed.location)
        tokens = made.lab.hub.store.tokens
        token = await tokens.get(stored.order.token_id)
        assert token is not None
        await tokens.replace(replace(token, authorization=VERIFY))
        assert (await order_for(client, WWW)).json["status"] == "pending"


async def test_a_deactivated_authorization_is_forgotten_with_all_that_was_made_of_it(folder: Path) -> None:
    async with world(folder, remember_days=30) as made:
        client = await made.client()
        placed = await order_for(client, WWW)
        await prove(made, client, placed)
        await issued(client, placed, WWW)
        again = await order_for(client, WWW)
        assert again.json["status"] == "ready"
        given_up = await client.post(again.json["authorizations"][0], {"status": "deactivated"})
        assert given_up.json["status"] == "deactivated"
        assert (await client.authorization(placed.json["authorizations"][0])).json["status"] == "deactivated"
        assert (await order_for(client, WWW)).json["status"] == "pending"


# ---------------------------------------------------------------------------------------------------------- addresses


async def test_an_address_is_proven_by_http_01_and_certified(folder: Path) -> None:
    """RFC 8738."""
    async with world(folder) as made:
        client = await made.client()
        placed = await order_for(client, "127.0.0.1", WWW)
        assert placed.json["identifiers"] == [{"type": "ip", "value": "127.0.0.1"}, {"type": "dns", "value": WWW}]
        for number in (0, 1):
            assert (await prove(made, client, placed, number)).json["status"] == "valid"
        assert made.server.seen[0].count("Host: 127.0.0.1:") == 1
        assert await issued(client, placed, "127.0.0.1", WWW) == [WWW, "127.0.0.1"]
        (certificate,) = await made.lab.hub.store.certificates.list()
        assert set(certificate.names) == {"127.0.0.1", WWW}


async def test_a_csr_with_the_address_as_a_dns_name_is_refused(folder: Path) -> None:
    async with world(folder) as made:
        client = await made.client(AuthorizationMode.PREAPPROVED)
        placed = await order_for(client, "127.0.0.1")
        builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
        builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName("127.0.0.1")]), False)
        csr = builder.sign(ec.generate_private_key(ec.SECP256R1()), hashes.SHA256()).public_bytes(Encoding.DER)
        refused = await client.finalize(placed.json, csr, status=400)
        assert refused.problem == "badCSR"
        assert await issued(client, placed, "127.0.0.1") == ["127.0.0.1"]


async def test_an_address_outside_the_tokens_names_is_refused(folder: Path) -> None:
    async with world(folder) as made:
        client = await made.client(names="10.0.0.0/8")
        refused = await order_for(client, "10.0.0.1", "192.0.2.1", status=403)
        assert refused.problem == "rejectedIdentifier"
        assert [part["identifier"]["value"] for part in refused.json["subproblems"]] == ["192.0.2.1"]
        everything = await made.client(names="")
        assert (await order_for(everything, "10.0.0.1", status=403)).problem == "rejectedIdentifier"


async def test_an_authority_that_cannot_certify_addresses_says_so_for_each(lab: Lab) -> None:
    client = await lab.client(names="10.0.0.0/8, *.corp.test")
    refused = await order_for(client, "10.0.0.1", "a.corp.test", "10.0.0.2", status=400)
    assert refused.problem == "unsupportedIdentifier"
    assert [part["identifier"] for part in refused.json["subproblems"]] == [
        {"type": "ip", "value": "10.0.0.1"},
        {"type": "ip", "value": "10.0.0.2"},
    ]


async def test_an_address_that_is_not_written_in_its_one_way_is_malformed(folder: Path) -> None:
    async with world(folder) as made:
        client = await made.client()
        refused = await order_for(client, "2001:DB8::1", status=400)
        assert refused.problem == "malformed"
        assert "2001:db8::1" in refused.json["detail"]
