"""Known ACME clients: the authorization mode that suits each, and how long one answer to it may take.

docs/client-rules.md sections 4.3 (rules 30, 31) and 4.4 as a table; a client that is not in it gets the defaults.
"""

import msgspec

from acmehub.models import Account, AuthorizationMode, Order, OrderStatus
from acmehub.rules.orders import UPSTREAM_VALIDATED

DEFAULT_HOLD = 25.0
_LIMIT_30 = 20.0  # for clients that give up for good when an answer takes 30 s: 10 are for a slow machine and network
POLL_RETRY_AFTER = 10
CHALLENGE_RETRY_AFTER = 5

LEARNABLE = (AuthorizationMode.PREAPPROVED, AuthorizationMode.ACCEPT)
"""The modes that an account can have learned."""

SET_BY = "set by"
"""How the reason of a mode begins that an operator has set."""


class ClientTimeout(msgspec.Struct, frozen=True):
    """How a client waits: `hold` is the longest (seconds) that one answer to it may take, `retry_after` whether it
    understands that header on an unfinished object."""

    hold: float
    retry_after: bool = True

    def before_next_poll(self) -> int | None:
        """Retry-After, in seconds, for an unfinished order, authorization or challenge."""
        return POLL_RETRY_AFTER if self.retry_after else None

    def after_response(self) -> int | None:
        """Retry-After, in seconds, for the answer to a challenge's response."""
        return CHALLENGE_RETRY_AFTER if self.retry_after else None


class Client(msgspec.Struct, frozen=True):
    """A client known by a part of its User-Agent.

    `why` explains its mode to operators. Where `accepts` is false, `auto` never learns mode `accept` for it: it looks
    for its own proof before it answers, or it waits longer for a certificate than for a challenge.
    """

    marker: str
    mode: AuthorizationMode = AuthorizationMode.PREAPPROVED
    hold: float = DEFAULT_HOLD
    retry_after: bool = True
    accepts: bool = True
    why: str = ""


class ExplainedMode(msgspec.Struct, frozen=True):
    """The mode that orders of an account get, and the reason, for operators."""

    mode: AuthorizationMode
    why: str


_SELF_CHECK = "it looks for its own proof before it answers a challenge"
_LONGER = "it waits longer for a certificate than for a challenge"

CLIENTS: tuple[Client, ...] = (
    Client("CertbotACMEClient/", hold=40.0, why="it waits 45 s for an answer, and 90 s and more for a certificate"),
    Client("instant-acme/", hold=170.0, retry_after=False, accepts=False, why=_LONGER),  # few polls, no Retry-After
    Client(
        "containous-traefik", AuthorizationMode.ACCEPT, _LIMIT_30, why="lego inside: it waits 30 s for a certificate"
    ),
    Client(
        "xenolf-acme/",  # lego, and what is made of it; lego 5 sends the same JWS once more when an answer is late
        AuthorizationMode.ACCEPT,
        _LIMIT_30,
        why="it waits 30 s for a certificate, but minutes for a challenge",
    ),
    Client(
        "OpenBSD-acme-client",
        AuthorizationMode.ACCEPT,
        why="it gives up when an order is processing, but waits minutes for a challenge",
    ),
    Client("acme4j/", hold=_LIMIT_30, why="it waits 30 s for an answer, and as long as its caller says for the rest"),
    Client("cert-manager", accepts=False, why=_SELF_CHECK),
    Client("acme-tiny", accepts=False, why=_SELF_CHECK),
    Client("acme.sh/", accepts=False, why=_SELF_CHECK),  # dns-01 without --dnssleep
    Client("node-acme-client/", accepts=False, why=_SELF_CHECK),
    Client("acmez", accepts=False, why=_SELF_CHECK),  # Caddy, CertMagic: dns-01 waits for propagation
    Client("HAProxy", accepts=False, why=_LONGER),  # 200 s against 175 s
    Client("uacme/", accepts=False, why=_LONGER),
    Client("ansible-httpget", hold=8.0, accepts=False, why="it waits 10 s for an answer, and without end for the rest"),
)


def client_of(user_agent: str) -> Client | None:
    """The row for a User-Agent; None for a client without peculiarities."""
    return next((client for client in CLIENTS if client.marker in user_agent), None)


def family_of(user_agent: str) -> str:
    """What stays the same of a User-Agent from one release of a client to the next: its row's marker, else the name
    of its first product."""
    client = client_of(user_agent)
    return client.marker if client is not None else user_agent.partition("/")[0].strip()


def resolve_mode(
    asked: AuthorizationMode, user_agent: str, *, signing: bool, learned: AuthorizationMode | None = None
) -> AuthorizationMode:
    """The mode of a new order: what the token says; for `auto`, what was `learned` of the account, else what suits
    the client.

    With a signing authority (`signing`) nothing is slow, so that `auto` always means `preapproved`.
    """
    if asked is not AuthorizationMode.AUTO:
        return asked
    if signing:
        return AuthorizationMode.PREAPPROVED
    if learned is not None:
        return learned
    client = client_of(user_agent)
    return AuthorizationMode.PREAPPROVED if client is None else client.mode


def explain_mode(asked: AuthorizationMode, account: Account) -> ExplainedMode:
    """The mode that an account's orders get at an authority that relays, and why; `asked` is its token's."""
    mode = resolve_mode(asked, account.user_agent, signing=False, learned=account.learned)
    if asked is not AuthorizationMode.AUTO:
        return ExplainedMode(mode, "its token says so")
    if account.learned is not None:
        return ExplainedMode(mode, f"learned: {account.learned_why}")
    client = client_of(account.user_agent)
    if client is None:
        return ExplainedMode(mode, "nothing special is known of this client")
    return ExplainedMode(mode, f"known client ({client.marker.rstrip('/')}): {client.why}")


def client_timeout(user_agent: str, configured: float) -> ClientTimeout:
    """How long (seconds) a long poll of this client may take.

    `configured` is `[acme] hold`: below the default it limits every client (a proxy in front gives up early); otherwise
    a known client keeps its own figure.
    """
    client = client_of(user_agent)
    if client is None:
        return ClientTimeout(configured)
    hold = client.hold if configured >= DEFAULT_HOLD else min(client.hold, configured)
    return ClientTimeout(hold, client.retry_after)


def waits_for_upstream(order: Order, asked: AuthorizationMode) -> bool:
    """Whether this order's client is served best by an answer after the upstream has validated.

    docs/client-rules.md sections 4.3, 4.4.

    `asked` is the token's mode. True for an order whose client may finalize already, and for one in mode `accept` that
    `auto` chose: it turns ready without the client's doing if only the upstream is quick enough.
    """
    if order.status not in (OrderStatus.PENDING, OrderStatus.READY) or order.stage in UPSTREAM_VALIDATED:
        return False
    if order.mode is AuthorizationMode.ACCEPT:
        return asked is AuthorizationMode.AUTO
    return order.mode is AuthorizationMode.PREAPPROVED and not order.preauthorization  # nothing is ordered for those
