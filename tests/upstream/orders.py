"""Steps of several tests of `AcmeRelay`."""

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from typing import TypeVar

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from acmehub import AcmeRelay, UpstreamAccount, UpstreamOrder, UpstreamUnavailable
from acmehub.testing.authority_contract import csr_for, request_for
from acmehub.testing.issued_count import spki_sha256

T = TypeVar("T")


def fresh_name() -> str:
    return f"h{secrets.token_hex(6)}.corp.test"


def fresh_csr(name: str) -> tuple[bytes, str]:
    """A CSR with a key of its own, and that key's SPKI hash."""
    csr = csr_for(name, key=ec.generate_private_key(ec.SECP256R1()))
    return csr, spki_sha256(x509.load_der_x509_csr(csr))


async def ready_order(relay: AcmeRelay, account: UpstreamAccount, name: str) -> UpstreamOrder:
    order = await relay.new_order(account, request_for(name))
    for url in order.authorizations:
        found = await relay.authorization(account, url)
        if found.dns01_status == "pending" and found.dns01_url is not None:
            await relay.answer(account, found.dns01_url)
    return await settled(relay, account, order.url, "ready")


async def settled(relay: AcmeRelay, account: UpstreamAccount, url: str, status: str) -> UpstreamOrder:
    for _ in range(200):
        order = await relay.order(account, url)
        if order.status == status:
            return order
        await asyncio.sleep(0.02)
    raise AssertionError(f"the order stays {order.status}")


async def valid_order(relay: AcmeRelay, account: UpstreamAccount) -> UpstreamOrder:
    name = fresh_name()
    order = await ready_order(relay, account, name)
    await relay.finalize(account, order.finalize, order.url, fresh_csr(name)[0])
    return await settled(relay, account, order.url, "valid")


async def patiently(verb: Callable[[], Awaitable[T]]) -> T:
    """Call a verb again, as the hub does, while the CA is unavailable."""
    for _ in range(20):
        try:
            return await verb()
        except UpstreamUnavailable:
            await asyncio.sleep(0)
    raise AssertionError("the CA stays unavailable")
