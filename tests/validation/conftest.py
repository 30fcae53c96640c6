"""A real DNS server whose hosts are on loopback, and a validator that may connect there."""

from collections.abc import AsyncIterator, Callable
from typing import Any, cast

import pytest
import pytest_asyncio
from msgspec.structs import replace

from acmehub.config import Dns, Verify
from acmehub.dns01 import Solver
from acmehub.models import Authorization, AuthorizationMode, ChallengeType
from acmehub.models.identifiers import identifier_of
from acmehub.ports.store import Store
from acmehub.rules.orders import open_order
from acmehub.runtime.plugin_objects import PluginObjects
from acmehub.runtime.snapshot import Snapshots
from acmehub.testing.dns_server import DnsServer
from acmehub.testing.fakes import ManualClock
from acmehub.validation import ValidationFailed, Validator
from acmehub.validation.validator import key_authorization
from tests.rules.samples import NOW, actor

THUMBPRINT = "LPJNul-wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ"
NAME = "www.corp.test"
LOOPBACK = ("127.0.0.0/8", "::1/128")

Make = Callable[..., Validator]


def authorization(name: str = NAME, kind: ChallengeType = ChallengeType.HTTP_01) -> Authorization:
    """A pending authorization whose client has responded."""
    mode = AuthorizationMode.VERIFY
    bundle = open_order(actor(), [identifier_of(name)], mode=mode, authority_id="ca", signing=True, now=NOW)
    return replace(bundle.authorizations[0], answered=kind)


def proof_of(item: Authorization) -> str:
    """Its key authorization."""
    return key_authorization(item.token, THUMBPRINT)


def path_of(item: Authorization) -> str:
    """Its path for http-01."""
    return f"/.well-known/acme-challenge/{item.token}"


async def flaw_of(validator: Validator, item: Authorization) -> ValidationFailed:
    """The error of a failed validation, with checks that every such error has to pass."""
    with pytest.raises(ValidationFailed) as caught:
        await validator.validate(item, THUMBPRINT)
    assert caught.value.detail.isascii()
    assert caught.value.detail.isprintable()
    assert 0 < len(caught.value.detail) <= 200
    return caught.value


@pytest_asyncio.fixture
async def dns() -> AsyncIterator[DnsServer]:
    async with DnsServer(["corp.test", "far.test"]) as server:
        server.zones.add(NAME, "A", "127.0.0.1")
        yield server


@pytest.fixture
def make_validator(dns: DnsServer) -> Make:
    """A validator with these settings; loopback is allowed unless they say otherwise. `port` is that of name servers,
    `asked_timeout` the timeout of a question to DNS."""

    def make(port: int = 0, asked_timeout: float = 0.4, **settings: Any) -> Validator:
        asked = Dns(resolvers=(f"127.0.0.1:{dns.port}",), port=port or dns.port, timeout=asked_timeout)
        solver = Solver(cast(Store, None), cast(Snapshots, None), cast(PluginObjects, None), asked, ManualClock())
        return Validator(solver, Verify(**{"networks": LOOPBACK, "timeout": 2.0, **settings}))

    return make
