"""After another master key was put first: everything is sealed anew under it, and the older key can go."""

import secrets
from collections.abc import Sequence

import msgspec
import pytest
from msgspec.structs import replace

from acmehub import models
from acmehub.admin.access.errors import Invalid
from acmehub.admin.operations.resealing import SEALED, Resealed, ResealingService
from acmehub.admin.resources.authorities import NewAuthority
from acmehub.admin.resources.managed_challenges import NewManagedChallenge
from acmehub.admin.resources.principals import NewPrincipal
from acmehub.admin.resources.tokens import NewToken
from acmehub.models import Role, RoleAssignment
from acmehub.ports.clock import SystemClock
from acmehub.runtime.vault import Vault
from tests.admin.conftest import ROOT, House

OLD = bytes(32)  # the key of the house
NEW = secrets.token_bytes(32)

Sealed = dict[tuple[str, str], bytes]


@pytest.fixture
async def furnished(house: House) -> House:
    roles = (RoleAssignment(Role.MANAGED_ACME_CONSUMER),)
    await house.principals.add(NewPrincipal(name="app", roles=roles), ROOT)
    await house.tokens.add(NewToken(title="EAB", principal="app"), ROOT)
    settings = {"server": "s", "key_secret": "k"}
    await house.managed_challenges.add(
        NewManagedChallenge(name="zone", plugin="dns_fake", match="b.test", settings=settings), ROOT
    )
    await house.authorities.add(NewAuthority(name="ca", plugin="ca_fake"), ROOT)
    return house


async def sealed_values(house: House) -> Sealed:
    rows = [
        *await house.store.tokens.list(),
        *await house.store.managed_challenges.list(),
        *await house.store.authorities.list(),
    ]
    return {
        (purpose, row.id): getattr(row, field)
        for row in rows
        for field, purpose in SEALED[type(row)].items()
        if getattr(row, field)
    }


def opened(values: Sealed, vault: Vault) -> Sealed:
    return {(purpose, id): vault.open(purpose, id, value) for (purpose, id), value in values.items()}


def resealing(house: House, *keys: bytes) -> ResealingService:
    return ResealingService(house.store, Vault(keys), SystemClock())


async def test_the_older_key_is_not_needed_afterwards(furnished: House) -> None:
    before = opened(await sealed_values(furnished), furnished.vault)
    assert {purpose for purpose, _ in before} == {"token.hmac", "managed_challenge.settings", "authority.settings"}
    assert await resealing(furnished, NEW, OLD).reseal(ROOT) == Resealed(3, 3)
    assert opened(await sealed_values(furnished), Vault([NEW])) == before
    entry = (await furnished.audited())[0]
    assert (entry.action, entry.detail, entry.allowed) == ("reseal", "3 of 3 rows", True)


async def test_what_is_sealed_under_the_current_key_is_left_alone(furnished: House) -> None:
    before = await sealed_values(furnished)
    assert await resealing(furnished, OLD, NEW).reseal(ROOT) == Resealed(3, 0)
    assert await sealed_values(furnished) == before


async def test_a_value_under_an_unknown_key_is_named_and_nothing_is_lost(furnished: House) -> None:
    before = await sealed_values(furnished)
    with pytest.raises(Invalid, match="not in master_keys"):
        await resealing(furnished, NEW).reseal(ROOT)
    assert await sealed_values(furnished) == before


async def test_a_row_that_is_changed_meanwhile_is_sealed_anew_as_it_is_then(
    furnished: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = (await furnished.store.tokens.named("EAB"))[0]
    stale = await furnished.store.tokens.list()
    await furnished.store.tokens.replace(replace(row, title="renamed"))

    async def as_it_was() -> Sequence[models.Token]:
        return stale

    monkeypatch.setattr(furnished.store.tokens, "list", as_it_was)
    assert await resealing(furnished, NEW, OLD).reseal(ROOT) == Resealed(3, 3)
    monkeypatch.undo()
    stored = (await furnished.store.tokens.named("renamed"))[0]
    assert not Vault([NEW]).stale(stored.sealed_hmac_key)


def test_every_sealed_field_of_the_models_is_resealed() -> None:
    fields = {
        (model, name)
        for model in vars(models).values()
        if isinstance(model, type) and issubclass(model, msgspec.Struct)
        for name in model.__struct_fields__
        if name.startswith("sealed_")
    }
    assert fields == {(model, name) for model, names in SEALED.items() for name in names}
