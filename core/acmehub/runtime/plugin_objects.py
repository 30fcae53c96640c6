"""Plugin objects made from stored rows: authorities with the hub's account there, DNS providers.

An object is kept as long as its row is stored as it was. Settings are unsealed here and nowhere else, and given to the
plugin's factory as its own Settings type.
"""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import msgspec
from msgspec.structs import replace

from acmehub.models import Authority, ManagedChallenge, Pause
from acmehub.ports.authority import (
    CertificateAuthority,
    CompletesSettings,
    RelayAuthority,
    SigningAuthority,
    UpstreamAccount,
    UpstreamAccountLost,
    UpstreamAccountRefused,
    UpstreamRefused,
)
from acmehub.ports.dns import DnsProvider, rewrites_record_sets
from acmehub.ports.plugins import Closes, PluginContext, Registration
from acmehub.ports.settings import PluginSettings, SettingsError, dump_settings, read_settings
from acmehub.ports.store import Conflict, Missing, Store
from acmehub.rules.pauses import with_pause
from acmehub.runtime.plugin_factory import AUTHORITY, DNS_PROVIDER, make_object
from acmehub.runtime.plugins import Offers, PluginError, Registry
from acmehub.runtime.snapshot import Snapshot, Snapshots
from acmehub.runtime.vault import Vault, VaultError

AUTHORITY_SETTINGS = "authority.settings"
AUTHORITY_ACCOUNT_KEY = "authority.account_key"
MANAGED_CHALLENGE_SETTINGS = "managed_challenge.settings"
PLUGIN_UNUSABLE = (Missing, PluginError, SettingsError, VaultError)
"""What `PluginObjects` raises for a row that no object can be made of; their texts are for operators."""


class AuthorityObject(msgspec.Struct, frozen=True):
    """A stored authority and the object that speaks for it; `signing`: it signs by itself, without an upstream."""

    row: Authority
    object: CertificateAuthority
    signing: bool = False


class ProviderObject(msgspec.Struct, frozen=True):
    """A stored managed challenge and the object that writes its records; `rewrites`: whole record sets at once."""

    row: ManagedChallenge
    object: DnsProvider
    rewrites: bool = False


class PluginObjects:
    """The objects in use; one per hub. Every verb raises one of `PLUGIN_UNUSABLE` for a row that is unknown, or that no
    object can be made of."""

    def __init__(
        self, store: Store, snapshots: Snapshots, registry: Registry, vault: Vault, context: PluginContext
    ) -> None:
        self._store = store
        self.snapshots = snapshots
        self._registry = registry
        self._vault = vault
        self._context = context
        self._authorities: dict[str, AuthorityObject] = {}
        self._providers: dict[str, ProviderObject] = {}
        self._closes: list[Closes] = []  # also objects that were replaced: an exchange of theirs may be under way
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def authority(self, authority_id: str, snapshot: Snapshot | None = None) -> AuthorityObject:
        """The authority as it is stored now; on first use its settings are completed, sealed and stored.

        A caller that has just taken a `snapshot` passes it, and spares a read.
        """
        row = await self._authority_row(authority_id, snapshot)
        kept = self._kept(row)
        if kept is not None:
            return kept
        async with self._locks[authority_id]:
            return await self._build(await self._authority_row(authority_id))

    async def provider(self, managed_challenge_id: str, snapshot: Snapshot | None = None) -> ProviderObject:
        """The DNS provider of a managed challenge as it is stored now, or in `snapshot`."""
        snapshot = snapshot or await self.snapshots.current()
        row = (await snapshot.managed_challenges()).by_id.get(managed_challenge_id)
        if row is None:
            raise Missing(f"there is no managed challenge {managed_challenge_id}")
        kept = self._providers.get(row.id)
        if kept is not None and kept.row == row:
            return kept
        made = self._make(self._registry.dns_providers, row, MANAGED_CHALLENGE_SETTINGS, DNS_PROVIDER)
        instance = ProviderObject(row, made, rewrites_record_sets(made))
        self._providers[row.id] = instance
        return instance

    def flaw(self, row: Authority) -> str:
        """Why a stored authority cannot be used as it is, with what to do; empty when it can. Connects nowhere."""
        try:
            settings = self._settings(row, AUTHORITY_SETTINGS, self._registry.authorities[row.plugin].settings)
        except PLUGIN_UNUSABLE as error:
            return str(error)
        return settings.account_flaw(row.account_url) if row.account_url else ""

    def probe(self, plugin: str, settings: PluginSettings) -> object:
        """An authority of settings that need not be stored: it answers what it can do, and issues nothing."""
        return self._made(self._registry.authorities[plugin], settings, AUTHORITY)

    async def account(self, authority_id: str, snapshot: Snapshot | None = None) -> UpstreamAccount:
        """The hub's account at a relay authority, registered on first use.

        The key is stored before it is used, so that two processes (or one that died in between) use the same key, for
        which a CA has one account. `snapshot` is as in `authority`. Raises the authority's `UpstreamError`s.
        """
        instance = await self.authority(authority_id, snapshot)
        if instance.row.account_url:
            return self._account_of(instance.row)
        async with self._locks[authority_id]:
            instance = await self._build(await self._authority_row(authority_id))
            while not instance.row.account_url:
                instance = await self._register(instance)
            return self._account_of(instance.row)

    def stored_account(self, row: Authority) -> UpstreamAccount | None:
        """The hub's account at a relay authority, if it has registered one."""
        return self._account_of(row) if row.account_url else None

    async def forget_account(self, authority_id: str, account_url: str) -> None:
        """The CA does not know the account any more: the next `account` registers again.

        Nothing happens when another account is stored meanwhile. The key stays: a CA that has lost the account takes
        it again, and only if the CA refuses it does `account` make a new one.
        """
        await self._change(
            await self._authority_row(authority_id),
            lambda row: replace(row, account_url="") if row.account_url == account_url else row,
        )

    async def pause(self, authority_id: str, pause: Pause) -> None:
        """The CA takes no orders of the account, or for the names, until an operator has cleared the pause."""

        def rule(row: Authority) -> Authority:
            pauses = with_pause(row.pauses, pause)
            return row if pauses is row.pauses else replace(row, pauses=pauses)

        await self._change(await self._authority_row(authority_id), rule)

    async def close(self) -> None:
        """Close every object; no verb may be called after that."""
        closes, self._closes = self._closes, []
        for made in closes:
            await made.aclose()

    async def _authority_row(self, authority_id: str, snapshot: Snapshot | None = None) -> Authority:
        snapshot = snapshot or await self.snapshots.current()
        row = (await snapshot.authorities()).by_id.get(authority_id)
        if row is None:
            raise Missing(f"there is no authority {authority_id}")
        return row

    async def _build(self, row: Authority) -> AuthorityObject:
        """The object of `row`, with completed settings; called with the authority's lock."""
        instance = self._kept(row)
        if instance is None:
            instance = self._authorities[row.id] = await self._complete(row)
        return instance

    def _kept(self, row: Authority) -> AuthorityObject | None:
        """The object of `row`, if there is one; all but the plugin and its settings may have changed.

        Rows are compared, not their versions: another database may have come in place of one that was lost.

        It needs no lock, which is held while the hub registers at a CA that may not answer.
        """
        kept = self._authorities.get(row.id)
        if kept is None or kept.row == row:
            return kept
        if kept.row.sealed_settings != row.sealed_settings or kept.row.plugin != row.plugin:
            return None
        instance = self._authorities[row.id] = replace(kept, row=row)
        return instance

    async def _complete(self, row: Authority) -> AuthorityObject:
        made = self._make(self._registry.authorities, row, AUTHORITY_SETTINGS, AUTHORITY)
        if isinstance(made, CompletesSettings):
            with _account_of_the_hub():
                completed = await made.complete()
            if completed is not None:
                before = row.sealed_settings
                sealed = self._vault.seal(AUTHORITY_SETTINGS, row.id, dump_settings(completed))
                row = await self._change(
                    row,
                    lambda now: replace(now, sealed_settings=sealed) if now.sealed_settings == before else now,
                )
                if row.sealed_settings != sealed:  # another process has completed them: its values hold
                    return await self._complete(row)
                made = self._make(self._registry.authorities, row, AUTHORITY_SETTINGS, AUTHORITY)
        return AuthorityObject(row, made, isinstance(made, SigningAuthority))

    async def _register(self, instance: AuthorityObject) -> AuthorityObject:
        authority, row = instance.object, instance.row
        if not isinstance(authority, RelayAuthority):
            raise SettingsError(f"authority {row.name!r} ({row.plugin}) signs by itself and has no upstream account")
        if not row.sealed_account_key:
            row = await self._store_new_key(authority, row, instead_of=b"")
        sealed = row.sealed_account_key
        with _account_of_the_hub():
            try:
                account = await authority.register(self._vault.open(AUTHORITY_ACCOUNT_KEY, row.id, sealed))
            except UpstreamAccountLost:  # the key's account is deactivated there for good
                row = await self._store_new_key(authority, row, instead_of=sealed)
                sealed = row.sealed_account_key
                account = await authority.register(self._vault.open(AUTHORITY_ACCOUNT_KEY, row.id, sealed))
        row = await self._change(
            row,
            lambda now: (
                replace(now, account_url=account.url)
                if now.sealed_account_key == sealed and not now.account_url
                else now
            ),
        )
        return await self._build(row)

    async def _store_new_key(self, authority: RelayAuthority, row: Authority, *, instead_of: bytes) -> Authority:
        made = await asyncio.to_thread(authority.new_account_key)  # an RSA key takes some tenths of a second
        key = self._vault.seal(AUTHORITY_ACCOUNT_KEY, row.id, made)
        return await self._change(
            row,
            lambda now: (
                replace(now, sealed_account_key=key, account_url="") if now.sealed_account_key == instead_of else now
            ),
        )

    async def _change(self, row: Authority, rule: Callable[[Authority], Authority]) -> Authority:
        """Write what `rule` makes of the row; after a conflict, of the row that another process has written."""
        while True:
            changed = rule(row)
            if changed is row:
                return row
            try:
                return await self._store.authorities.replace(changed)
            except Conflict:
                now = await self._store.authorities.get(row.id)
                if now is None:
                    raise Missing(f"authority {row.name!r} was removed") from None
                if now.version == row.version:
                    raise
                row = now

    def _account_of(self, row: Authority) -> UpstreamAccount:
        return UpstreamAccount(row.account_url, self._vault.open(AUTHORITY_ACCOUNT_KEY, row.id, row.sealed_account_key))

    def _make(self, offers: Offers, row: Authority | ManagedChallenge, purpose: str, kinds: tuple[type, ...]) -> Any:
        registration = offers[row.plugin]
        return self._made(registration, self._settings(row, purpose, registration.settings), kinds)

    def _made(self, registration: Registration, settings: PluginSettings, kinds: tuple[type, ...]) -> Any:
        made = make_object(registration, settings, self._context, kinds)
        if isinstance(made, Closes):
            self._closes.append(made)
        return made

    def _settings(self, row: Authority | ManagedChallenge, purpose: str, kind: type[PluginSettings]) -> PluginSettings:
        raw = msgspec.json.decode(self._vault.open(purpose, row.id, row.sealed_settings), type=dict[str, Any])
        try:
            return read_settings(raw, kind)
        except SettingsError as error:
            raise SettingsError(f"{row.name!r} ({row.plugin}): {error}") from None


@contextmanager
def _account_of_the_hub() -> Iterator[None]:
    """A refusal is one of the authority's settings, not of an order."""
    try:
        yield
    except UpstreamAccountRefused:
        raise
    except UpstreamRefused as error:
        raise UpstreamAccountRefused(error.problem, server=error.server) from error
