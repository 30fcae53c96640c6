"""ACME accounts: bound by the EAB of an API token, updated, deactivated (RFC 8555 section 7.3)."""

import logging
from collections.abc import Awaitable, Callable
from functools import cached_property

import msgspec
from msgspec.structs import replace

from acmehub.acme.accounts.secret_directories import SecretDirectories
from acmehub.models import Account, AccountStatus, Actor, AuditActor, Principal, Token
from acmehub.models.accounts import MOST_FORMER_KEYS
from acmehub.models.base import is_id
from acmehub.models.problems import Problem, ProblemType
from acmehub.models.wire import AccountUpdate, NewAccount
from acmehub.ports.clock import Clock
from acmehub.ports.plugins import AccountCreated
from acmehub.ports.store import Conflict, Missing, Store
from acmehub.rules.contacts import check_contacts
from acmehub.rules.eab import new_hmac_key, parse_binding, require_active, use_token, verify_binding
from acmehub.rules.jws import compacted, require_strong
from acmehub.rules.key_change import NewKey
from acmehub.runtime.announcements import Announcements
from acmehub.runtime.audit import Audit
from acmehub.runtime.client_limits.limits import ClientLimits
from acmehub.runtime.client_limits.refusals import Refusals
from acmehub.runtime.deactivation import cancel_open_orders
from acmehub.runtime.plugins import Registry
from acmehub.runtime.snapshot import Snapshots
from acmehub.runtime.vault import Vault

_log = logging.getLogger(__name__)
_HMAC = "token.hmac"
_NOBODY = "nobody"


class Registered(msgspec.Struct, frozen=True):
    """The account of a key, and whether it is new."""

    account: Account
    created: bool


class AccountService:
    """Accounts as their owners see them."""

    def __init__(
        self,
        store: Store,
        snapshots: Snapshots,
        vault: Vault,
        registry: Registry,
        clock: Clock,
        limits: ClientLimits,
        refusals: Refusals,
        announce: Announcements,
    ) -> None:
        self._store = store
        self._limits = limits
        self._refusals = refusals
        self._announce = announce
        self._vault = vault
        self._registry = registry
        self._clock = clock
        self.directories = SecretDirectories(snapshots)

    @cached_property
    def _nobodys_key(self) -> bytes:
        """What is opened for an unknown key id, so that its refusal takes as long; a vault may be without key before
        the hub is founded."""
        return self._vault.seal(_HMAC, _NOBODY, new_hmac_key())

    async def register(
        self,
        asked: NewAccount,
        *,
        jwk: bytes,
        thumbprint: str,
        new_account_url: str,
        accept: Callable[[], Awaitable[None]],
        directory: Token | None = None,
        terms_of_service: str = "",
        address: str = "",
        user_agent: str = "",
    ) -> Registered:
        """The account of the key `jwk` (canonical JSON): the one that there is, else a new one.

        A key that has an account needs no binding again (docs/client-rules.md rule 11). The client must agree to
        `terms_of_service` (a URL; empty: to nothing). `address` is the client's, `directory` the token whose secret
        directory URL was used: it needs no binding. `accept` uses the request's nonce up, once it is not refused.
        Every refusal is a Problem.
        """
        existing = await self._store.accounts.by_thumbprint(thumbprint)
        if existing is not None:
            await accept()
            return await self._existing(existing)
        if asked.only_return_existing:
            raise Problem(ProblemType.ACCOUNT_DOES_NOT_EXIST, "there is no account with this key")
        now = self._clock.now()

        def rule(token: Token, principal: Principal) -> Token:
            if directory is not None and token.directory_hash != directory.directory_hash:
                raise Problem(ProblemType.UNAUTHORIZED, "this directory URL is over: ask the operator for the new one")
            return use_token(token, principal, address=address, now=now)

        token: Token | None = None
        try:
            require_strong(jwk)
            contacts = check_contacts(asked.contact or ())
            _require_agreement(asked, terms_of_service)
            token = await self._bound_by(asked, jwk, new_account_url, directory, address)
            owner = await self._owner(token)
            rule(token, owner)
            await self._limits.new_account(token, address)
            await accept()
            account = Account(
                jwk=jwk,
                thumbprint=thumbprint,
                contact=contacts,
                token_id=token.id,
                principal_id=token.principal_id,
                binding=b"" if directory else compacted(asked.binding),  # it would hold the secret URL
                user_agent=user_agent[:256],
                created=now,
            )
            stored, created = await self._bind(account, rule)
        except Problem as refusal:
            if not refusal.is_told and refusal.type is not ProblemType.BAD_NONCE:
                named = f"token {token.id}" if token is not None else ""
                await self._refusals.stranger(address, "account.refused", refusal.detail, object=named)
            raise
        if not created:
            return await self._existing(stored)
        way = ", by its secret directory" if directory else ""
        _log.info(
            "account bound",
            extra={
                "account": stored.id,
                "token": token.title,
                "principal": owner.name,
                "address": address,
                "way": "secret directory" if directory else "external account binding",
            },
        )
        await self._audit("account.created", token, stored, address, f"account {stored.id}{way}")
        self._registry.news(
            "account_created",
            AccountCreated(account_id=stored.id, principal=token.principal_id, token_id=token.id, at=now),
        )
        return Registered(stored, created=True)

    async def update(self, actor: Actor, asked: AccountUpdate, address: str = "") -> Account:
        """Change the contacts, or deactivate for good (RFC 8555 sections 7.3.2, 7.3.6); other updates are ignored.

        A deactivated account has no contacts any more. `address` is the client's.
        """
        contacts = None if asked.contact is None else check_contacts(asked.contact)
        account = actor.account
        while True:
            changed = _updated(account, contacts, asked.status)
            if changed == account:
                return account
            try:
                stored = await self._store.accounts.replace(changed)
            except Conflict:
                account = await self._active(account.id)
            else:
                if stored.status is AccountStatus.DEACTIVATED:
                    await cancel_open_orders(self._store, stored.id, self._clock.now(), self._announce)
                    detail = f"account {stored.id} by its own key"
                    await self._audit("account.deactivated", actor.token, stored, address, detail)
                return stored

    async def rekey(self, actor: Actor, new: NewKey, url_of: Callable[[str], str], address: str = "") -> Account:
        """Give the account another key (RFC 8555 section 7.3.5): the old one is refused from the next request on.

        Nothing else of the account changes, and its orders go on. `url_of` makes an account's URL,
        `address` is the client's.
        Raises a Problem with status 409 and that URL where another account has the key.
        """
        await self._limits.key_change(actor)
        account = actor.account
        while True:
            owner = await self._store.accounts.by_thumbprint(new.thumbprint)
            if owner is not None:
                raise Problem(
                    ProblemType.MALFORMED, "another account has this key", status=409, location=url_of(owner.id)
                )
            former = (*account.former_keys, account.thumbprint)[-MOST_FORMER_KEYS:]
            changed = replace(account, jwk=new.jwk, thumbprint=new.thumbprint, former_keys=former)
            try:
                stored = await self._store.accounts.replace(changed)
            except Conflict:  # the key was taken, or something else of the account has changed meanwhile
                account = await self._active(account.id)
                if account.jwk != actor.account.jwk:
                    raise Problem(ProblemType.UNAUTHORIZED, "the account has got another key meanwhile") from None
            else:
                detail = f"account {stored.id} from key {actor.account.thumbprint} to {stored.thumbprint}"
                await self._audit("account.rekeyed", actor.token, stored, address, detail)
                return stored

    async def _owner(self, token: Token) -> Principal:
        """The principal of a token as it is stored now."""
        owner = await self._store.principals.get(token.principal_id)
        if owner is None:
            raise _unknown_token()
        return owner

    async def _bind(self, account: Account, rule: Callable[[Token, Principal], Token]) -> tuple[Account, bool]:
        try:
            return await self._store.accounts.bind(account, rule)
        except Missing:
            raise _unknown_token() from None

    async def _existing(self, account: Account) -> Registered:
        """The account that the key has already, if it may still be used."""
        return Registered(await self._active(account.id), created=False)

    async def _bound_by(
        self, asked: NewAccount, jwk: bytes, new_account_url: str, directory: Token | None, address: str
    ) -> Token:
        """The token whose HMAC key made the binding, or whose secret directory it is.

        Unknown key ids cost the same time as wrong keys.
        """
        if not asked.binding:
            if directory is not None:
                return directory
            raise Problem(
                ProblemType.EXTERNAL_ACCOUNT_REQUIRED,
                "an account here needs external account binding: ask the operator for a key id and an HMAC key",
            )
        binding = parse_binding(asked.binding, account_jwk=jwk, new_account_url=new_account_url)
        token = await self._store.tokens.get(binding.kid) if is_id(binding.kid) else None
        row_id, sealed = (_NOBODY, self._nobodys_key) if token is None else (token.id, token.sealed_hmac_key)
        key = self._vault.open(_HMAC, row_id, sealed)
        try:
            verify_binding(binding, None if token is None else key)
        except Problem:
            await self._limits.failed_signature(address)
            raise
        assert token is not None  # nothing verifies without a key
        if directory is not None and token.id != directory.id:
            raise Problem(
                ProblemType.UNAUTHORIZED, "external account binding: the key id is not of this directory's token"
            )
        return token

    async def _active(self, account_id: str) -> Account:
        """An account as it is stored now, if it may still be used."""
        actor = await self._store.accounts.actor(account_id)
        if actor is None:
            raise Problem(ProblemType.ACCOUNT_DOES_NOT_EXIST, "there is no such account")
        require_active(actor, self._clock.now())
        return actor.account

    async def _audit(self, action: str, token: Token, account: Account, address: str, detail: str) -> None:
        device = AuditActor.device(f"token {token.title}", id=account.id, address=address, token_id=token.id)
        await Audit(self._store, self._clock).note(device, action, f"token {token.id}", detail)


def _require_agreement(asked: NewAccount, terms_of_service: str) -> None:
    if terms_of_service and not asked.terms_of_service_agreed:
        raise Problem(
            ProblemType.USER_ACTION_REQUIRED,
            f"the terms of service must be agreed to: {terms_of_service}",
            instance=terms_of_service,
        )


def _updated(account: Account, contacts: tuple[str, ...] | None, status: str | None) -> Account:
    if contacts is not None:
        account = replace(account, contact=contacts)
    if status == "deactivated":
        account = replace(account, status=AccountStatus.DEACTIVATED, contact=())
    return account


def _unknown_token() -> Problem:
    return Problem(
        ProblemType.UNAUTHORIZED,
        "external account binding: the key id is not known here, or the HMAC key is not the one that goes with it",
    )
