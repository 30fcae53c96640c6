"""`policy_default`: the default authority, else the oldest, and why."""

from datetime import UTC, datetime, timedelta

import pytest

from acmehub import Candidate, Identifier, OrderRequest
from acmehub.models import Principal, PrincipalType, Role, Token
from acmehub.plugins.policy_default import select_authority
from acmehub.runtime.plugins import build_registry

NOW = datetime(2026, 11, 24, tzinfo=UTC)


def candidate(name: str, days: int = 0, **more: object) -> Candidate:
    given = {"default": False, **more}
    return Candidate(id=name, name=name, plugin="ca_acme", created=NOW + timedelta(days=days), **given)  # type: ignore[arg-type]


def request(profile: str | None = None) -> OrderRequest:
    principal = Principal(name="firewall", type=PrincipalType.APPLICATION, created=NOW)
    token = Token(
        title="token",
        principal_id=principal.id,
        scope=(Role.MANAGED_ACME_CONSUMER,),
        secret_hash=b"",
        sealed_hmac_key=b"",
        created=NOW,
    )
    return OrderRequest(principal=principal, token=token, identifiers=(Identifier("dns", "a.test"),), profile=profile)


OLD, NEW, DEFAULT = candidate("old", -9), candidate("new", -1), candidate("chosen", 0, default=True)


@pytest.mark.parametrize(
    ("candidates", "expected", "reason"),
    [
        ([OLD, NEW, DEFAULT], "chosen", "chosen is the default authority"),
        ([NEW, OLD], "old", "old is the oldest authority"),
        ([NEW], "new", "new is the only authority"),
    ],
)
def test_the_choice_and_its_reason(candidates: list[Candidate], expected: str, reason: str) -> None:
    chosen = select_authority(request(), candidates)
    assert chosen is not None
    assert (chosen.authority_id, chosen.reason, chosen.profile) == (expected, reason, None)


def test_a_profile_narrows_the_choice_to_where_it_leads() -> None:
    short = candidate("short-lived", 0, profiles=("shortlived",))
    chosen = select_authority(request("shortlived"), [DEFAULT, short])
    assert chosen is not None
    assert (chosen.authority_id, chosen.profile) == ("short-lived", None)
    assert "it offers the profile shortlived" in chosen.reason


def test_a_profile_that_leads_nowhere_leaves_the_choice_open() -> None:
    chosen = select_authority(request("any"), [DEFAULT])
    assert chosen is not None
    assert (chosen.authority_id, chosen.profile) == ("chosen", None)


def test_without_candidates_it_abstains() -> None:
    assert select_authority(request(), []) is None


def test_another_policy_is_asked_first() -> None:
    hooks = build_registry().hook.select_authority
    assert [item.plugin_name for item in hooks.get_hookimpls()] == ["policy_default"]
    assert hooks.get_hookimpls()[0].trylast
