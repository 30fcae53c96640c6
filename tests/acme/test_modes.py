"""The mode and the timeout of each client (docs/client-rules.md sections 4.3, 4.4)."""

import pytest

from acmehub.models import AuthorizationMode
from acmehub.rules.authorization_modes import ClientTimeout, client_timeout, family_of, resolve_mode

PREAPPROVED, ACCEPT, VERIFY, AUTO = (
    AuthorizationMode.PREAPPROVED,
    AuthorizationMode.ACCEPT,
    AuthorizationMode.VERIFY,
    AuthorizationMode.AUTO,
)

# User-Agents as these clients send them.
CERTBOT = "CertbotACMEClient/5.8.0 (certbot; Debian GNU/Linux 12) Authenticator/standalone Installer/None"
LEGO = "xenolf-acme/4.9.1 (release; linux; amd64)"
LEGO_5 = "lego-cli/5.3.1 xenolf-acme/5.3.1 (release; linux; amd64)"
TRAEFIK = "containous-traefik/3.7.1 xenolf-acme/4.30.1 (release; linux; amd64)"
OPENBSD = "OpenBSD-acme-client"
INSTANT = "instant-acme/0.8.4"
ANSIBLE = "ansible-httpget"  # what community.crypto sends unless told otherwise; its limit is 10 s
OTHERS = (
    "",
    "acme.sh/3.1.4 (https://github.com/acmesh-official/acme.sh)",
    "Caddy/2.6.2 CertMagic acmez (linux; amd64)",
    "uacme/1.7.4 (https://github.com/ndilieto/uacme)",
    "cert-manager-orders/v1.19 (linux/amd64)",
    "HAProxy",
)


@pytest.mark.parametrize("user_agent", [CERTBOT, LEGO, INSTANT, *OTHERS])
@pytest.mark.parametrize("asked", [PREAPPROVED, ACCEPT, VERIFY])
@pytest.mark.parametrize("signing", [False, True])
def test_what_the_token_says_holds_for_every_client(user_agent: str, asked: AuthorizationMode, signing: bool) -> None:
    assert resolve_mode(asked, user_agent, signing=signing) is asked


@pytest.mark.parametrize("user_agent", [LEGO, LEGO_5, TRAEFIK, OPENBSD])
def test_auto_is_accept_for_lego_what_is_made_of_it_and_acme_client(user_agent: str) -> None:
    assert resolve_mode(AUTO, user_agent, signing=False) is ACCEPT


@pytest.mark.parametrize("user_agent", [CERTBOT, INSTANT, *OTHERS])
def test_auto_is_preapproved_for_the_rest(user_agent: str) -> None:
    assert resolve_mode(AUTO, user_agent, signing=False) is PREAPPROVED


@pytest.mark.parametrize("user_agent", ["", CERTBOT, LEGO])
@pytest.mark.parametrize("learned", [ACCEPT, PREAPPROVED])
def test_auto_is_what_was_learned_of_the_account(user_agent: str, learned: AuthorizationMode) -> None:
    assert resolve_mode(AUTO, user_agent, signing=False, learned=learned) is learned
    assert resolve_mode(AUTO, user_agent, signing=True, learned=learned) is PREAPPROVED
    assert resolve_mode(VERIFY, user_agent, signing=False, learned=learned) is VERIFY


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (LEGO, LEGO_5, True),
        (LEGO, TRAEFIK, False),
        ("uacme/1.7.4 (x)", "uacme/1.7.6 (y)", True),
        ("device/1", "device/2 (with more)", True),
        ("device/1", "gadget/1", False),
        ("", "gadget/1", False),
        (CERTBOT, LEGO, False),
    ],
)
def test_a_family_outlives_releases(one: str, other: str, same: bool) -> None:
    assert (family_of(one) == family_of(other)) is same


def test_auto_is_preapproved_for_all_where_the_authority_signs_by_itself() -> None:
    assert resolve_mode(AUTO, LEGO, signing=True) is PREAPPROVED


@pytest.mark.parametrize(
    ("user_agent", "seconds"),
    [(CERTBOT, 40.0), (INSTANT, 170.0), (LEGO, 20.0), (TRAEFIK, 20.0), (ANSIBLE, 8.0), ("x", 25.0)],
)
def test_rule_30_each_client_has_its_own_timeout(user_agent: str, seconds: float) -> None:
    assert client_timeout(user_agent, 25.0).hold == seconds


@pytest.mark.parametrize("user_agent", [CERTBOT, INSTANT, LEGO, "x"])
def test_a_lower_hold_in_the_configuration_is_a_limit_for_all(user_agent: str) -> None:
    assert client_timeout(user_agent, 8.0).hold == 8.0
    assert client_timeout(ANSIBLE, 20.0).hold == 8.0


def test_a_higher_hold_is_for_clients_without_a_figure_of_their_own() -> None:
    assert client_timeout("x", 60.0).hold == 60.0
    assert client_timeout(LEGO, 60.0).hold == 20.0


def test_rule_31_retry_after_is_10_on_polls_and_5_on_a_response_and_never_for_instant_acme() -> None:
    assert (client_timeout("x", 25.0).before_next_poll(), client_timeout("x", 25.0).after_response()) == (10, 5)
    assert (client_timeout(INSTANT, 25.0).before_next_poll(), client_timeout(INSTANT, 25.0).after_response()) == (
        None,
        None,
    )
    assert ClientTimeout(1.0).retry_after
