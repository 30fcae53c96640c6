"""The services over a real SQLite storage, with two plugins that need nothing from outside."""

import asyncio
import shutil
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest

from acmehub.admin.operations.accounts import AccountsAdmin
from acmehub.admin.resources.authorities import AuthorityService
from acmehub.admin.resources.campaigns import CampaignService
from acmehub.admin.resources.file import ResourcesFileService
from acmehub.admin.resources.managed_challenges import ManagedChallengeService
from acmehub.admin.resources.principals import PrincipalService
from acmehub.admin.resources.profiles import ProfileService
from acmehub.admin.resources.tokens import TokenService
from acmehub.admin.services import Admin
from acmehub.app.hub import Hub
from acmehub.config import Config
from acmehub.models import Account, AuditRecord, Role, RoleAssignment, Token
from acmehub.ports.clock import SystemClock
from acmehub.ports.hookspecs import hookimpl
from acmehub.ports.plugins import PluginContext, Register
from acmehub.ports.settings import PluginSettings, Secret, read_settings
from acmehub.ports.store import Store
from acmehub.rules.permissions import Acting
from acmehub.runtime.crash_points import CrashPoints
from acmehub.runtime.plugins import Registry, build_registry
from acmehub.runtime.vault import Vault
from acmehub.testing.fake_relay import FakeRelay

ROOT = Acting.machine("cli:root")
OPERATOR = Acting("olga", frozenset({RoleAssignment(Role.OPERATOR)}), proven=True, delegates=True)
AUDITOR = Acting("august", frozenset({RoleAssignment(Role.AUDITOR)}), proven=True, delegates=True)


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
        register("ca_fake", lambda settings, context: FakeRelay(context.clock), CaSettings)
        register("ca_fake.other", lambda settings, context: FakeRelay(context.clock), CaSettings)


class House(msgspec.Struct):
    """All services of a hub that serves nobody, and what they stand on."""

    folder: Path
    store: Store
    vault: Vault
    admin: Admin

    @property
    def principals(self) -> PrincipalService:
        return self.admin.principals

    @property
    def tokens(self) -> TokenService:
        return self.admin.tokens

    @property
    def managed_challenges(self) -> ManagedChallengeService:
        return self.admin.managed_challenges

    @property
    def authorities(self) -> AuthorityService:
        return self.admin.authorities

    @property
    def profiles(self) -> ProfileService:
        return self.admin.profiles

    @property
    def files(self) -> ResourcesFileService:
        return self.admin.resources_file

    @property
    def campaigns(self) -> CampaignService:
        return self.admin.campaigns

    @property
    def accounts(self) -> AccountsAdmin:
        return self.admin.accounts

    async def audited(self) -> Sequence[AuditRecord]:
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
    config = Config(data_dir=tmp_path, public_url="https://hub.test")
    yield House(tmp_path, store, vault, Hub(config, clock, CrashPoints(), vault, registry, store).admin)
    await store.close()


def stored(item: Token | None) -> Token:
    assert item is not None
    return item
