"""certbot's output when the hub refuses: readable messages that say what is wrong."""

import pytest

from acmehub.testing.hub_process import HubProcess
from scripts.certbot import Certbot
from tests.e2e.stack import BLOCKED, Stack

pytestmark = pytest.mark.e2e


def refused(stack: Stack, hub: HubProcess, credentials: dict[str, str], *names: str) -> str:
    """What certbot printed (on one line) when it got no certificate."""
    certbot = Certbot(stack.new_folder("refused"), hub.ca_file, hub.directory, credentials)
    done = certbot.certonly(names)
    assert done.returncode != 0, done.stdout
    assert "Traceback" not in done.stdout
    assert "internal error" not in done.stdout, done.stdout
    return " ".join(done.stdout.split())


def test_without_eab_certbot_says_that_it_is_needed(stack: Stack, hub: HubProcess) -> None:
    text = refused(stack, hub, {}, "www.corp.test")
    assert "externalAccountRequired" in text or "External Account Binding" in text or "--eab-kid" in text


def test_a_wrong_hmac_key_is_told(stack: Stack, hub: HubProcess) -> None:
    credentials = stack.credentials(hub, "device")
    wrong = {**credentials, "hmac_key": credentials["hmac_key"][::-1]}
    text = refused(stack, hub, wrong, "www.corp.test")
    assert "External Account Binding" in text or "HMAC" in text or "binding" in text


def test_a_disabled_token_is_told(stack: Stack, hub: HubProcess) -> None:
    credentials = stack.credentials(hub, "disabled")
    hub.run("token", "set", "disabled", "--disable")
    text = refused(stack, hub, credentials, "www.corp.test")
    assert "disabled" in text


def test_an_account_of_a_token_disabled_since_is_told(stack: Stack, hub: HubProcess) -> None:
    credentials = stack.credentials(hub, "disabled later")
    certbot = Certbot(stack.new_folder("disabled"), hub.ca_file, hub.directory, credentials)
    assert certbot.certonly(["later.corp.test"]).returncode == 0
    hub.run("token", "set", "disabled later", "--disable")
    done = certbot.renew()
    assert done.returncode != 0
    assert "disabled" in done.stdout


def test_a_name_outside_the_scope_is_told_with_the_name(stack: Stack, hub: HubProcess) -> None:
    text = refused(stack, hub, stack.credentials(hub, "narrow"), "a.narrow.corp.test", "other.corp.test")
    assert "other.corp.test" in text
    assert "*.narrow.corp.test" in text


def test_a_name_without_a_managed_challenge_is_told_with_the_name(stack: Stack, hub: HubProcess) -> None:
    text = refused(stack, hub, stack.credentials(hub, "no zone"), "www.nowhere.test")
    assert "www.nowhere.test" in text
    assert "managed challenge" in text


def test_a_refusal_of_the_ca_is_told_in_its_own_words(stack: Stack, hub: HubProcess) -> None:
    text = refused(stack, hub, stack.credentials(hub, "device"), f"www.{BLOCKED}")
    assert "policy" in text.lower() or "rejectedIdentifier" in text
    assert BLOCKED in text


def test_a_cname_into_a_zone_that_is_not_allowed_is_told(stack: Stack, hub: HubProcess) -> None:
    text = refused(stack, hub, stack.credentials(hub, "device"), "astray.corp.test")
    assert "slow.test" in text
