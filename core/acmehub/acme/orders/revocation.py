"""revokeCert (RFC 8555 section 7.6): which client may revoke a certificate, and what it is answered."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from datetime import timedelta

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from msgspec.structs import replace

from acmehub.models import Actor, AuditActor, Authorization, Certificate
from acmehub.models.identifiers import base_name, canonical, is_wildcard
from acmehub.models.problems import Problem, ProblemType
from acmehub.models.wire import RevokeCert
from acmehub.ports.authority import UpstreamError, UpstreamRateLimited, UpstreamRefused
from acmehub.ports.clock import Clock
from acmehub.ports.store import Store
from acmehub.rules.chains import serial_text
from acmehub.rules.csr import UNREADABLE
from acmehub.rules.jws import decode_base64url, jwk_of
from acmehub.rules.rights import RightTaken
from acmehub.runtime.client_limits.limits import ClientLimits
from acmehub.runtime.client_limits.refusals import Refusals
from acmehub.runtime.plugin_objects import PLUGIN_UNUSABLE
from acmehub.runtime.revocation import RevocationService, leaf_of
from acmehub.runtime.rights import Rights

CLIENT_REASONS = (0, 1, 3, 4, 5, 9, 10)
"""RFC 5280 section 5.3.1, without what only a CA may say of itself (2), what can be taken back (6, 8), and 7, which is
not used."""

CLIENT_SECONDS = 20.0  # clients give one answer 30 at least (docs/client-rules.md rule 30)
RETRY_AFTER = 30


_log = logging.getLogger(__name__)


class NotRevoked(Problem):
    """The authority has not revoked, or not yet; the audit has it from `RevocationService`."""

    is_told = True


class ClientRevocations:
    """Revocations that clients ask for; every refusal is a Problem. `authorizations_last` is how long, at most, an
    authorization counts from the opening of its order."""

    def __init__(
        self,
        store: Store,
        revocation: RevocationService,
        rights: Rights,
        clock: Clock,
        authorizations_last: timedelta,
        limits: ClientLimits,
        refusals: Refusals,
    ) -> None:
        self._store = store
        self._revocation = revocation
        self._rights = rights
        self._clock = clock
        self._authorizations_last = authorizations_last
        self._limits = limits
        self._refusals = refusals

    async def by_account(self, actor: Actor, asked: RevokeCert, address: str = "") -> Certificate:
        """By the account that ordered the certificate, or one that holds authorizations for all of its names; `address`
        is the client's."""
        await self._limits.revocation(actor)
        certificate = await self._found(asked)
        why = "" if certificate.account_id == actor.account.id else await self._objection(actor, certificate)
        if why:
            refusal = Problem(ProblemType.UNAUTHORIZED, why)
            refusal.about = f"certificate {certificate.id}"
            raise refusal
        account, token_id = actor.account.id, actor.token.id
        device = AuditActor.device(f"account {account}", id=account, address=address, token_id=token_id)
        return await self._revoke(certificate, asked, device)

    async def by_key(
        self, jwk: bytes, asked: RevokeCert, accept: Callable[[], Awaitable[None]], address: str = ""
    ) -> Certificate:
        """By the certificate's private key; `jwk` is the canonical JWK that the request was verified with, `accept`
        uses its nonce up, `address` is the client's."""
        certificate = await self._found(asked)
        if jwk_of(leaf_of(certificate).public_key()) != jwk:  # type: ignore[arg-type]  # it was checked when it was issued
            why = "the key that signs the request is not the certificate's; an account signs with 'kid'"
            await self._refusals.stranger(address, "certificate.revoke", f"certificate {certificate.id}: {why}")
            raise Problem(ProblemType.UNAUTHORIZED, why)
        await self._limits.revocation_by_key(address)
        await accept()
        return await self._revoke(certificate, asked, AuditActor.device("the certificate's key", address=address))

    async def _found(self, asked: RevokeCert) -> Certificate:
        """The stored certificate with the very bytes that the client sends."""
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
            if leaf_of(item).public_bytes(Encoding.DER) == der:
                return item
        raise Problem(ProblemType.MALFORMED, "this certificate was not issued here", status=404)

    async def _objection(self, actor: Actor, certificate: Certificate) -> str:
        """Why the actor is not authorized for all names of another account's certificate; empty when it is.

        Of each name the newest valid authorization counts, if the actor may have the name still, as it was ordered.
        """
        now = self._clock.now()
        wanted = {(canonical(base_name(name)), is_wildcard(name)) for name in certificate.names}
        valid = await self._store.orders.valid_authorizations(
            actor.account.id, [name for name, _wildcard in wanted], now - self._authorizations_last
        )
        newest: dict[tuple[str, bool], Authorization] = {}
        for item, _mode in valid:
            if item.expires > now:
                newest.setdefault((canonical(item.identifier.value), item.wildcard), item)
        why = "the certificate is not this account's, nor has it valid authorizations for all of its names"
        if not wanted <= newest.keys():
            return why
        held = []
        for item in map(newest.__getitem__, wanted):
            bundle = await self._store.orders.get(item.order_id)
            if bundle is None:  # pruned this very moment
                return why
            name = f"*.{item.identifier.value}" if item.wildcard else item.identifier.value
            held.append((bundle.order, replace(item.identifier, value=name)))
        try:
            await self._rights.require_authorizations(actor, held)
        except RightTaken as reason:
            return f"{why}: {reason.detail}"
        return ""

    async def _revoke(self, certificate: Certificate, asked: RevokeCert, actor: AuditActor) -> Certificate:
        if certificate.revoked is not None:
            raise Problem(ProblemType.ALREADY_REVOKED, f"the certificate was revoked on {certificate.revoked:%Y-%m-%d}")
        task = self._revocation.start(certificate, asked.reason, actor)
        done, _ = await asyncio.wait({task}, timeout=CLIENT_SECONDS)
        if not done:
            raise _later("the authority has not answered yet; the revocation goes on")
        try:
            return task.result()
        except UpstreamError as error:
            raise _problem(error) from error
        except PLUGIN_UNUSABLE as error:
            extra = {"certificate": certificate.id, "reason": str(error), "said_of": (certificate.authority_id,)}
            _log.error("certificates cannot be revoked: their authority cannot be used", extra=extra)
            raise _later("the certificate's authority cannot be used at present; the hub's log says why") from error


def _problem(error: UpstreamError) -> NotRevoked:
    """The answer to a client whose revocation the authority refuses: when to ask again, or why it is refused."""
    if isinstance(error, UpstreamRateLimited):
        return NotRevoked(ProblemType.RATE_LIMITED, f"the authority: {error.detail}", retry_after=_seconds(error))
    if not isinstance(error, UpstreamRefused):
        return _later(f"the authority cannot revoke now: {error.detail}", _seconds(error))
    passed_on = (ProblemType.BAD_REVOCATION_REASON, ProblemType.USER_ACTION_REQUIRED)
    kind = next((item for item in passed_on if item.urn == error.problem.type), ProblemType.UNAUTHORIZED)
    page = error.problem.instance if kind is ProblemType.USER_ACTION_REQUIRED else ""
    return NotRevoked(kind, f"the authority refuses: {error.detail}", instance=page)


def _later(detail: str, seconds: int = RETRY_AFTER) -> NotRevoked:
    return NotRevoked(ProblemType.SERVER_INTERNAL, detail, status=503, retry_after=seconds)


def _seconds(error: UpstreamError) -> int:
    return RETRY_AFTER if error.retry_after is None else max(1, round(error.retry_after))
