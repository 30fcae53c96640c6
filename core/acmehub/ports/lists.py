"""What lists of orders and certificates are narrowed by; a field that is left out narrows nothing."""

from datetime import datetime

import msgspec

from acmehub.models import OrderStatus, Stage


class OrderFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Orders that all of these hold for.

    `name` is one of the order's names (canonical; `*.` for a wildcard), `since`: opened then or later. With
    `challenge_id`, a TXT record of that managed challenge still stands, or is about to. With `failing`, the order is
    not over, its present step has failed at least once, and it does not merely wait for another order for the same
    names.
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


class CertificateFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Certificates that all of these hold for.

    `name` is one of the certificate's names (canonical). `principal_id` and `token_id` are those of its account.
    `ends_before`: it ends, or has ended, by then. With `uncovered`, it is not revoked, and no other certificate with
    the same set of names that is not revoked is valid longer; one whose `name_set` is not filled yet is left out.
    """

    name: str = ""
    principal_id: str = ""
    token_id: str = ""
    authority_id: str = ""
    ends_before: datetime | None = None
    uncovered: bool = False


ALL_ORDERS = OrderFilter()
ALL_CERTIFICATES = CertificateFilter()
