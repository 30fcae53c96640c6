"""Entries of the audit as rows."""

from collections.abc import Sequence

from acmehub.models import AuditEntry, AuditFilter, AuditRecord
from acmehub.storage import tables
from acmehub.storage.audit.statements import CONDITIONS, page_of_audit
from acmehub.storage.codec import Codec, storable, time_value
from acmehub.storage.driver import SqlDriver
from acmehub.storage.piccolo_engine import Parameter, prepared
from acmehub.storage.statements import Batch, Statement, Unit

_WITHHELD = ("actor", "address", "object", "object_name", "detail", "difference", "salt", "withheld")


class AuditRows:
    """Shared by every verb that writes a change together with its entries."""

    def __init__(self, driver: SqlDriver) -> None:
        self._dialect = driver.dialect
        self._codec = Codec(AuditEntry, tables.Audit, driver.dialect)
        self._record = Codec(AuditRecord, tables.Audit, driver.dialect)
        table = tables.Audit
        changes = {getattr(table, name): Parameter(number) for number, name in enumerate(_WITHHELD, 1)}
        update = table.update(changes).where(table.id == Parameter(len(_WITHHELD) + 1))
        self._withhold = prepared(update, driver.dialect)

    def insert(self, entries: Sequence[AuditEntry]) -> tuple[Statement, ...]:
        """The statement that appends `entries`; none when there are none."""
        if not entries:
            return ()
        return (self._codec.insert.many([self._codec.row(item) for item in entries]),)

    def append(self, entries: Sequence[AuditEntry]) -> Unit[None]:
        """Append them in a transaction of their own."""
        yield Batch(self.insert(entries), autocommit=True)

    def withhold(self, entries: Sequence[AuditRecord]) -> Statement:
        """Write the texts, `salt` and `withheld` of `entries` (at least one)."""
        return self._withhold.many([(*self._codec.values(_WITHHELD, entry), entry.id) for entry in entries])

    def page(
        self, limit: int, wanted: AuditFilter, before: int | None, after: int | None
    ) -> Unit[tuple[AuditRecord, ...]]:
        """`Records.audited`."""
        asked = self._asked(wanted, before, after)
        given = [name for name in CONDITIONS if name in asked]
        actors = sorted(wanted.actor_ids or ())
        if wanted.actor_ids is not None and not actors:
            return ()
        values = [value for name in given for value in asked[name]]
        rows = yield page_of_audit(self._record.columns, given, len(actors))(*values, limit)
        return tuple(map(self._record.read, rows))

    def _asked(self, wanted: AuditFilter, before: int | None, after: int | None) -> dict[str, Sequence[object]]:
        """The values of each condition, by its name."""
        asked: dict[str, Sequence[object]] = {}
        for name in ("object_id", "request", "credential", "address", "via", "actor_kind", "object_kind"):
            if text := getattr(wanted, name):
                asked[name] = (storable(str(text)),)
        for name in ("actor", "object"):
            if text := getattr(wanted, name):
                asked[name] = (storable(text),) * 2
        if wanted.action:
            begin = f"{storable(wanted.action)}."
            asked["action"] = (begin[:-1], len(begin), begin)
        for name in ("since", "until"):
            if (at := getattr(wanted, name)) is not None:
                asked[name] = (time_value(self._dialect, at),)
        if wanted.refused:
            asked["refused"] = ()
        if wanted.actor_ids is not None:
            asked["actor_ids"] = sorted(wanted.actor_ids)
        for name, number in (("before", before), ("after", after)):
            if number is not None:
                asked[name] = (number,)
        return asked
