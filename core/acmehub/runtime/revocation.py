"""Revoking a certificate at the authority that issued it (RFC 8555 section 7.6), for clients and operators.

A revocation is one task per certificate: a second caller waits for the same one, and it goes on when the client has
given up. One that was passed on and not noted (the hub died in between) is noted when it is asked for again: an
authority says `alreadyRevoked`, which is as good as done.
"""

import asyncio

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from msgspec.structs import replace

from acmehub.models import AuditActor, Certificate, Event, EventKind
from acmehub.models.problems import ProblemType
from acmehub.ports.authority import (
    RelayAuthority,
    UpstreamAccountLost,
    UpstreamError,
    UpstreamRefused,
    UpstreamUnavailable,
)
from acmehub.ports.clock import Clock
from acmehub.ports.store import Conflict, Store
from acmehub.runtime.audit import Audit
from acmehub.runtime.plugin_objects import PLUGIN_UNUSABLE, PluginObjects

EXCHANGE_SECONDS = 120.0
CLOSE_SECONDS = 5.0


class RevocationService:
    """Revokes certificates; the caller has checked the right to it."""

    def __init__(self, store: Store, plugin_objects: PluginObjects, clock: Clock) -> None:
        self._store = store
        self._plugin_objects = plugin_objects
        self._audit = Audit(store, clock)
        self._clock = clock
        self._running: dict[str, asyncio.Task[Certificate]] = {}

    async def revoke(self, certificate: Certificate, reason: int | None, actor: AuditActor) -> Certificate:
        """Revoke a certificate and note it; `actor` is the caller, for the audit.

        Raises `UpstreamError`s, and those of `PLUGIN_UNUSABLE` when the authority cannot be used.
        """
        return await asyncio.shield(self.start(certificate, reason, actor))

    def start(self, certificate: Certificate, reason: int | None, actor: AuditActor) -> asyncio.Task[Certificate]:
        """The task that revokes a certificate, begun unless it runs already; what it raises is that of `revoke`."""
        task = self._running.get(certificate.id)
        if task is None:
            task = asyncio.create_task(self._revoke(certificate, reason, actor), name=f"revoke {certificate.id}")
            self._running[certificate.id] = task
            task.add_done_callback(lambda ended: self._end(certificate.id, ended))
        return task

    async def close(self) -> None:
        """Give what is under way a moment to end; the rest is noted when it is asked for again."""
        running = tuple(self._running.values())
        if running:
            _done, late = await asyncio.wait(running, timeout=CLOSE_SECONDS)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    def _end(self, certificate_id: str, task: "asyncio.Task[Certificate]") -> None:
        del self._running[certificate_id]
        if not task.cancelled():
            task.exception()  # every waiting caller got it, and the audit has it

    async def _revoke(self, certificate: Certificate, reason: int | None, actor: AuditActor) -> Certificate:
        try:
            async with asyncio.timeout(EXCHANGE_SECONDS):
                await self._pass_on(certificate, reason)
        except TimeoutError as error:
            await self._note(actor, certificate, "the authority did not answer", allowed=False)
            raise UpstreamUnavailable(f"no answer within {EXCHANGE_SECONDS:g} s") from error
        except (UpstreamError, *PLUGIN_UNUSABLE) as error:
            await self._note(actor, certificate, str(error), allowed=False)
            raise
        revoked = await self._store_revocation(certificate, reason)
        detail = "no reason given" if reason is None else f"reason {reason}"
        await self._note(actor, certificate, detail)
        event = Event(
            order_id=certificate.order_id, at=self._clock.now(), kind=EventKind.CERTIFICATE_REVOKED, detail=detail
        )
        await self._store.records.note([event])
        return revoked

    async def _pass_on(self, certificate: Certificate, reason: int | None) -> None:
        authority_id = certificate.authority_id
        leaf = leaf_of(certificate).public_bytes(Encoding.DER)
        authority = (await self._plugin_objects.authority(authority_id)).object
        if not isinstance(authority, RelayAuthority):
            await authority.revoke_signed(leaf, reason)
            return
        account = await self._plugin_objects.account(authority_id)
        try:
            await authority.revoke(account, leaf, reason)
        except UpstreamAccountLost:
            await self._plugin_objects.forget_account(authority_id, account.url)
            raise
        except UpstreamRefused as refusal:
            if refusal.problem.type != ProblemType.ALREADY_REVOKED.urn:
                raise

    async def _store_revocation(self, certificate: Certificate, reason: int | None) -> Certificate:
        """Store it; what else of the certificate has changed meanwhile stays."""
        now = self._clock.now()
        while True:
            try:
                return await self._store.certificates.replace(
                    replace(certificate, revoked=now, revocation_reason=reason)
                )
            except Conflict:
                stored = await self._store.certificates.get(certificate.id)
                if stored is None or stored.revoked is not None:
                    return stored or certificate
                certificate = stored

    async def _note(self, actor: AuditActor, certificate: Certificate, detail: str, *, allowed: bool = True) -> None:
        await self._audit.note(actor, "certificate.revoke", f"certificate {certificate.id}", detail, allowed=allowed)


def leaf_of(certificate: Certificate) -> x509.Certificate:
    """The leaf of a stored chain."""
    return x509.load_pem_x509_certificates(certificate.chain.encode())[0]
