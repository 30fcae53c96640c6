"""What an upstream CA looks like to the engine: single-step verbs, each one exchange with the upstream.

An authority is either a `RelayAuthority` (it runs an ACME server that challenges us) or a `SigningAuthority` (it signs
by itself). The engine stores progress between any two verbs, so none of them may wait, poll or retry (a rejected nonce
excepted).
"""

from datetime import datetime
from typing import Protocol, runtime_checkable

import msgspec

from acmehub.models.identifiers import Identifier
from acmehub.models.problems import ProblemDocument
from acmehub.ports.settings import PluginSettings


class UpstreamError(Exception):
    """Base of what an exchange with an upstream can end in; `server` names it, `detail` has its words."""

    def __init__(self, detail: str, *, server: str = "", retry_after: float | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        self.server = server
        self.retry_after = retry_after


class UpstreamUnavailable(UpstreamError):
    """No answer, or one that says nothing (connection, timeout, 5xx, not ACME): try again later."""


class UpstreamRateLimited(UpstreamError):
    """`rateLimited`: not before `retry_after` seconds from now."""


class UpstreamAccountLost(UpstreamError):
    """The CA does not know our account, or has deactivated it: register anew."""


class UpstreamObjectLost(UpstreamError):
    """The CA answers 404 for an object of ours: the upstream order is dead."""


class UpstreamRefused(UpstreamError):
    """A refusal that trying again will not change; `problem` is the CA's document, subproblems included."""

    def __init__(self, problem: ProblemDocument, *, server: str = "") -> None:
        super().__init__(problem.detail, server=server)
        self.problem = problem


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

    `dns01_url` is None when the CA offers no dns-01; `txt_value` is what must stand at `_acme-challenge.<name>`.
    `error` is the challenge's, or the authorization's own.
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
    """A downloaded chain (PEM, leaf first) and the URLs of the alternates that were offered with it."""

    chain: str
    alternates: tuple[str, ...] = ()


class IssueRequest(msgspec.Struct, frozen=True):
    """What is asked of an authority; times only where the client gave them."""

    identifiers: tuple[Identifier, ...]
    profile: str | None = None
    not_before: datetime | None = None
    not_after: datetime | None = None
    replaces: str | None = None


@runtime_checkable
class RelayAuthority(Protocol):
    """A CA that speaks ACME to us. Every verb raises one of the `UpstreamError`s."""

    @property
    def server(self) -> str:
        """The directory URL: names the CA in timelines, and in the key of single-flight."""
        ...

    def new_account_key(self) -> bytes:
        """A fresh account key as PKCS #8 PEM; the engine stores it before it is used."""
        ...

    async def register(self, key: bytes) -> UpstreamAccount:
        """newAccount with `key` (RFC 8555 section 7.3); an account that exists already is as good as a new one."""
        ...

    async def new_order(self, account: UpstreamAccount, request: IssueRequest) -> UpstreamOrder:
        """newOrder (section 7.4). The answer may be an order that exists already."""
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
        """Which of the chains (PEM, the default first) is preferred by the settings: its index."""
        ...


@runtime_checkable
class SigningAuthority(Protocol):
    """A CA inside the hub: asks for no challenge, signs at once."""

    async def sign(self, csr: bytes, request: IssueRequest) -> str:
        """The chain (PEM, leaf first, without the root) for a checked CSR in DER; raises `UpstreamRefused`."""
        ...

    async def revoke_signed(self, certificate: bytes, reason: int | None) -> None:
        """Note that a leaf (DER) is revoked."""
        ...

    @property
    def root(self) -> str:
        """The root certificate (PEM) that clients must trust."""
        ...


@runtime_checkable
class CompletesSettings(Protocol):
    """An authority that fills in its own settings once: makes a key, fetches EAB credentials."""

    async def complete(self) -> PluginSettings | None:
        """The completed settings to be sealed and stored, or None when nothing was missing."""
        ...


class UpstreamRenewalInfo(msgspec.Struct, frozen=True):
    """When the CA wants a certificate renewed (RFC 9773); `retry_after` in seconds from now."""

    start: datetime
    end: datetime
    explanation_url: str = ""
    retry_after: float | None = None


@runtime_checkable
class InformsOfRenewal(Protocol):
    """A relay authority whose CA may have ARI (RFC 9773)."""

    async def renewal_info(self, cert_id: str) -> UpstreamRenewalInfo | None:
        """What the CA says of a certificate; None when it has no ARI or does not know the certificate."""
        ...


@runtime_checkable
class IssuesForAddresses(Protocol):
    """An authority that may issue for `ip` identifiers (RFC 8738)."""

    @property
    def issues_for_addresses(self) -> bool:
        """Whether it does."""
        ...


@runtime_checkable
class GrantsLifetimes(Protocol):
    """An authority that grants the `not_after` that it is asked for."""

    @property
    def longest_days(self) -> float:
        """The longest validity that it grants, in days."""
        ...


CertificateAuthority = RelayAuthority | SigningAuthority


def lifetime_flaw(days: int, authority: object) -> str | None:
    """Why an authority's object cannot be asked for certificates of so many days, to follow its name."""
    if not isinstance(authority, GrantsLifetimes):
        return "sets lifetimes itself: it cannot be asked for another one"
    if days > authority.longest_days:
        return f"signs for {authority.longest_days:g} days at most"
    return None


def issues_for_addresses(authority: CertificateAuthority) -> bool:
    """Whether an authority issues for addresses."""
    return isinstance(authority, IssuesForAddresses) and authority.issues_for_addresses
