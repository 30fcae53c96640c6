"""What each ACME client can live with: the authorization mode that suits it and how long its answers may be held.

The rows are CLIENTS.md sections 4.3 (rules 30, 31) and 4.4 as a table; a client that is in none gets the defaults.
"""

import msgspec

from acmehub.models import AuthorizationMode, Order, OrderStatus
from acmehub.orders import UPSTREAM_VALIDATED

DEFAULT_HOLD = 25.0
POLL_RETRY_AFTER = 10
CHALLENGE_RETRY_AFTER = 5


class Patience(msgspec.Struct, frozen=True):
    """How a client waits: `hold` is the longest (seconds) that one answer to it may be held, `retry_after` says
    whether it understands that header on an unfinished object."""

    hold: float
    retry_after: bool = True

    def before_next_poll(self) -> int | None:
        """Retry-After, in seconds, for an unfinished order, authorization or challenge."""
        return POLL_RETRY_AFTER if self.retry_after else None

    def after_response(self) -> int | None:
        """Retry-After, in seconds, for the answer to a challenge's response."""
        return CHALLENGE_RETRY_AFTER if self.retry_after else None


class Client(msgspec.Struct, frozen=True):
    """A client known by a part of its User-Agent."""

    marker: str
    mode: AuthorizationMode = AuthorizationMode.PREAPPROVED
    hold: float = DEFAULT_HOLD
    retry_after: bool = True


CLIENTS: tuple[Client, ...] = (
    Client("CertbotACMEClient/", hold=40.0),  # gives an answer 45 s, and all of finalize 90 s
    Client("instant-acme/", hold=170.0, retry_after=False),  # no limit per answer, but few polls, and no Retry-After
    Client("xenolf-acme/", AuthorizationMode.ACCEPT),  # lego: 30 s for finalize, minutes for a challenge
    Client("containous-traefik", AuthorizationMode.ACCEPT),
)


def client_of(user_agent: str) -> Client | None:
    """The row for a User-Agent; None for a client without peculiarities."""
    return next((client for client in CLIENTS if client.marker in user_agent), None)


def settle_mode(asked: AuthorizationMode, user_agent: str, *, signing: bool) -> AuthorizationMode:
    """The mode of a new order: what the token says; for `auto`, what suits the client.

    With a signing authority (`signing`) nothing is slow, so that `auto` always means `preapproved`.
    """
    if asked is not AuthorizationMode.AUTO:
        return asked
    client = client_of(user_agent)
    return AuthorizationMode.PREAPPROVED if signing or client is None else client.mode


def patience(user_agent: str, configured: float) -> Patience:
    """How long (seconds) answers to this client are held.

    `configured` is `[acme] hold`: below the default it is a limit for every client (a proxy in front gives up early);
    otherwise a known client keeps its own figure.
    """
    client = client_of(user_agent)
    if client is None:
        return Patience(configured)
    return Patience(client.hold if configured >= DEFAULT_HOLD else configured, client.retry_after)


def waits_for_upstream(order: Order, asked: AuthorizationMode) -> bool:
    """Whether it helps this order's client to be answered only when the upstream has validated (CLIENTS.md 4.3, 4.4).

    `asked` is the token's mode. True for an order whose client may finalize already, and for one in mode `accept` that
    `auto` chose: it turns ready without the client's doing if only the upstream is quick enough.
    """
    if order.status not in (OrderStatus.PENDING, OrderStatus.READY) or order.stage in UPSTREAM_VALIDATED:
        return False
    if order.mode is AuthorizationMode.ACCEPT:
        return asked is AuthorizationMode.AUTO
    return order.mode is AuthorizationMode.PREAPPROVED
