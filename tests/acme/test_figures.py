"""Figures of the ACME server: what the documentation promises, and what bounds what its clients can cost."""

from datetime import timedelta
from types import ModuleType

import pytest

from acmehub.acme import resources
from acmehub.acme.orders import authority_choice, authorization_reuse, learning, order_reuse, profiles, revocation
from acmehub.acme.resources import accounts, renewal_info
from acmehub.acme.server import app, client_address, context, long_poll, nonces, signed
from acmehub.acme.server.routing import Route
from tests.figures import is_said


@pytest.mark.parametrize(
    ("figure", "value", "page", "words"),
    [
        (learning.SLOW, timedelta(seconds=25), "slow-upstreams.md", "the CA took more than 25 seconds after finalize"),
        (long_poll.MOST_LONG_POLLS, 4096, "operate.md", "A process has at most 4 096 long polls"),
        (long_poll.MOST_PER_ACCOUNT, 409, "security.md", "One account has at most a tenth of the answers"),
        (nonces.LIFETIME, 3600.0, "reliability.md", "a nonce an hour at least"),
    ],
)
def test_what_the_documentation_says_holds(figure: object, value: object, page: str, words: str) -> None:
    assert figure == value
    assert is_said(page, words)


@pytest.mark.parametrize(
    ("figure", "value"),
    [
        (authority_choice._RETRY_AFTER, 60),
        (authority_choice._RETRY_AFTER_PAUSE, 3600),
        (profiles._RETRY_AFTER, 60),
        (revocation.RETRY_AFTER, 30),
        (revocation.CLIENT_SECONDS, 20.0),
        (app._STORE_RETRY_AFTER, 10),
        (app.HOLD_REFUSED, 1.0),
        (long_poll.SUM_PER_ORDER, 600.0),
        (long_poll._UNWATCHED, 1.0),
        (renewal_info._CACHED_SECONDS, 300),
        (learning.NOTED_FROM, timedelta(seconds=20)),
        (order_reuse.NOTED_EVERY, timedelta(minutes=10)),
    ],
)
def test_clients_wait_and_come_again_in_this_time(figure: object, value: object) -> None:
    assert figure == value


@pytest.mark.parametrize(
    ("figure", "value"),
    [
        (authorization_reuse._AT_ONCE, 100),
        (order_reuse._MOST_NOTED, 10_000),
        (accounts._PAGE, 100),
        (app.MOST_HELD, 2048),
        (client_address._MOST_KNOWN, 4096),
        (client_address._LONGEST, 64),
        (client_address._SHOWN, 100),
        (context._MOST_KEYS, 10_000),
        (long_poll._MOST_ORDERS, 20_000),
        (signed.MOST_SHOWN, 2000),
    ],
)
def test_what_clients_make_a_process_keep_is_bounded(figure: int, value: int) -> None:
    assert figure == value


@pytest.mark.parametrize(
    ("figure", "value"),
    [
        (nonces._TEXT_SIZE, 32),
        (nonces._BODY_SIZE, 12),
        (nonces._MAC_SIZE, 12),
        (nonces._CHUNK, 65_536),
        (nonces._MOST_CHUNKS, 4096),
        (nonces._TURN, 900.0),
        (nonces._SKEW, 300.0),
        (nonces._PRUNE_EVERY, 600.0),
        (nonces._KEPT, timedelta(seconds=4200)),
    ],
)
def test_nonces_have_this_form_and_are_kept_this_long(figure: object, value: object) -> None:
    assert figure == value


def test_clients_may_give_the_reasons_that_are_theirs_to_give() -> None:
    """RFC 5280 section 5.3.1."""
    assert revocation.CLIENT_REASONS == (0, 1, 3, 4, 5, 9, 10)


def test_every_route_of_a_resource_is_served() -> None:
    """`ROUTES` names them one by one."""
    modules = [vars(module) for module in vars(resources).values() if isinstance(module, ModuleType)]
    named = [value for module in modules for name, value in module.items() if not name.startswith("_")]
    made = {id(value) for value in named if isinstance(value, Route)}
    assert made == {id(route) for route in resources.ROUTES}
