"""ACME accounts, as operators see them: list, show, deactivate, correct what mode `auto` has learned."""

from collections.abc import Callable, Sequence
from datetime import datetime

import msgspec
from msgspec.structs import replace

from acmehub.admin.access.errors import Invalid, NotFound, require_version
from acmehub.admin.access.gate import Gate, Passage
from acmehub.admin.access.names import Names, whole_id
from acmehub.admin.resources.fields import Patch, patch_of
from acmehub.models import Account, AccountStatus, AuthorizationMode
from acmehub.ports.clock import Clock
from acmehub.ports.store import Conflict, Store
from acmehub.rules.authorization_modes import LEARNABLE, SET_BY, explain_mode
from acmehub.rules.permissions import Acting
from acmehub.runtime.deactivation import cancel_open_orders


class AccountSummary(msgspec.Struct, frozen=True, kw_only=True):
    """An ACME account in a list; `authorization` is the mode that its orders get at a relaying authority."""

    id: str
    version: int
    status: AccountStatus
    principal: str
    token: str
    contact: tuple[str, ...]
    user_agent: str
    thumbprint: str
    created: datetime
    authorization: AuthorizationMode
    authorization_why: str
    learned: AuthorizationMode | None


class AccountFields(msgspec.Struct, frozen=True, kw_only=True):
    """What operators may change of an account: the mode that `auto` has learned for it (None: none)."""

    learned: AuthorizationMode | None = None


AccountPatch = patch_of("AccountPatch", AccountFields)


class AccountsAdmin:
    """Accounts are named by their id; verbs raise `ServiceError`s and `Forbidden`."""

    noun = "account"

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._gate = Gate(store, clock)

    async def list(self, acting: Acting, *, after: str = "", limit: int = 100) -> Sequence[AccountSummary]:
        """Accounts by id; `after` is the id of the last one of the page before."""
        async with self._gate(acting, "account.list"):
            names = await Names.read(self._store)
            after = await whole_id(self._store.accounts, after, "after")
            return [_summary(item, names) for item in await self._store.accounts.list(after=after, limit=limit)]

    async def show(self, account_id: str, acting: Acting) -> AccountSummary:
        """One account."""
        async with self._gate(acting, "account.show", f"account {account_id}"):
            return await self._view(await self._find(account_id))

    async def deactivate(self, account_id: str, acting: Acting) -> AccountSummary:
        """Refuse an account from its next request on, for good; its device must register again with EAB."""

        def rule(account: Account) -> Account:
            return replace(account, status=AccountStatus.DEACTIVATED)

        async with self._gate(acting, "account.deactivate", f"account {account_id}") as passage:
            account = await self._find(account_id, passage)
            if account.status is AccountStatus.VALID:
                account = await self._change(account, rule, passage)
            await cancel_open_orders(self._store, account.id, self._clock.now())  # also what a crash left open
            return await self._view(account)

    async def set(
        self, account_id: str, patch: Patch[AccountFields], acting: Acting, *, version: int | None = None
    ) -> AccountSummary:
        """Correct what was learned (None: forget it). It stays until another kind of client uses the account.
        `VersionMismatch` when the account has another `version` than this."""
        given = patch.given()
        learned: AuthorizationMode | None = given.get("learned")

        def rule(account: Account) -> Account:
            require_version(account, version)
            if not given:
                return account
            why = f"{SET_BY} {acting.name}" if learned is not None else ""
            return replace(account, learned=learned, learned_why=why)

        async with self._gate(acting, "account.set", f"account {account_id}") as passage:
            if learned is not None and learned not in LEARNABLE:
                raise Invalid("learned", "preapproved, accept or none; for others set the token's 'authorization'")
            detail = f"learned: {learned.value if learned is not None else 'none'}" if given else ""
            return await self._view(await self._change(await self._find(account_id, passage), rule, passage, detail))

    async def _change(
        self, account: Account, rule: Callable[[Account], Account], passage: Passage, detail: str = ""
    ) -> Account:
        """Write what `rule` makes of the account as it is stored now, again after a conflict."""
        while True:
            changed = rule(account)
            if changed == account:
                await passage.note(detail)
                return account
            try:
                return await self._store.accounts.replace(changed, [passage.entry(detail)])
            except Conflict:
                account = await self._find(account.id)

    async def _find(self, account_id: str, passage: Passage | None = None) -> Account:
        account_id = await whole_id(self._store.accounts, account_id, "account")
        if passage is not None:
            passage.resolved(f"account {account_id}")
        found = await self._store.accounts.actor(account_id)
        if found is None:
            raise NotFound(f"there is no account {account_id}; `acmehub account list` shows those there are")
        return found.account

    async def _view(self, account: Account) -> AccountSummary:
        return _summary(account, await Names.read(self._store))


def _summary(account: Account, names: Names) -> AccountSummary:
    explained = explain_mode(names.mode(account.token_id), account)
    return AccountSummary(
        id=account.id,
        version=account.version,
        status=account.status,
        principal=names.principal(account.principal_id),
        token=names.token(account.token_id),
        contact=account.contact,
        user_agent=account.user_agent,
        thumbprint=account.thumbprint,
        created=account.created,
        authorization=explained.mode,
        authorization_why=explained.why,
        learned=account.learned,
    )
