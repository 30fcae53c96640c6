"""Replaces what names a person by a pseudonym, in the audit too, whose chain goes on to verify."""

import re
from collections.abc import Sequence

import msgspec
from msgspec.structs import replace

from acmehub.admin.access.errors import NotFound, Refused
from acmehub.admin.access.gate import Gate, Passage
from acmehub.admin.resources.rows import ResourceRows
from acmehub.models import Account, AuditFilter, AuditRecord, Principal, new_id
from acmehub.ports.clock import Clock
from acmehub.ports.store import Conflict, Store
from acmehub.rules.permissions import Acting
from acmehub.runtime.sealed_audit.chain import FIRST, TEXTS, withheld
from acmehub.runtime.sealed_audit.keys import ChainKeys
from acmehub.runtime.vault import Vault

_PAGE = 500
_PRINCIPAL = "principal"


class Forgotten(msgspec.Struct, frozen=True):
    """The pseudonym that stands for a principal now, and in how many entries of the audit and accounts."""

    pseudonym: str
    entries: int
    accounts: int


class _Person(msgspec.Struct, frozen=True):
    """What is replaced: every name that the principal had, its id and those of its accounts; by what."""

    names: frozenset[str]
    ids: frozenset[str]
    pseudonym: str


class ForgettingService:
    """Forgets principals."""

    noun = _PRINCIPAL

    def __init__(self, store: Store, vault: Vault, clock: Clock) -> None:
        self._store = store
        self._keys = ChainKeys(store, vault)
        self._gate = Gate(store, clock)
        self._rows = ResourceRows(store.principals, _PRINCIPAL, "acmehub principal list")

    async def forget(self, ref: str, acting: Acting) -> Forgotten:
        """Rename a principal to a pseudonym everywhere, take contacts and User-Agents from its accounts, and addresses
        from entries of the audit; one that was removed is forgotten in the audit. It cannot be undone.

        `Refused` while the principal is enabled. After a crash it can be run again.
        """
        async with self._gate(acting, "principal.forget", ref) as passage:
            item = await self._found(ref, passage)
            if item is not None and item.enabled:
                raise Refused(
                    f"principal {item.name!r} is enabled: disable it first (`acmehub principal set NAME --disabled`)"
                )
            accounts = await self._accounts(item)
            person = await self._person(ref, item, accounts)
            entries, last = await self._withhold(person, FIRST)
            await self._strip(person, accounts)
            detail = f"{entries} entries, {len(accounts)} accounts"
            await self._rename(item, person.pseudonym, passage, detail)
            more, _ = await self._withhold(person, last)  # those that came meanwhile
            return Forgotten(person.pseudonym, entries + more, len(accounts))

    async def _found(self, ref: str, passage: Passage) -> Principal | None:
        """The principal, or None for one of which only the audit has something."""
        try:
            return await self._rows.find(ref, passage.reach)
        except NotFound:
            wanted = AuditFilter(object=ref, object_kind=_PRINCIPAL)
            found = await self._store.records.audited(_PAGE, wanted)
            if not any(entry.object_name == ref and entry.allowed for entry in found):
                raise
        return None

    async def _accounts(self, item: Principal | None) -> Sequence[Account]:
        found: list[Account] = []
        after = ""
        while item is not None and (page := await self._store.accounts.list(after=after)):
            found += [account for account in page if account.principal_id == item.id]
            after = page[-1].id
        return found

    async def _person(self, ref: str, item: Principal | None, accounts: Sequence[Account]) -> _Person:
        """Earlier names are those that the audit has by the same id."""
        names, ids = {item.name if item else ref}, {item.id} if item else set()
        if item is None:
            removed = await self._store.records.audited(_PAGE, AuditFilter(object=ref, object_kind=_PRINCIPAL))
            ids = {entry.object_id for entry in removed if entry.object_name == ref and entry.object_id}
        for id in ids:
            for entry in await self._all(AuditFilter(object_id=id)):
                names.add(entry.object_name)
        number = min(ids, default=new_id())[-12:]
        accounts_ids = {account.id for account in accounts}
        pseudonym = f"forgotten-{number}"
        return _Person(frozenset(names - {"", pseudonym}), frozenset(ids | accounts_ids), pseudonym)

    async def _all(self, wanted: AuditFilter) -> Sequence[AuditRecord]:
        found: list[AuditRecord] = []
        after = FIRST
        while page := await self._store.records.audited(_PAGE, wanted, after=after):
            found += page
            after = page[-1].id
        return found

    async def _withhold(self, person: _Person, after: int) -> tuple[int, int]:
        """Replace texts in the entries after that id; in how many, and the last id that was looked at."""
        stored, key = self._keys.current()
        count = 0
        while page := await self._store.records.audited(_PAGE, after=after):
            changed = []
            for entry in page:
                texts = forgotten_texts(entry, person.names, person.ids, person.pseudonym)
                if texts:
                    new = replace(entry, **texts)
                    changed.append(replace(new, withheld=withheld(stored.id, key, entry, new), salt=""))
            await self._store.seals.withhold(changed, stored)
            count, after = count + len(changed), page[-1].id
        return count, after

    async def _strip(self, person: _Person, accounts: Sequence[Account]) -> None:
        """Contacts and User-Agents of the principal's accounts, and its name where it has corrected another one."""
        for account in accounts:
            await self._change(account, {"contact": (), "user_agent": ""})
        after = ""
        while page := await self._store.accounts.list(after=after):
            for account in page:
                why = _words(person.names).sub(person.pseudonym, account.learned_why) if person.names else ""
                if person.names and why != account.learned_why:
                    await self._change(account, {"learned_why": why})
            after = page[-1].id

    async def _change(self, account: Account, changes: dict[str, object]) -> None:
        current: Account | None = account
        while current is not None:
            try:
                await self._store.accounts.replace(replace(current, **changes))
            except Conflict:
                actor = await self._store.accounts.actor(account.id)
                current = actor.account if actor else None
            else:
                return

    async def _rename(self, item: Principal | None, pseudonym: str, passage: Passage, detail: str) -> None:
        passage.resolved(pseudonym)
        while item is not None:
            entry = passage.entry(detail, named=(item.id, pseudonym))
            try:
                await self._store.principals.replace(replace(item, name=pseudonym), [entry])
            except Conflict:
                item = await self._store.principals.get(item.id)
            else:
                return
        await passage.note(detail)


def forgotten_texts(entry: AuditRecord, names: frozenset[str], ids: frozenset[str], pseudonym: str) -> dict[str, str]:
    """The texts of an entry that change when `names` are replaced.

    In an entry by or about the person that is every such word, in all others a name in quotes. The address of what the
    person, or one of its accounts, did goes.
    """
    by = entry.actor_id in ids or entry.actor in names
    about = entry.object_id in ids or (entry.object_kind == _PRINCIPAL and entry.object_name in names)
    pattern = _words(names) if by or about else _quoted(names)
    changed = {}
    for field in TEXTS:
        old: str = getattr(entry, field)
        new = pattern.sub(lambda found: found[0].replace(found["name"], pseudonym), old) if names else old
        if by and field == "address":
            new = ""
        if new != old:
            changed[field] = new
    return changed


def _words(names: frozenset[str]) -> re.Pattern[str]:
    return re.compile(rf"(?<![\w-])(?P<name>{_any(names)})(?![\w-])")


def _quoted(names: frozenset[str]) -> re.Pattern[str]:
    return re.compile(rf"""(?P<quote>['"])(?P<name>{_any(names)})(?P=quote)""")


def _any(names: frozenset[str]) -> str:
    return "|".join(map(re.escape, sorted(names, key=len, reverse=True)))
