"""Many clients at once on the whole hub with `ca_local`: each gets the certificate for its own key and names."""

import asyncio
import itertools
from collections import Counter
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from acmehub.config import Acme
from acmehub.testing.acme_client import AcmeClient
from acmehub.testing.acme_keys import PrivateKey, make_csr
from tests.acme.lab import Lab, laboratory

CLIENTS = 24
ORDERS = 4


def spki(key: PrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def check_chain(pem: str, key: PrivateKey, names: list[str]) -> str:
    """The leaf is for the key and the names and the chain links up; gives the leaf's serial number."""
    chain = x509.load_pem_x509_certificates(pem.encode())
    leaf = chain[0]
    assert leaf.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo) == spki(key)
    san = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert sorted(san.get_values_for_type(x509.DNSName)) == sorted(names)
    assert len(chain) >= 2  # docs/client-rules.md rule 20
    assert len(pem) < 16 * 1024
    for lower, upper in itertools.pairwise(chain):
        lower.verify_directly_issued_by(upper)
    return f"{leaf.serial_number:x}"


async def test_each_of_many_clients_gets_the_certificate_of_its_own_csr(folder: Path) -> None:
    async with laboratory(folder, Acme(hold=20.0), worker=True) as lab:
        await lab.managed_challenge()
        clients = [await lab.client() for _ in range(CLIENTS)]
        serials = Counter(
            serial
            for found in await asyncio.gather(*(orders(client, number) for number, client in enumerate(clients)))
            for serial in found
        )
        assert len(serials) == CLIENTS * ORDERS  # one certificate per order, each of them another one
        assert len(await lab.hub.store.certificates.list(limit=1000)) == CLIENTS * ORDERS


async def orders(client: AcmeClient, number: int) -> list[str]:
    serials = []
    for turn in range(ORDERS):
        names = [f"n{number}-{turn}.corp.test", f"*.n{number}-{turn}.corp.test"]
        chain, key = await client.issue(names)
        serials.append(check_chain(chain, key, names))
    return serials


async def test_one_account_that_orders_in_parallel_gets_each_certificate_once(folder: Path) -> None:
    async with laboratory(folder, Acme(hold=20.0, join_orders=False), worker=True) as lab:
        await lab.managed_challenge()
        first = await lab.client()
        twins = [await twin(lab, first) for _ in range(16)]
        found = await asyncio.gather(*(one.issue(["same.corp.test"]) for one in twins))
        assert len({check_chain(chain, key, ["same.corp.test"]) for chain, key in found}) == len(twins)


async def twin(lab: Lab, client: AcmeClient) -> AcmeClient:
    """Another process of the same client: the same key and account."""
    other = await lab.stranger()
    other.key, other.kid = client.key, client.kid
    return other


async def test_a_finalize_repeated_by_an_impatient_client_gives_one_certificate(folder: Path) -> None:
    async with laboratory(folder, Acme(hold=20.0), worker=True) as lab:
        await lab.managed_challenge()
        client = await lab.client()
        placed = await client.new_order(["a.corp.test"])
        csr, _ = make_csr(["a.corp.test"])
        twins = [await twin(lab, client) for _ in range(8)]
        replies = await asyncio.gather(*(one.finalize(placed.json, csr) for one in twins))
        assert {reply.json["status"] for reply in replies} == {"valid"}
        assert len({reply.json["certificate"] for reply in replies}) == 1
        assert len(await lab.hub.store.certificates.list()) == 1
