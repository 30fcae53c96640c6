"""The services over a real SQLite storage, with two plugins that need nothing from outside."""

import asyncio
import shutil
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest

from acmehub.admin.authorities import AuthorityService
from acmehub.admin.campaigns import CampaignService
from acmehub.admin.managed_challenges import ManagedChallengeService
from acmehub.admin.operations import OperationService
from acmehub.admin.permissions import Acting
from acmehub.admin.principals import PrincipalService
from acmehub.admin.profiles import ProfileService
from acmehub.admin.resources_file import ResourcesFileService
from acmehub.admin.tokens import TokenService
from acmehub.models import Account, AuditEntry, Role, Token
from acmehub.ports.clock import SystemClock
from acmehub.ports.hookspecs import hookimpl
from acmehub.ports.plugins import PluginContext, Register
from acmehub.ports.settings import PluginSettings, Secret, read_settings
from acmehub.ports.store import Store
from acmehub.runtime.plugin_objects import PluginObjects
from acmehub.runtime.plugins import Registry, build_registry
from acmehub.runtime.revocation import RevocationService
from acmehub.runtime.snapshot import Snapshots
from acmehub.runtime.vault import Vault

ROOT = Acting.machine("cli:root")
OPERATOR = Acting("olga", frozenset({Role.OPERATOR}))
AUDITOR = Acting("august", frozenset({Role.AUDITOR}))


class DnsSettings(PluginSettings, frozen=True, kw_only=True):
    server: str
    key_secret: Secret
    port: int = 53
    backups: tuple[Secret, ...] = ()


class CaSettings(PluginSettings, frozen=True, kw_only=True):
    directory: str = "https://ca.test/dir"
    email: str = ""
    eab_kid: str = ""
    eab_key: Secret = Secret("")


class DnsPlugin:
    @hookimpl
    def register_dns_providers(self, register: Register) -> None:
        register("dns_fake", lambda settings, context: None, DnsSettings)


class CaPlugin:
    @hookimpl
    def register_authorities(self, register: Register) -> None:
        register("ca_fake", lambda settings, context: None, CaSettings)
        register("ca_fake.other", lambda settings, context: None, CaSettings)


class House(msgspec.Struct):
    """All services, and what they stand on."""

    store: Store
    vault: Vault
    principals: PrincipalService
    tokens: TokenService
    managed_challenges: ManagedChallengeService
    authorities: AuthorityService
    profiles: ProfileService
    files: ResourcesFileService
    campaigns: CampaignService
    operations: OperationService

    async def audited(self) -> Sequence[AuditEntry]:
        return await self.store.records.audited()

    async def bind(self, token_id: str) -> Account:
        """An ACME account that this token has bound."""
        token = await self.store.tokens.get(token_id)
        assert token is not None
        account = Account(
            jwk=b"{}",
            thumbprint=f"t{token.uses}",
            token_id=token.id,
            principal_id=token.principal_id,
            created=datetime.now(UTC),
        )
        await self.store.accounts.bind(account, lambda row, _: msgspec.structs.replace(row, uses=row.uses + 1))
        return account


@pytest.fixture(scope="session")
def registry() -> Registry:
    registry = build_registry(())
    registry.add("dns_fake", DnsPlugin())
    registry.add("ca_fake", CaPlugin())
    return registry


def sqlite_store(registry: Registry, folder: Path) -> Store:
    registration = registry.storages["storage_sqlite"]
    settings: Any = read_settings({}, registration.settings)
    context = PluginContext(user_agent="test", data_dir=folder, clock=SystemClock())
    store: Store = registration.factory(settings, context)
    return store


@pytest.fixture(scope="session")
def migrated(registry: Registry, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a new database, to be copied: migrating takes longer than most of these tests."""
    folder = tmp_path_factory.mktemp("migrated")
    store = sqlite_store(registry, folder)

    async def migrate() -> None:
        await store.migrate()
        await store.close()

    asyncio.run(migrate())
    return folder


@pytest.fixture
async def house(registry: Registry, tmp_path: Path, migrated: Path) -> AsyncIterator[House]:
    shutil.copytree(migrated, tmp_path, dirs_exist_ok=True)
    clock = SystemClock()
    store = sqlite_store(registry, tmp_path)
    await store.open()
    vault = Vault([bytes(32)])
    parts = (store, vault, registry, clock)
    principals, tokens = PrincipalService(*parts), TokenService(*parts)
    challenges, authorities = ManagedChallengeService(*parts), AuthorityService(*parts)
    context = PluginContext(user_agent="test", data_dir=tmp_path, clock=clock)
    objects = PluginObjects(store, Snapshots(store), registry, vault, context)
    profiles = ProfileService(*parts, authorities, objects)
    files = ResourcesFileService(principals, tokens, challenges, authorities, profiles)
    campaigns = CampaignService(*parts, authorities, principals)
    operations = OperationService(store, RevocationService(store, objects, clock), clock)
    yield House(store, vault, principals, tokens, challenges, authorities, profiles, files, campaigns, operations)
    await store.close()


def stored(item: Token | None) -> Token:
    assert item is not None
    return item
