"""`order`, `account`, `certificate` on real orders, and `check` against a real DNS server."""

import asyncio
import json
import re
from collections.abc import Iterator
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
from acmehub.testing.dns_server import DnsServer, FaultKind, running_in_thread, tsig_key
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


# ------------------------------------------------------------------------------------------------------- check


@pytest.fixture
def dns() -> Iterator[DnsServer]:
    server = DnsServer(["corp.test", "auth.test"], keys=[tsig_key("hub.", "hmac-sha256", TSIG)])
    server.zones.add("_acme-challenge.alias.corp.test", "CNAME", "alias.auth.test.")
    server.zones.add("corp.test", "CAA", '0 issue "ca.test"')
    with running_in_thread(server) as running:
        yield running


def configure(terminal: Terminal, dns: DnsServer, *, cname_zones: str = "", secret: str = TSIG) -> None:
    (terminal.folder / "acmehub.toml").write_text(
        f'[dns]\nresolvers = ["127.0.0.1:{dns.port}"]\nport = {dns.port}\ntimeout = 2\n'
    )
    (terminal.folder / "resources.toml").write_text(
        f"""
        [[authority]]
        name = "pebble"
        plugin = "ca_acme"
        default = true
        settings = {{ directory = "https://127.0.0.1:9/dir" }}

        [[managed_challenge]]
        name = "corp zone"
        plugin = "dns_rfc2136"
        match = "corp.test, *.corp.test"
        cname_zones = [{cname_zones}]
        settings = {{ server = "127.0.0.1", port = {dns.port}, key_name = "hub.", key_secret = "{secret}" }}

        [[principal]]
        name = "firewall-01"
        roles = ["managed_acme_consumer"]

        [[principal]]
        name = "stranger"

        [[token]]
        title = "Firewall 01"
        principal = "firewall-01"
        names = "www.corp.test"
        """
    )
    terminal.ok("apply", "resources.toml")


def test_a_name_that_would_work_is_told_with_rule_zone_caa_and_authority(terminal: Terminal, dns: DnsServer) -> None:
    configure(terminal, dns)
    said = terminal.ok("check", "www.corp.test", "--principal", "firewall-01")
    for words in (
        "pebble (ca_acme)",
        "https://127.0.0.1:9/dir",
        "✓ www.corp.test",
        "corp zone (dns_rfc2136)",
        "*.corp.test",
        "_acme-challenge.www.corp.test",
        "ns1.corp.test",
        "corp.test: issue 'ca.test'",
    ):
        assert words in said, said
    found = terminal.json("check", "www.corp.test")
    assert found["good"] is True
    assert found["names"][0]["dns"]["zone"] == "corp.test"


def test_caa_that_cannot_be_asked_is_a_warning(terminal: Terminal, dns: DnsServer) -> None:
    configure(terminal, dns)
    with dns.fault(FaultKind.SERVFAIL, rdtype="CAA"):
        said = terminal.ok("check", "www.corp.test")
        found = terminal.json("check", "www.corp.test")
    assert "✓ www.corp.test" in said
    assert "⚠" in said
    assert "no resolver could answer for CAA of www.corp.test" in said
    assert "✗" not in said
    assert "any CA may issue" not in said
    assert (found["good"], found["names"][0]["dns"]["error"]) == (True, "")
    assert "SERVFAIL" in found["names"][0]["dns"]["caa_error"]


def test_a_zone_and_resolvers_of_its_own_are_set_shown_and_exported(terminal: Terminal, dns: DnsServer) -> None:
    configure(terminal, dns)
    (terminal.folder / "acmehub.toml").write_text(f'[dns]\nresolvers = ["127.0.0.1:9"]\nport = {dns.port}\n')
    own = f"127.0.0.1:{dns.port}"
    assert "resolvers" in terminal.ok("challenge", "set", "corp zone", "--zone", "corp.test", "--resolver", own)
    shown = terminal.json("challenge", "show", "corp zone")
    assert (shown["zone"], shown["resolvers"]) == ("corp.test", [own])
    assert terminal.json("check", "www.corp.test")["names"][0]["dns"]["zone"] == "corp.test"
    exported = terminal.ok("export")
    assert 'zone = "corp.test"' in exported
    assert own in exported
    terminal.ok("challenge", "set", "corp zone", "--zone", "", "--no-resolvers")
    shown = terminal.json("challenge", "show", "corp zone")
    assert (shown["zone"], shown["resolvers"]) == ("", [])


def test_live_writes_sees_and_removes_a_record(terminal: Terminal, dns: DnsServer) -> None:
    configure(terminal, dns)
    found = terminal.json("check", "www.corp.test", "corp.test", "--live")
    assert [item["rehearsal"]["seen"] for item in found["names"]] == [True, True]
    updates = [seen for seen in dns.seen if "UPDATE" in str(seen)]
    assert len(updates) >= 4
    assert not dns.zones.txt()


def test_wrong_credentials_are_found_by_live(terminal: Terminal, dns: DnsServer) -> None:
    configure(terminal, dns, secret="d3JvbmctdHNpZy1rZXktb2YtdGhpcy10ZXN0LXh4")
    found = terminal.json("check", "www.corp.test", "--live", status=1)
    assert found["names"][0]["rehearsal_error"]
    assert "✗ www.corp.test" in terminal(*("check", "www.corp.test", "--live"))[1]


def test_a_cname_into_a_zone_that_is_not_allowed_is_told(terminal: Terminal, dns: DnsServer) -> None:
    configure(terminal, dns)
    found = terminal.json("check", "alias.corp.test", status=1)
    assert "auth.test" in found["names"][0]["dns"]["error"]


def test_a_cname_into_an_allowed_zone_is_shown(terminal: Terminal, dns: DnsServer) -> None:
    configure(terminal, dns, cname_zones='"auth.test"')
    said = terminal.ok("check", "alias.corp.test")
    assert "_acme-challenge.alias.corp.test → alias.auth.test" in said


def test_names_outside_the_scope_are_told_with_the_rule_that_would_be_needed(
    terminal: Terminal, dns: DnsServer
) -> None:
    configure(terminal, dns)
    found = terminal.json("check", "www.corp.test", "www.other.test", status=1)
    assert [bool(item["refusal"]) for item in found["names"]] == [False, True]
    assert "*.other.test" in found["names"][1]["refusal"]
    assert terminal.json("check", "api.corp.test", "--token", "Firewall 01", status=1)["names"][0]["refusal"]
    assert terminal.json("check", "api.corp.test", "--principal", "firewall-01")["good"] is True


def test_a_principal_without_the_role_is_refused(terminal: Terminal, dns: DnsServer) -> None:
    configure(terminal, dns)
    found = terminal.json("check", "www.corp.test", "--principal", "stranger", status=1)
    assert "managed_acme_consumer" in found["names"][0]["refusal"]


def test_an_unknown_principal_token_or_pair_is_an_error(terminal: Terminal, dns: DnsServer) -> None:
    configure(terminal, dns)
    assert "no principal 'x'" in terminal.refused(3, "check", "a.corp.test", "--principal", "x")
    assert "no token 'x'" in terminal.refused(3, "check", "a.corp.test", "--token", "x")
    said = terminal.refused(2, "check", "a.corp.test", "--token", "Firewall 01", "--principal", "stranger")
    assert "is not one of principal 'stranger'" in said


def test_a_name_that_no_order_can_have_is_refused(terminal: Terminal) -> None:
    assert "a..b" in terminal.refused(1, "check", "a..b")


def test_without_any_authority_check_says_what_to_do(terminal: Terminal) -> None:
    terminal.ok("authority", "remove", "local")
    found = terminal.json("check", "www.corp.test", status=1)
    assert "acmehub authority add" in found["authority"]["error"]


def test_a_check_with_a_signing_authority_needs_no_dns(terminal: Terminal) -> None:
    terminal.ok("token", "add", "t", "--names", "a.test")
    found = terminal.json("check", "a.test", "--token", "t")
    assert found["authority"]["signing"] is True
    assert found["names"][0]["dns"] is None
    assert json.loads(json.dumps(found)) == found


def test_a_check_of_an_address_says_whether_token_and_authority_allow_it(terminal: Terminal) -> None:
    terminal.ok("token", "add", "t", "--names", "10.0.0.0/8")
    assert terminal.json("check", "10.1.2.3", "--token", "t")["names"][0]["refusal"] == ""
    found = terminal.json("check", "192.0.2.1", "--token", "t", status=1)
    assert "outside the names of this API token (10.0.0.0/8)" in found["names"][0]["refusal"]
    terminal.ok("authority", "add", "relay", "--plugin", "ca_acme", "--set", "directory=https://ca.test/d", "--default")
    found = terminal.json("check", "10.1.2.3", "--token", "t", status=1)
    assert found["names"][0]["refusal"] == "authority 'relay' does not issue for IP addresses"


def test_the_work_folder_is_left_alone(terminal: Terminal) -> None:
    terminal.ok("principal", "list")
    assert {path.name for path in Path().iterdir()} == {"data"}
