"""`check` says what an order would meet, against a real DNS server and a real CA."""

import asyncio
import json
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from msgspec.structs import replace

from acmehub import OrderRequest, Problem, ProblemType, hookimpl
from acmehub.admin.operations.check_results import Check
from acmehub.admin.operations.queries import CheckRequest
from acmehub.app.hub import build_hub
from acmehub.cli.root import run
from acmehub.config import load_config
from acmehub.models import Pause
from acmehub.rules.permissions import Acting
from acmehub.runtime.plugin_objects import AUTHORITY_ACCOUNT_KEY
from acmehub.testing.dns_server import DnsServer, FaultKind, running_in_thread, tsig_key
from acmehub.upstream.keys import new_account_key
from tests.cli.conftest import Terminal
from tests.servers.pebble import Pebble, PebbleOptions, running_pebble

TSIG = "c2VjcmV0LXRzaWcta2V5LW9mLXRoaXMtdGVzdA=="


@pytest.fixture(scope="module")
def dns_server() -> Iterator[DnsServer]:
    server = DnsServer(["corp.test", "auth.test"], keys=[tsig_key("hub.", "hmac-sha256", TSIG)])
    server.zones.add("_acme-challenge.alias.corp.test", "CNAME", "alias.auth.test.")
    server.zones.add("corp.test", "CAA", '0 issue "ca.test"')
    with running_in_thread(server) as running:
        yield running


@pytest.fixture(scope="module")
def configured(dns_server: DnsServer, founded: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a hub that was told of `dns_server`, to be copied."""
    folder = tmp_path_factory.mktemp("configured")
    shutil.copytree(founded, folder / "data")
    write_configuration(folder, dns_server)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr("acmehub.cli.shared.session.set_up_logs", lambda config: None)
        assert run(["apply", "resources.toml"]) == 0
    return folder


@pytest.fixture
def dns(empty_terminal: Terminal, dns_server: DnsServer, configured: Path) -> DnsServer:
    """The DNS server, for the hub of `terminal`, which has a managed challenge in it; its zones are as they were."""
    shutil.copytree(configured, empty_terminal.folder, dirs_exist_ok=True)
    assert not dns_server.zones.txt()
    dns_server.seen.clear()
    return dns_server


def write_configuration(folder: Path, dns: DnsServer, *, cname_zones: str = "", secret: str = TSIG) -> None:
    (folder / "acmehub.toml").write_text(
        f'[dns]\nresolvers = ["127.0.0.1:{dns.port}"]\nport = {dns.port}\ntimeout = 2\n'
    )
    (folder / "resources.toml").write_text(
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


def test_a_name_that_would_work_is_told_with_rule_zone_caa_and_authority(terminal: Terminal, dns: DnsServer) -> None:
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
    found = terminal.json("check", "www.corp.test", "corp.test", "--live", status=1)
    assert "https://127.0.0.1:9/dir" in found["authority"]["error"]  # no CA is there
    assert [item["rehearsal"]["seen"] for item in found["names"]] == [True, True]
    updates = [seen for seen in dns.seen if "UPDATE" in str(seen)]
    assert len(updates) >= 4
    assert not dns.zones.txt()


def test_wrong_credentials_are_found_by_live(terminal: Terminal, dns: DnsServer) -> None:
    write_configuration(terminal.folder, dns, secret="d3JvbmctdHNpZy1rZXktb2YtdGhpcy10ZXN0LXh4")
    terminal.ok("apply", "resources.toml")
    found = terminal.json("check", "www.corp.test", "--live", status=1)
    assert found["names"][0]["rehearsal_error"]
    assert "✗ www.corp.test" in terminal(*("check", "www.corp.test", "--live"))[1]


def test_a_cname_into_a_zone_that_is_not_allowed_is_told(terminal: Terminal, dns: DnsServer) -> None:
    found = terminal.json("check", "alias.corp.test", status=1)
    assert "auth.test" in found["names"][0]["dns"]["error"]


def test_a_cname_into_an_allowed_zone_is_shown(terminal: Terminal, dns: DnsServer) -> None:
    write_configuration(terminal.folder, dns, cname_zones='"auth.test"')
    terminal.ok("apply", "resources.toml")
    said = terminal.ok("check", "alias.corp.test")
    assert "_acme-challenge.alias.corp.test → alias.auth.test" in said


def test_names_outside_the_scope_are_told_with_the_rule_that_would_be_needed(
    terminal: Terminal, dns: DnsServer
) -> None:
    found = terminal.json("check", "www.corp.test", "www.other.test", status=1)
    assert [bool(item["refusal"]) for item in found["names"]] == [False, True]
    assert "*.other.test" in found["names"][1]["refusal"]
    assert terminal.json("check", "api.corp.test", "--token", "Firewall 01", status=1)["names"][0]["refusal"]


def test_a_principal_without_the_role_is_refused(terminal: Terminal, dns: DnsServer) -> None:
    found = terminal.json("check", "www.corp.test", "--principal", "stranger", status=1)
    assert "managed_acme_consumer" in found["names"][0]["refusal"]


def test_an_unknown_principal_token_or_pair_is_an_error(terminal: Terminal, dns: DnsServer) -> None:
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


# ------------------------------------------------------------------------------------------------- whose order


def add_token(terminal: Terminal, title: str, *options: str, principal: str = "firewall-01") -> None:
    terminal.ok("token", "add", title, "--principal", principal, *options)


def test_the_tokens_of_a_principal_decide_and_the_one_that_fits_is_named(terminal: Terminal, dns: DnsServer) -> None:
    found = terminal.json("check", "api.corp.test", "--principal", "firewall-01", status=1)
    assert "outside the names of this API token (www.corp.test)" in found["names"][0]["refusal"]
    assert [item["fits"] for item in found["tokens"]] == [False]
    add_token(terminal, "Firewall 02", "--names", "*.corp.test")
    found = terminal.json("check", "api.corp.test", "--principal", "firewall-01")
    assert [(item["title"], item["fits"]) for item in found["tokens"]] == [
        ("Firewall 02", True),
        ("Firewall 01", False),
    ]
    said = terminal.ok("check", "api.corp.test", "--principal", "firewall-01")
    assert "Firewall 02 (firewall-01) fits" in said
    said = terminal.ok("check", "www.corp.test", "--principal", "firewall-01")
    assert "Firewall 01 (firewall-01) fits" in said
    assert "fit as well" in said
    # two names that two tokens have are not one token's
    terminal.ok("token", "set", "Firewall 02", "--names", "api.corp.test")
    found = terminal.json("check", "api.corp.test", "www.corp.test", "--principal", "firewall-01", status=1)
    assert [item["fits"] for item in found["tokens"]] == [False, False]


def test_without_a_principal_those_that_could_have_the_name_are_told(terminal: Terminal, dns: DnsServer) -> None:
    terminal.ok("token", "add", "printers", "--names", "*.corp.test")
    terminal.ok("token", "add", "off", "--names", "*.corp.test", "--disabled")
    found = terminal.json("check", "www.corp.test", "api.corp.test", "corp.test")
    assert [item["principals"] for item in found["names"]] == [["firewall-01", "printers"], ["printers"], []]
    said = terminal.ok("check", "www.corp.test", "corp.test")
    assert "principal firewall-01, printers" in said
    assert "⚠                  no token of any principal may have it" in said
    assert terminal.json("check", "www.corp.test", "--token", "Firewall 01")["names"][0]["principals"] is None


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("principal", "set", "firewall-01", "--disable"), "principal 'firewall-01' is disabled"),
        (("token", "set", "Firewall 01", "--disable"), "token 'Firewall 01' is disabled"),
        (("token", "revoke", "Firewall 01"), "token 'Firewall 01' is revoked"),
        (("token", "set", "Firewall 01", "--expires", "2020-01-01"), "has expired, and has bound no account"),
        (("token", "set", "Firewall 01", "--limit", "names=1"), "has the limit names = 1, and the order has 2 names"),
        (("challenge", "set", "corp zone", "--disable"), "(managed challenge 'corp zone' covers it, and is disabled)"),
        (("authority", "set", "pebble", "--disable"), "pebble is disabled"),
    ],
)
def test_what_is_disabled_or_over_stands_against_the_order(
    terminal: Terminal, dns: DnsServer, change: tuple[str, ...], words: str
) -> None:
    terminal.ok("token", "set", "Firewall 01", "--names", "*.corp.test")
    if change[0] == "authority":  # of a profile: the policy passes disabled ones over
        terminal.ok("profile", "add", "relayed", "--description", "Relayed", "--authority", "pebble")
    terminal.ok(*change)
    names = ("www.corp.test", "api.corp.test")
    for option in (("--token", "Firewall 01"), ("--principal", "firewall-01")):
        profile = ("--profile", "relayed") if change[0] == "authority" else ()
        status, said, _ = terminal("check", *names, *option, *profile)
        assert status == 1
        assert words in said
        assert "✗" in said


def test_a_token_that_binds_no_other_account_is_a_warning(terminal: Terminal, dns: DnsServer) -> None:

    async def use() -> None:
        hub = build_hub(load_config(overrides={"data_dir": terminal.folder / "data"}))
        async with hub.running():
            (token,) = await hub.store.tokens.named("Firewall 01")
            await hub.store.tokens.replace(replace(token, uses=1, use_limit=1))

    asyncio.run(use())
    said = terminal.ok("check", "www.corp.test", "--token", "Firewall 01")
    assert "⚠" in said
    assert "is used up: accounts that it has bound (1) may order, it binds no other one" in said
    terminal.ok("token", "set", "Firewall 01", "--expires", "2020-01-01")
    assert "has expired: accounts that it has bound" in terminal.ok("check", "www.corp.test", "--token", "Firewall 01")


def test_a_principal_without_a_token_cannot_order(terminal: Terminal, dns: DnsServer) -> None:
    terminal.ok("principal", "add", "new", "--role", "managed_acme_consumer")
    said = terminal("check", "www.corp.test", "--principal", "new")[1]
    assert "✗  principal 'new' has no token (`acmehub token add TITLE --principal new`)" in said


def test_a_profile_that_is_not_open_to_the_principal_is_told(terminal: Terminal, dns: DnsServer) -> None:
    for name in ("short", "long"):
        terminal.ok("profile", "add", name, "--description", name)
    terminal.ok("principal", "set", "firewall-01", "--profile", "short")
    found = terminal.json("check", "www.corp.test", "--principal", "firewall-01", "--profile", "long", status=1)
    assert "there are: short" in found["profile"]["error"]
    assert terminal.json("check", "www.corp.test", "--profile", "long")["names"][0]["principals"] == []


def test_several_managed_challenges_are_told_the_best_first(terminal: Terminal, dns: DnsServer) -> None:
    settings = ("server=127.0.0.1", f"port={dns.port}", "key_name=hub.", f"key_secret={TSIG}")
    options = [part for item in settings for part in ("--set", item)]
    terminal.ok("challenge", "add", "www alone", "--plugin", "dns_rfc2136", "--match", "www.corp.test", *options)
    found = terminal.json("check", "www.corp.test", "*.corp.test")
    assert [item["managed_challenge"] for item in found["names"]] == ["www alone", "corp zone"]
    assert [item["others"] for item in found["names"]] == [["corp zone"], []]
    assert "cover it, too" in terminal.ok("check", "www.corp.test")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("bücher.corp.test", "write international names as A-labels"),
        ("*.co.uk", "public suffix"),
        ("*.*.a.test", "'*'"),
    ],
)
def test_a_name_that_no_order_can_have_is_an_error_of_its_own(terminal: Terminal, name: str, words: str) -> None:
    assert words in terminal.refused(1, "check", name)


# --------------------------------------------------------------------------------------------- authority, plugins


def test_a_paused_authority_stands_against_the_order(terminal: Terminal, dns: DnsServer) -> None:

    async def pause() -> None:
        hub = build_hub(load_config(overrides={"data_dir": terminal.folder / "data"}))
        async with hub.running():
            (row,) = await hub.store.authorities.named("pebble")
            await hub.plugin_objects.pause(
                row.id, Pause(datetime.now(UTC), "unpause at https://ca.test", ("a.corp.test",))
            )

    asyncio.run(pause())
    found = terminal.json("check", "a.corp.test", status=1)
    assert "`acmehub authority clear-pause pebble`" in found["authority"]["error"]
    assert "unpause at https://ca.test" in found["authority"]["error"]
    assert terminal.json("check", "b.corp.test")["good"]


@pytest.mark.on_machine
def test_a_missing_plugin_stands_against_the_order(terminal: Terminal, dns: DnsServer) -> None:

    async def forget(noun: str) -> None:
        hub = build_hub(load_config(overrides={"data_dir": terminal.folder / "data"}))
        async with hub.running():
            stored = getattr(hub.store, noun)
            for row in await stored.list():
                await stored.replace(replace(row, plugin="gone"))

    asyncio.run(forget("managed_challenges"))
    found = terminal.json("check", "www.corp.test", status=1)
    assert "managed challenge 'corp zone' cannot be used" in found["names"][0]["refusal"]
    assert "gone" in found["names"][0]["refusal"]
    asyncio.run(forget("authorities"))
    found = terminal.json("check", "www.corp.test", status=1)
    assert "gone" in found["authority"]["error"]
    assert "✗" in terminal("check", "www.corp.test")[1]
    for text in ('[storage]\nplugin = "gone"\n', '[[notifier]]\nplugin = "gone"\n'):
        (terminal.folder / "acmehub.toml").write_text(text)
        assert "gone" in terminal.refused(3, "check", "www.corp.test")


class Policy:
    """Lets `firewall-01` have nothing."""

    @hookimpl
    def authorize_order(self, request: OrderRequest) -> Problem | None:
        if request.principal.name == "firewall-01":
            return Problem(ProblemType.REJECTED_IDENTIFIER, "not on my watch")
        return None


def test_what_the_policy_objects_to_stands_against_the_order(terminal: Terminal, dns: DnsServer) -> None:
    config = load_config(terminal.folder / "acmehub.toml", overrides={"data_dir": terminal.folder / "data"})

    async def ask(principal: str) -> Check:
        hub = build_hub(config)
        hub.registry.add("policy", Policy())
        async with hub.running():
            return await hub.admin.check.check(
                CheckRequest(names=("www.corp.test",), principal=principal), Acting.machine("test")
            )

    named = asyncio.run(ask("firewall-01"))
    assert (named.good, named.objection) == (False, "not on my watch")
    assert asyncio.run(ask("")).names[0].principals == ()


@pytest.fixture(scope="module")
def pebble(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pebble]:
    with running_pebble(tmp_path_factory.mktemp("pebble"), PebbleOptions(always_valid=True)) as running:
        yield running


def at(terminal: Terminal, pebble: Pebble, *options: str) -> None:
    """The authority of `configure` is this CA."""
    settings = ("--set", f"directory={pebble.directory}", "--set", f"ca_file={pebble.ca_file}")
    terminal.ok("authority", "set", "pebble", *settings, *options)


def test_live_asks_the_authority_for_the_account_and_orders_nothing(
    terminal: Terminal, dns: DnsServer, pebble: Pebble
) -> None:
    at(terminal, pebble)

    async def register() -> str:
        hub = build_hub(load_config(overrides={"data_dir": terminal.folder / "data"}))
        async with hub.running():
            (row,) = await hub.store.authorities.named("pebble")
            return (await hub.plugin_objects.account(row.id)).url

    found = terminal.json("check", "www.corp.test", "--live")
    assert found["authority"]["live"] == ("its directory can be read; the settings have what it asks of new accounts")
    assert terminal.json("authority", "show", "pebble")["account_url"] == ""  # none was made
    url = asyncio.run(register())
    found = terminal.json("check", "www.corp.test", "--live")
    assert found["authority"]["live"] == f"its directory can be read; it has the account {url}"
    assert f"it has the account {url}" in terminal.ok("check", "www.corp.test", "--live")

    async def lose() -> None:
        """The CA does not know the key."""
        hub = build_hub(load_config(overrides={"data_dir": terminal.folder / "data"}))
        async with hub.running():
            (row,) = await hub.store.authorities.named("pebble")
            key = hub.vault.seal(AUTHORITY_ACCOUNT_KEY, row.id, new_account_key("ec256"))
            await hub.store.authorities.replace(replace(row, sealed_account_key=key))

    asyncio.run(lose())
    found = terminal.json("check", "www.corp.test", "--live")
    assert "the hub's account is lost" in found["authority"]["live"]
    assert found["authority"]["live"].endswith("it registers another")


def test_live_says_what_the_settings_lack(terminal: Terminal, dns: DnsServer, pebble: Pebble) -> None:
    at(terminal, pebble, "--set", "terms_of_service_agreed=false")
    found = terminal.json("check", "www.corp.test", "--live", status=1)
    assert "set terms_of_service_agreed" in found["authority"]["error"]


def test_live_with_an_authority_that_signs_by_itself_tries_what_is_asked_for(
    terminal: Terminal, dns: DnsServer
) -> None:
    terminal.ok("authority", "set", "local", "--default")
    found = terminal.json("check", "www.corp.test", "--live")
    assert found["authority"]["live"] == "nothing was tried: it signs by itself"
    assert found["names"][0]["rehearsal"] is None
    assert "nothing was tried" in terminal.ok("check", "www.corp.test", "--live")
    found = terminal.json("check", "www.corp.test", "--live", "--challenge", "corp zone")
    assert found["names"][0]["rehearsal"]["seen"] is True
    assert [seen for seen in dns.seen if "UPDATE" in str(seen)]
    assert not dns.zones.txt()
    assert "no managed challenge 'x'" in terminal.refused(3, "check", "www.corp.test", "--challenge", "x")
    found = terminal.json("check", "www.other.test", "--challenge", "corp zone", status=1)
    assert "does not cover it" in found["names"][0]["refusal"]
