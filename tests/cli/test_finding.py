"""Finding what is stuck: lists with filters, beginnings of ids, retries and credentials of many at once."""

import asyncio
import csv
import json
import os
import shutil
import stat
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from acmehub.admin.operations.queries import OrderQuery
from acmehub.app.hub import Hub, build_hub
from acmehub.cli.order import filters
from acmehub.cli.root import run
from acmehub.config import load_config
from acmehub.models import Actor, AuditEntry, Certificate, Event, EventKind, Order, OrderStatus, Stage
from acmehub.rules.orders import Change, OrderBundle
from acmehub.testing.store_samples import Seed, a_certificate, an_account
from tests.cli.conftest import Terminal

RESOURCES = """
[[authority]]
name = "away"
plugin = "ca_acme"
settings = { directory = "https://127.0.0.1:9/dir" }

[[principal]]
name = "printers"
roles = ["managed_acme_consumer"]

[[principal]]
name = "firewalls"
roles = ["managed_acme_consumer"]

[[token]]
title = "Printer 1"
principal = "printers"
names = "*.corp.test"

[[token]]
title = "Firewall 1"
principal = "firewalls"
names = "*.corp.test"
"""


class Found(msgspec.Struct):
    """Ids of what is in the storage; `covered` has a successor, `ends` has none."""

    refused: str
    lost: str
    waits: str
    fine: str
    failed: str
    covered: str
    ends: str
    account: str


def with_hub(terminal: Terminal, use: Callable[[Hub], Awaitable[Any]]) -> Any:
    return asyncio.run(_with_hub(terminal.folder / "data", use))


async def _with_hub(data: Path, use: Callable[[Hub], Awaitable[Any]]) -> Any:
    hub = build_hub(load_config(overrides={"data_dir": data}))
    async with hub.running():
        return await use(hub)


async def _actor(hub: Hub, title: str) -> Actor:
    (token,) = await hub.store.tokens.named(title)
    account, _ = await hub.store.accounts.bind(an_account(token), lambda token, _: token)
    actor = await hub.store.accounts.actor(account.id)
    assert actor is not None
    return actor


async def _fill(hub: Hub) -> Found:
    printer, firewall = await _actor(hub, "Printer 1"), await _actor(hub, "Firewall 1")
    (away,) = await hub.store.authorities.named("away")
    (local,) = await hub.store.authorities.named("local")
    now = hub.clock.now()

    async def order(actor: Actor, ago: float, *names: str, events: tuple[Event, ...] = (), **fields: Any) -> Order:
        authority = fields.pop("authority", away)
        seed = Seed(actor, authority, None)  # type: ignore[arg-type]
        bundle = seed.order(*names, created=now - timedelta(hours=ago))
        await hub.store.orders.add(bundle)
        lines = tuple(replace(event, order_id=bundle.order.id) for event in events)
        change = await hub.store.orders.apply(
            bundle.order.id, lambda found: Change(order=replace(found.order, **fields), events=lines)
        )
        return change.order

    async def certified(hours: float, days: float, *names: str) -> Certificate:
        done = await order(printer, hours, *names, authority=local, stage=Stage.DONE, status=OrderStatus.VALID)
        made = replace(a_certificate(done), not_before=now, not_after=now + timedelta(days=days))
        await hub.store.orders.apply(done.id, lambda found: Change(order=found.order, certificate=made))
        return made

    words = "connection refused " * 20
    trouble = Event(order_id="", at=now, kind=EventKind.CA_UNAVAILABLE, detail=words)
    later = {"attempts": 3, "run_at": now + timedelta(minutes=5), "deadline": now + timedelta(days=1)}
    refused = await order(printer, 1, "a.corp.test", "b.corp.test", "c.corp.test", events=(trouble,), **later)
    lost = await order(firewall, 30, "*.corp.test", events=(trouble,), stage=Stage.ISSUING, **later)
    lock = replace(trouble, kind=EventKind.WAITS_FOR_LOCK)
    waits = await order(printer, 1, "a.corp.test", events=(lock,), **{**later, "attempts": 1})
    fine = await order(firewall, 1, "d.corp.test")
    failed = await order(
        printer, 2, "e.corp.test", events=(trouble,), attempts=9, stage=Stage.FAILED, status=OrderStatus.INVALID
    )
    covered = await certified(3, 5, "x.corp.test", "y.corp.test")
    await certified(2, 80, "y.corp.test", "x.corp.test")
    ends = await certified(3, 6, "x.corp.test")
    return Found(refused.id, lost.id, waits.id, fine.id, failed.id, covered.id, ends.id, printer.account.id)


@pytest.fixture(scope="module")
def filled(founded: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Found]:
    """A data directory to be copied, and what is in it."""
    folder = tmp_path_factory.mktemp("filled")
    shutil.copytree(founded, folder / "data")
    (folder / "resources.toml").write_text(RESOURCES)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("acmehub.cli.shared.session.set_up_logs", lambda config: None)
        assert run(["apply", str(folder / "resources.toml"), "--data-dir", str(folder / "data")]) == 0
    return folder / "data", asyncio.run(_with_hub(folder / "data", _fill))


@pytest.fixture
def found(terminal: Terminal, filled: tuple[Path, Found]) -> Found:
    """What is in the data directory of `terminal`, which has its own copy."""
    folder, made = filled
    shutil.copytree(folder, terminal.folder / "data", dirs_exist_ok=True)
    return made


def audited(terminal: Terminal, limit: int = 9) -> list[AuditEntry]:
    return list(with_hub(terminal, lambda hub: hub.store.records.audited(limit)))


def ids(terminal: Terminal, *arguments: str) -> list[str]:
    return [item["id"] for item in terminal.json(*arguments)]


# ------------------------------------------------------------------------------------------------------- orders


def test_failing_orders_are_found_and_those_that_merely_wait_are_not(terminal: Terminal, found: Found) -> None:
    assert ids(terminal, "order", "list", "--failing") == [found.refused, found.lost]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (("--failing", "--since", "12h"), ["refused"]),
        (("--failing", "--principal", "firewalls"), ["lost"]),
        (("--failing", "--token", "Printer 1"), ["refused"]),
        (("--failing", "--authority", "local"), []),
        (("--stage", "issuing"), ["lost"]),
        (("--name", "A.corp.test", "--failing"), ["refused"]),
        (("--name", "*.corp.test"), ["lost"]),
        (("--status", "invalid", "--authority", "away"), ["failed"]),
    ],
)
def test_filters_of_orders_hold_together(
    terminal: Terminal, found: Found, options: tuple[str, ...], expected: list[str]
) -> None:
    assert ids(terminal, "order", "list", *options) == [getattr(found, name) for name in expected]


def test_every_filter_of_orders_is_an_option() -> None:
    command: Any = filters(lambda: None)
    assert {option.name for option in command.__click_params__} == set(OrderQuery.__struct_fields__)


def test_the_table_of_orders_has_tries_and_last_words_in_the_width_of_the_terminal(
    terminal: Terminal, found: Found, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "230")
    heads, *rows = terminal.ok("order", "list", "--failing").splitlines()
    assert heads.split("  ")[0] == "ORDER"
    assert "TRIES  NEXT TRY" in heads
    assert "PRINCIPAL/TOKEN" in heads
    assert "a.corp.test, b.corp.test and 1 more" in rows[0]
    assert "printers/Printer 1" in rows[0]
    assert "CA unavailable: connection refused" in rows[0]
    assert rows[0].endswith("…")
    assert [len(row) for row in rows] == [230, 230]
    (whole,) = terminal.json("order", "list", "--failing", "--since", "2h")
    assert whole["last_words"] == "CA unavailable: " + "connection refused " * 20
    assert (whole["attempts"], whole["token"]) == (3, "Printer 1")
    assert whole["run_at"]
    (failed,) = terminal.json("order", "list", "--status", "invalid")
    assert failed["last_words"].startswith("CA unavailable")
    (fine,) = terminal.json("order", "list", "--name", "d.corp.test")
    assert (fine["last_words"], fine["attempts"]) == ("", 0)


def test_what_names_nothing_is_an_error(terminal: Terminal, found: Found) -> None:
    assert "no principal 'x'" in terminal.refused(3, "order", "list", "--principal", "x")
    assert "is not like 30d" in terminal.refused(2, "order", "list", "--since", "soon")


# --------------------------------------------------------------------------------------------------------- retry


def test_all_failing_orders_of_an_authority_are_tried_at_once(terminal: Terminal, found: Found) -> None:
    dry = terminal.ok("order", "retry", "--failing", "--authority", "away", "--dry-run")
    assert dry.splitlines()[-1] == "would be tried: 2"
    assert len(ids(terminal, "order", "list", "--failing")) == 2
    assert not [entry for entry in audited(terminal) if entry.action == "order.retry"]
    assert terminal.ok("order", "retry", "--failing", "--authority", "away").splitlines() == ["due now: 2"]
    assert terminal.json("order", "list", "--failing") == []
    entries = [entry for entry in audited(terminal) if entry.action == "order.retry"]
    assert {entry.object for entry in entries} == {f"order {found.refused}", f"order {found.lost}"}
    assert len(entries) == 2


def test_an_order_that_cannot_be_retried_has_a_line_of_its_own(
    terminal: Terminal, found: Found, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_hub(terminal, lambda hub: hub.store.orders.apply(found.lost, _without_work))
    status, said, _ = terminal("order", "retry", "--failing")
    assert status == 1
    assert said.splitlines() == [
        f"order {found.lost}: there is nothing to retry: the order waits for its client",
        "due now: 1, refused: 1",
    ]
    assert terminal.json("order", "retry", "--failing", status=1)["refused"].keys() == {found.lost}


def _without_work(bundle: OrderBundle) -> Change:
    return Change(order=replace(bundle.order, run_at=None))


def test_a_retry_of_many_must_say_which(terminal: Terminal, found: Found) -> None:
    assert "--failing" in terminal.refused(2, "order", "retry")
    assert "--failing" in terminal.refused(2, "order", "retry", "--authority", "away")
    assert "either ORDER" in terminal.refused(2, "order", "retry", found.lost, "--failing")


# ------------------------------------------------------------------------------------------- beginnings of ids


def test_an_id_may_be_given_by_how_it_begins_everywhere(terminal: Terminal, found: Found) -> None:
    def begin(id: str) -> str:
        return id[:30]

    authority = terminal.json("authority", "show", "away")["id"]
    principal = terminal.json("principal", "show", "printers")["id"]
    token = terminal.json("token", "show", "Printer 1")["id"]
    assert terminal.json("order", "show", begin(found.lost))["id"] == found.lost
    assert terminal.json("order", "retry", begin(found.lost))["id"] == found.lost
    assert terminal.json("order", "cancel", begin(found.fine))["id"] == found.fine
    assert audited(terminal)[0].object == f"order {found.fine}"
    assert terminal.json("account", "show", begin(found.account))["id"] == found.account
    assert terminal.json("account", "set", begin(found.account), "--learned", "accept")["id"] == found.account
    assert audited(terminal)[0].object == f"account {found.account}"
    assert len(ids(terminal, "order", "list", "--account", begin(found.account))) >= 2
    everything = ids(terminal, "order", "list")
    assert ids(terminal, "order", "list", "--after", begin(everything[2])) == everything[3:]
    assert terminal.json("certificate", "show", begin(found.ends))["id"] == found.ends
    assert terminal.json("authority", "show", begin(authority))["name"] == "away"
    assert terminal.json("authority", "set", begin(authority), "--tag", "x")["tags"] == ["x"]
    assert audited(terminal)[0].object == authority
    assert terminal.json("principal", "show", begin(principal))["name"] == "printers"
    assert len(terminal.json("token", "list", "--principal", begin(principal))) == 1
    assert terminal.json("token", "eab", begin(token))["kid"] == token
    assert audited(terminal)[0].object == token
    assert terminal.json("check", "a.corp.test", "--token", begin(token))["names"]
    assert terminal.json("account", "deactivate", begin(found.account))["status"] == "deactivated"
    assert terminal.json("order", "show", found.refused)["status"] == "invalid"


def test_a_beginning_of_several_ids_says_how_many_and_which(terminal: Terminal, found: Found) -> None:
    said = terminal.refused(2, "order", "show", found.lost[:4])
    assert f"8 ids begin with {found.lost[:4]}; give more digits: " in said
    assert said.endswith(", …")
    assert said.count(found.lost[:4]) == 4
    assert "there is no order" in terminal.refused(3, "order", "show", found.lost[:3])
    assert "ids begin with" in terminal.refused(2, "token", "show", terminal.json("token", "list")[0]["id"][:4])


def test_a_name_goes_before_the_beginning_of_an_id(terminal: Terminal, found: Found) -> None:
    beginning = terminal.json("principal", "show", "printers")["id"][:30]
    terminal.ok("token", "add", beginning)  # makes a principal of this name
    assert terminal.json("principal", "show", beginning)["name"] == beginning
    assert terminal.json("token", "show", beginning)["principal"] == beginning


# -------------------------------------------------------------------------------------------------- credentials


def test_credentials_of_a_principal_are_written_to_a_file_of_their_own(terminal: Terminal, found: Found) -> None:
    terminal.ok("token", "add", "Printer 2", "--principal", "printers", "--expires", "2090-01-01")
    terminal.ok("token", "add", "off", "--principal", "printers", "--disabled")
    terminal.ok("token", "add", "over", "--principal", "printers", "--expires", "2020-01-01")
    before = os.umask(0)  # the mode is not left to the caller's
    try:
        status, said, aside = terminal("token", "eab", "--principal", "printers", "--csv", "p.csv")
    finally:
        os.umask(before)
    assert (status, said) == (0, "2 tokens written to p.csv\n")
    assert aside.splitlines() == ["acmehub: left out: off: it is disabled", "acmehub: left out: over: it is expired"]
    assert stat.S_IMODE(Path("p.csv").stat().st_mode) == 0o600
    heads, *rows = csv.reader(Path("p.csv").read_text().splitlines())
    assert heads == ["title", "kid", "hmac_key", "directory", "expires"]
    assert [row[0] for row in rows] == ["Printer 1", "Printer 2"]
    for row in rows:
        shown = terminal.json("token", "eab", row[0])
        assert row[1:4] == [shown["kid"], shown["hmac_key"], shown["directory"]]
        assert shown["hmac_key"] not in said
    assert [row[4] for row in rows] == ["", "2090-01-01T00:00:00+00:00"]
    entries = [entry for entry in audited(terminal, 20) if entry.action == "token.eab_of"]
    assert sorted(entry.object for entry in entries) == sorted(row[1] for row in rows)


def test_a_file_is_not_overwritten_and_nothing_is_revealed_that_is_not_audited(
    terminal: Terminal, found: Found, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("p.csv").write_text("mine")
    assert "p.csv: File exists" in terminal.refused(1, "token", "eab", "--principal", "printers", "--csv", "p.csv")
    assert Path("p.csv").read_text() == "mine"
    assert not [entry for entry in audited(terminal) if entry.action == "token.eab_of"]
    terminal.ok("token", "revoke", "Printer 1")
    said = terminal.refused(1, "token", "eab", "--principal", "printers", "--csv", "q.csv")
    assert "no token that can bind an account now: Printer 1: token 'Printer 1' is revoked" in said
    assert not Path("q.csv").exists()
    assert audited(terminal)[0].allowed is False
    for odd in (
        ("--principal", "printers"),
        ("Printer 1", "--principal", "printers", "--csv", "r.csv"),
        ("--csv", "r"),
    ):
        assert "either TITLE" in terminal.refused(2, "token", "eab", *odd)


# -------------------------------------------------------------------------------------------------- certificates


def test_certificates_without_a_successor_are_found_before_they_end(terminal: Terminal, found: Found) -> None:
    assert ids(terminal, "certificate", "list", "--expires-within", "30d") == [found.covered, found.ends]
    assert ids(terminal, "certificate", "list", "--expires-within", "30d", "--uncovered") == [found.ends]
    assert ids(terminal, "certificate", "list", "--expires-within", "12h", "--uncovered") == []
    wanted = ("--expires-within", "1w", "--uncovered", "--name", "x.corp.test", "--principal", "printers")
    assert ids(terminal, "certificate", "list", *wanted, "--token", "Printer 1", "--authority", "local") == [found.ends]
    assert ids(terminal, "certificate", "list", *wanted[:-1], "firewalls") == []
    assert "--expires-within 30d" in terminal.refused(2, "certificate", "list", "--uncovered")
    assert "is not like 12h" in terminal.refused(2, "certificate", "list", "--expires-within", "soon")


def test_a_list_that_is_not_complete_yet_says_so(terminal: Terminal, found: Found) -> None:
    async def old(hub: Hub) -> None:
        actor = await hub.store.accounts.actor(found.account)
        (local,) = await hub.store.authorities.named("local")
        assert actor is not None
        bundle = Seed(actor, local, None).order("old.corp.test", created=hub.clock.now())  # type: ignore[arg-type]
        made = replace(a_certificate(bundle.order), name_set=None, not_after=hub.clock.now())
        await hub.store.orders.add(bundle)
        await hub.store.orders.apply(bundle.order.id, lambda now: Change(order=now.order, certificate=made))

    with_hub(terminal, old)
    arguments = ("certificate", "list", "--expires-within", "30d", "--uncovered")
    status, said, aside = terminal(*arguments, "--json")
    assert (status, [item["id"] for item in json.loads(said)]) == (0, [found.ends])
    assert "are missing until `serve` or `worker` has run" in aside
    with_hub(terminal, lambda hub: hub.store.certificates.fill_name_sets(9))
    status, said, aside = terminal(*arguments)
    assert (status, aside) == (0, "")
    assert "old.corp.test" in said
