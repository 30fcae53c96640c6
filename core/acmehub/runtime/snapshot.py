"""What operators have configured, as of one reading of the storage's revisions.

A request takes one snapshot and looks everything up in it. A kind is read when something of it is first asked for, and
carried over from one snapshot to the next while its revision stands. Revisions are read before rows, so that rows are
never older than their revision says.
"""

from collections.abc import Sequence
from functools import cached_property
from typing import Generic, TypeVar

from acmehub.models import Authority, Campaign, ManagedChallenge, Principal, Profile, Token
from acmehub.ports.clock import Clock, SystemClock
from acmehub.ports.plugins import Candidate
from acmehub.ports.revisions import Revisions
from acmehub.ports.store import Store
from acmehub.rules.scopes import MatchIndex

R = TypeVar("R", Principal, Token, ManagedChallenge, Authority, Profile, Campaign)


class Rows(Generic[R]):
    """All rows of one kind, oldest first, and what is derived from them."""

    def __init__(self, rows: Sequence[R]) -> None:
        self.rows: Sequence[R] = rows

    @cached_property
    def by_id(self) -> dict[str, R]:
        """The rows by their ids."""
        return {row.id: row for row in self.rows}


class Authorities(Rows[Authority]):
    """The configured authorities."""

    @cached_property
    def candidates(self) -> tuple[Candidate, ...]:
        """The enabled ones, as the policy's hook takes them."""
        return tuple(
            Candidate(
                id=row.id, name=row.name, plugin=row.plugin, default=row.default, created=row.created, tags=row.tags
            )
            for row in self.rows
            if row.enabled
        )


class ManagedChallenges(Rows[ManagedChallenge]):
    """The managed challenges."""

    @cached_property
    def match_index(self) -> MatchIndex:
        """The enabled ones by the names that they match."""
        return MatchIndex(self.rows)


class Profiles(Rows[Profile]):
    """The profiles that clients may name."""

    @cached_property
    def enabled(self) -> dict[str, Profile]:
        """The enabled ones by name."""
        return {row.name: row for row in self.rows if row.enabled}

    @cached_property
    def by_authority(self) -> dict[str, tuple[str, ...]]:
        """The names of the enabled profiles that lead to an authority, by its id."""
        found: dict[str, tuple[str, ...]] = {}
        for row in self.enabled.values():
            if row.authority_id:
                found[row.authority_id] = (*found.get(row.authority_id, ()), row.name)
        return found


class Tokens(Rows[Token]):
    """The API tokens: there may be many, and each account that one binds changes them."""

    @cached_property
    def by_directory_hash(self) -> dict[bytes, Token]:
        """Those with a secret directory, by the hash of its key."""
        return {row.directory_hash: row for row in self.rows if row.directory_hash}


class Snapshot:
    """The configuration as of `revisions`; kinds that `before` has at the same revision are taken from it, if it is of
    the same generation."""

    def __init__(self, store: Store, revisions: Revisions, before: "Snapshot | None" = None) -> None:
        self._store = store
        self.revisions = revisions
        self._authorities: Authorities | None = None
        self._managed_challenges: ManagedChallenges | None = None
        self._profiles: Profiles | None = None
        self._tokens: Tokens | None = None
        self._campaigns: Rows[Campaign] | None = None
        if before is None or before.revisions.generation != revisions.generation:
            return
        if before.revisions.authorities == revisions.authorities:
            self._authorities = before._authorities
        if before.revisions.managed_challenges == revisions.managed_challenges:
            self._managed_challenges = before._managed_challenges
        if before.revisions.profiles == revisions.profiles:
            self._profiles = before._profiles
        if before.revisions.tokens == revisions.tokens:
            self._tokens = before._tokens
        if before.revisions.campaigns == revisions.campaigns:
            self._campaigns = before._campaigns

    def narrowed(self, managed_challenges: Sequence[ManagedChallenge], profiles: Sequence[Profile]) -> "Snapshot":
        """The same configuration with these of its managed challenges and profiles only."""
        other = Snapshot(self._store, self.revisions, self)
        other._managed_challenges, other._profiles = ManagedChallenges(managed_challenges), Profiles(profiles)
        return other

    async def authorities(self) -> Authorities:
        """The configured authorities."""
        if self._authorities is None:
            self._authorities = Authorities(await self._store.authorities.list())
        return self._authorities

    async def managed_challenges(self) -> ManagedChallenges:
        """The managed challenges."""
        if self._managed_challenges is None:
            self._managed_challenges = ManagedChallenges(await self._store.managed_challenges.list())
        return self._managed_challenges

    async def profiles(self) -> Profiles:
        """The profiles."""
        if self._profiles is None:
            self._profiles = Profiles(await self._store.profiles.list())
        return self._profiles

    async def tokens(self) -> Tokens:
        """The API tokens."""
        if self._tokens is None:
            self._tokens = Tokens(await self._store.tokens.list())
        return self._tokens

    async def campaigns(self) -> Rows[Campaign]:
        """The renewal campaigns."""
        if self._campaigns is None:
            self._campaigns = Rows(await self._store.campaigns.list())
        return self._campaigns


class Snapshots:
    """Takes snapshots; one per process, so that what one request has read serves the next."""

    def __init__(self, store: Store, clock: Clock = SystemClock()) -> None:
        self._store = store
        self._clock = clock
        self._latest: Snapshot | None = None
        self._read_at = 0.0

    async def current(self) -> Snapshot:
        """The configuration as it is stored now; one read."""
        read_at = self._clock.monotonic()
        revisions = await self._store.revisions()
        snapshot = self._latest
        if snapshot is None or (snapshot.revisions is not revisions and snapshot.revisions != revisions):
            snapshot = Snapshot(self._store, revisions, snapshot)
        if self._latest is None or read_at >= self._read_at:  # else a later read has come first
            self._latest, self._read_at = snapshot, read_at
        return snapshot

    def known(self, revisions: Revisions, read_at: float) -> Snapshot | None:
        """The snapshot of these revisions, which were the stored ones at `read_at` (monotonic); None where the latest
        is of others."""
        latest = self._latest
        if latest is None or latest.revisions is not revisions:
            return None
        self._read_at = max(self._read_at, read_at)
        return latest

    def name_of(self, id: str) -> str:
        """The name of an authority or a managed challenge that was read already; the id of any other."""
        latest = self._latest
        for rows in (latest._authorities, latest._managed_challenges) if latest is not None else ():
            if rows is not None and (row := rows.by_id.get(id)) is not None:
                return row.name
        return id

    async def recent(self, seconds: float) -> Snapshot:
        """The configuration as it was stored at most `seconds` ago; no read where the latest snapshot is so young."""
        if self._latest is not None and self._clock.monotonic() - self._read_at <= seconds:
            return self._latest
        return await self.current()
