"""The solver's facade: planning, one change at a time per name, explaining, rehearsing."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import timedelta
from pathlib import Path

import pytest
import pytest_asyncio
from msgspec.structs import replace

from acmehub.dns01 import DnsWrong, Wanted
from acmehub.models import Propagation, PropagationMode, Role, RoleAssignment, TxtRecord, TxtState
from acmehub.models.problems import Problem
from acmehub.ports.dns import DnsProviderRefused, DnsProviderUnavailable
from acmehub.ports.store import Missing
from acmehub.rules.orders import OrderBundle
from acmehub.runtime.rights import FRESH
from acmehub.testing.dns_server import DnsServer, FaultKind
from tests.issuance.rig import Rig, make_rig


@pytest_asyncio.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    async with make_rig(tmp_path) as made:
        yield made


async def planned(rig: Rig, bundle: OrderBundle, wanted: Sequence[Wanted]) -> Sequence[TxtRecord]:
    """The plan of an order, if it may have its names."""
    return await rig.solver.plan(bundle.order, wanted, await rig.rights.require_step(bundle.order))


async def test_a_plan_has_a_row_for_each_value_with_zone_and_managed_challenge(rig: Rig) -> None:
    exact = await rig.managed_challenge("www.corp.test")
    bundle = await rig.bundle(await rig.open("corp.test", "*.corp.test", "www.corp.test"))
    wanted = [Wanted(item, f"v{item.position}") for item in bundle.authorizations]
    rows = await planned(rig, bundle, wanted)
    assert [(row.name, row.value, row.zone) for row in rows] == [
        ("_acme-challenge.corp.test", "v0", "corp.test"),
        ("_acme-challenge.corp.test", "v1", "corp.test"),
        ("_acme-challenge.www.corp.test", "v2", "corp.test"),
    ]
    assert [row.managed_challenge_id for row in rows] == [rig.challenge.id, rig.challenge.id, exact.id]
    assert {row.state for row in rows} == {TxtState.PLANNED}
    assert {row.run_at for row in rows} == {rig.clock.now() + timedelta(seconds=90)}  # not removable while on its way


async def test_a_managed_challenge_that_is_not_open_to_the_principal_is_not_used(rig: Rig) -> None:
    import msgspec

    tagged = RoleAssignment(Role.MANAGED_ACME_CONSUMER, ("production",))
    await rig.store.principals.replace(msgspec.structs.replace(rig.principal, roles=(tagged,)))
    bundle = await rig.bundle(await rig.open("www.corp.test"))
    wanted = [Wanted(item, "v") for item in bundle.authorizations]
    with pytest.raises(Problem, match="not open to"):
        await planned(rig, bundle, wanted)
    rig.clock.advance(FRESH + 0.01)
    row = await rig.store.managed_challenges.get(rig.challenge.id)
    assert row is not None
    await rig.store.managed_challenges.replace(msgspec.structs.replace(row, tags=("production",)))
    assert await planned(rig, bundle, wanted)


async def test_changes_at_one_name_come_one_after_the_other(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = await rig.bundle(await rig.open("corp.test", "*.corp.test", "www.corp.test"))
    rows = await planned(rig, bundle, [Wanted(item, f"v{item.position}") for item in bundle.authorizations])
    at_once: dict[str, int] = {}
    most: dict[str, int] = {}

    async def slow(_zone: str, name: str, _value: str) -> None:
        at_once[name] = at_once.get(name, 0) + 1
        most[name] = max(most.get(name, 0), at_once[name])
        most["all"] = max(most.get("all", 0), sum(at_once.values()))
        await asyncio.sleep(0.02)
        at_once[name] -= 1

    monkeypatch.setattr(rig.provider, "add_txt", slow)
    await asyncio.gather(*(rig.solver.publish(row) for row in rows))
    assert most == {"_acme-challenge.corp.test": 1, "_acme-challenge.www.corp.test": 1, "all": 2}


async def test_a_provider_that_hangs_is_unavailable(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = await rig.bundle(await rig.open("corp.test"))
    (row,) = await planned(rig, bundle, [Wanted(bundle.authorizations[0], "v")])

    async def hangs(*_args: str) -> None:
        await asyncio.sleep(60)

    monkeypatch.setattr(rig.provider, "add_txt", hangs)
    monkeypatch.setattr("acmehub.dns01.solver.PROVIDER_SECONDS", 0.05)
    with pytest.raises(DnsProviderUnavailable, match="no answer within"):
        await rig.solver.publish(row)


async def test_an_explanation_tells_place_servers_and_who_may_issue(rig: Rig) -> None:
    rig.dns.zones.add("corp.test", "CAA", '0 issue "ca.test"', '0 issuewild ";"')
    found = await rig.solver.explain("*.www.corp.test")
    assert (found.name, found.managed_challenge) == ("*.www.corp.test", rig.challenge.name)
    assert (found.effective, found.zone) == ("_acme-challenge.www.corp.test", "corp.test")
    assert [item.name for item in found.servers] == ["ns1.corp.test"]
    assert {(item.name, item.tag, item.value) for item in found.caa} == {
        ("corp.test", "issue", "ca.test"),
        ("corp.test", "issuewild", ";"),
    }
    assert found.error == ""


async def test_an_explanation_says_what_is_wrong(rig: Rig) -> None:
    rig.dns.zones.add("_acme-challenge.www.corp.test", "CNAME", "www.far.test.")
    found = await rig.solver.explain("www.corp.test")
    assert "leads into zone far.test" in found.error
    assert found.zone == ""
    assert "REFUSED" in (await rig.solver.explain("nowhere.example")).error


async def test_a_managed_challenge_with_resolvers_and_zone_of_its_own_sees_its_own_view(rig: Rig) -> None:
    """Split views: outside, corp.test has no sub-zone; inside, www.lab is a zone with a name server of its own."""
    outside = await rig.solver.explain("www.lab")
    assert outside.error
    asked_outside = len(rig.dns.seen)
    async with DnsServer(["lab"], addresses=["127.0.73.1"], port=rig.dns.port) as inside:
        row = await rig.managed_challenge("*.lab")
        row = await rig.store.managed_challenges.replace(
            replace(row, zone="lab", resolvers=(f"127.0.73.1:{inside.port}",))
        )
        found = await rig.solver.explain("www.lab")
        assert (found.zone, found.error) == ("lab", "")
        bundle = await rig.bundle(await rig.open("www.lab"))
        (record,) = await rig.solver.plan(
            bundle.order, [Wanted(bundle.authorizations[0], "v")], await rig.rights.require_step(bundle.order)
        )
        assert (record.zone, record.name) == ("lab", "_acme-challenge.www.lab")
        inside.zones.add(record.name, "TXT", '"v"')
        (sight,) = await rig.solver.propagated((record,))
        assert sight.view.showing == (f"ns1.lab (127.0.73.1:{inside.port})",)
        await rig.store.managed_challenges.replace(
            replace(row, propagation=Propagation(mode=PropagationMode.RESOLVERS))
        )
        rig.clock.advance(FRESH + 0.01)
        (sight,) = await rig.solver.propagated((record,))
        assert sight.view.showing == (f"127.0.73.1:{inside.port}",)
    assert len(rig.dns.seen) == asked_outside


async def test_caa_records_that_cannot_be_asked_are_told_apart_from_errors(rig: Rig) -> None:
    with rig.dns.fault(FaultKind.SERVFAIL, rdtype="CAA"):
        found = await rig.solver.explain("www.corp.test")
    assert found.error == ""
    assert "CAA of www.corp.test" in found.caa_error
    assert "SERVFAIL" in found.caa_error


async def test_words_of_a_providers_api_are_escaped(rig: Rig) -> None:
    bundle = await rig.bundle(await rig.open("corp.test"))
    (row,) = await rig.solver.plan(
        bundle.order, [Wanted(bundle.authorizations[0], "v")], await rig.rights.require_step(bundle.order)
    )
    rig.provider.fail("add_txt", DnsProviderRefused("no\x1b[2J\u202e zone"))
    with pytest.raises(DnsProviderRefused) as caught:
        await rig.solver.publish(row)
    assert caught.value.detail.endswith(r": no\x1b[2J\u202e zone")


async def test_a_rehearsal_writes_looks_and_removes(rig: Rig) -> None:
    rehearsal = await rig.solver.rehearse(rig.challenge.id, "www.corp.test")
    assert rehearsal.seen
    assert rehearsal.effective == "_acme-challenge.www.corp.test"
    assert [call[0] for call in rig.provider.calls] == ["add_txt", "remove_txt"]
    assert rig.provider.calls[0][3] == rig.provider.calls[1][3]
    await rig.assert_clean()


async def test_a_rehearsal_that_fails_removes_as_well(rig: Rig) -> None:
    await rig.set_propagation(Propagation(limit=0.0))
    rig.provider.on_add = lambda _name, _value: None
    waited = asyncio.create_task(rig.solver.rehearse(rig.challenge.id, "www.corp.test"))
    rehearsal = await asyncio.wait_for(waited, 10)
    assert not rehearsal.seen
    assert "without the TXT record" in rehearsal.words
    assert rig.provider.records == {}


async def test_a_rehearsal_with_wrong_credentials_says_so(rig: Rig) -> None:
    rig.provider.fail("add_txt", DnsProviderRefused("403: token lacks the permission"))
    with pytest.raises(DnsProviderRefused, match="403: token lacks the permission"):
        await rig.solver.rehearse(rig.challenge.id, "www.corp.test")
    with pytest.raises(Missing):
        await rig.solver.rehearse("nothing", "www.corp.test")
    rig.dns.zones.add("_acme-challenge.www.corp.test", "CNAME", "www.far.test.")
    with pytest.raises(DnsWrong):
        await rig.solver.rehearse(rig.challenge.id, "www.corp.test")


@pytest.mark.parametrize("done", [True, False])
async def test_a_provider_that_knows_when_its_servers_have_a_record_is_asked_before_them(
    rig: Rig, *, done: bool
) -> None:
    async def propagated(_zone: str, _name: str, _value: str) -> bool:
        return done

    rig.provider.propagated = propagated  # type: ignore[attr-defined]
    bundle = await rig.bundle(await rig.open("corp.test"))
    (row,) = await planned(rig, bundle, [Wanted(bundle.authorizations[0], "v")])
    rig.dns.zones.add(row.name, "TXT", '"v"')
    (sight,) = await rig.solver.propagated((row,))
    lacking = ("the provider's servers (fake.dns)",)
    assert (sight.view.lacking, len(sight.view.showing)) == (() if done else lacking, int(done))
