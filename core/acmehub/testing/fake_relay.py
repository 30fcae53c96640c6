"""An ACME CA in memory: orders as in RFC 8555, scripted errors, a count of issued certificates."""

import itertools
from collections import defaultdict
from collections.abc import Callable
from typing import Literal

import msgspec

from acmehub.models.identifiers import Identifier, base_name, is_wildcard, name_set
from acmehub.models.problems import ProblemDocument
from acmehub.ports.authority import (
    POLL_FIRST,
    IssuedChain,
    IssueRequest,
    UpstreamAccount,
    UpstreamAccountLost,
    UpstreamAuthorization,
    UpstreamObjectLost,
    UpstreamOrder,
    UpstreamRefused,
    UpstreamRenewalInfo,
    UpstreamUnavailable,
)
from acmehub.ports.clock import Clock
from acmehub.testing.fake_ca import FakeCa

When = Literal["before", "after"]


class FakeAuthorization(msgspec.Struct, kw_only=True):
    """An authorization at the fake CA; a test may change it."""

    url: str
    identifier: Identifier
    wildcard: bool
    status: str = "pending"
    challenge: str = "pending"
    value: str = ""
    error: ProblemDocument | None = None
    looks: int = 0


class FakeOrder(msgspec.Struct, kw_only=True):
    """An order at the fake CA; a test may change it."""

    url: str
    account: str
    request: IssueRequest
    authorizations: list[FakeAuthorization]
    status: str = "pending"
    csr: bytes | None = None
    chains: tuple[str, ...] = ()
    error: ProblemDocument | None = None
    looks: int = 0


class FakeRelay:
    """A `RelayAuthority`.

    `sees(name, value)`: whether the CA's validation finds a TXT value (default: always). `validation_looks` and
    `processing_looks`: how many reads it takes until there is a result. `reuse_orders`: newOrder returns an open order
    of the same account and names. `reuse_authorizations`: names that were validated before are valid. `refused`: names
    that fail validation, with their problems. `allows_leaf_only`: whether a chain may be the leaf alone. `poll_first`:
    seconds until the first look. `calls`: the verbs that were called.
    """

    def __init__(self, clock: Clock, sees: Callable[[str, str], bool] = lambda _name, _value: True) -> None:
        self.ca = FakeCa(clock.now())
        self.sees = sees
        self.validation_looks = 0
        self.processing_looks = 0
        self.retry_after: float | None = None
        self.reuse_orders = False
        self.reuse_authorizations = True
        self.alternates = False
        self.preferred = 0
        self.allows_leaf_only = False
        self.poll_first = POLL_FIRST
        self.refused: dict[str, ProblemDocument] = {}
        self.substitute: Callable[[str], str] = lambda chain: chain
        self.accounts: dict[bytes, str] = {}
        self.orders: dict[str, FakeOrder] = {}
        self.revoked: list[tuple[bytes, int | None]] = []
        self.renewals: dict[str, UpstreamRenewalInfo] = {}
        self.calls: list[str] = []
        self._clock = clock
        self._numbers = itertools.count(1)
        self._valid: set[tuple[str, bool]] = set()
        self._script: defaultdict[str, list[tuple[When, BaseException]]] = defaultdict(list)

    @property
    def server(self) -> str:
        return "https://ca.test/directory"

    def fail(self, verb: str, error: BaseException, *, times: int = 1, when: When = "before") -> None:
        """Let the next `times` calls of `verb` raise `error`, before the verb has an effect or after (response
        lost)."""
        self._script[verb] += [(when, error)] * times

    def mend(self) -> None:
        """Let no verb fail any more."""
        self._script.clear()

    def issued_for(self, *names: str) -> int:
        """How many certificates were issued for exactly these names."""
        wanted = name_set(tuple(Identifier("dns", name) for name in names))
        return sum(bool(order.chains) for order in self.orders.values() if _names_of(order) == wanted)

    # ------------------------------------------------------------------------------------------- RelayAuthority

    def new_account_key(self) -> bytes:
        """A text that stands for a key; nothing is signed with it."""
        return f"key {next(self._numbers)}".encode()

    async def register(self, key: bytes) -> UpstreamAccount:
        after = self._begin("register")
        url = self.accounts.setdefault(key, f"https://ca.test/account/{next(self._numbers)}")
        _end(after)
        return UpstreamAccount(url, key)

    async def new_order(self, account: UpstreamAccount, request: IssueRequest) -> UpstreamOrder:
        after = self._begin("new_order", account)
        order = self._same_as(account, request) if self.reuse_orders else None
        if order is None:
            order = FakeOrder(
                url=f"https://ca.test/order/{next(self._numbers)}",
                account=account.url,
                request=request,
                authorizations=[self._authorization(item) for item in request.identifiers],
            )
            self.orders[order.url] = order
        self._update(order)
        _end(after)
        return self._shown(order)

    async def order(self, account: UpstreamAccount, url: str) -> UpstreamOrder:
        after = self._begin("order", account)
        order = self._order(url, account)
        order.looks += 1
        self._update(order)
        _end(after)
        return self._shown(order)

    async def authorization(self, account: UpstreamAccount, url: str) -> UpstreamAuthorization:
        after = self._begin("authorization", account)
        own = [order for order in self.orders.values() if order.account == account.url]
        found = next((item for order in own for item in order.authorizations if item.url == url), None)
        if found is None:
            raise UpstreamObjectLost("no such authorization", server=self.server)
        self._validate(found)
        _end(after)
        return UpstreamAuthorization(
            url=found.url,
            identifier=found.identifier,
            wildcard=found.wildcard,
            status=found.status,
            dns01_url=f"{found.url}/dns-01",
            dns01_status=found.challenge,
            txt_value=found.value,
            error=found.error,
            retry_after=self.retry_after,
        )

    async def answer(self, account: UpstreamAccount, challenge_url: str) -> None:
        after = self._begin("answer", account)
        url = challenge_url.removesuffix("/dns-01")
        found = next(item for order in self.orders.values() for item in order.authorizations if item.url == url)
        if found.challenge != "pending":
            raise UpstreamRefused(
                ProblemDocument("urn:ietf:params:acme:error:malformed", "challenge is not pending", 400),
                server=self.server,
            )
        found.challenge = "processing"
        _end(after)

    async def finalize(self, account: UpstreamAccount, finalize_url: str, order_url: str, csr: bytes) -> UpstreamOrder:
        after = self._begin("finalize", account)
        order = self._order(order_url, account)
        self._update(order)
        if order.status != "ready" or finalize_url != f"{order.url}/finalize":
            raise UpstreamRefused(
                ProblemDocument("urn:ietf:params:acme:error:orderNotReady", f"order is {order.status}", 403),
                server=self.server,
            )
        order.csr, order.status, order.looks = csr, "processing", 0
        self._update(order)
        _end(after)
        return self._shown(order)

    async def certificate(self, account: UpstreamAccount, url: str) -> IssuedChain:
        after = self._begin("certificate", account)
        base, _, number = url.partition("/certificate/")
        order = self.orders[base]  # a certificate is no secret: any account may download it
        _end(after)
        chain = self.substitute(order.chains[int(number)])
        others = tuple(f"{base}/certificate/{index}" for index in range(1, len(order.chains)))
        return IssuedChain(chain, others if self.alternates and number == "0" else ())

    async def revoke(self, account: UpstreamAccount, certificate: bytes, reason: int | None) -> None:
        after = self._begin("revoke", account)
        self.revoked.append((certificate, reason))
        _end(after)

    async def renewal_info(self, cert_id: str) -> UpstreamRenewalInfo | None:
        """The window that the test has set in `renewals`."""
        after = self._begin("renewal_info")
        _end(after)
        return self.renewals.get(cert_id)

    def choose(self, chains: tuple[str, ...]) -> int:
        """The chain that the test has chosen in `preferred`."""
        return min(self.preferred, len(chains) - 1)

    # ----------------------------------------------------------------------------------------------- inside

    def _begin(self, verb: str, account: UpstreamAccount | None = None) -> BaseException | None:
        """Record a call; raises an error set for before the verb, returns one set for after it."""
        self.calls.append(verb)
        script = self._script[verb]
        when, error = script.pop(0) if script else ("after", None)
        if when == "before" and error is not None:
            raise error
        if account is not None and account.url not in self.accounts.values():
            raise UpstreamAccountLost("no such account", server=self.server)
        return error

    def _authorization(self, identifier: Identifier) -> FakeAuthorization:
        number = next(self._numbers)
        name, wildcard = base_name(identifier.value), is_wildcard(identifier.value)
        valid = self.reuse_authorizations and (name, wildcard) in self._valid
        return FakeAuthorization(
            url=f"https://ca.test/authorization/{number}",
            identifier=Identifier(identifier.type, name),
            wildcard=wildcard,
            status="valid" if valid else "pending",
            challenge="valid" if valid else "pending",
            value=f"proof-{number}",
        )

    def _same_as(self, account: UpstreamAccount, request: IssueRequest) -> FakeOrder | None:
        wanted = name_set(request.identifiers)
        return next(
            (
                order
                for order in self.orders.values()
                if order.status in ("pending", "ready") and order.account == account.url and _names_of(order) == wanted
            ),
            None,
        )

    def _order(self, url: str, account: UpstreamAccount) -> FakeOrder:
        order = self.orders.get(url)
        if order is None or order.account != account.url:
            raise UpstreamObjectLost("no such order", server=self.server)
        return order

    def _validate(self, item: FakeAuthorization) -> None:
        if item.status != "pending" or item.challenge != "processing":
            return
        item.looks += 1
        if item.looks <= self.validation_looks:
            return
        name = item.identifier.value
        if name in self.refused:
            item.status = item.challenge = "invalid"
            item.error = self.refused[name]
        elif not self.sees(f"_acme-challenge.{name}", item.value):
            item.status = item.challenge = "invalid"
            item.error = ProblemDocument("urn:ietf:params:acme:error:unauthorized", f"no TXT record for {name}", 403)
        else:
            item.status = item.challenge = "valid"
            self._valid.add((name, item.wildcard))

    def _update(self, order: FakeOrder) -> None:
        if order.status == "pending":
            for item in order.authorizations:
                self._validate(item)
            states = {item.status for item in order.authorizations}
            if states == {"valid"}:
                order.status = "ready"
            elif "invalid" in states:
                order.status = "invalid"
        elif order.status == "processing" and order.looks >= self.processing_looks and order.csr is not None:
            names = [item.value for item in order.request.identifiers]
            order.chains = self.ca.chains(order.csr, names, self._clock.now())
            order.status = "valid"

    def _shown(self, order: FakeOrder) -> UpstreamOrder:
        return UpstreamOrder(
            url=order.url,
            status=order.status,
            authorizations=tuple(item.url for item in order.authorizations),
            finalize=f"{order.url}/finalize",
            certificate=f"{order.url}/certificate/0" if order.chains else None,
            error=order.error,
            retry_after=self.retry_after if order.status in ("pending", "processing") else None,
        )


def _end(error: BaseException | None) -> None:
    if error is not None:
        raise error


def _names_of(order: FakeOrder) -> str:
    return name_set(order.request.identifiers)


def lost_answer(server: str = "https://ca.test/directory") -> UpstreamUnavailable:
    """The error of a verb whose connection broke."""
    return UpstreamUnavailable("connection reset by peer", server=server)
