"""When CAs want their certificates renewed: asked in the background, so that clients are answered from what is stored.

Every certificate of a CA that informs of renewals (RFC 9773) is asked for once it is issued, and again when the CA
said; not any more once it has expired, was revoked or replaced.
"""

import asyncio
import logging
import random
from datetime import datetime, timedelta

from msgspec.structs import replace

from acmehub.issuance.retry_policy import OURS
from acmehub.models import Certificate
from acmehub.ports.authority import (
    InformsOfRenewal,
    UpstreamError,
    UpstreamRateLimited,
    UpstreamRenewalInfo,
)
from acmehub.ports.clock import Clock
from acmehub.ports.store import Conflict, Store, StoreUnavailable
from acmehub.rules.renewal import LATEST_RETRY, clamped
from acmehub.runtime.backoff import jittered
from acmehub.runtime.concurrency import gather_limited
from acmehub.runtime.plugin_objects import PluginObjects

BATCH = 50
SIDE_BY_SIDE = 4
INTERVAL = 60.0
USUAL = 6 * 3600.0  # seconds, when the CA does not say
AFTER_FAILURE = 3600.0
PAUSE = 600.0  # of a whole CA, when one answer was none
CLAIM = timedelta(minutes=5)  # so long other workers leave a certificate alone that is being asked for
_EXCHANGE_SECONDS = 60.0

_log = logging.getLogger(__name__)


def watched(certificate: Certificate, authority: object, now: datetime) -> Certificate:
    """A new certificate, to be asked for at once where its authority informs of renewals."""
    if not certificate.cert_id or not isinstance(authority, InformsOfRenewal):
        return certificate
    return replace(certificate, window_until=now)


class WindowWatch:
    """Keeps the CAs' windows up to date; one per worker process. Of several, the one that is first to mark a
    certificate asks for it."""

    def __init__(self, store: Store, plugin_objects: PluginObjects, clock: Clock, rng: random.Random) -> None:
        self._store = store
        self._plugin_objects = plugin_objects
        self._clock = clock
        self._rng = rng
        self._paused: dict[str, datetime] = {}

    async def run(self) -> None:
        """Work until cancelled."""
        while True:
            try:
                await self.work_off()
            except StoreUnavailable as error:
                _log.warning("no CA can be asked for renewals now: %s", error)
            await asyncio.sleep(INTERVAL)

    async def work_off(self) -> int:
        """Ask for all that are due; how many certificates were looked at."""
        count = 0
        while True:
            due = await self._store.certificates.window_due(self._clock.now(), BATCH)
            await gather_limited(self._look, due, SIDE_BY_SIDE)
            count += len(due)
            if len(due) < BATCH:
                return count

    async def _look(self, certificate: Certificate) -> None:
        now = self._clock.now()
        if certificate.revoked or certificate.replaced_by or certificate.not_after <= now:
            await self._write(replace(certificate, window_until=None))
            return
        pause_ends = self._paused.get(certificate.authority_id, now)
        if pause_ends > now:
            later = pause_ends + timedelta(seconds=self._rng.uniform(0, PAUSE))
            await self._write(replace(certificate, window_until=later))
            return
        claimed = await self._write(replace(certificate, window_until=now + CLAIM))
        if claimed is not None:
            await self._write(await self._asked(claimed))

    async def _write(self, certificate: Certificate) -> Certificate | None:
        """What is stored; None when another worker was quicker, or the certificate has changed."""
        try:
            return await self._store.certificates.replace(certificate)
        except Conflict:
            return None

    async def _asked(self, certificate: Certificate) -> Certificate:
        """The certificate with what the CA says of it, or with the time of the next attempt."""
        try:
            authority = (await self._plugin_objects.authority(certificate.authority_id)).object
            if not isinstance(authority, InformsOfRenewal):
                return replace(certificate, window_until=None)
            async with asyncio.timeout(_EXCHANGE_SECONDS):
                info = await authority.renewal_info(certificate.cert_id)
        except (UpstreamError, TimeoutError, *OURS) as error:
            return self._failed(certificate, error)
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

    def _failed(self, certificate: Certificate, error: Exception) -> Certificate:
        asked = error.retry_after if isinstance(error, UpstreamError) else None
        pause = clamped(asked, PAUSE) if isinstance(error, UpstreamRateLimited) else PAUSE
        self._paused[certificate.authority_id] = self._in(pause)
        _log.warning(
            "authority %s does not say when to renew certificate %s: %s",
            certificate.authority_id,
            certificate.id,
            str(error) or type(error).__name__,
        )
        return replace(certificate, window_until=self._in(max(pause, clamped(asked, AFTER_FAILURE))))

    def _in(self, seconds: float) -> datetime:
        return self._clock.now() + timedelta(seconds=jittered(seconds, self._rng))
