"""How far campaigns are: which certificates in use they concern, and which of those have been renewed since.

In use is the newest certificate of an account for its names; a client that renews it need not send `replaces`.
"""

from collections.abc import AsyncIterator, Iterable, Sequence
from datetime import datetime

from msgspec.structs import replace

from acmehub.admin.access.reach import Reach
from acmehub.models import Campaign, Certificate
from acmehub.ports.store import Store
from acmehub.rules.renewal import concerns

PAGE = 500
Key = tuple[str, tuple[str, ...]]  # account and names


class Progress:
    """Of one campaign: `first` are certificates not yet renewed, newest first, at most `limit`; all are counted."""

    def __init__(self, campaign: Campaign, limit: int = 0) -> None:
        self.campaign = campaign
        self.total = 0
        self.left = 0
        self.left_by_principal: dict[str, int] = {}
        self.first: list[Certificate] = []
        self._limit = limit
        self._rule = replace(campaign, ended=None)
        self._seen: set[Key] = set()

    def count(self, certificate: Certificate, key: Key, *, renewed: bool, now: datetime) -> None:
        """Take one more certificate into account; they come newest first."""
        if certificate.created >= self.campaign.created or key in self._seen:
            return
        self._seen.add(key)
        over = certificate.revoked is not None or certificate.not_after <= now
        if over or not concerns(self._rule, certificate):
            return
        self.total += 1
        if renewed or certificate.replaced_by is not None:
            return
        self.left += 1
        principal = certificate.principal_id
        self.left_by_principal[principal] = self.left_by_principal.get(principal, 0) + 1
        if len(self.first) < self._limit:
            self.first.append(certificate)


async def progress_of(
    store: Store, campaigns: Iterable[Campaign], now: datetime, limit: int = 0, *, reach: Reach | None = None
) -> Sequence[Progress]:
    """How far each campaign is: one walk through all certificates, or those within `reach`."""
    ids = await reach.principal_ids() if reach is not None else None
    found = [Progress(campaign, limit) for campaign in campaigns]
    newest: dict[Key, datetime] = {}
    if found:
        async for certificate in _all(store):
            if ids is not None and certificate.principal_id not in ids:
                continue
            key = (certificate.account_id, certificate.names)
            latest = newest.setdefault(key, certificate.created)
            for progress in found:
                progress.count(certificate, key, renewed=latest >= progress.campaign.created, now=now)
    return found


async def _all(store: Store) -> AsyncIterator[Certificate]:
    after = ""
    while page := await store.certificates.list(after=after, limit=PAGE):
        for certificate in page:
            yield certificate
        after = page[-1].id
