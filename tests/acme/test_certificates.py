"""Issued chains (RFC 8555 section 7.4.2; docs/client-rules.md rules 15, 16, 20)."""

from acmehub.testing.acme_client import AcmeClient
from acmehub.testing.acme_keys import make_csr
from tests.acme.lab import CHAIN, Lab

OTHER = CHAIN.replace("aW50ZXI=", "b3RoZXI=")
THIRD = CHAIN.replace("aW50ZXI=", "dGhpcmQ=")


async def issued(lab: Lab, client: AcmeClient, *alternates: str) -> str:
    placed = await client.new_order(["a.corp.test"])
    await client.finalize(placed.json, make_csr(["a.corp.test"])[0])
    await lab.upstream_validates(placed.location)
    await lab.upstream_issues(placed.location, alternates=alternates)
    url = (await client.order(placed.location)).json["certificate"]
    assert isinstance(url, str)
    return url


async def test_rule_16_a_chain_is_pem_with_exactly_its_content_type_whatever_is_accepted(
    lab: Lab, client: AcmeClient
) -> None:
    url = await issued(lab, client)
    body = await client.sign(url, b"")
    headers = {"content-type": "application/jose+json", "accept": "application/pkix-cert"}
    response = await lab.http.post(url, content=body, headers=headers)
    assert response.headers["content-type"] == "application/pem-certificate-chain"
    assert response.text == CHAIN
    assert "retry-after" not in response.headers


async def test_rule_15_alternates_have_a_link_line_each_and_point_to_each_other(lab: Lab, client: AcmeClient) -> None:
    url = await issued(lab, client, OTHER, THIRD)
    reply = await client.post(url)
    assert reply.links("alternate") == [url + "/1", url + "/2"]
    assert await client.certificate(url + "/1") == OTHER
    assert await client.certificate(url + "/2") == THIRD
    assert (await client.post(url + "/1")).links("alternate") == [url, url + "/2"]


async def test_an_alternate_that_is_not_there_is_not_found(lab: Lab, client: AcmeClient) -> None:
    url = await issued(lab, client, OTHER)
    for number in ("0", "2", "01", "-1", "x"):
        assert (await client.post(f"{url}/{number}", status=404)).problem == "malformed"
