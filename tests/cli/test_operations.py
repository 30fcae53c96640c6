"""`order`, `account`, `certificate` on real orders."""

import asyncio
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest
from msgspec.structs import replace

from acmehub.admin.resources.authorities import NewAuthority
from acmehub.admin.resources.managed_challenges import NewManagedChallenge
from acmehub.admin.resources.principals import NewPrincipal, parse_role
from acmehub.admin.resources.tokens import NewToken
from acmehub.app.hub import Hub, build_hub
from acmehub.config import load_config
from acmehub.models import AuditEntry, Event, EventKind, OrderStatus, Pause
from acmehub.models.identifiers import Identifier
from acmehub.models.wire import NewAccount, NewOrder
from acmehub.rules.orders import Change, OrderBundle
from acmehub.rules.permissions import Acting
from acmehub.testing.acme_keys import AccountKey, ExternalAccount, compact, make_csr
from tests.cli.conftest import Terminal

OPERATOR = Acting.machine("test")
TSIG = "c2VjcmV0LXRzaWcta2V5LW9mLXRoaXMtdGVzdA=="


class Done(msgspec.Struct):
    """The ids of what `used` has left in the storage."""

    account: str
    valid: str
    certificate: str
    waiting: str
    stuck: str


async def _use(hub: Hub) -> Done:
    async with hub.running(worker=True):
        account_id = await _account(hub)
        actor = await hub.store.accounts.actor(account_id)
        assert actor is not None

        async def order(name: str) -> OrderBundle:
            return await hub.orders.open(actor, NewOrder(identifiers=(Identifier("dns", name),)))

        valid = await order("www.corp.test")
        csr, _ = make_csr(["www.corp.test"])
        await hub.orders.finalize(actor, valid.order.id, csr)
        with hub.order_events.subscribe(valid.order.id) as news:
            async with asyncio.timeout(20):
                while (found := await hub.orders.order(actor, valid.order.id)).order.status is not OrderStatus.VALID:
                    await news.wait(found.order.version, 1)
        certificate = (await hub.orders.order(actor, valid.order.id)).order.certificate_id
        waiting = await order("later.corp.test")
        await hub.admin.authorities.add(
            NewAuthority(
                name="away", plugin="ca_acme", settings={"directory": "https://127.0.0.1:9/dir"}, default=True
            ),
            OPERATOR,
        )
        await hub.admin.managed_challenges.add(
            NewManagedChallenge(
                name="corp zone",
                plugin="dns_rfc2136",
                match="*.corp.test",
                settings={"server": "127.0.0.1", "port": 9, "key_name": "hub.", "key_secret": TSIG},
            ),
            OPERATOR,
        )
        stuck = await order("stuck.corp.test")
        with hub.order_events.subscribe(stuck.order.id) as news:
            async with asyncio.timeout(20):
                while (found := await hub.orders.order(actor, stuck.order.id)).order.attempts == 0:
                    await news.wait(found.order.version, 1)
    return Done(account_id, valid.order.id, str(certificate), waiting.order.id, stuck.order.id)


async def _account(hub: Hub) -> str:
    roles = (parse_role("managed_acme_consumer"),)
    await hub.admin.principals.add(NewPrincipal(name="firewall-01", roles=roles), OPERATOR)
    await hub.admin.tokens.add(NewToken(title="Firewall 01", principal="firewall-01", names="*.corp.test"), OPERATOR)
    (token,) = await hub.store.tokens.list()
    key = hub.vault.open("token.hmac", token.id, token.sealed_hmac_key)
    pair, url = AccountKey.generate(), "https://localhost:8443/acme/new-account"
    binding = msgspec.Raw(compact(ExternalAccount(token.id, key).binding(pair, url)))

    async def accept() -> None:
        """There is no request whose nonce could be used up."""

    registered = await hub.accounts.register(
        NewAccount(external_account_binding=binding, contact=("mailto:ops@corp.test",)),
        jwk=compact(dict(sorted(pair.jwk.items()))),
        thumbprint=pair.thumbprint,
        new_account_url=url,
        accept=accept,
        user_agent="strict-client/1",
    )
    return registered.account.id


@pytest.fixture
def used(terminal: Terminal) -> Done:
    """A storage with one valid order, one that waits for its client, and one whose CA cannot be reached."""
    config = load_config(overrides={"data_dir": terminal.folder / "data"})

    async def use() -> Done:
        return await _use(build_hub(config))

    return asyncio.run(use())


def audited(terminal: Terminal) -> list[AuditEntry]:
    async def read() -> list[AuditEntry]:
        hub = build_hub(load_config(overrides={"data_dir": terminal.folder / "data"}))
        async with hub.running():
            return list(await hub.store.records.audited(5))

    return asyncio.run(read())


# ------------------------------------------------------------------------------------------------------ orders


def test_orders_are_listed_newest_first_and_by_status(terminal: Terminal, used: Done) -> None:
    listed = terminal.json("order", "list")
    assert [item["id"] for item in listed] == [used.stuck, used.waiting, used.valid]
    assert {item["principal"] for item in listed} == {"firewall-01"}
    assert listed[0]["authority"] == "away"
    assert [item["id"] for item in terminal.json("order", "list", "--status", "valid")] == [used.valid]
    assert [item["id"] for item in terminal.json("order", "list", "--limit", "1", "--after", used.stuck)] == [
        used.waiting
    ]
    assert len(terminal.json("order", "list", "--account", used.account)) == 3
    said = terminal.ok("order", "list")
    assert said.splitlines()[0].split() == [
        *("ORDER", "STATUS", "STAGE", "NAMES", "PRINCIPAL/TOKEN", "AUTHORITY", "TRIES", "NEXT", "TRY", "LAST", "WORDS")
    ]
    assert "www.corp.test" in said


def test_an_order_is_shown_with_its_timeline(terminal: Terminal, used: Done) -> None:
    said = terminal.ok("order", "show", used.valid)
    lines = said.splitlines()
    assert "status          valid (fulfilment: done)" in lines
    assert "principal       firewall-01, by token 'Firewall 01'" in lines
    assert f"certificate     {used.certificate}" in lines
    begin = next(number for number, line in enumerate(lines) if line.startswith("timeline (UTC, "))
    events = lines[begin + 1 :]
    assert re.match(r"  \d\d:\d\d:\d\d\.\d{3} +\+0\.00 s  order opened ", events[0])
    assert "certificate issued" in events[-1]
    data = terminal.json("order", "show", used.valid)
    assert data["names"] == ["www.corp.test"]
    assert data["timeline"][0]["kind"] == "order opened"
    assert data["authorizations"][0]["status"] == "valid"
    assert data["error"] is None


def test_an_order_in_trouble_says_what_is_tried_and_when(terminal: Terminal, used: Done) -> None:
    data = terminal.json("order", "show", used.stuck)
    assert data["status"] == "ready"
    assert any("127.0.0.1:9" in event["server"] for event in data["timeline"])


def test_an_order_that_is_tried_again_is_due_now(terminal: Terminal, used: Done) -> None:
    before = terminal.json("order", "show", used.stuck)
    changed = terminal.json("order", "retry", used.stuck)
    after = terminal.json("order", "show", used.stuck)
    assert changed["id"] == used.stuck
    assert after["attempts"] == 0
    assert after["run_at"] != before["run_at"]
    assert after["timeline"][-1]["kind"] == "retried by an operator"
    entry = audited(terminal)[0]
    assert (entry.action, entry.object) == ("order.retry", f"order {used.stuck}")
    assert entry.actor.startswith("cli:")


def test_an_order_that_waits_for_its_client_or_is_finished_cannot_be_retried(terminal: Terminal, used: Done) -> None:
    assert "waits for its client" in terminal.refused(1, "order", "retry", used.waiting)
    assert "valid" in terminal.refused(1, "order", "retry", used.valid)


def test_an_order_that_waits_says_for_what_and_what_to_do(terminal: Terminal, used: Done) -> None:
    shown = terminal.ok("order", "show", used.stuck)
    assert re.search(r"waits because +CA unavailable: .*127\.0\.0\.1:9", shown)
    assert re.search(r"what to do +is the CA reachable from here\? .*`acmehub authority set away …`", shown)
    assert "waits because" not in terminal.ok("order", "show", used.waiting)


def test_a_pause_is_shown_with_what_to_do_and_cleared(terminal: Terminal, used: Done) -> None:
    pause = Pause(datetime(2026, 11, 28, tzinfo=UTC), "this account is paused: https://ca.test/unpause")
    event = EventKind.CA_PAUSED

    async def let_it_be_paused(hub: Hub) -> None:
        async with hub.running():
            (away,) = await hub.store.authorities.named("away")
            await hub.plugin_objects.pause(away.id, pause)
            await hub.store.records.note([Event(order_id=used.stuck, at=pause.since, kind=event, detail=pause.detail)])

    asyncio.run(let_it_be_paused(build_hub(load_config(overrides={"data_dir": terminal.folder / "data"}))))
    assert re.search(r"away +ca_acme +default, paused by the CA", terminal.ok("authority", "list"))
    shown = terminal.ok("authority", "show", "away")
    assert f"for the account: {pause.detail}" in shown
    assert "then: acmehub authority clear-pause away" in shown
    assert terminal.json("authority", "show", "away")["pauses"][0]["detail"] == pause.detail
    order = terminal.ok("order", "show", used.stuck)
    assert f"{event}: {pause.detail}" in order
    assert "then `acmehub authority clear-pause away`" in order
    assert "paused" not in terminal.ok("authority", "clear-pause", "away")
    entry = audited(terminal)[0]
    assert (entry.action, entry.object, entry.allowed) == ("authority.clear_pause", "away", True)
    assert terminal.json("authority", "list")[-1]["pauses"] == []
    assert "there is no authority" in terminal.refused(3, "authority", "clear-pause", "none")


def test_a_start_goes_on_at_once_with_what_waits_for_a_plugin(terminal: Terminal, used: Done) -> None:
    async def start(hub: Hub) -> None:
        async with hub.running():
            event = Event(order_id=used.stuck, at=hub.clock.now(), kind=EventKind.NEEDS_OPERATOR, detail="no plugin")
            later = hub.clock.now() + timedelta(hours=1)
            bundle = await hub.store.orders.apply(
                used.stuck, lambda stored: Change(order=replace(stored.order, run_at=later), events=(event,))
            )
        hub = build_hub(hub.config)
        async with hub.running(worker=True), asyncio.timeout(20):
            with hub.order_events.subscribe(used.stuck) as news:
                while (found := await hub.store.orders.get(used.stuck)) is not None:
                    if found.order.attempts > bundle.order.attempts:
                        return
                    await news.wait(found.order.version, 1)

    asyncio.run(start(build_hub(load_config(overrides={"data_dir": terminal.folder / "data"}))))


def test_a_cancelled_order_is_invalid_for_good(terminal: Terminal, used: Done) -> None:
    assert terminal.json("order", "cancel", used.stuck)["status"] == "invalid"
    shown = terminal.json("order", "show", used.stuck)
    assert "cancelled by the operator" in shown["error"]["detail"]
    assert "final" in terminal.refused(1, "order", "retry", used.stuck)
    assert "final" in terminal.refused(1, "order", "cancel", used.stuck)
    assert terminal.json("order", "cancel", used.waiting)["status"] == "invalid"


def test_what_is_not_there_is_not_found(terminal: Terminal) -> None:
    for arguments in (("order", "show"), ("order", "retry"), ("order", "cancel"), ("account", "show")):
        assert "there is no" in terminal.refused(3, *arguments, "0" * 32)
    assert "there is no account" in terminal.refused(3, "account", "deactivate", "none")
    assert "there is no certificate" in terminal.refused(3, "certificate", "show", "00:01")
    assert terminal.ok("order", "list") == "no orders\n"
    assert terminal.ok("account", "list") == "no accounts\n"
    assert terminal.ok("certificate", "list") == "no certificates\n"


# ---------------------------------------------------------------------------------------------------- accounts


def test_an_account_is_listed_and_shown(terminal: Terminal, used: Done) -> None:
    (listed,) = terminal.json("account", "list")
    assert (listed["id"], listed["token"], listed["user_agent"]) == (used.account, "Firewall 01", "strict-client/1")
    assert "mailto:ops@corp.test" in terminal.ok("account", "show", used.account)
    assert listed["authorization"] == "preapproved"


def test_what_auto_has_learned_of_an_account_is_shown_and_corrected(terminal: Terminal, used: Done) -> None:
    assert "preapproved (nothing special is known of this client)" in terminal.ok("account", "show", used.account)
    shown = terminal.ok("account", "set", used.account, "--learned", "accept")
    assert "accept (learned: set by cli:" in shown
    assert terminal.json("account", "show", used.account)["learned"] == "accept"
    assert terminal.json("account", "set", used.account, "--learned", "none")["authorization"] == "preapproved"
    assert "there is no account" in terminal.refused(3, "account", "set", "none", "--learned", "none")
    terminal.refused(2, "account", "set", used.account, "--learned", "verify")


def test_an_account_is_deactivated(terminal: Terminal, used: Done) -> None:
    assert terminal.json("account", "deactivate", used.account)["status"] == "deactivated"
    assert terminal.json("account", "deactivate", used.account)["status"] == "deactivated"
    assert [entry.action for entry in audited(terminal)].count("account.deactivate") == 1
    assert "in use by ACME account" in terminal.refused(4, "token", "remove", "Firewall 01")


# ------------------------------------------------------------------------------------------------ certificates


def test_a_certificate_is_found_by_name_id_and_serial_number(terminal: Terminal, used: Done) -> None:
    (listed,) = terminal.json("certificate", "list", "--name", "WWW.corp.test")
    assert listed["id"] == used.certificate
    assert terminal.json("certificate", "list", "--name", "other.test") == []
    # its set of names was stored with it
    assert terminal.json("certificate", "list", "--expires-within", "9999d", "--uncovered")[0] == listed
    serial = listed["serial"].zfill(len(listed["serial"]) + len(listed["serial"]) % 2)
    colons = ":".join(re.findall("..", serial.upper()))
    assert terminal.json("certificate", "show", colons)["id"] == used.certificate
    shown = terminal.json("certificate", "show", used.certificate)
    assert (shown["order"], shown["authority"]) == (used.valid, "local")
    pem = terminal.ok("certificate", "show", used.certificate, "--pem")
    assert pem == shown["chain"]
    assert "names        www.corp.test" in terminal.ok("certificate", "show", used.certificate)


def test_a_certificate_is_revoked_once(terminal: Terminal, used: Done) -> None:
    assert terminal.json("certificate", "revoke", used.certificate, "--reason", "superseded")["revoked"]
    assert "was revoked" in terminal.refused(1, "certificate", "revoke", used.certificate)
    assert "(superseded)" in terminal.ok("certificate", "show", used.certificate)
    serial = terminal.json("certificate", "show", used.certificate)["serial"]
    spelt = ":".join(serial[at : at + 2] for at in range(0, len(serial), 2)).upper()
    assert terminal.json("certificate", "show", spelt)["revocation_reason"] == 4
    assert "revoked" in terminal.ok("certificate", "list")
    assert audited(terminal)[0].action == "certificate.revoke"
    assert "Invalid value for '--reason'" in terminal.refused(
        2, "certificate", "revoke", used.certificate, "--reason", "bored"
    )


def test_the_work_folder_is_left_alone(terminal: Terminal) -> None:
    terminal.ok("principal", "list")
    assert {path.name for path in Path().iterdir()} == {"data"}
