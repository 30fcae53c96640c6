"""Campaigns: which certificates they have renewed, how far they are, and who may begin and end them."""

from datetime import datetime, timedelta
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from acmehub.admin.access.errors import Invalid, NotFound, Refused, Taken
from acmehub.admin.resources import campaign_progress
from acmehub.admin.resources.campaigns import CampaignService, NewCampaign
from acmehub.models import Certificate, Role, RoleAssignment
from acmehub.rules.orders import Change, OrderBundle
from acmehub.rules.permissions import Acting, Forbidden
from acmehub.rules.renewal import cert_id
from acmehub.runtime.plugins import Registry
from acmehub.testing.fakes import ManualClock
from acmehub.testing.store_samples import Seed, a_certificate, an_account, sow
from tests.admin.conftest import AUDITOR, OPERATOR, ROOT, House

DAY = timedelta(days=1)


class Fleet(msgspec.Struct):
    """A service with time by hand, and devices that have certificates."""

    house: House
    seed: Seed
    clock: ManualClock
    campaigns: CampaignService
    count: int = 0

    @property
    def now(self) -> datetime:
        return self.clock.now()

    def friday(self, **fields: object) -> NewCampaign:
        return NewCampaign(renew_by=self.now + 3 * DAY, **fields)  # type: ignore[arg-type]

    async def issue(self, *names: str, **fields: Any) -> Certificate:
        """A certificate of 90 days, now, for the account of the seed unless said otherwise."""
        self.count += 1
        self.clock.advance(1)
        bundle = self.seed.order(*names, created=self.now)
        replaces = fields.pop("replaces", None)
        bundle = OrderBundle(replace(bundle.order, replaces=replaces), bundle.authorizations)
        await self.house.store.orders.add(bundle)
        certificate = replace(
            a_certificate(bundle.order, created=self.now),
            serial=f"{self.count:02x}",
            cert_id=cert_id(b"issuer", self.count),
            not_before=self.now,
            not_after=fields.pop("not_after", self.now + 90 * DAY),
            principal_id=self.seed.actor.principal.id,
            **fields,
        )
        await self.house.store.orders.apply(
            bundle.order.id, lambda stored: Change(order=stored.order, certificate=certificate)
        )
        self.clock.advance(1)
        return certificate

    async def account(self) -> str:
        """Another account of the same token."""
        account, _ = await self.house.store.accounts.bind(an_account(self.seed.actor.token), lambda token, _: token)
        return account.id

    async def left(self, **fields: object) -> int:
        """How many certificates a new campaign would have renewed."""
        return (await self.campaigns.add(self.friday(**fields), OPERATOR, dry_run=True)).campaign.left

    async def progress(self) -> tuple[int, int, str]:
        [item] = await self.campaigns.list(AUDITOR)
        return item.left, item.total, item.state


@pytest.fixture
async def fleet(house: House, registry: Registry) -> Fleet:
    clock = ManualClock()
    service = CampaignService(house.store, house.vault, registry, clock, house.authorities, house.principals)
    return Fleet(house, await sow(house.store), clock, service)


# ---------------------------------------------------------------------------------------------- which and how many


async def test_a_dry_run_says_how_many_of_whom_and_changes_nothing(fleet: Fleet) -> None:
    for number in range(7):
        await fleet.issue(f"n{number}.corp.test")
    plan = await fleet.campaigns.add(fleet.friday(), AUDITOR, dry_run=True)
    assert plan.principals == {fleet.seed.actor.principal.name: 7}
    assert (plan.campaign.left, plan.campaign.total, len(plan.first)) == (7, 7, 5)
    assert plan.first[0].names == ("n6.corp.test",)
    for item in plan.first:
        assert fleet.now <= item.window.start + timedelta(seconds=1)
        assert item.window.end <= fleet.now + 3 * DAY
    assert await fleet.campaigns.list(AUDITOR) == []
    assert [entry.action for entry in await fleet.house.audited() if entry.action.startswith("campaign")] == []


async def test_only_what_fits_all_criteria_is_counted(fleet: Fleet) -> None:
    await fleet.issue("a.corp.test", profile="short")
    await fleet.issue("b.other.test")
    assert await fleet.left() == 2
    assert await fleet.left(authority="pebble") == 2
    assert await fleet.left(principal="firewall-01", names="*.corp.test") == 1
    assert await fleet.left(profile="short") == 1
    assert await fleet.left(profile="short", names="*.other.test") == 0


async def test_what_is_not_in_use_any_more_is_not_counted(fleet: Fleet) -> None:
    await fleet.issue("a.corp.test")
    await fleet.issue("a.corp.test")  # the one before is not in use now
    await fleet.issue("revoked.corp.test", revoked=fleet.now)
    await fleet.issue("over.corp.test", not_after=fleet.now)
    assert await fleet.left() == 1
    await fleet.issue("a.corp.test", account_id=await fleet.account())  # another device with the same name
    assert await fleet.left() == 2


async def test_a_certificate_counts_as_renewed_also_where_the_client_said_nothing(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(campaign_progress, "PAGE", 2)
    silent, telling = await fleet.issue("a.corp.test"), await fleet.issue("b.corp.test")
    await fleet.issue("c.corp.test")
    await fleet.campaigns.add(fleet.friday(), OPERATOR)
    assert await fleet.progress() == (3, 3, "on")
    await fleet.issue(*silent.names)
    assert await fleet.progress() == (2, 3, "on")
    await fleet.issue("b.corp.test", "more.corp.test", replaces=telling.cert_id)
    assert await fleet.progress() == (1, 3, "on")
    fleet.clock.advance(3 * 86_400)
    assert await fleet.progress() == (1, 3, "late")
    await fleet.issue("c.corp.test")
    assert await fleet.progress() == (0, 3, "done")


# ------------------------------------------------------------------------------------------------ begin and end


async def test_a_campaign_without_a_name_is_named_by_its_date_and_no_name_is_given_twice(fleet: Fleet) -> None:
    day = f"{fleet.now + 3 * DAY:%Y-%m-%d}"
    names = [(await fleet.campaigns.add(fleet.friday(), OPERATOR)).campaign.name for _ in range(3)]
    assert names == [f"by-{day}", f"by-{day}-2", f"by-{day}-3"]
    with pytest.raises(Taken):
        await fleet.campaigns.add(fleet.friday(name=names[0]), OPERATOR)


async def test_a_campaign_that_begins_later_waits_and_one_that_was_called_off_has_ended(fleet: Fleet) -> None:
    await fleet.issue("a.corp.test")
    plan = await fleet.campaigns.add(fleet.friday(name="later", starts=fleet.now + DAY), OPERATOR)
    assert plan.campaign.state == "waiting"
    fleet.clock.advance(86_401)
    assert (await fleet.progress())[2] == "on"
    assert (await fleet.campaigns.end("later", OPERATOR)).state == "ended"
    assert await fleet.progress() == (1, 1, "ended")
    with pytest.raises(Refused, match="campaign 'later' ended on"):
        await fleet.campaigns.end("later", OPERATOR)


async def test_begin_and_end_stand_in_the_audit_with_how_many_it_was(fleet: Fleet) -> None:
    await fleet.issue("a.corp.test")
    await fleet.campaigns.add(fleet.friday(name="incident"), OPERATOR)
    await fleet.campaigns.end("incident", OPERATOR)
    end, begin = list(await fleet.house.audited())[:2]
    assert (begin.actor, begin.action, begin.object, begin.allowed) == ("olga", "campaign.add", "incident", True)
    assert begin.detail.startswith("1 certificates by ")
    assert (end.action, end.object, end.allowed) == ("campaign.end", "incident", True)


@pytest.mark.parametrize("role", [Role.AUDITOR, Role.MANAGED_ACME_CONSUMER, Role.MANAGED_CHALLENGE_CONSUMER])
async def test_who_does_not_keep_the_hub_may_neither_begin_nor_end_one(fleet: Fleet, role: Role) -> None:
    await fleet.campaigns.add(fleet.friday(name="incident"), ROOT)
    who = Acting("mallory", frozenset({RoleAssignment(role)}))
    with pytest.raises(Forbidden, match=r"mallory may not do campaign.add"):
        await fleet.campaigns.add(fleet.friday(name="mine"), who)
    with pytest.raises(Forbidden, match=r"mallory may not do campaign.end"):
        await fleet.campaigns.end("incident", who)
    [item] = await fleet.campaigns.list(ROOT)
    assert (item.name, item.ended) == ("incident", None)
    assert [(entry.actor, entry.allowed) for entry in list(await fleet.house.audited())[:2]] == [("mallory", False)] * 2


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("renew_by", -DAY),
        ("starts", 3 * DAY),
        ("names", "*.*.test"),
        ("explanation_url", "javascript:alert(1)"),
        ("reason", "a\nb"),
        ("name", " x"),
    ],
)
async def test_what_makes_no_sense_is_refused_by_its_name(fleet: Fleet, field: str, value: object) -> None:
    moment = fleet.now + value if isinstance(value, timedelta) else value
    wanted = msgspec.structs.replace(fleet.friday(), **{field: moment})
    with pytest.raises(Invalid) as caught:
        await fleet.campaigns.add(wanted, OPERATOR)
    assert caught.value.field == ("renew_by" if field == "starts" else field)


async def test_authority_and_principal_are_found_by_name(fleet: Fleet) -> None:
    plan = await fleet.campaigns.add(fleet.friday(authority="pebble", principal="firewall-01"), OPERATOR, dry_run=True)
    assert (plan.campaign.authority, plan.campaign.principal) == ("pebble", "firewall-01")
    with pytest.raises(NotFound):
        await fleet.campaigns.add(fleet.friday(authority="pebbles"), OPERATOR, dry_run=True)
    with pytest.raises(NotFound, match="acmehub certificate campaigns"):
        await fleet.campaigns.end("nothing", OPERATOR)


async def test_the_certificates_of_an_authority_that_are_in_use_are_counted(fleet: Fleet) -> None:
    await fleet.issue("a.corp.test")
    await fleet.issue("a.corp.test")
    await fleet.issue("b.corp.test")
    assert (await fleet.campaigns.in_use("pebble", OPERATOR)).count == 2
