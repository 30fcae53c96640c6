"""finalize and the CSR (RFC 8555 section 7.4; docs/client-rules.md rules 4, 5, 28)."""

import asyncio

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding

from acmehub.models import AuthorizationMode, OrderStatus
from acmehub.testing.acme_client import AcmeClient
from acmehub.testing.acme_keys import AccountKey, b64, make_csr, with_version
from tests.acme.lab import Lab


async def test_rule_4_finalize_is_accepted_while_the_upstream_still_validates(lab: Lab, client: AcmeClient) -> None:
    placed = await client.new_order(["a.corp.test"])
    csr, _ = make_csr(["a.corp.test"])
    reply = await client.finalize(placed.json, csr)
    assert (reply.status, reply.json["status"]) == (200, "processing")
    assert (await lab.stored(placed.location)).order.csr == csr


async def test_rule_4_finalize_of_a_pending_order_is_order_not_ready(lab: Lab) -> None:
    client = await lab.client(authorization=AuthorizationMode.ACCEPT)
    placed = await client.new_order(["a.corp.test"])
    csr, _ = make_csr(["a.corp.test"])
    assert (await client.finalize(placed.json, csr, status=403)).problem == "orderNotReady"


async def test_rule_5_the_same_csr_again_is_the_order_as_it_is_and_another_one_is_not(
    lab: Lab, client: AcmeClient
) -> None:
    placed = await client.new_order(["a.corp.test"])
    csr, _ = make_csr(["a.corp.test"])
    other, _ = make_csr(["a.corp.test"])
    await client.finalize(placed.json, csr)
    assert (await client.finalize(placed.json, csr)).json["status"] == "processing"
    assert (await client.finalize(placed.json, other, status=403)).problem == "orderNotReady"
    await lab.upstream_validates(placed.location)
    await lab.upstream_issues(placed.location)
    valid = await client.finalize(placed.json, csr)
    assert (valid.json["status"], valid.retry_after) == ("valid", None)
    assert (await client.finalize(placed.json, other, status=403)).problem == "orderNotReady"


async def test_of_two_finalizes_at_once_with_two_csrs_one_is_accepted(client: AcmeClient, lab: Lab) -> None:
    placed = await client.new_order(["a.corp.test"])
    bodies = [
        await client.sign(
            placed.json["finalize"], b'{"csr":"%s"}' % b64(make_csr(["a.corp.test"])[0]).encode(), nonce=nonce
        )
        for nonce in [(await lab.http.head("/acme/new-nonce")).headers["replay-nonce"] for _ in range(2)]
    ]
    replies = await asyncio.gather(*(client.send(placed.json["finalize"], body) for body in bodies))
    assert sorted(reply.status for reply in replies) == [200, 403]


# ---------------------------------------------------------------------------------------------------- the CSR


@pytest.mark.parametrize(
    ("names", "common_name"),
    [(["a.corp.test"], "a.corp.test"), (["a.corp.test"], ""), (["A.corp.TEST"], "")],
)
async def test_rule_28_a_csr_with_and_without_a_common_name_is_taken(
    client: AcmeClient, names: list[str], common_name: str
) -> None:
    placed = await client.new_order(["a.corp.test"])
    csr, _ = make_csr(names, common_name=common_name)
    assert (await client.finalize(placed.json, csr)).json["status"] == "processing"


async def test_rule_28_a_csr_with_nothing_but_a_common_name_is_taken(client: AcmeClient) -> None:
    placed = await client.new_order(["a.corp.test"])
    csr, _ = make_csr([], common_name="a.corp.test", in_san=False)
    assert (await client.finalize(placed.json, csr)).json["status"] == "processing"


@pytest.mark.parametrize(
    ("names", "common_name"),
    [
        (["a.corp.test", "b.corp.test"], ""),  # an extra name
        (["b.corp.test"], ""),  # another order's
        (["a.corp.test"], "b.corp.test"),  # a common name outside
        ([], ""),  # nothing at all
        (["*.corp.test"], ""),
    ],
)
async def test_a_csr_for_other_names_than_the_orders_is_bad(
    lab: Lab, client: AcmeClient, names: list[str], common_name: str
) -> None:
    placed = await client.new_order(["a.corp.test"])
    csr, _ = make_csr(names, common_name=common_name, in_san=bool(names))
    assert (await client.finalize(placed.json, csr, status=400)).problem == "badCSR"
    assert (await lab.stored(placed.location)).order.status is OrderStatus.READY


async def test_a_csr_with_the_accounts_key_is_bad(client: AcmeClient) -> None:
    placed = await client.new_order(["a.corp.test"])
    key = client.key.private
    assert not isinstance(key, Ed25519PrivateKey)
    csr, _ = make_csr(["a.corp.test"], key=key)
    assert (await client.finalize(placed.json, csr, status=400)).problem == "badCSR"


async def test_a_csr_with_a_former_key_of_the_account_is_bad(lab: Lab, client: AcmeClient) -> None:
    former = client.key.private
    assert not isinstance(former, Ed25519PrivateKey)
    await client.key_change(AccountKey.generate())
    await client.key_change(AccountKey.generate("Ed25519"))
    placed = await client.new_order(["a.corp.test"])
    csr, _ = make_csr(["a.corp.test"], key=former)
    refused = await client.finalize(placed.json, csr, status=400)
    assert refused.problem == "badCSR"
    assert "former key" in refused.json["detail"]
    assert (await lab.stored(placed.location)).order.status is OrderStatus.READY
    other = await lab.client()
    placed = await other.new_order(["a.corp.test"])
    assert (await other.finalize(placed.json, csr)).json["status"] == "processing"


async def test_a_csr_with_an_ed25519_key_is_a_bad_public_key_and_the_types_that_are_taken_are_named(
    lab: Lab, client: AcmeClient
) -> None:
    placed = await client.new_order(["a.corp.test"])
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName("a.corp.test")]), critical=False)
    csr = builder.sign(Ed25519PrivateKey.generate(), None).public_bytes(Encoding.DER)
    refused = await client.finalize(placed.json, csr, status=400)
    assert refused.problem == "badPublicKey"
    assert "RSA keys of 2048 to 4096 bits and EC keys on P-256, P-384, P-521" in refused.json["detail"]
    assert (await lab.stored(placed.location)).order.status is OrderStatus.READY


@pytest.mark.parametrize("number", [1, 2])
async def test_rule_28_a_csr_of_version_1_or_2_is_taken_and_kept_byte_for_byte(
    lab: Lab, client: AcmeClient, number: int
) -> None:
    placed = await client.new_order(["a.corp.test"])
    csr, key = make_csr(["a.corp.test"])
    old = with_version(csr, number, key)
    assert (await client.finalize(placed.json, old)).json["status"] == "processing"
    assert (await lab.stored(placed.location)).order.csr == old


@pytest.mark.parametrize("text", ["", "!", "AA==", "AAAA"])
async def test_what_is_no_csr_is_bad_and_loses_nothing(client: AcmeClient, text: str) -> None:
    placed = await client.new_order(["a.corp.test"])
    reply = await client.post(placed.json["finalize"], {"csr": text}, status=400)
    assert reply.problem == "badCSR"
    assert (await client.post(placed.json["finalize"], {}, status=400)).problem == "malformed"
    csr, _ = make_csr(["a.corp.test"], key=ec.generate_private_key(ec.SECP384R1()))
    assert (await client.finalize(placed.json, csr)).json["status"] == "processing"
