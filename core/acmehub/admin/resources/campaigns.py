"""Campaigns: "renew these by Friday". The hub tells clients that ask when to renew (RFC 9773)."""

import itertools
import re
from collections.abc import Sequence
from datetime import datetime
from typing import Annotated

import msgspec
from msgspec.structs import replace

from acmehub.admin.access.errors import Invalid, NotFound, Refused
from acmehub.admin.resources.authorities import AuthorityService
from acmehub.admin.resources.campaign_progress import Progress, progress_of
from acmehub.admin.resources.fields import described, view_of
from acmehub.admin.resources.principals import PrincipalService
from acmehub.admin.resources.service import ResourceService, checked_name
from acmehub.models import Campaign, Certificate, Principal
from acmehub.ports.clock import Clock
from acmehub.ports.store import Resources, Store
from acmehub.rules.permissions import Acting
from acmehub.rules.renewal import Advice, Window, advise
from acmehub.rules.scopes import match_rule
from acmehub.runtime.plugins import Registry
from acmehub.runtime.vault import Vault

SHOWN = 5
_PAGE = re.compile(r"https?://[!-~]{1,500}")
_LONGEST_REASON = 500


class NewCampaign(msgspec.Struct, frozen=True, kw_only=True):
    """A new campaign: authority and principal by name or id; without a `name` it gets one from the date, without
    `starts` it begins at once."""

    renew_by: Annotated[datetime, described("Until when.", metavar="DATE")]
    name: Annotated[str, described("The campaign's name  [default: by-DATE]")] = ""
    reason: Annotated[str, described("Why, for people.")] = ""
    authority: Annotated[str, described("Only certificates of this authority.")] = ""
    profile: Annotated[str, described("Only those ordered with this profile.")] = ""
    names: Annotated[str, described('Only those with such a name, as in "*.corp.test".', metavar="RULE")] = ""
    principal: Annotated[str, described("Only those of this principal.")] = ""
    starts: Annotated[datetime | None, described("The first renewals are due then  [default: now]", metavar="DATE")] = (
        None
    )
    explanation_url: Annotated[str, described("A page that clients may show or log.")] = ""


class CampaignView(NewCampaign, frozen=True, kw_only=True):
    """A campaign as operators see it: of the `total` certificates in use when it began, `left` are not renewed yet;
    `state` is `waiting` (for `starts`), `on`, `late` (past `renew_by`, some are left), `done` or `ended`."""

    starts: datetime
    id: str
    version: int
    created: datetime
    ended: datetime | None
    total: int
    left: int
    state: str


class Planned(msgspec.Struct, frozen=True):
    """A certificate of a campaign, and the window that its client gets."""

    id: str
    names: tuple[str, ...]
    principal: str
    window: Window


class CampaignPlan(msgspec.Struct, frozen=True, kw_only=True):
    """A campaign, made or (in a dry run) not, and what it does: how many certificates each principal has, and some."""

    campaign: CampaignView
    principals: dict[str, int]
    first: tuple[Planned, ...]


class CertificateCount(msgspec.Struct, frozen=True):
    """How many certificates there are."""

    count: int


class CampaignService(ResourceService[Campaign, CampaignView]):
    """Verbs raise `ServiceError`s."""

    noun = "campaign"
    label = "campaign"
    listing = "acmehub certificate campaigns"

    def __init__(
        self,
        store: Store,
        vault: Vault,
        registry: Registry,
        clock: Clock,
        authorities: AuthorityService,
        principals: PrincipalService,
    ) -> None:
        super().__init__(store, vault, registry, clock)
        self._authorities = authorities
        self._principals = principals

    async def add(self, new: NewCampaign, acting: Acting, *, dry_run: bool = False) -> CampaignPlan:
        """Begin a campaign: from now on the hub tells clients to renew. With `dry_run` (`campaign.plan`), only what
        that would do; nothing is stored."""
        name = new.name or await self._free_name(new.renew_by)
        async with self._gate(acting, "campaign.plan" if dry_run else "campaign.add", name) as passage:
            item = await self._made(new, name)
            plan = await self._plan(item)
            if dry_run:
                return plan
            await self.rows.insert(
                item, passage, f"{plan.campaign.left} certificates by {item.renew_by:%Y-%m-%dT%H:%MZ}"
            )
            return plan

    async def list(self, acting: Acting) -> Sequence[CampaignView]:
        """All, oldest first, each with how far it is."""
        async with self._gate(acting, "campaign.list"):
            found = await progress_of(self._store, await self.rows.list(), self._clock.now())
            return [await self._view_of(item) for item in found]

    async def end(self, ref: str, acting: Acting) -> CampaignView:
        """End a campaign: clients get the windows again that they have without it."""
        async with self._gate(acting, "campaign.end", ref) as passage:

            def rule(item: Campaign) -> Campaign:
                if item.ended is not None:
                    raise Refused(f"campaign {item.name!r} ended on {item.ended:%Y-%m-%d %H:%MZ}")
                return replace(item, ended=self._clock.now())

            return await self._view(await self.rows.change(ref, rule, passage))

    async def advice(self, certificate_id: str, acting: Acting) -> Advice:
        """What the hub tells clients about a certificate now."""
        async with self._gate(acting, "campaign.advice", f"certificate {certificate_id}"):
            certificate = await self._store.certificates.get(certificate_id)
            if certificate is None:
                raise NotFound(f"there is no certificate {certificate_id}")
            return advise(certificate, await self.rows.list(), self._clock.now())

    async def in_use(self, authority: str, acting: Acting) -> CertificateCount:
        """How many certificates of an authority are in use: those that a campaign concerns."""
        async with self._gate(acting, "campaign.in_use", authority):
            now = self._clock.now()
            row = await self._authorities.rows.find(authority)
            every = Campaign(name="", authority_id=row.id, starts=now, renew_by=now, created=now)
            [progress] = await progress_of(self._store, (every,), now)
            return CertificateCount(progress.left)

    async def _made(self, new: NewCampaign, name: str) -> Campaign:
        now = self._clock.now()
        starts = new.starts or now
        if new.renew_by <= max(starts, now):
            raise Invalid("renew_by", f"{new.renew_by:%Y-%m-%d %H:%M:%SZ} is not later than now and than the start")
        if new.names:
            try:
                match_rule(new.names)
            except ValueError as error:
                raise Invalid("names", str(error)) from None
        if new.explanation_url and not _PAGE.fullmatch(new.explanation_url):
            raise Invalid("explanation_url", "a URL is needed, as in https://status.example.com/incident")
        if len(new.reason) > _LONGEST_REASON or not new.reason.isprintable():
            raise Invalid("reason", f"at most {_LONGEST_REASON} printable characters")
        values = msgspec.structs.asdict(new)
        authority, principal = values.pop("authority"), values.pop("principal")
        return Campaign(
            **{**values, "name": checked_name(name), "starts": starts},
            authority_id=(await self._authorities.rows.find(authority)).id if authority else "",
            principal_id=(await self._principals.rows.find(principal)).id if principal else "",
            created=now,
        )

    async def _free_name(self, renew_by: datetime) -> str:
        taken = {item.name for item in await self.rows.list()}
        stem = f"by-{renew_by:%Y-%m-%d}"
        candidates = itertools.chain((stem,), (f"{stem}-{number}" for number in itertools.count(2)))
        return next(name for name in candidates if name not in taken)

    async def _plan(self, item: Campaign) -> CampaignPlan:
        now = self._clock.now()
        [progress] = await progress_of(self._store, (item,), now, SHOWN)
        names = await self._names(await self._store.principals.list())
        counts = sorted(progress.left_by_principal.items(), key=lambda pair: -pair[1])
        return CampaignPlan(
            campaign=await self._view_of(progress),
            principals={names.get(id, id or "unknown"): count for id, count in counts},
            first=tuple(_planned(one, item, names, now) for one in progress.first),
        )

    async def _names(self, principals: Sequence[Principal]) -> dict[str, str]:
        return {principal.id: principal.name for principal in principals}

    def _stored(self) -> Resources[Campaign]:
        return self._store.campaigns

    async def _view(self, item: Campaign) -> CampaignView:
        [progress] = await progress_of(self._store, (item,), self._clock.now())
        return await self._view_of(progress)

    async def _view_of(self, progress: Progress) -> CampaignView:
        item = progress.campaign
        authority = await self._store.authorities.get(item.authority_id) if item.authority_id else None
        principal = await self._store.principals.get(item.principal_id) if item.principal_id else None
        return view_of(
            CampaignView,
            item,
            authority=authority.name if authority else item.authority_id,
            principal=principal.name if principal else item.principal_id,
            total=progress.total,
            left=progress.left,
            state=_state(progress, self._clock.now()),
        )


def _planned(certificate: Certificate, campaign: Campaign, names: dict[str, str], now: datetime) -> Planned:
    return Planned(
        id=certificate.id,
        names=certificate.names,
        principal=names.get(certificate.principal_id, certificate.principal_id),
        window=advise(certificate, (campaign,), now).window,
    )


def _state(progress: Progress, now: datetime) -> str:
    campaign = progress.campaign
    if campaign.ended is not None:
        return "ended"
    if progress.left == 0:
        return "done"
    if now >= campaign.renew_by:
        return "late"
    return "on" if now >= campaign.starts else "waiting"
