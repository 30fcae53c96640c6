"""Issued certificates, and their names for finding them."""

from collections.abc import Sequence
from datetime import datetime

from acmehub.models import AuditEntry, Certificate
from acmehub.rules.renewal import serial_or_none
from acmehub.storage import hot_statements, tables
from acmehub.storage.codec import Codec, time_value
from acmehub.storage.driver import SqlDriver
from acmehub.storage.paging import newest_first
from acmehub.storage.piccolo_engine import Parameter, built, prepared, speaking
from acmehub.storage.records import AuditRows
from acmehub.storage.resources import replace_row
from acmehub.storage.statements import Batch, Sql, Statement, Unit


class CertificateRows:
    """How a certificate is written together with the order that it makes valid."""

    def __init__(self, driver: SqlDriver) -> None:
        self.codec = Codec(Certificate, tables.Certificate, driver.dialect)
        table = tables.Certificate
        self._insert_name = hot_statements.insert("certificate_name", ("certificate_id", "name"))
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
            steps.append(self._insert_name.many([(certificate.id, name) for name in dict.fromkeys(certificate.names)]))
        return steps


class SqlCertificates:
    """See `ports.store.Certificates`."""

    def __init__(self, driver: SqlDriver, rows: CertificateRows, audit: AuditRows) -> None:
        self._driver = driver
        self._audit = audit
        self._codec = codec = rows.codec
        self._fields = tuple(name for name in codec.fields if name not in ("id", "version", "names"))
        table, dialect = tables.Certificate, driver.dialect
        self._get = prepared(codec.select().where(table.id == Parameter(1)), dialect)
        by_serial = codec.select().where(table.serial == Parameter(1)).order_by(table.created, table.id)
        self._by_serial = prepared(by_serial, dialect)
        due = codec.select().where(table.window_until <= Parameter(1)).order_by(table.window_until).limit(Parameter(2))
        self._window_due = prepared(due, dialect)

    async def get(self, certificate_id: str) -> Certificate | None:
        """See `Certificates.get`."""
        found = await self._driver.point(self._select, self._get, certificate_id)
        return found[0] if found else None

    async def by_serial(self, serial: str) -> Sequence[Certificate]:
        """See `Certificates.by_serial`."""
        return await self._driver.point(self._select, self._by_serial, serial)

    async def replace(self, certificate: Certificate, audit: Sequence[AuditEntry] = ()) -> Certificate:
        """See `Certificates.replace`. The names are the leaf's, which never changes: they are not written again."""
        return await self._driver.write(self._replace, certificate, audit)

    def _replace(self, certificate: Certificate, audit: Sequence[AuditEntry]) -> Unit[Certificate]:
        new = yield from replace_row(self._codec, self._fields, certificate)
        if audit:
            yield Batch(self._audit.insert(audit))
        return new

    async def window_due(self, now: datetime, limit: int) -> Sequence[Certificate]:
        """See `Certificates.window_due`."""
        return await self._driver.read(self._select, self._window_due, time_value(self._driver.dialect, now), limit)

    async def list(self, *, name: str = "", after: str = "", limit: int = 100) -> Sequence[Certificate]:
        """See `Certificates.list`."""
        return await self._driver.read(self._page, name, after, limit)

    def _page(self, name: str, after: str, limit: int) -> Unit[tuple[Certificate, ...]]:
        query, dialect = self._codec.select(), self._driver.dialect
        if name:
            named = tables.CertificateName
            with speaking(dialect):
                query = query.where(
                    tables.Certificate.id.is_in(named.select(named.certificate_id).where(named.name == name))
                )
        rows = yield built(newest_first(query, tables.Certificate, dialect, limit, after), dialect)
        return tuple(map(self._codec.read, rows))

    def _select(self, sql: Sql, *values: object) -> Unit[tuple[Certificate, ...]]:
        rows = yield sql(*values)
        return tuple(map(self._codec.read, rows))
