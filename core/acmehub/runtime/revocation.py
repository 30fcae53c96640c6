"""Revoking a certificate at the authority that issued it, for clients (RFC 8555 section 7.6) and operators alike.

A revocation is one task per certificate: who asks while it runs waits for the same one, and it goes on when the client
has given up. What was passed on and not noted (the hub died in between) is noted when somebody asks again: an authority
says `alreadyRevoked`, which is as good as done.
"""

import asyncio
import logging
from datetime import timedelta

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from msgspec.structs import replace

from acmehub.models import Actor, Certificate, Event, EventKind
from acmehub.models.identifiers import base_name, canonical, is_wildcard
from acmehub.models.problems import Problem, ProblemType
from acmehub.models.wire import RevokeCert
from acmehub.ports.authority import (
    RelayAuthority,
    UpstreamAccountLost,
    UpstreamError,
    UpstreamRateLimited,
    UpstreamRefused,
    UpstreamUnavailable,
)
from acmehub.ports.clock import Clock
from acmehub.ports.store import Conflict, Store
from acmehub.rules.chains import serial_text
from acmehub.rules.csr import UNREADABLE
from acmehub.rules.jws import decode_base64url, jwk_of
from acmehub.runtime.audit import Audit
from acmehub.runtime.plugin_objects import PLUGIN_UNUSABLE, PluginObjects

CLIENT_REASONS = (0, 1, 3, 4, 5, 9, 10)
"""RFC 5280 section 5.3.1, without what only a CA may say of itself (2), what can be taken back (6, 8), and 7, which is
not used."""

EXCHANGE_SECONDS = 120.0
CLIENT_SECONDS = 20.0  # clients give one answer 30 at least (docs/client-rules.md rule 30)
RETRY_AFTER = 30

_log = logging.getLogger(__name__)


class RevocationService:
    """Verbs for clients raise Problems; `revoke`, for operators, the authority's own errors."""

    def __init__(self, store: Store, plugin_objects: PluginObjects, clock: Clock, remembered: timedelta) -> None:
        self._store = store
        self._plugin_objects = plugin_objects
        self._clock = clock
        self._remembered = remembered
        self._running: dict[str, asyncio.Task[Certificate]] = {}

    async def by_account(self, actor: Actor, asked: RevokeCert) -> Certificate:
        """By the account that ordered the certificate, or one that holds authorizations for all of its names."""
        certificate = await self._found(asked)
        if certificate.account_id != actor.account.id and not await self._holds_all(actor, certificate):
            words = "the certificate is not this account's, nor has it valid authorizations for all of its names"
            await self._audit(f"account {actor.account.id}", certificate, words, allowed=False)
            raise Problem(ProblemType.UNAUTHORIZED, words)
        return await self._for_client(certificate, asked, f"account {actor.account.id}")

    async def by_key(self, jwk: bytes, asked: RevokeCert) -> Certificate:
        """By who has the certificate's private key; `jwk` is the canonical JWK that the request was verified with."""
        certificate = await self._found(asked)
        if jwk_of(_leaf(certificate).public_key()) != jwk:  # type: ignore[arg-type]  # it was checked when it was issued
            words = "the key that signs the request is not the certificate's; an account signs with 'kid'"
            await self._audit("a key", certificate, words, allowed=False)
            raise Problem(ProblemType.UNAUTHORIZED, words)
        return await self._for_client(certificate, asked, "the certificate's key")

    async def revoke(self, certificate: Certificate, reason: int | None, actor: str) -> Certificate:
        """Revoke a certificate and note it; `actor` names who asked, for the audit. Raises `UpstreamError`s."""
        return await asyncio.shield(self._task(certificate, reason, actor))

    async def close(self) -> None:
        """Give what is under way a moment to end; the rest is noted when somebody asks again."""
        running = tuple(self._running.values())
        if running:
            _done, late = await asyncio.wait(running, timeout=5.0)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    # ---------------------------------------------------------------------------------------------- who may

    async def _found(self, asked: RevokeCert) -> Certificate:
        """The certificate that is meant: the very bytes that were issued."""
        if asked.reason is not None and asked.reason not in CLIENT_REASONS:
            allowed = ", ".join(map(str, CLIENT_REASONS))
            raise Problem(
                ProblemType.BAD_REVOCATION_REASON, f"reason {asked.reason} is not for clients; allowed: {allowed}"
            )
        try:
            der = decode_base64url(asked.certificate)
            serial = serial_text(x509.load_der_x509_certificate(der).serial_number)
        except UNREADABLE as error:
            raise Problem(
                ProblemType.MALFORMED, "'certificate' is not a certificate in base64url of DER, without padding"
            ) from error
        for item in await self._store.certificates.by_serial(serial):
            if _leaf(item).public_bytes(Encoding.DER) == der:
                return item
        raise Problem(ProblemType.MALFORMED, "this certificate was not issued here", status=404)

    async def _holds_all(self, actor: Actor, certificate: Certificate) -> bool:
        now = self._clock.now()
        wanted = {(canonical(base_name(name)), is_wildcard(name)) for name in certificate.names}
        held = await self._store.orders.held(
            actor.account.id, [name for name, _wildcard in wanted], now - self._remembered
        )
        return wanted <= {(canonical(item.identifier.value), item.wildcard) for item, _ in held if item.expires > now}

    async def _for_client(self, certificate: Certificate, asked: RevokeCert, actor: str) -> Certificate:
        if certificate.revoked is not None:
            raise Problem(ProblemType.ALREADY_REVOKED, f"the certificate was revoked on {certificate.revoked:%Y-%m-%d}")
        task = self._task(certificate, asked.reason, actor)
        done, _ = await asyncio.wait({task}, timeout=CLIENT_SECONDS)
        if not done:
            raise _later("the authority has not answered yet; the revocation goes on")
        try:
            return task.result()
        except UpstreamError as error:
            raise _problem(error) from error
        except PLUGIN_UNUSABLE as error:
            _log.error("certificate %s cannot be revoked: %s", certificate.id, error)
            raise _later("the certificate's authority cannot be used at present; the hub's log says why") from error

    # ------------------------------------------------------------------------------------------------ doing it

    def _task(self, certificate: Certificate, reason: int | None, actor: str) -> "asyncio.Task[Certificate]":
        task = self._running.get(certificate.id)
        if task is None:
            task = asyncio.create_task(self._revoke(certificate, reason, actor), name=f"revoke {certificate.id}")
            self._running[certificate.id] = task
            task.add_done_callback(lambda ended: self._end(certificate.id, ended))
        return task

    def _end(self, certificate_id: str, task: "asyncio.Task[Certificate]") -> None:
        del self._running[certificate_id]
        if not task.cancelled():
            task.exception()  # it was told to whoever waited, and stands in the audit

    async def _revoke(self, certificate: Certificate, reason: int | None, actor: str) -> Certificate:
        try:
            async with asyncio.timeout(EXCHANGE_SECONDS):
                await self._pass_on(certificate, reason)
        except TimeoutError as error:
            await self._audit(actor, certificate, "the authority did not answer", allowed=False)
            raise UpstreamUnavailable(f"no answer within {EXCHANGE_SECONDS:g} s") from error
        except (UpstreamError, *PLUGIN_UNUSABLE) as error:
            await self._audit(actor, certificate, str(error), allowed=False)
            raise
        revoked = await self._note(certificate, reason)
        words = "no reason given" if reason is None else f"reason {reason}"
        await self._audit(actor, certificate, words)
        event = Event(
            order_id=certificate.order_id, at=self._clock.now(), kind=EventKind.CERTIFICATE_REVOKED, detail=words
        )
        await self._store.records.note([event])
        return revoked

    async def _pass_on(self, certificate: Certificate, reason: int | None) -> None:
        authority_id = certificate.authority_id
        leaf = _leaf(certificate).public_bytes(Encoding.DER)
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

    async def _note(self, certificate: Certificate, reason: int | None) -> Certificate:
        """Write it down, on whatever else of the certificate has changed meanwhile."""
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

    async def _audit(self, actor: str, certificate: Certificate, detail: str, *, allowed: bool = True) -> None:
        audit = Audit(self._store, self._clock)
        await audit.note(actor, "certificate.revoke", f"certificate {certificate.id}", detail, allowed=allowed)


def _leaf(certificate: Certificate) -> x509.Certificate:
    return x509.load_pem_x509_certificates(certificate.chain.encode())[0]


def _problem(error: UpstreamError) -> Problem:
    """What a client is told of an authority's refusal: when to come again, or why it will not be."""
    if isinstance(error, UpstreamRateLimited):
        return Problem(ProblemType.RATE_LIMITED, f"the authority: {error.detail}", retry_after=_seconds(error))
    if not isinstance(error, UpstreamRefused):
        return _later(f"the authority cannot revoke now: {error.detail}", _seconds(error))
    reason = error.problem.type == ProblemType.BAD_REVOCATION_REASON.urn
    kind = ProblemType.BAD_REVOCATION_REASON if reason else ProblemType.UNAUTHORIZED
    return Problem(kind, f"the authority refuses: {error.detail}")


def _later(detail: str, seconds: int = RETRY_AFTER) -> Problem:
    return Problem(ProblemType.SERVER_INTERNAL, detail, status=503, retry_after=seconds)


def _seconds(error: UpstreamError) -> int:
    return RETRY_AFTER if error.retry_after is None else max(1, round(error.retry_after))
