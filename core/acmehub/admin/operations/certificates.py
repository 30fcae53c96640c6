"""Certificates, as operators see them: list, show, revoke."""

from collections.abc import Sequence
from datetime import datetime

import msgspec

from acmehub.admin.access.errors import Invalid, NotFound, Refused
from acmehub.admin.access.gate import Gate
from acmehub.admin.access.names import Names, whole_id
from acmehub.admin.operations.queries import CertificateQuery, Queries
from acmehub.models import Certificate
from acmehub.ports.clock import Clock
from acmehub.ports.store import Store
from acmehub.rules.chains import serial_text
from acmehub.rules.permissions import Acting
from acmehub.runtime.revocation import RevocationService

REASONS = {
    "unspecified": 0,
    "keyCompromise": 1,
    "affiliationChanged": 3,
    "superseded": 4,
    "cessationOfOperation": 5,
    "privilegeWithdrawn": 9,
}  # RFC 5280 section 5.3.1, without those that only a CA may give


class CertificateSummary(msgspec.Struct, frozen=True, kw_only=True):
    """A certificate in a list."""

    id: str
    names: tuple[str, ...]
    principal: str
    serial: str
    issuer: str
    authority: str
    not_before: datetime
    not_after: datetime
    revoked: datetime | None
    revocation_reason: int | None = None


class CertificateDetail(CertificateSummary, frozen=True, kw_only=True):
    """A certificate with its chain (PEM, leaf first), the ids of its order and account, and the id of the order whose
    certificate replaces it."""

    order: str
    account: str
    chain: str
    replaced_by: str | None


class Revocation(msgspec.Struct, frozen=True, kw_only=True):
    """How a certificate is revoked: for one of `REASONS`, or for none."""

    reason: str = ""


class CertificatePage(msgspec.Struct, frozen=True):
    """A page of a list; it is not `complete` while the worker still stores the sets of names that it needs."""

    items: tuple[CertificateSummary, ...]
    complete: bool = True


class CertificatesAdmin:
    """Certificates are named by id or serial number (hexadecimal, colons allowed); verbs raise `ServiceError`s and
    `Forbidden`."""

    noun = "certificate"

    def __init__(self, store: Store, revocation: RevocationService, clock: Clock) -> None:
        self._store = store
        self._revocation = revocation
        self._gate = Gate(store, clock)
        self._queries = Queries(store, clock)

    async def list(
        self, acting: Acting, *, filter: CertificateQuery = CertificateQuery(), after: str = "", limit: int = 100
    ) -> CertificatePage:
        """Certificates that are looked for, newest first, or by their end where that is asked for; `after` is the id of
        the last one of the page before."""
        async with self._gate(acting, "certificate.list"):
            names = await Names.read(self._store)
            after = await whole_id(self._store.certificates, after, "after")
            found = await self._store.certificates.list(
                await self._queries.certificates(filter), after=after, limit=limit
            )
            complete = not filter.uncovered or await self._store.certificates.name_sets_filled()
            return CertificatePage(tuple(_summary(item, names) for item in found), complete)

    async def show(self, ref: str, acting: Acting) -> CertificateDetail:
        """One certificate."""
        async with self._gate(acting, "certificate.show", f"certificate {ref}"):
            certificate = await self._find(ref)
            line = _summary(certificate, await Names.read(self._store))
            return CertificateDetail(
                **msgspec.structs.asdict(line),
                order=certificate.order_id,
                account=certificate.account_id,
                chain=certificate.chain,
                replaced_by=certificate.replaced_by,
            )

    async def revoke(self, ref: str, revocation: Revocation, acting: Acting) -> CertificateSummary:
        """Revoke a certificate at the authority that issued it.

        Raises the authority's `UpstreamError`s too. `RevocationService` writes the entry for the audit once the
        authority has answered.
        """
        async with self._gate(acting, "certificate.revoke", f"certificate {ref}"):
            certificate = await self._find(ref)
            if certificate.revoked is not None:
                raise Refused(f"certificate {certificate.id} was revoked on {certificate.revoked:%Y-%m-%d}")
            reason = revocation.reason
            if reason and reason not in REASONS:
                raise Invalid("reason", f"{reason!r} is not one of {', '.join(REASONS)}")
            revoked = await self._revocation.revoke(certificate, REASONS[reason] if reason else None, acting.name)
            return _summary(revoked, await Names.read(self._store))

    async def _find(self, ref: str) -> Certificate:
        found = await self._store.certificates.get(ref)
        if found is not None:
            return found
        same = await self._of_serial(ref)
        if not same and (id := await whole_id(self._store.certificates, ref.lower(), "certificate")) != ref:
            found = await self._store.certificates.get(id)
            same = (found,) if found is not None else ()
        if not same:
            raise NotFound(f"there is no certificate with the id or the serial number {ref}")
        if len(same) > 1:
            raise Invalid("certificate", f"several have the serial number {ref}; name one by its id")
        return same[0]

    async def _of_serial(self, ref: str) -> Sequence[Certificate]:
        try:
            serial = serial_text(int(ref.replace(":", ""), 16))
        except ValueError:
            serial = ""
        return await self._store.certificates.by_serial(serial) if serial else ()


def _summary(certificate: Certificate, names: Names) -> CertificateSummary:
    return CertificateSummary(
        id=certificate.id,
        names=certificate.names,
        principal=names.principal(certificate.principal_id),
        serial=certificate.serial,
        issuer=certificate.issuer,
        authority=names.authority(certificate.authority_id),
        not_before=certificate.not_before,
        not_after=certificate.not_after,
        revoked=certificate.revoked,
        revocation_reason=certificate.revocation_reason,
    )
