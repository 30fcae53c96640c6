"""The one way into every verb of the admin services: the right is asked for, and the audit is written."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from acmehub.admin.access.errors import ServiceError
from acmehub.admin.access.reach import Reach
from acmehub.models import AuditEntry
from acmehub.ports.clock import Clock
from acmehub.ports.store import Store
from acmehub.rules.permissions import PERMISSIONS, Acting, Forbidden, reach, require
from acmehub.runtime.audit import Audit


class Passage:
    """A verb that was let through: knows what it reaches, and makes the audit's entries for it."""

    def __init__(self, store: Store, audit: Audit, acting: Acting, action: str, object: str) -> None:
        self._audit = audit
        self.acting = acting
        self.action = action
        self.object = object
        self.reach = Reach(store, reach(acting, action))

    def resolved(self, object: str) -> None:
        """What the verb acts on, once it is known: entries name it instead of what the operator wrote."""
        self.object = object

    def entry(
        self,
        detail: str = "",
        object: str = "",
        *,
        difference: str = "",
        allowed: bool = True,
        named: tuple[str, str] = ("", ""),
    ) -> AuditEntry:
        """An entry that the verb gives to the store with its change, so that both are written or neither; `object` is
        another one than the verb's own, `named` its id and name, `difference` what the change changes. Never give it a
        secret."""
        return self._audit.entry(
            self.acting.actor,
            self.action,
            object or self.object,
            detail,
            difference=difference,
            allowed=allowed,
            named=named,
        )

    async def note(self, detail: str = "", object: str = "", *, allowed: bool = True) -> None:
        """Write an entry now: before a secret is returned or something outside of the storage is changed, or where
        there was nothing to change."""
        await self._audit.write(self.entry(detail, object, allowed=allowed))


class Gate:
    """Lets operators pass to what they may do."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._audit = Audit(store, clock)

    @asynccontextmanager
    async def __call__(self, acting: Acting, action: str, object: str = "") -> AsyncIterator[Passage]:
        """Let the body do `action` on `object` for `acting`.

        Without the right to it the body does not run: `Forbidden`. The refusal is written to the audit in a transaction
        of its own, and so is a `ServiceError` of the body when the action is an audited one.
        """
        passage = Passage(self._store, self._audit, acting, action, object)
        try:
            require(acting, action)
            yield passage
        except Forbidden as refusal:
            await passage.note(str(refusal), allowed=False)
            raise
        except ServiceError as error:
            if PERMISSIONS[action].audited:
                await passage.note(str(error), allowed=False)
            raise
