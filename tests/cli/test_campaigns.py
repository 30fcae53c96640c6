"""`certificate renew-by`, `campaigns`, `end-campaign`, and what disabling an authority says of them."""

import asyncio
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import click
import pytest
from msgspec.structs import replace

from acmehub.app.hub import build_hub
from acmehub.cli.shared.times import MOMENT, PAST
from acmehub.config import load_config
from acmehub.rules.orders import Change
from acmehub.testing.store_samples import a_certificate, sow
from tests.cli.conftest import Terminal

NAMES = [f"n{number}.corp.test" for number in range(7)]


async def _issue(folder: Path) -> None:
    """Certificates of authority `pebble` and principal `firewall-01`."""
    hub = build_hub(load_config(overrides={"data_dir": folder / "data"}))
    async with hub.running():
        seed = await sow(hub.store)
        settings = hub.vault.seal("authority.settings", seed.authority.id, b'{"directory": "https://127.0.0.1:9/dir"}')
        await hub.store.authorities.replace(replace(seed.authority, plugin="ca_acme", sealed_settings=settings))
        now = datetime.now(UTC) - timedelta(hours=1)
        for name in NAMES:
            bundle = seed.order(name, created=now)
            await hub.store.orders.add(bundle)
            certificate = replace(
                a_certificate(bundle.order, created=now),
                not_before=now,
                not_after=now + timedelta(days=90),
                principal_id=seed.actor.principal.id,
            )
            await hub.store.orders.apply(
                bundle.order.id,
                lambda stored, issued=certificate: Change(order=stored.order, certificate=issued),  # type: ignore[misc]
            )


@pytest.fixture
def stocked(terminal: Terminal) -> Terminal:
    asyncio.run(_issue(terminal.folder))
    return terminal


def test_a_dry_run_tells_how_many_of_whom_and_when_and_stores_nothing(stocked: Terminal) -> None:
    said = stocked.ok("certificate", "renew-by", "+3d", "--authority", "pebble", "--reason", "revocation", "--dry-run")
    lines = said.splitlines()
    assert lines[0].endswith("(dry run: nothing is changed)")
    assert "reason         revocation" in lines
    assert "for            authority pebble" in lines
    assert "certificates   7" in lines
    assert "  firewall-01  7" in lines
    assert lines[lines.index("") + 1].split() == ["FROM", "PRINCIPAL", "NAMES"]
    assert lines[-1] == "… and 2 more"
    assert stocked.ok("certificate", "campaigns").strip() == "no campaigns"


def test_a_campaign_is_begun_listed_and_ended(stocked: Terminal) -> None:
    data = stocked.json(
        "certificate", "renew-by", "2099-11-27", "--name", "incident-42", "--names", "n1.corp.test, n2.corp.test"
    )
    assert data["dry_run"] is False
    assert data["campaign"]["renew_by"] == "2099-11-27T00:00:00Z"
    assert (data["campaign"]["left"], data["principals"]) == (2, {"firewall-01": 2})
    assert len(data["first"]) == 2
    heads, row = stocked.ok("certificate", "campaigns").splitlines()
    assert heads.split() == ["CAMPAIGN", "STATE", "LEFT", "RENEW", "BY", "FOR"]
    assert row.split()[:5] == ["incident-42", "on", "2", "of", "2"]
    assert row.endswith("names n1.corp.test, n2.corp.test")
    said = stocked.ok("certificate", "end-campaign", "incident-42").strip()
    assert said == "ended campaign incident-42; 2 of 2 certificates were not renewed"
    assert stocked.json("certificate", "campaigns")[0]["state"] == "ended"
    assert "ended on" in stocked.refused(1, "certificate", "end-campaign", "incident-42")


def test_a_certificate_is_shown_with_what_its_client_is_told(stocked: Terminal) -> None:
    [newest, *_] = stocked.json("certificate", "list")
    assert re.search(r"^to renew +\S+ \S+ to .*, by its dates$", stocked.ok("certificate", "show", newest["id"]), re.M)
    stocked.ok("certificate", "renew-by", "+3d")
    assert stocked.ok("certificate", "show", newest["id"]).count(", by a campaign\n") == 1
    assert stocked.json("certificate", "show", newest["id"])["renewal"]["origin"] == "campaign"


def test_mistakes_are_told_with_what_would_be_right(stocked: Terminal) -> None:
    assert "is not like 30d" in stocked.refused(2, "certificate", "renew-by", "friday")
    assert "renew_by" in stocked.refused(2, "certificate", "renew-by", "2026-01-01")
    assert "names" in stocked.refused(2, "certificate", "renew-by", "+3d", "--names", "*.*.test")
    assert "no authority" in stocked.refused(3, "certificate", "renew-by", "+3d", "--authority", "nowhere")
    assert "acmehub certificate campaigns" in stocked.refused(3, "certificate", "end-campaign", "nothing")
    stocked.ok("certificate", "renew-by", "+3d", "--name", "twice")
    assert "twice" in stocked.refused(4, "certificate", "renew-by", "+3d", "--name", "twice")


def test_disabling_an_authority_tells_how_its_certificates_would_be_renewed(stocked: Terminal) -> None:
    with_none = stocked.ok("authority", "set", "local", "--disable")
    assert "renew-by" not in with_none
    said = stocked.ok("authority", "set", "pebble", "--disable").splitlines()[-1]
    assert said == (
        "7 certificates of it are in use; to have them renewed elsewhere: "
        "acmehub certificate renew-by DATE --authority pebble"
    )
    assert "renew-by" in stocked.refused(4, "authority", "remove", "pebble")


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("2026-11-27", "2026-11-27T00:00:00+00:00"),
        ("2026-11-27T18:00", "2026-11-27T18:00:00+00:00"),
        ("2026-11-27T18:00Z", "2026-11-27T18:00:00+00:00"),
        ("2026-11-27T18:00+02:00", "2026-11-27T16:00:00+00:00"),
    ],
)
def test_dates_are_utc_unless_they_say_otherwise(text: str, meant: str) -> None:
    for kind in (MOMENT, PAST):
        assert kind.convert(text, None, None).isoformat() == meant


@pytest.mark.parametrize(
    ("text", "away"), [("90s", 90), ("5m", 300), ("12h", 43_200), ("3d", 259_200), ("2w", 1_209_600)]
)
def test_a_time_can_be_told_from_now(text: str, away: int) -> None:
    for kind, given, expected in (
        (MOMENT, text, away),
        (PAST, text, -away),
        (PAST, f"+{text}", away),
        (MOMENT, f"-{text}", -away),
    ):
        assert abs((kind.convert(given, None, None) - datetime.now(UTC)).total_seconds() - expected) < 5


@pytest.mark.parametrize("nonsense", ["+3", "3x", "+-3d", "-", "", "tomorrow", "999999w"])
def test_what_is_no_time_is_refused(nonsense: str) -> None:
    with pytest.raises(click.BadParameter):
        MOMENT.convert(nonsense, None, None)
