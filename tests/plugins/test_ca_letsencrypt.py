"""`ca_letsencrypt`: what it makes of its settings; the exchange itself is that of `ca_acme`, tested there."""

from datetime import timedelta
from pathlib import Path

import pytest

from acmehub import AcmeRelay, RelayAuthority, SettingsError
from acmehub.ports.settings import read_settings
from acmehub.runtime.plugins import build_registry
from acmehub_ca_letsencrypt import LIMITS, LetsEncryptSettings
from tests.servers.pebble_lab import context


@pytest.mark.parametrize(
    ("environment", "directory"),
    [
        ("production", "https://acme-v02.api.letsencrypt.org/directory"),
        ("staging", "https://acme-staging-v02.api.letsencrypt.org/directory"),
    ],
)
def test_each_environment_has_its_directory(environment: str, directory: str, tmp_path: Path) -> None:
    registration = build_registry().authorities["ca_letsencrypt"]
    raw = {"environment": environment, "terms_of_service_agreed": True}
    made = registration.factory(read_settings(raw, registration.settings), context(tmp_path))
    assert isinstance(made, RelayAuthority)
    assert isinstance(made, AcmeRelay)
    assert made.server == directory


def test_without_the_operators_agreement_nothing_works() -> None:
    for raw in ({}, {"terms_of_service_agreed": False}):
        with pytest.raises(SettingsError, match=r"set it to true - `\$\.terms_of_service_agreed`"):
            read_settings(raw, LetsEncryptSettings)


def test_the_agreement_and_the_other_settings_reach_the_relay() -> None:
    raw = {
        "terms_of_service_agreed": True,
        "email": "ops@example.test",
        "account_key_type": "ec384",
        "preferred_chain": "ISRG Root X1",
        "profile": "shortlived",
        "timeout": 12,
    }
    relay = read_settings(raw, LetsEncryptSettings).relay_settings()
    assert relay.agrees
    assert relay.email == "ops@example.test"
    assert relay.account_key_type == "ec384"
    assert relay.preferred_chain == "ISRG Root X1"
    assert relay.profile == "shortlived"
    assert relay.timeout == 12
    assert relay.poll_first == 0.5
    assert not relay.ca_file


@pytest.mark.parametrize(
    ("raw", "field"),
    [
        ({"environment": "testing"}, r"\$\.environment"),
        ({"terms_of_service_agreed": True, "email": "nobody"}, r"\$\.email"),
        ({"terms_of_service_agreed": True, "timeout": 0}, r"\$\.timeout"),
        ({"terms_of_service_agreed": True, "account_key_type": "dsa"}, r"\$\.account_key_type"),
        ({"terms_of_service_agreed": True, "directory": "https://elsewhere"}, "directory"),
    ],
)
def test_settings_that_do_not_fit_are_named(raw: dict[str, object], field: str) -> None:
    with pytest.raises(SettingsError, match=field):
        read_settings(raw, LetsEncryptSettings)


def test_the_known_limits_are_at_hand() -> None:
    by_subject = {(limit.what, limit.per): limit for limit in LIMITS}
    assert len(by_subject) == len(LIMITS) == 6
    orders = by_subject["orders", "account"]
    assert (orders.capacity, orders.refill, orders.everyone) == (300, timedelta(hours=3), False)
    domain = by_subject["certificates", "registered domain"]
    assert (domain.capacity, domain.refill, domain.everyone) == (50, timedelta(days=7), True)
