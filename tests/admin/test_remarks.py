"""What an operator may not have meant is said; what is in order is not."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest

from acmehub.admin.resources.authorities import AuthorityView
from acmehub.admin.resources.document import New
from acmehub.admin.resources.managed_challenges import NewManagedChallenge
from acmehub.admin.resources.principals import NewPrincipal
from acmehub.admin.resources.profiles import ProfileView
from acmehub.admin.resources.remarks import remarks_on, remarks_on_authorities
from acmehub.admin.resources.tokens import NewToken
from acmehub.models import Role, RoleAssignment

NOW = datetime(2026, 11, 28, 12, tzinfo=UTC)
ROLES = (RoleAssignment(Role.AUDITOR),)


def said(new: New) -> list[str]:
    return list(remarks_on(new, NOW))


def test_a_token_that_has_expired_when_it_is_made_is_told() -> None:
    for expires in (NOW, NOW - timedelta(days=400)):
        (text,) = said(NewToken(title="late", principal="p", expires=expires))
        assert text == f"token 'late' has expired already ({expires:%Y-%m-%d} 12:00Z): it binds no account"
    assert said(NewToken(title="soon", principal="p", expires=NOW + timedelta(seconds=1))) == []
    assert said(NewToken(title="ever", principal="p")) == []


@pytest.mark.parametrize(
    ("rule", "parts"),
    [
        ("*.com", ["*.com"]),
        ("*.corp.test, *.co.uk, com", ["*.co.uk", "com"]),
        ("*.example.com", []),
        ("*.lan, *.home.arpa, lan", []),
        ("10.0.0.0/8, *.corp.test", []),
        ("", []),
    ],
)
def test_a_rule_about_a_public_suffix_is_told(rule: str, parts: Sequence[str]) -> None:
    texts = said(NewToken(title="wide", principal="p", names=rule))
    assert [text.split("'")[3] for text in texts] == parts
    if rule and "/" not in rule:
        assert len(said(NewManagedChallenge(name="wide", plugin="dns_x", match=rule))) == len(parts)


def test_a_principal_without_roles_is_told_with_the_cure() -> None:
    (text,) = said(NewPrincipal(name="a b"))
    assert text.startswith("principal 'a b' has no role: it can do nothing")
    assert text.endswith("acmehub principal set 'a b' --role ROLE")
    assert said(NewPrincipal(name="a", roles=ROLES)) == []


def authority(name: str, *, default: bool = False, enabled: bool = True, days: int = 0) -> AuthorityView:
    created = NOW + timedelta(days=days)
    return AuthorityView(
        name=name,
        plugin="ca_local",
        default=default,
        enabled=enabled,
        id=name,
        version=1,
        account_url="",
        created=created,
    )


LOCAL = authority("local", default=True, enabled=False)


def follows(
    touched: Sequence[str], authorities: Sequence[AuthorityView], own_tls: str = "", **profile: str
) -> list[str]:
    profiles = [
        ProfileView(name=name, description="x", authority=leads, id=name, version=1, created=NOW, key_types=())
        for name, leads in profile.items()
    ]
    return list(remarks_on_authorities(touched, authorities, profiles, own_tls))


def test_what_follows_from_disabling_the_default_is_told() -> None:
    prefix = "authority 'local' is the default, and disabled: orders that name no profile "
    assert follows(["local"], [LOCAL]) == [f"{prefix}are refused now"]
    others = [LOCAL, authority("new", days=2), authority("old", days=1), authority("off", enabled=False)]
    assert follows(["local"], others) == [f"{prefix}go to 'old' now, the oldest enabled one"]
    assert follows(["new", "off"], others) == []


def test_what_follows_for_profiles_that_lead_to_a_disabled_authority_is_told() -> None:
    others = [authority("a", enabled=False), authority("b")]
    (text,) = follows(["a", "b"], others, short="a", long="b")
    assert text == "profile 'short' leads to authority 'a': orders that name it are refused now"


def test_what_follows_for_the_hubs_own_tls_certificate_is_told() -> None:
    signer = authority("local", enabled=False)
    assert follows(["local"], [signer], "local") == [
        "authority 'local' still signs the hub's own TLS certificate: $.tls.authority names it"
    ]
    assert follows(["local"], [authority("local")], "local") == []
    for touched in (["local", "renamed"], ["local"]):
        (text,) = follows(touched, [authority("renamed")], "local")
        assert text.startswith("there is no authority 'local' any more, which signs the hub's own TLS certificate")
    assert follows(["renamed"], [authority("renamed")], "local") == []  # it was not there before either
