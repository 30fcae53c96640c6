"""Entries for the audit: with the time, written in the transaction of a change or in one of their own."""

import re
import secrets
from datetime import datetime

from acmehub.models import AuditActor, AuditEntry
from acmehub.ports.clock import Clock
from acmehub.ports.store import Store

_WITH_ID = re.compile(r"(?:(.+) )?([0-9a-f]{32,64})", re.DOTALL)
_SALT_SIZE = 16


def audit_entry(
    at: datetime,
    actor: AuditActor,
    action: str,
    object: str,
    detail: str = "",
    *,
    difference: str = "",
    allowed: bool = True,
    named: tuple[str, str] = ("", ""),
) -> AuditEntry:
    """An entry; `named` has the object's id and name, which else follow from `object` (`order ID`, or a name)."""
    found = _WITH_ID.fullmatch(object)
    kind, _, _ = action.partition(".")
    object_id, object_name = named
    if found and found[1]:
        kind = found[1]
    if not object_id and found:
        object_id = found[2]
    elif not object_name and not found:
        object_name = object
    return AuditEntry(
        at=at,
        actor=actor.name,
        actor_id=actor.id,
        actor_kind=actor.kind,
        via=actor.origin.via,
        address=actor.origin.address,
        request=actor.origin.request,
        credential=actor.origin.credential,
        action=action,
        object=object,
        object_kind=kind if object else "",
        object_id=object_id,
        object_name=object_name,
        detail=detail,
        difference=difference,
        allowed=allowed,
        salt=secrets.token_hex(_SALT_SIZE),
    )


class Audit:
    """Makes and appends entries that say who did what to which object. Never give it a secret."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._records = store.records
        self._clock = clock

    def entry(
        self,
        actor: AuditActor,
        action: str,
        object: str,
        detail: str = "",
        *,
        difference: str = "",
        allowed: bool = True,
        named: tuple[str, str] = ("", ""),
    ) -> AuditEntry:
        """An entry of now, for a verb of the store that writes it with its change; `allowed` is false for what was
        refused or failed."""
        return audit_entry(
            self._clock.now(),
            actor,
            action,
            object,
            detail,
            difference=difference,
            allowed=allowed,
            named=named,
        )

    async def write(self, entry: AuditEntry) -> None:
        """Append an entry in a transaction of its own; raises `StoreUnavailable`."""
        await self._records.audit([entry])

    async def note(
        self, actor: AuditActor, action: str, object: str, detail: str = "", *, allowed: bool = True
    ) -> None:
        """Append an entry of now in a transaction of its own; raises `StoreUnavailable`."""
        await self.write(self.entry(actor, action, object, detail, allowed=allowed))
