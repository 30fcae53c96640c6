"""Issued certificates, and their names for finding them."""

from collections.abc import Sequence
from datetime import datetime

from acmehub.models import AuditEntry, Certificate
from acmehub.rules.renewal import serial_or_none
from acmehub.storage import tables
from acmehub.storage.codec import Codec, time_value
from acmehub.storage.driver import SqlDriver
from acmehub.storage.records import AuditRows
from acmehub.storage.resources import replace_row
from acmehub.storage.statements import Batch, Sql, Statement, Unit


class CertificateRows:
    """How a certificate is written together with the order that it makes valid."""

    def __init__(self, driver: SqlDriver) -> None:
        self.codec = Codec(Certificate, tables.Certificate, driver.dialect)
        self._insert_name = Sql("INSERT INTO certificate_name (certificate_id, name) VALUES ($1, $2)")
        self._replaced = Sql(
            "UPDATE certificate SET replaced_by = $1, version = version + 1"
            " WHERE serial = $2 AND cert_id IN ($3, '') AND replaced_by IS NULL"
        )

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
        self._get = Sql("SELECT {columns} FROM certificate WHERE id = $1", columns=codec.columns)
        self._by_serial = Sql(
            "SELECT {columns} FROM certificate WHERE serial = $1 ORDER BY created, id", columns=codec.columns
        )
        self._window_due = Sql(
            "SELECT {columns} FROM certificate WHERE window_until <= $1 ORDER BY window_until LIMIT $2",
            columns=codec.columns,
        )
        newest = "ORDER BY c.created DESC, c.id DESC LIMIT"
        beyond = "(c.created, c.id) < (SELECT created, id FROM certificate WHERE id = {number})"
        named = "JOIN certificate_name AS n ON n.certificate_id = c.id WHERE n.name = $2"
        columns = codec.prefixed("c")
        self._pages = {
            (False, False): Sql("SELECT {c} FROM certificate AS c {newest} $1", c=columns, newest=newest),
            (False, True): Sql(
                "SELECT {c} FROM certificate AS c WHERE {beyond} {newest} $1",
                c=columns,
                beyond=beyond.format(number="$2"),
                newest=newest,
            ),
            (True, False): Sql(
                "SELECT {c} FROM certificate AS c {named} {newest} $1", c=columns, named=named, newest=newest
            ),
            (True, True): Sql(
                "SELECT {c} FROM certificate AS c {named} AND {beyond} {newest} $1",
                c=columns,
                named=named,
                beyond=beyond.format(number="$3"),
                newest=newest,
            ),
        }

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
        given = [value for value in (name, after) if value]
        return await self._driver.read(self._select, self._pages[bool(name), bool(after)], limit, *given)

    def _select(self, sql: Sql, *values: object) -> Unit[tuple[Certificate, ...]]:
        rows = yield sql(*values)
        return tuple(map(self._codec.read, rows))
