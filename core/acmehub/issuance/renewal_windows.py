"""Renewal windows: the hub asks CAs in the background, so that clients are answered from what is stored.

The hub asks for each certificate of a CA that informs of renewals (RFC 9773) once it is issued, and again when the CA
said, until it expires, is revoked or replaced.
"""

import asyncio
import random
from collections.abc import Sequence
from datetime import datetime, timedelta

from msgspec.structs import replace

from acmehub.models import Certificate
from acmehub.ports.authority import (
    InformsOfRenewal,
    UpstreamError,
    UpstreamRateLimited,
    UpstreamRenewalInfo,
)
from acmehub.ports.clock import Clock
from acmehub.ports.store import Conflict, Store
from acmehub.rules.renewal import LATEST_RETRY, clamped
from acmehub.runtime.backoff import jittered
from acmehub.runtime.jobs import Loop
from acmehub.runtime.outages import RENEWAL_INFORMATION, Outages
from acmehub.runtime.plugin_objects import PLUGIN_UNUSABLE, PluginObjects

ASKED_AT_ONCE = 4
INTERVAL = 60.0
USUAL = 6 * 3600.0  # seconds between two questions, when the CA does not say
AFTER_FAILURE = 3600.0
PAUSE = 600.0  # seconds in which a CA that failed once is asked nothing
CLAIM = timedelta(minutes=5)  # in which other processes do not ask for the same certificate
_EXCHANGE_SECONDS = 60.0


def watched(certificate: Certificate, authority: object, now: datetime) -> Certificate:
    """A new certificate, due at once where its authority informs of renewals."""
    if not certificate.cert_id or not isinstance(authority, InformsOfRenewal):
        return certificate
    return replace(certificate, window_until=now)


class WindowWatch(Loop[Certificate]):
    """Asks CAs when to renew their certificates; one per worker process.

    Several processes may see the same certificate due: the first that writes its next date asks the CA.
    """

    def __init__(
        self,
        store: Store,
        plugin_objects: PluginObjects,
        clock: Clock,
        rng: random.Random,
        outages: Outages,
        owner: str,
    ) -> None:
        super().__init__("renewal windows", clock, rng, places=ASKED_AT_ONCE, idle=INTERVAL)
        self._store = store
        self._plugin_objects = plugin_objects
        self._outages = outages
        self._owner = owner
        self._paused: dict[str, datetime] = {}

    async def claim(self, limit: int) -> Sequence[Certificate]:
        """Certificates whose next date has come; `work` makes sure that one process alone asks."""
        return await self._store.certificates.window_due(self._clock.now(), limit)

    def key(self, job: Certificate) -> str:
        """The certificate's id."""
        return job.id

    async def work(self, job: Certificate) -> None:
        """Ask for one certificate, unless it needs no renewal, its CA is paused, or another process was first."""
        now = self._clock.now()
        if job.revoked or job.replaced_by or job.not_after <= now:
            await self._write(replace(job, window_until=None))
            return
        pause_ends = self._paused.get(job.authority_id, now)
        if pause_ends > now:
            pause = jittered((pause_ends - now).total_seconds(), self._rng, spread=PAUSE)
            await self._write(replace(job, window_until=now + timedelta(seconds=pause)))
            return
        claimed = await self._write(replace(job, window_until=now + CLAIM, lease_owner=self._owner))
        if claimed is not None:
            await self._write(replace(await self._asked(claimed), lease_owner=None))

    async def _write(self, certificate: Certificate) -> Certificate | None:
        """What is stored; None when another process was first, or the certificate has changed."""
        try:
            return await self._store.certificates.replace(certificate)
        except Conflict:
            return None

    async def _asked(self, certificate: Certificate) -> Certificate:
        """The certificate with what the CA says of it, or with the time of the next attempt."""
        began = self._clock.monotonic()
        try:
            authority = (await self._plugin_objects.authority(certificate.authority_id)).object
            if not isinstance(authority, InformsOfRenewal):
                return replace(certificate, window_until=None)
            async with asyncio.timeout(_EXCHANGE_SECONDS):
                info = await authority.renewal_info(certificate.cert_id)
        except (UpstreamError, TimeoutError, *PLUGIN_UNUSABLE) as error:
            return self._failed(certificate, error, began)
        self._outages.works(RENEWAL_INFORMATION, certificate.authority_id, began)
        return self._informed(certificate, info)

    def _informed(self, certificate: Certificate, info: UpstreamRenewalInfo | None) -> Certificate:
        if info is None:
            return replace(
                certificate, window_start=None, window_end=None, explanation_url="", window_until=self._in(LATEST_RETRY)
            )
        return replace(
            certificate,
            window_start=info.start,
            window_end=info.end,
            explanation_url=info.explanation_url,
            window_until=self._in(clamped(info.retry_after, USUAL)),
        )

    def _failed(self, certificate: Certificate, error: Exception, began: float) -> Certificate:
        asked = error.retry_after if isinstance(error, UpstreamError) else None
        pause = clamped(asked, PAUSE) if isinstance(error, UpstreamRateLimited) else PAUSE
        self._paused[certificate.authority_id] = self._in(pause)
        reason, server = str(error) or type(error).__name__, error.server if isinstance(error, UpstreamError) else ""
        self._outages.failed(RENEWAL_INFORMATION, certificate.authority_id, reason, began, server)
        return replace(certificate, window_until=self._in(max(pause, clamped(asked, AFTER_FAILURE))))

    def _in(self, seconds: float) -> datetime:
        return self._clock.now() + timedelta(seconds=jittered(seconds, self._rng))
