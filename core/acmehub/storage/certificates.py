"""Issued certificates, and their names for finding them."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from acmehub.models import AuditEntry, Certificate
from acmehub.ports.figures import ExpiryBucket
from acmehub.ports.lists import ALL_CERTIFICATES, CertificateFilter
from acmehub.ports.store import Certificates
from acmehub.rules.renewal import (
    LEFT_AT_END,
    LEFT_AT_END_OF_SHORT,
    LONGEST_MISSED,
    MISSED,
    SHORT_LIVED,
    STALE,
    serial_or_none,
)
from acmehub.storage import hot_statements, list_statements, tables
from acmehub.storage.audit.entries import AuditRows
from acmehub.storage.codec import Codec, time_value
from acmehub.storage.driver import SqlDriver
from acmehub.storage.list_statements import FILL_NAME_SETS, FILL_REVERSED, page_of_certificates
from acmehub.storage.listing import IdRange, given_of, set_value
from acmehub.storage.piccolo_engine import Parameter, prepared
from acmehub.storage.resources import replace_row
from acmehub.storage.statements import Batch, Sql, Statement, Unit


def reversed_labels(name: str) -> bytes:
    """A name by which it stands beside those above and below it: `test.corp.www.` for `www.corp.test`; bytes, whose
    order no language changes."""
    return "".join(f"{label}." for label in reversed(name.lower().split("."))).encode()


class CertificateRows:
    """How a certificate is written together with the order that it makes valid."""

    def __init__(self, driver: SqlDriver) -> None:
        self.codec = Codec(Certificate, tables.Certificate, driver.dialect)
        table = tables.Certificate
        self._insert_name = hot_statements.insert("certificate_name", ("certificate_id", "name", "reversed"))
        replaced = table.update({table.replaced_by: Parameter(1), table.version: table.version + 1}).where(
            table.serial == Parameter(2), table.cert_id.is_in([Parameter(3), ""]), table.replaced_by.is_null()
        )
        self._replaced = prepared(replaced, driver.dialect)

    def insert(self, certificate: Certificate, replaces: str | None = None) -> list[Statement]:
        """The certificate and its names; `replaces` is the ARI identifier of the one that it replaces."""
        steps = [self.codec.insert(*self.codec.row(certificate))]
        if replaces and (serial := serial_or_none(replaces)):
            steps.append(self._replaced(certificate.order_id, serial, replaces))
        if certificate.names:
            names = dict.fromkeys(certificate.names)
            steps.append(self._insert_name.many([(certificate.id, name, reversed_labels(name)) for name in names]))
        return steps


class SqlCertificates(Certificates):
    """Issued certificates."""

    def __init__(self, driver: SqlDriver, rows: CertificateRows, audit: AuditRows) -> None:
        self._driver = driver
        self._audit = audit
        self._codec = codec = rows.codec
        self._fields = tuple(name for name in codec.fields if name not in ("id", "version", "names", "name_set"))
        table, dialect = tables.Certificate, driver.dialect
        self._get = prepared(codec.select().where(table.id == Parameter(1)), dialect)
        by_serial = codec.select().where(table.serial == Parameter(1)).order_by(table.created, table.id)
        self._by_serial = prepared(by_serial, dialect)
        due = codec.select().where(table.window_until <= Parameter(1)).order_by(table.window_until).limit(Parameter(2))
        self._window_due = prepared(due, dialect)
        self._ids = IdRange(table, dialect)
        self._unfilled = prepared(table.select(table.id).where(table.name_set.is_null()).limit(1), dialect)
        name = tables.CertificateName
        unfilled = name.select(name.id, name.name).where(name.reversed.is_null()).order_by(name.id)
        self._names_unfilled = prepared(unfilled.limit(Parameter(1)), dialect)
        both = (False, True)
        self._expiry = tuple(list_statements.expiry(narrowed=narrowed, dialect=dialect) for narrowed in both)
        of_late = codec.prefixed("c")
        self._late = tuple(list_statements.late(of_late, narrowed=narrowed, dialect=dialect) for narrowed in both)

    async def get(self, certificate_id: str) -> Certificate | None:
        found = await self._driver.point_read(self._select, self._get, certificate_id)
        return found[0] if found else None

    async def by_serial(self, serial: str) -> Sequence[Certificate]:
        return await self._driver.point_read(self._select, self._by_serial, serial)

    async def replace(self, certificate: Certificate, audit: Sequence[AuditEntry] = ()) -> Certificate:
        """The names are the leaf's and their set the order's, which never change: they are not written again."""
        return await self._driver.write(self._replace, certificate, audit)

    def _replace(self, certificate: Certificate, audit: Sequence[AuditEntry]) -> Unit[Certificate]:
        new = yield from replace_row(self._codec, self._fields, certificate)
        if audit:
            yield Batch(self._audit.insert(audit))
        return new

    async def window_due(self, now: datetime, limit: int) -> Sequence[Certificate]:
        return await self._driver.read(self._select, self._window_due, time_value(self._driver.dialect, now), limit)

    async def list(
        self, wanted: CertificateFilter = ALL_CERTIFICATES, *, after: str = "", limit: int = 100
    ) -> Sequence[Certificate]:
        return await self._driver.read(self._page, wanted, after, limit)

    def _page(self, wanted: CertificateFilter, after: str, limit: int) -> Unit[tuple[Certificate, ...]]:
        dialect = self._driver.dialect
        given = given_of(wanted, dialect)
        if wanted.below:
            above = reversed_labels(wanted.below)
            span = above, above[:-1] + b"/"
            ((count,),) = yield list_statements.COUNT_BELOW(*span)
            del given["below"]
            given["below" if count < list_statements.MANY else "many_below"] = span
        if wanted.revoked is not None:
            given.pop("revoked", None)
            given["revoked" if wanted.revoked else "unrevoked"] = ()
        if wanted.uncovered:
            given["uncovered"] = ()
        if after:
            given["after" if wanted.ends_before is None else "beyond"] = (after,) * 3
        values = [value for values in given.values() for value in values]
        rows = yield page_of_certificates(self._codec.prefixed("page"), tuple(given), dialect)(*values, limit)
        return tuple(map(self._codec.read, rows))

    async def ids(self, prefix: str, limit: int) -> Sequence[str]:
        return await self._driver.point_read(self._ids.read, prefix, limit)

    async def expiry(
        self, begin: datetime, step: timedelta, until: datetime, principal_ids: frozenset[str] | None = None
    ) -> Sequence[ExpiryBucket]:
        begin = begin.replace(microsecond=0)
        found = await self._driver.read(self._buckets, begin, int(step.total_seconds()), until, principal_ids)
        return tuple(
            ExpiryBucket(begin + number * step, *found.get(number, (0, 0)))
            for number in range(-((begin - until) // step))
        )

    def _buckets(
        self, begin: datetime, seconds: int, until: datetime, principal_ids: frozenset[str] | None
    ) -> Unit[dict[int, tuple[int, int]]]:
        dialect = self._driver.dialect
        among = () if principal_ids is None else (set_value(principal_ids, dialect),)
        times = [time_value(dialect, moment) for moment in (begin, until)]
        rows = yield self._expiry[principal_ids is not None](*times, seconds, *among)
        return {number: (count, uncovered) for number, count, uncovered in rows}

    async def late(
        self, now: datetime, limit: int, principal_ids: frozenset[str] | None = None
    ) -> Sequence[Certificate]:
        among = () if principal_ids is None else (set_value(principal_ids, self._driver.dialect),)
        times = [time_value(self._driver.dialect, moment) for moment in (now, now - LONGEST_MISSED, now - STALE)]
        shares = SHORT_LIVED.days, LEFT_AT_END_OF_SHORT, LEFT_AT_END, MISSED
        sql = self._late[principal_ids is not None]
        return await self._driver.read(self._select, sql, *times, *shares, limit, *among)

    async def fill_name_sets(self, limit: int) -> int:
        return await self._driver.write(self._fill, limit)

    def _fill(self, limit: int) -> Unit[int]:
        names = yield self._names_unfilled(limit)
        if names:
            yield FILL_REVERSED.many([(reversed_labels(name), row) for row, name in names])
        rows = yield FILL_NAME_SETS(limit)
        return max(len(rows), len(names))

    async def name_sets_filled(self) -> bool:
        return await self._driver.read(self._filled)

    def _filled(self) -> Unit[bool]:
        return not (yield self._unfilled()) and not (yield self._names_unfilled(1))

    def _select(self, sql: Sql, *values: object) -> Unit[tuple[Certificate, ...]]:
        rows = yield sql(*values)
        return tuple(map(self._codec.read, rows))
