"""What an operator does with orders, accounts and certificates: look, retry, cancel, deactivate, revoke.

Clients have their own verbs (`accounts`, `ordering`). `actor` names who acts, for the audit.
"""

from collections.abc import Callable, Sequence
from datetime import datetime

import msgspec

from acmehub.admin.errors import Invalid, NotFound, Refused, ServiceError
from acmehub.admin.permissions import Acting, require
from acmehub.models import (
    Account,
    AccountStatus,
    Authority,
    AuthorizationMode,
    Certificate,
    Event,
    EventKind,
    Order,
    OrderStatus,
    Principal,
    Stage,
    Token,
    TxtRecord,
)
from acmehub.models.identifiers import canonical
from acmehub.models.problems import Problem, ProblemType
from acmehub.ports.clock import Clock
from acmehub.ports.store import Conflict, Missing, Store
from acmehub.rules.authorization_modes import LEARNABLE, SET_BY, explain_mode
from acmehub.rules.chains import serial_text
from acmehub.rules.orders import Change, OrderBundle, failed
from acmehub.runtime.audit import Audit
from acmehub.runtime.deactivation import cancel_open_orders
from acmehub.runtime.revocation import RevocationService

REASONS = {
    "unspecified": 0,
    "keyCompromise": 1,
    "affiliationChanged": 3,
    "superseded": 4,
    "cessationOfOperation": 5,
    "privilegeWithdrawn": 9,
}  # RFC 5280 section 5.3.1, without those that only a CA may give


class OrderSummary(msgspec.Struct, frozen=True, kw_only=True):
    """An order in a list; with `preauthorization` its client does not see it as one (RFC 8555 section 7.4.1)."""

    id: str
    status: OrderStatus
    stage: Stage
    names: tuple[str, ...]
    principal: str
    authority: str
    created: datetime
    error: str = ""
    preauthorization: bool = False


class OrderDetail(msgspec.Struct, frozen=True, kw_only=True):
    """An order with all that is known of it; `timeline` oldest first, `records` are TXT records not yet removed."""

    bundle: OrderBundle
    principal: str
    token: str
    authority: str
    timeline: tuple[Event, ...]
    records: tuple[TxtRecord, ...]


class AccountSummary(msgspec.Struct, frozen=True, kw_only=True):
    """An ACME account in a list; `authorization` is the mode that its orders get at a relaying authority."""

    id: str
    status: AccountStatus
    principal: str
    token: str
    contact: tuple[str, ...]
    user_agent: str
    thumbprint: str
    created: datetime
    authorization: AuthorizationMode
    authorization_why: str
    learned: AuthorizationMode | None


class CertificateSummary(msgspec.Struct, frozen=True, kw_only=True):
    """A certificate in a list."""

    id: str
    names: tuple[str, ...]
    serial: str
    issuer: str
    authority: str
    not_before: datetime
    not_after: datetime
    revoked: datetime | None
    revocation_reason: int | None = None


class OperationService:
    """Verbs raise `ServiceError`s."""

    def __init__(self, store: Store, revocation: RevocationService, clock: Clock) -> None:
        self._store = store
        self._revocation = revocation
        self._clock = clock

    # ------------------------------------------------------------------------------------------------ orders

    async def orders(
        self, *, status: OrderStatus | None = None, account_id: str = "", after: str = "", limit: int = 100
    ) -> Sequence[OrderSummary]:
        """Orders, newest first."""
        names = await self._names()
        found = await self._store.orders.list(status=status, account_id=account_id, after=after, limit=limit)
        return [
            OrderSummary(
                id=order.id,
                status=order.status,
                stage=order.stage,
                names=tuple(item.value for item in order.identifiers),
                principal=names.principal(order.principal_id),
                authority=names.authority(order.authority_id),
                created=order.created,
                error=order.error.detail if order.error else "",
                preauthorization=order.preauthorization,
            )
            for order in found
        ]

    async def order(self, order_id: str) -> OrderDetail:
        """One order with its timeline."""
        bundle = await self._store.orders.get(order_id)
        if bundle is None:
            raise NotFound(f"there is no order {order_id}")
        names = await self._names()
        return OrderDetail(
            bundle=bundle,
            principal=names.principal(bundle.order.principal_id),
            token=names.token(bundle.order.token_id),
            authority=names.authority(bundle.order.authority_id),
            timeline=tuple(await self._store.records.timeline(order_id)),
            records=tuple(await self._store.txt_records.of_order(order_id)),
        )

    async def retry(self, order_id: str, actor: str) -> Order:
        """Have an unfinished order worked on at once, its failures forgotten and its time for efforts begun anew.

        One that is `invalid` stays so (RFC 8555 section 7.1.6): its client must order again.
        """
        now = self._clock.now()

        def rule(bundle: OrderBundle) -> Change:
            order = bundle.order
            _refuse_finished(order, "retried")
            if order.run_at is None:
                raise Refused("there is nothing to retry: the order waits for its client")
            issuance_timeout = order.deadline - order.created
            again = msgspec.structs.replace(
                order, attempts=0, run_at=now, deadline=min(order.expires, now + issuance_timeout)
            )
            event = Event(order_id=order.id, at=now, kind=EventKind.RETRIED, detail=actor)
            return Change(order=again, events=(event,))

        return await self._apply(order_id, rule, "order.retry", actor)

    async def cancel(self, order_id: str, actor: str) -> Order:
        """End an unfinished order: it turns `invalid`, its TXT records are removed."""
        now = self._clock.now()
        reason = Problem(ProblemType.UNAUTHORIZED, "the order was cancelled by the operator of this server")

        def rule(bundle: OrderBundle) -> Change:
            _refuse_finished(bundle.order, "cancelled")
            fenced = msgspec.structs.replace(
                bundle.order, fence=bundle.order.fence + 1
            )  # a worker's late write is void
            return failed(OrderBundle(fenced, bundle.authorizations), reason.document(), now)

        return await self._apply(order_id, rule, "order.cancel", actor)

    async def _apply(self, order_id: str, rule: Callable[[OrderBundle], Change], action: str, actor: str) -> Order:
        try:
            bundle = await self._store.orders.apply(order_id, rule)
        except Missing:
            raise NotFound(f"there is no order {order_id}") from None
        await self._audit(actor, action, f"order {order_id}")
        return bundle.order

    # ---------------------------------------------------------------------------------------------- accounts

    async def accounts(self, *, after: str = "", limit: int = 100) -> Sequence[AccountSummary]:
        """Accounts by id."""
        names = await self._names()
        return [_account_line(item, names) for item in await self._store.accounts.list(after=after, limit=limit)]

    async def account(self, account_id: str) -> AccountSummary:
        """One account."""
        return _account_line(await self._account(account_id), await self._names())

    async def deactivate_account(self, account_id: str, actor: str) -> AccountSummary:
        """Refuse an account from its next request on, for good; its device must register anew with EAB."""
        account = await self._account(account_id)
        if account.status is AccountStatus.VALID:
            account = await self._store.accounts.replace(
                msgspec.structs.replace(account, status=AccountStatus.DEACTIVATED)
            )
            await cancel_open_orders(self._store, account_id, self._clock.now())
            await self._audit(actor, "account.deactivate", f"account {account_id}")
        return _account_line(account, await self._names())

    async def set_learned(self, account_id: str, mode: AuthorizationMode | None, actor: Acting) -> Account:
        """Correct what was learned (None: forget it). It stays until another kind of client uses the account."""
        action, what = "account.set", f"account {account_id}"
        try:
            require(actor, action)
            if mode is not None and mode not in LEARNABLE:
                raise Invalid("learned", "preapproved, accept or none; for others set the token's 'authorization'")
            stored = await self._set_learned(account_id, mode, f"{SET_BY} {actor.name}" if mode is not None else "")
        except ServiceError as error:
            await self._audit(actor.name, action, what, str(error), allowed=False)
            raise
        await self._audit(actor.name, action, what, f"learned: {mode.value if mode is not None else 'none'}")
        return stored

    async def _set_learned(self, account_id: str, mode: AuthorizationMode | None, why: str) -> Account:
        while True:
            found = await self._store.accounts.actor(account_id)
            if found is None:
                raise NotFound(f"there is no account {account_id}")
            changed = msgspec.structs.replace(found.account, learned=mode, learned_why=why)
            if changed == found.account:
                return changed
            try:
                return await self._store.accounts.replace(changed)
            except Conflict:
                continue

    async def _account(self, account_id: str) -> Account:
        found = await self._store.accounts.actor(account_id)
        if found is None:
            raise NotFound(f"there is no account {account_id}")
        return found.account

    # ------------------------------------------------------------------------------------------ certificates

    async def certificates(self, *, name: str = "", after: str = "", limit: int = 100) -> Sequence[CertificateSummary]:
        """Certificates, newest first; with `name`, those that have it."""
        names = await self._names()
        found = await self._store.certificates.list(name=canonical(name), after=after, limit=limit)
        return [certificate_line(item, names) for item in found]

    async def certificate(self, id_or_serial: str) -> tuple[CertificateSummary, Certificate]:
        """One certificate, by id or by serial number (hexadecimal, colons allowed)."""
        certificate = await self._certificate(id_or_serial)
        return certificate_line(certificate, await self._names()), certificate

    async def revoke(self, id_or_serial: str, reason: str, actor: str) -> CertificateSummary:
        """Revoke a certificate at the authority that issued it; `reason` is one of `REASONS`, or empty for none.

        Raises the authority's `UpstreamError`s too.
        """
        certificate = await self._certificate(id_or_serial)
        if certificate.revoked is not None:
            raise Refused(f"certificate {certificate.id} was revoked on {certificate.revoked:%Y-%m-%d}")
        revoked = await self._revocation.revoke(certificate, REASONS[reason] if reason else None, actor)
        return certificate_line(revoked, await self._names())

    async def _certificate(self, id_or_serial: str) -> Certificate:
        found = await self._store.certificates.get(id_or_serial)
        if found is not None:
            return found
        try:
            serial = serial_text(int(id_or_serial.replace(":", ""), 16))
        except ValueError:
            serial = ""
        same = await self._store.certificates.by_serial(serial) if serial else ()
        if not same:
            raise NotFound(f"there is no certificate with the id or the serial number {id_or_serial}")
        if len(same) > 1:
            raise Invalid("certificate", f"several have the serial number {id_or_serial}; name one by its id")
        return same[0]

    # ---------------------------------------------------------------------------------------------- together

    async def _audit(self, actor: str, action: str, object: str, detail: str = "", *, allowed: bool = True) -> None:
        await Audit(self._store, self._clock).note(actor, action, object, detail, allowed=allowed)

    async def _names(self) -> "Names":
        return Names(
            await self._store.principals.list(), await self._store.tokens.list(), await self._store.authorities.list()
        )


class Names:
    """Names for ids, as lists show them; an id that is gone shows as itself."""

    def __init__(
        self, principals: Sequence[Principal], tokens: Sequence[Token], authorities: Sequence[Authority]
    ) -> None:
        self._principals = {item.id: item.name for item in principals}
        self._tokens = {item.id: item.title for item in tokens}
        self._modes = {item.id: item.authorization for item in tokens}
        self._authorities = {item.id: item.name for item in authorities}

    def principal(self, id: str) -> str:
        """Of a principal."""
        return self._principals.get(id, id)

    def token(self, id: str) -> str:
        """Of a token: its title."""
        return self._tokens.get(id, id)

    def mode(self, id: str) -> AuthorizationMode:
        """What a token says of its orders' authorizations."""
        return self._modes.get(id, AuthorizationMode.AUTO)

    def authority(self, id: str) -> str:
        """Of an authority."""
        return self._authorities.get(id, id)


def _refuse_finished(order: Order, what: str) -> None:
    if order.status is OrderStatus.VALID:
        raise Refused(f"the order is valid: it cannot be {what}")
    if order.status is OrderStatus.INVALID:
        raise Refused(
            f"the order is invalid, which is final (RFC 8555 section 7.1.6): it cannot be {what}, "
            "its client must order again"
        )


def _account_line(account: Account, names: Names) -> AccountSummary:
    settled = explain_mode(names.mode(account.token_id), account)
    return AccountSummary(
        id=account.id,
        status=account.status,
        principal=names.principal(account.principal_id),
        token=names.token(account.token_id),
        contact=account.contact,
        user_agent=account.user_agent,
        thumbprint=account.thumbprint,
        created=account.created,
        authorization=settled.mode,
        authorization_why=settled.why,
        learned=account.learned,
    )


def certificate_line(certificate: Certificate, names: Names) -> CertificateSummary:
    """A certificate as lists show it."""
    return CertificateSummary(
        id=certificate.id,
        names=certificate.names,
        serial=certificate.serial,
        issuer=certificate.issuer,
        authority=names.authority(certificate.authority_id),
        not_before=certificate.not_before,
        not_after=certificate.not_after,
        revoked=certificate.revoked,
        revocation_reason=certificate.revocation_reason,
    )
