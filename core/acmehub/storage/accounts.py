"""ACME accounts: the read of every request, and the binding of a new one to its token."""

from collections.abc import Callable, Sequence

from acmehub.models import Account, AccountStatus, Actor, AuditEntry, Principal, Token
from acmehub.ports.lists import ALL_ACCOUNTS, AccountFilter
from acmehub.ports.store import Accounts, Conflict, Missing
from acmehub.storage import hot_statements, tables
from acmehub.storage.audit.entries import AuditRows
from acmehub.storage.codec import Codec
from acmehub.storage.driver import SqlDriver
from acmehub.storage.hot_statements import BUMP
from acmehub.storage.list_statements import page_of_accounts
from acmehub.storage.listing import IdRange, given_of
from acmehub.storage.piccolo_engine import Parameter, prepared
from acmehub.storage.resources import replace_row
from acmehub.storage.statements import Batch, Dialect, Unit
from acmehub.storage.versioned_cache import VersionedCache

Versions = tuple[int, int, int, int]


class SqlAccounts(Accounts):
    """ACME accounts.

    Actors are cached by the generation and the versions of their three rows, so that a request costs one small read and
    no decoding.
    """

    def __init__(self, driver: SqlDriver, audit: AuditRows) -> None:
        self._driver = driver
        self._audit = audit
        dialect = driver.dialect
        self._account = Codec(Account, tables.Account, dialect)
        self._token = Codec(Token, tables.Token, dialect)
        self._principal = Codec(Principal, tables.Principal, dialect)
        self._actors: VersionedCache[Versions, Actor] = VersionedCache()
        account, token, principal = self._account, self._token, self._principal
        self._fields = tuple(name for name in account.fields if name not in ("id", "version"))
        self._versions = hot_statements.ACTOR_VERSIONS
        self._actor = hot_statements.actor(account.prefixed("a"), token.prefixed("t"), principal.prefixed("p"))
        self._by_thumbprint = prepared(account.select().where(account.column("thumbprint") == Parameter(1)), dialect)
        self._ids = IdRange(tables.Account, dialect)
        one_token = token.select().where(token.column("id") == Parameter(1))
        self._lock_token = prepared(one_token.lock_rows() if dialect is Dialect.POSTGRES else one_token, dialect)
        self._one_principal = prepared(principal.select().where(principal.column("id") == Parameter(1)), dialect)

    async def actor(self, account_id: str) -> Actor | None:
        return await self._driver.point_read(self._read_actor, account_id)

    def _read_actor(self, account_id: str) -> Unit[Actor | None]:
        generation = self._driver.generation
        if account_id in self._actors:
            rows = yield self._versions(account_id)
            cached = self._actors.get(account_id, (generation, *rows[0])) if rows else None
            if cached is not None:
                return cached
        rows = yield self._actor(account_id)
        if not rows:
            return None
        row = tuple(rows[0])
        tokens = len(self._account.fields)
        principals = tokens + len(self._token.fields)
        account = self._account.read(row[:tokens])
        token = self._token.read(row[tokens:principals])
        principal = self._principal.read(row[principals:])
        actor = Actor(account, token, principal)
        self._actors.put(account_id, (generation, account.version, token.version, principal.version), actor)
        return actor

    def cached_actor(self, account_id: str) -> Actor | None:
        cached = self._actors.kept(account_id)
        return cached[1] if cached is not None and cached[0][0] == self._driver.generation else None

    async def by_thumbprint(self, thumbprint: str) -> Account | None:
        return await self._driver.point_read(self._find, thumbprint)

    def _find(self, thumbprint: str) -> Unit[Account | None]:
        rows = yield self._by_thumbprint(thumbprint)
        return self._account.read(rows[0]) if rows else None

    async def bind(self, account: Account, rule: Callable[[Token, Principal], Token]) -> tuple[Account, bool]:
        """Of two that bind one key at the same moment the later gets the earlier's account."""
        try:
            return await self._driver.write(self._bind, account, rule)
        except Conflict as conflict:
            if conflict.field != "thumbprint":
                raise
        return await self._driver.write(self._bind, account, rule)

    def _bind(self, account: Account, rule: Callable[[Token, Principal], Token]) -> Unit[tuple[Account, bool]]:
        existing = yield from self._find(account.thumbprint)
        if existing is not None:
            return existing, False
        rows = yield self._lock_token(account.token_id)
        if not rows:
            raise Missing(f"no token {account.token_id}")
        token = self._token.read(rows[0])
        principal = self._principal.read((yield self._one_principal(token.principal_id))[0])
        names = self._token.changed(token, used := rule(token, principal))
        if names:
            yield self._token.update(names, locked=True)(*self._token.values(names, used), token.id, token.version)
            yield BUMP("token")
        yield self._account.insert(*self._account.row(account))
        return account, True

    async def replace(self, account: Account, audit: Sequence[AuditEntry] = ()) -> Account:
        return await self._driver.write(self._replace, account, audit)

    def _replace(self, account: Account, audit: Sequence[AuditEntry]) -> Unit[Account]:
        new = yield from replace_row(self._account, self._fields, account)
        if audit:
            yield Batch(self._audit.insert(audit))
        return new

    async def list(
        self, wanted: AccountFilter = ALL_ACCOUNTS, *, after: str = "", limit: int = 100
    ) -> Sequence[Account]:
        return await self._driver.read(self._page, wanted, after, limit)

    async def ids(self, prefix: str, limit: int) -> Sequence[str]:
        return await self._driver.point_read(self._ids.read, prefix, limit)

    def _page(self, wanted: AccountFilter, after: str, limit: int) -> Unit[tuple[Account, ...]]:
        dialect = self._driver.dialect
        given = given_of(wanted, dialect)
        if wanted.status not in (None, AccountStatus.VALID):
            given["over"] = ()
        if after:
            given["after"] = (after,)
        values = [value for values in given.values() for value in values]
        rows = yield page_of_accounts(self._account.prefixed("page"), tuple(given), dialect)(*values, limit)
        return tuple(map(self._account.read, rows))
