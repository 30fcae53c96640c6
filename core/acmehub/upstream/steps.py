"""The verbs of `AcmeRelay`.

A verb makes more than one exchange in four cases only: no nonce is left, a nonce is rejected, the directory is read
(again), or a refusal is ambiguous. `unauthorized` may mean that the account is lost; `malformed` for a challenge and
`orderNotReady` for a finalize may mean that an earlier attempt succeeded and its response was lost.
"""

from collections.abc import Awaitable, Callable

import msgspec

from acmehub.models import wire
from acmehub.models.problems import Problem, ProblemType
from acmehub.ports.authority import (
    IssuedChain,
    IssueRequest,
    UpstreamAccount,
    UpstreamAccountLost,
    UpstreamAuthorization,
    UpstreamError,
    UpstreamObjectLost,
    UpstreamOrder,
    UpstreamRefused,
    UpstreamRenewalInfo,
    UpstreamUnavailable,
)
from acmehub.upstream import documents
from acmehub.upstream.directories import DirectoryCache, UpstreamDirectory
from acmehub.upstream.exchange import Exchanger
from acmehub.upstream.failures import NotThere
from acmehub.upstream.hosts import Hosts
from acmehub.upstream.keys import UpstreamAccountKey, base64url
from acmehub.upstream.responses import UpstreamResponse
from acmehub.upstream.settings import RelaySettings, hmac_key

LONGEST_RENEWAL_RETRY = 86_400.0  # RFC 9773 section 4.3.2
_ALIVE = ("valid", "")  # of an account; a CA may answer without saying it


class Steps:
    """The verbs for one CA."""

    def __init__(
        self, settings: RelaySettings, exchanger: Exchanger, directories: DirectoryCache, hosts: Hosts
    ) -> None:
        self.server = settings.directory
        self._settings = settings
        self._exchanger = exchanger
        self._directories = directories
        self._hosts = hosts
        self._loaded: tuple[bytes, UpstreamAccountKey] | None = None

    async def register(self, key: bytes) -> UpstreamAccount:
        """newAccount (RFC 8555 section 7.3)."""
        directory = await self._directories.current()
        self._check_terms(directory)
        try:
            answer = await self._post_to(
                lambda to: to.new_account, key, None, lambda to: self._account_payload(to, key)
            )
        except UpstreamRefused as refusal:
            if await self._account_is_lost(refusal, key, None):
                raise UpstreamAccountLost(refusal.detail, server=self.server) from refusal
            raise
        if documents.read_status(answer, self.server) not in _ALIVE:
            raise UpstreamAccountLost("the CA has deactivated the account of this key", server=self.server)
        return UpstreamAccount(url=documents.read_location(answer, "newAccount", self._hosts, self.server), key=key)

    async def probe(self, account: UpstreamAccount | None) -> str:
        """The directory as it is now, then newAccount for an existing account only (RFC 8555 section 7.3.1)."""
        directory = await self._directories.again()
        if account is None:
            self._check_terms(directory)
            return "its directory can be read; the settings have what it asks of new accounts"
        existing = msgspec.json.encode({"onlyReturnExisting": True})
        answer = await self._post_to(lambda to: to.new_account, account.key, None, existing)
        status = documents.read_status(answer, self.server)
        if status not in _ALIVE:
            raise UpstreamAccountLost(f"the account {account.url} is {status} there", server=self.server)
        return f"its directory can be read; it has the account {account.url}"

    def _check_terms(self, directory: UpstreamDirectory) -> None:
        meta = directory.meta
        if meta.terms_of_service and not self._settings.agrees:
            raise self._refused(
                ProblemType.USER_ACTION_REQUIRED,
                f"this CA has terms of service ({meta.terms_of_service}): read them and set terms_of_service_agreed",
            )
        if meta.external_account_required and not self._settings.eab_kid:
            raise self._refused(
                ProblemType.EXTERNAL_ACCOUNT_REQUIRED,
                "this CA requires an External Account Binding: set eab_kid and eab_hmac_key",
            )

    def _account_payload(self, directory: UpstreamDirectory, key: bytes) -> bytes:
        settings = self._settings
        payload: dict[str, object] = {}
        if directory.meta.terms_of_service:
            payload["termsOfServiceAgreed"] = True
        if settings.email:
            payload["contact"] = [f"mailto:{settings.email}"]
        if settings.eab_kid:
            payload["externalAccountBinding"] = self._key(key).binding(
                settings.eab_kid, hmac_key(settings.eab_hmac_key), directory.new_account
            )
        return msgspec.json.encode(payload)

    async def new_order(self, account: UpstreamAccount, request: IssueRequest) -> UpstreamOrder:
        """newOrder (section 7.4)."""
        directory = await self._directories.current()
        profile = request.profile or self._settings.profile
        if profile and profile not in directory.meta.profiles:  # it may be newer than the cached directory
            self._directories.forget(directory)
            directory = await self._directories.current()
        if profile and profile not in directory.meta.profiles:
            offered = ", ".join(sorted(directory.meta.profiles)) or "none"
            raise self._refused(ProblemType.INVALID_PROFILE, f"the CA has no profile {profile!r}; it offers: {offered}")
        payload = documents.new_order_payload(request, profile=profile, replaces=bool(directory.renewal_info))
        answer = await self._as_account(
            account, lambda: self._post_to(lambda to: to.new_order, account.key, account.url, payload)
        )
        order = self._order(answer, "")
        if len(order.authorizations) > len(request.identifiers):
            count = f"{len(order.authorizations)} authorizations for {len(request.identifiers)} names"
            raise UpstreamUnavailable(f"{order.url}: an order with {count}", server=self.server)
        return order

    async def order(self, account: UpstreamAccount, url: str) -> UpstreamOrder:
        """Read an order."""
        return self._order(await self._fetch(account, url), url)

    def _order(self, answer: UpstreamResponse, url: str) -> UpstreamOrder:
        return documents.read_order(answer, url, self._hosts, self.server)

    async def authorization(self, account: UpstreamAccount, url: str) -> UpstreamAuthorization:
        """Read an authorization (section 7.5)."""
        answer = await self._fetch(account, url)
        return documents.read_authorization(answer, url, self._key(account.key), self._hosts, self.server)

    async def answer(self, account: UpstreamAccount, challenge_url: str) -> None:
        """Respond to a challenge (section 7.5.1)."""
        try:
            await self._as_account(account, lambda: self._post(challenge_url, b"{}", account.key, account.url))
        except UpstreamRefused as refusal:
            if refusal.problem.type != ProblemType.MALFORMED.urn:
                raise
            status = documents.read_status(await self._fetch(account, challenge_url), self.server)
            if status == "pending":
                raise
            if not status:  # it may have taken an earlier response
                raise UpstreamUnavailable(refusal.detail, server=self.server) from refusal

    async def finalize(self, account: UpstreamAccount, finalize_url: str, order_url: str, csr: bytes) -> UpstreamOrder:
        """Send the CSR (section 7.4)."""
        if not finalize_url:
            raise UpstreamUnavailable(f"{order_url}: the order has no finalize URL", server=self.server)
        payload = msgspec.json.encode(wire.Finalize(csr=base64url(csr)))
        try:
            answer = await self._as_account(
                account, lambda: self._post(finalize_url, payload, account.key, account.url)
            )
        except UpstreamRefused as refusal:
            if refusal.problem.type != ProblemType.ORDER_NOT_READY.urn:
                raise
            order = await self.order(account, order_url)
            if order.status in ("pending", "ready"):  # servers of the CA may disagree for a moment
                raise
            return order
        return self._order(answer, order_url)

    async def certificate(self, account: UpstreamAccount, url: str) -> IssuedChain:
        """Download a chain (section 7.4.2); what is wrong is told with its URL."""
        accept = "application/pem-certificate-chain"
        try:
            answer = await self._as_account(
                account, lambda: self._post(url, b"", account.key, account.url, accept=accept)
            )
        except UpstreamError as error:
            _name_url(error, url)
            raise
        return documents.read_chain(answer, self._hosts, self.server)

    async def revoke(self, account: UpstreamAccount, certificate: bytes, reason: int | None) -> None:
        """revokeCert (section 7.6)."""
        payload: dict[str, object] = {"certificate": base64url(certificate)}
        if reason is not None:
            payload["reason"] = reason
        body = msgspec.json.encode(payload)
        if not (await self._directories.current()).revoke_cert:
            raise self._refused(ProblemType.UNAUTHORIZED, "this CA offers no revocation")
        try:
            await self._as_account(account, lambda: self._post_to(self._revoke_cert, account.key, account.url, body))
        except UpstreamRefused as refusal:
            if refusal.problem.type != ProblemType.ALREADY_REVOKED.urn:
                raise

    async def renewal_info(self, cert_id: str) -> UpstreamRenewalInfo | None:
        """When to renew a certificate (RFC 9773 section 4.2); unsigned."""
        directory = await self._directories.current()
        if not directory.renewal_info:
            return None
        resource = self._hosts.resolve(directory.url, directory.renewal_info)
        answer = await self._exchanger.find(f"{resource.rstrip('/')}/{cert_id}")
        if answer is None:
            return None
        retry_after = self._exchanger.retry_after(answer, LONGEST_RENEWAL_RETRY)
        return documents.read_renewal_info(answer, retry_after, self.server)

    def _revoke_cert(self, directory: UpstreamDirectory) -> str:
        return self._hosts.resolve(directory.url, directory.revoke_cert) if directory.revoke_cert else ""

    async def _fetch(self, account: UpstreamAccount, url: str) -> UpstreamResponse:
        """POST-as-GET (RFC 8555 section 6.3)."""
        return await self._as_account(account, lambda: self._post(url, b"", account.key, account.url))

    async def _as_account(
        self, account: UpstreamAccount, exchange: Callable[[], Awaitable[UpstreamResponse]]
    ) -> UpstreamResponse:
        """An exchange; when it ends in `unauthorized`, find out whether the object is meant or the hub's account."""
        try:
            return await exchange()
        except UpstreamRefused as refusal:
            if await self._account_is_lost(refusal, account.key, account.url):
                raise UpstreamAccountLost(refusal.detail, server=self.server) from refusal
            raise

    async def _account_is_lost(self, refusal: UpstreamRefused, key: bytes, url: str | None) -> bool:
        """Ask the CA for the account, by its URL or its key (RFC 8555 sections 7.3.1 and 7.3.6)."""
        if refusal.problem.type != ProblemType.UNAUTHORIZED.urn:
            return False
        try:
            if url is None:
                existing = msgspec.json.encode({"onlyReturnExisting": True})
                answer = await self._post_to(lambda to: to.new_account, key, None, existing)
            else:
                answer = await self._post(url, b"", key, url)
        except UpstreamAccountLost:
            return url is not None  # no account has this key: the CA refused to create one
        except UpstreamObjectLost:
            return True
        except UpstreamRefused as again:
            return again.problem.type == ProblemType.UNAUTHORIZED.urn
        return documents.read_status(answer, self.server) not in _ALIVE

    async def _post_to(
        self,
        resource: Callable[[UpstreamDirectory], str],
        key: bytes,
        kid: str | None,
        payload: bytes | Callable[[UpstreamDirectory], bytes],
    ) -> UpstreamResponse:
        """POST to a resource of the directory; when it (or newNonce) has moved, POST once more to its new URL."""
        directory = await self._directories.current()
        try:
            return await self._post_in(directory, resource, key, kid, payload)
        except (UpstreamObjectLost, NotThere) as error:
            moved = await self._directories.current()
            if (resource(moved), moved.new_nonce) == (resource(directory), directory.new_nonce):
                detail = f"{error.detail}, although the directory names it"
                raise UpstreamUnavailable(detail, server=self.server) from error
        return await self._post_in(moved, resource, key, kid, payload)

    async def _post_in(
        self,
        directory: UpstreamDirectory,
        resource: Callable[[UpstreamDirectory], str],
        key: bytes,
        kid: str | None,
        payload: bytes | Callable[[UpstreamDirectory], bytes],
    ) -> UpstreamResponse:
        return await self._post(
            resource(directory), payload if isinstance(payload, bytes) else payload(directory), key, kid
        )

    async def _post(
        self, url: str, payload: bytes, key: bytes, kid: str | None, *, accept: str = "application/json"
    ) -> UpstreamResponse:
        directory = await self._directories.current()
        try:
            return await self._exchanger.post(
                url, payload, self._key(key), kid=kid, new_nonce=directory.new_nonce, accept=accept
            )
        except (UpstreamObjectLost, NotThere):
            self._directories.forget(directory)  # the CA may have moved
            raise

    def _key(self, pem: bytes) -> UpstreamAccountKey:
        loaded = self._loaded
        if loaded is None or loaded[0] != pem:
            loaded = self._loaded = (pem, UpstreamAccountKey(pem))
        return loaded[1]

    def _refused(self, type: ProblemType, detail: str) -> UpstreamRefused:
        return UpstreamRefused(Problem(type, detail).document(), server=self.server)


def _name_url(error: UpstreamError, url: str) -> None:
    """Put the URL into the words of an error that has none."""
    if url in error.detail:
        return
    error.detail = f"{url}: {error.detail}"
    error.args = (error.detail,)
    if isinstance(error, UpstreamRefused):
        error.problem = msgspec.structs.replace(error.problem, detail=error.detail)
