"""The port for authorities: verbs that make one exchange with the upstream each.

An authority is either a `RelayAuthority` (an ACME server, which sends the hub challenges) or a `SigningAuthority` (it
signs by itself). Issuance stores its progress after each verb, so a verb does not wait, poll or retry (except after a
rejected nonce).
"""

from datetime import datetime
from typing import Protocol, runtime_checkable

import msgspec

from acmehub.models.identifiers import Identifier
from acmehub.models.problems import ProblemDocument
from acmehub.ports.settings import PluginSettings


class UpstreamError(Exception):
    """Base of the errors of an exchange with an upstream; `server` names it, `detail` is the message."""

    def __init__(self, detail: str, *, server: str = "", retry_after: float | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        self.server = server
        self.retry_after = retry_after


class UpstreamUnavailable(UpstreamError):
    """No usable response (connection, timeout, 5xx, not ACME): the hub tries again later."""


class UpstreamRateLimited(UpstreamError):
    """`rateLimited`: the hub tries again after `retry_after` seconds at the earliest.

    `paused`: the CA has paused the account or a name, and asks for a person; the hub does not ask again by itself.
    """

    def __init__(
        self, detail: str, *, server: str = "", retry_after: float | None = None, paused: bool = False
    ) -> None:
        super().__init__(detail, server=server, retry_after=retry_after)
        self.paused = paused


class UpstreamAccountLost(UpstreamError):
    """The CA does not know the hub's account or has deactivated it: the hub registers again."""


class UpstreamObjectLost(UpstreamError):
    """The CA answers 404 for an object of the hub: the upstream order is lost."""


class UpstreamRefused(UpstreamError):
    """A refusal that a retry does not change; `problem` is the CA's document with its subproblems."""

    def __init__(self, problem: ProblemDocument, *, server: str = "") -> None:
        super().__init__(problem.detail, server=server)
        self.problem = problem


class UpstreamAccountRefused(UpstreamRefused):
    """The CA gives the hub no account (terms, External Account Binding, contact): an operator changes the settings."""


class UpstreamAccount(msgspec.Struct, frozen=True):
    """The hub's account at an authority: its URL, and its private key as PKCS #8 PEM."""

    url: str
    key: bytes

    def __repr__(self) -> str:
        return f"UpstreamAccount({self.url!r})"


class UpstreamOrder(msgspec.Struct, frozen=True):
    """An order at the CA (RFC 8555 section 7.1.3); `retry_after` in seconds from now, when the CA gave one."""

    url: str
    status: str
    authorizations: tuple[str, ...]
    finalize: str
    certificate: str | None = None
    error: ProblemDocument | None = None
    expires: datetime | None = None
    retry_after: float | None = None


class UpstreamAuthorization(msgspec.Struct, frozen=True):
    """An authorization at the CA, reduced to its dns-01 challenge.

    `dns01_url` is None when the CA offers no dns-01; `txt_value` is the TXT value for `_acme-challenge.<name>`.
    `error` is that of the challenge or of the authorization.
    """

    url: str
    identifier: Identifier
    wildcard: bool
    status: str
    dns01_url: str | None
    dns01_status: str
    txt_value: str
    error: ProblemDocument | None = None
    retry_after: float | None = None


class IssuedChain(msgspec.Struct, frozen=True):
    """A downloaded chain (PEM, leaf first) and the URLs of its alternates."""

    chain: str
    alternates: tuple[str, ...] = ()


class IssueRequest(msgspec.Struct, frozen=True):
    """An order for an authority; it has times only if the client gave them."""

    identifiers: tuple[Identifier, ...]
    profile: str | None = None
    not_before: datetime | None = None
    not_after: datetime | None = None
    replaces: str | None = None


@runtime_checkable
class RelayAuthority(Protocol):
    """A CA with an ACME server. Every verb raises `UpstreamError`s."""

    @property
    def server(self) -> str:
        """The directory URL: it names the CA in timelines and in the key of the single-flight lock."""
        ...

    def new_account_key(self) -> bytes:
        """Make an account key (PKCS #8 PEM); the hub stores it before its first use."""
        ...

    async def register(self, key: bytes) -> UpstreamAccount:
        """newAccount with `key` (RFC 8555 section 7.3); returns the existing account if there is one."""
        ...

    async def new_order(self, account: UpstreamAccount, request: IssueRequest) -> UpstreamOrder:
        """newOrder (section 7.4). The CA may return an existing order."""
        ...

    async def order(self, account: UpstreamAccount, url: str) -> UpstreamOrder:
        """Read an order."""
        ...

    async def authorization(self, account: UpstreamAccount, url: str) -> UpstreamAuthorization:
        """Read an authorization (section 7.5)."""
        ...

    async def answer(self, account: UpstreamAccount, challenge_url: str) -> None:
        """Tell the CA that a challenge can be checked (section 7.5.1)."""
        ...

    async def finalize(self, account: UpstreamAccount, finalize_url: str, order_url: str, csr: bytes) -> UpstreamOrder:
        """Send the CSR (DER), unchanged."""
        ...

    async def certificate(self, account: UpstreamAccount, url: str) -> IssuedChain:
        """Download a chain, or an alternate (section 7.4.2)."""
        ...

    async def revoke(self, account: UpstreamAccount, certificate: bytes, reason: int | None) -> None:
        """revokeCert (section 7.6) for a leaf in DER."""
        ...

    def choose(self, chains: tuple[str, ...]) -> int:
        """The index of the chain (PEM, the default first) that the settings prefer."""
        ...


@runtime_checkable
class SigningAuthority(Protocol):
    """A CA inside the hub: it needs no challenge and signs at once."""

    async def sign(self, csr: bytes, request: IssueRequest) -> str:
        """Sign a checked CSR (DER); returns the chain (PEM, leaf first, without the root). Raises `UpstreamRefused`."""
        ...

    async def revoke_signed(self, certificate: bytes, reason: int | None) -> None:
        """Record that a leaf (DER) is revoked."""
        ...

    @property
    def root(self) -> str:
        """The root certificate (PEM) that clients have to trust."""
        ...


@runtime_checkable
class CompletesSettings(Protocol):
    """An authority that completes its own settings once: it makes a key or fetches EAB credentials."""

    async def complete(self) -> PluginSettings | None:
        """The completed settings, which the hub seals and stores; None when nothing was missing."""
        ...


class UpstreamRenewalInfo(msgspec.Struct, frozen=True):
    """When a certificate should be renewed, according to its CA (RFC 9773); `retry_after` in seconds from now."""

    start: datetime
    end: datetime
    explanation_url: str = ""
    retry_after: float | None = None


@runtime_checkable
class InformsOfRenewal(Protocol):
    """A relay authority whose CA may support ARI (RFC 9773)."""

    async def renewal_info(self, cert_id: str) -> UpstreamRenewalInfo | None:
        """Ask about a certificate; None when the CA has no ARI or does not know the certificate."""
        ...


@runtime_checkable
class AnswersProbe(Protocol):
    """A relay authority that can be tried without an order, as `acmehub check --live` does."""

    async def probe(self, account: UpstreamAccount | None) -> str:
        """Ask the CA whether it has `account`; with None, whether the settings have what it asks of a new one.

        Makes nothing there. Returns what was seen, in one line for operators. Raises `UpstreamAccountLost` and the
        other `UpstreamError`s.
        """
        ...


@runtime_checkable
class IssuesForAddresses(Protocol):
    """An authority that may issue for `ip` identifiers (RFC 8738)."""

    @property
    def issues_for_addresses(self) -> bool:
        """Whether it does."""
        ...


@runtime_checkable
class AllowsLeafOnly(Protocol):
    """A relay authority whose chain may be the leaf alone, as that of a private CA without intermediates."""

    @property
    def allows_leaf_only(self) -> bool:
        """Whether it may."""
        ...


@runtime_checkable
class PollsFirst(Protocol):
    """A relay authority that says how soon its CA may be asked what came of a request."""

    @property
    def poll_first(self) -> float:
        """Seconds until the first look; the pauses that follow double. What the CA itself asks for goes first."""
        ...


@runtime_checkable
class GrantsLifetimes(Protocol):
    """An authority that grants the `not_after` of an order."""

    @property
    def longest_days(self) -> float:
        """The longest validity that it grants, in days."""
        ...


CertificateAuthority = RelayAuthority | SigningAuthority
POLL_FIRST = 0.04


def lifetime_flaw(days: int, authority: object) -> str | None:
    """Why an authority does not issue for that many days, as text that follows its name; None when it does."""
    if not isinstance(authority, GrantsLifetimes):
        return "sets lifetimes itself: it cannot be asked for another one"
    if days > authority.longest_days:
        return f"signs for {authority.longest_days:g} days at most"
    return None


def allows_leaf_only(authority: CertificateAuthority) -> bool:
    """Whether a chain of an authority may be the leaf alone."""
    return isinstance(authority, AllowsLeafOnly) and authority.allows_leaf_only


def issues_for_addresses(authority: CertificateAuthority) -> bool:
    """Whether an authority issues for addresses."""
    return isinstance(authority, IssuesForAddresses) and authority.issues_for_addresses


def poll_first(authority: CertificateAuthority) -> float:
    """Seconds until the first look at what came of a request, where the CA asks for no pause."""
    return authority.poll_first if isinstance(authority, PollsFirst) else POLL_FIRST
