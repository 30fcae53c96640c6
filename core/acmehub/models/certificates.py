"""Issued certificates."""

from datetime import datetime

from acmehub.models.base import Model


class Certificate(Model, frozen=True, kw_only=True):
    """An issued certificate.

    `chain`: PEM, leaf first; `alternates`: other chains for the same leaf (PEM). `serial`: lower-case hexadecimal.
    `spki_sha256`: of the leaf's key, hexadecimal. `revoked`: when, with `revocation_reason` (RFC 5280 section 5.3.1).
    `account_url`: the hub's account at the authority that ordered it. `name_set`: its order's; None for one that was
    stored before there was this field, until the worker has filled it.

    Renewal information (RFC 9773): `cert_id` is the certificate's identifier (empty: it has none); the window and its
    `explanation_url` come from the upstream, which the hub asks again at `window_until`: that is the end of the lease
    of `lease_owner` while it asks. `replaced_by` is the order whose certificate replaces this one.
    """

    order_id: str
    account_id: str
    authority_id: str
    names: tuple[str, ...]
    serial: str
    issuer: str
    spki_sha256: str
    not_before: datetime
    not_after: datetime
    chain: str
    alternates: tuple[str, ...] = ()
    revoked: datetime | None = None
    created: datetime
    principal_id: str = ""
    profile: str | None = None
    account_url: str = ""
    cert_id: str = ""
    window_start: datetime | None = None
    window_end: datetime | None = None
    window_until: datetime | None = None
    explanation_url: str = ""
    replaced_by: str | None = None
    revocation_reason: int | None = None
    name_set: str | None = None
    lease_owner: str | None = None
