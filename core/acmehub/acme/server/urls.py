"""URLs of the ACME server; their base comes from the configuration, never from `Host`.

docs/client-rules.md rule 18: absolute, path only, `[A-Za-z0-9/_.-]`, no trailing slash, no query.
"""

from acmehub.models import ChallengeType
from acmehub.models.base import is_id

PREFIX = "/acme"


class Urls:
    """URLs under a public base such as `https://hub.example.com` (without a path and without a trailing slash)."""

    def __init__(self, public_url: str) -> None:
        self.base = public_url.rstrip("/")
        root = self.base + PREFIX
        self.directory = f"{root}/directory"
        self.new_nonce = f"{root}/new-nonce"
        self.new_account = f"{root}/new-account"
        self.new_order = f"{root}/new-order"
        self.new_authorization = f"{root}/new-authz"
        self.key_change = f"{root}/key-change"
        self.revoke_certificate = f"{root}/revoke-cert"
        self.renewal_info = f"{root}/renewal-info"
        self.terms = f"{root}/terms"
        self._account = f"{root}/acct/"
        self._order = f"{root}/order/"
        self._authorization = f"{root}/authz/"
        self._challenge = f"{root}/chall/"
        self._certificate = f"{root}/cert/"

    def of(self, path: str) -> str:
        """The public URL of a request's path."""
        return self.base + path

    def secret_directory(self, key: str) -> str:
        """The secret directory of a token."""
        return f"{self.base}{PREFIX}/{key}/directory"

    def secret_new_account(self, key: str) -> str:
        """The newAccount of a secret directory."""
        return f"{self.base}{PREFIX}/{key}/new-account"

    def account(self, account_id: str) -> str:
        """An account; also its `kid`."""
        return self._account + account_id

    def account_id(self, kid: str) -> str | None:
        """The account that a `kid` names; None when it is no account URL of this server."""
        account_id = kid.removeprefix(self._account)
        return account_id if account_id != kid and is_id(account_id) else None

    def account_orders(self, account_id: str, after: str = "") -> str:
        """An account's orders list, or the page of it that begins beyond the order `after`."""
        return f"{self._account}{account_id}/orders/{after}" if after else f"{self._account}{account_id}/orders"

    def order(self, order_id: str) -> str:
        """An order."""
        return self._order + order_id

    def finalize(self, order_id: str) -> str:
        """An order's finalize URL."""
        return f"{self._order}{order_id}/finalize"

    def authorization(self, authorization_id: str) -> str:
        """An authorization."""
        return self._authorization + authorization_id

    def challenge(self, authorization_id: str, challenge: ChallengeType) -> str:
        """One challenge of an authorization."""
        return f"{self._challenge}{authorization_id}/{challenge.value}"

    def certificate(self, certificate_id: str) -> str:
        """An issued chain."""
        return self._certificate + certificate_id

    def alternate(self, certificate_id: str, number: int) -> str:
        """The alternate chain `number`, from 1."""
        return f"{self._certificate}{certificate_id}/{number}"
