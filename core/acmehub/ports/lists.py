"""What lists of orders, certificates and accounts are narrowed by; a field that is left out narrows nothing."""

from datetime import datetime

import msgspec

from acmehub.models import AccountStatus, OrderStatus, Stage


class OrderFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Orders that all of these hold for.

    `name` is one of the order's names (canonical; `*.` for a wildcard), `since`: opened then or later. With
    `challenge_id`, a TXT record of that managed challenge still stands, or is about to. With `failing`, the order is
    not over, its present step has failed at least once, and it does not merely wait for another order for the same
    names. `principal_ids`: its principal is one of these (None: any).
    """

    status: OrderStatus | None = None
    stage: Stage | None = None
    account_id: str = ""
    principal_id: str = ""
    token_id: str = ""
    authority_id: str = ""
    challenge_id: str = ""
    name: str = ""
    since: datetime | None = None
    failing: bool = False
    principal_ids: frozenset[str] | None = None


class CertificateFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Certificates that all of these hold for.

    `name` is one of the certificate's names (canonical), `below`: one of them is that name or lies below it; one that
    was stored by an earlier release is found once the worker has filled what that takes (`name_sets_filled`).
    `principal_id`, `token_id` and `principal_ids` (None: any) are those of its account. `ends_before`: it ends, or has
    ended, by then. With `uncovered`, it is not revoked, and no other certificate with the same set of names that is not
    revoked is valid longer; one whose `name_set` is not filled yet is left out. `revoked`: whether it is.
    """

    name: str = ""
    below: str = ""
    principal_id: str = ""
    token_id: str = ""
    authority_id: str = ""
    ends_before: datetime | None = None
    uncovered: bool = False
    revoked: bool | None = None
    principal_ids: frozenset[str] | None = None


class AccountFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Accounts that all of these hold for. `thumbprint`: of the key that it has now. `principal_ids`: its principal is
    one of these (None: any)."""

    principal_id: str = ""
    token_id: str = ""
    status: AccountStatus | None = None
    thumbprint: str = ""
    principal_ids: frozenset[str] | None = None


ALL_ORDERS = OrderFilter()
ALL_CERTIFICATES = CertificateFilter()
ALL_ACCOUNTS = AccountFilter()
