"""The indexes of the schema: tests compare them with what the migrations make."""

from typing import NamedTuple

from piccolo.table import Table

from acmehub.storage import tables


class Index(NamedTuple):
    """An index; `columns` and the condition `where` as SQL has them.

    Piccolo's own indexes know no condition, no UNIQUE over an index and no name. A unique one is named
    `<table>_<column>_unique`: drivers read from the name which value was taken.
    """

    name: str
    table: type[Table]
    columns: str
    where: str = ""

    @property
    def unique(self) -> bool:
        """Whether no two rows may have the same values."""
        return self.name.endswith("_unique")


INDEXES = (
    # one name, one resource; one key, one account; one lock holder; one holder of a lock for one upstream order
    Index("principal_name_unique", tables.Principal, "name"),
    Index("managed_challenge_name_unique", tables.ManagedChallenge, "name"),
    Index("authority_name_unique", tables.Authority, "name"),
    Index("account_thumbprint_unique", tables.Account, "thumbprint"),
    Index("orders_lock_key_unique", tables.Order, "lock_key", "lock_key IS NOT NULL"),
    Index("orders_upstream_url_unique", tables.Order, "upstream_url", "lock_key IS NOT NULL"),
    Index("profile_name_unique", tables.Profile, "name"),
    Index("campaign_name_unique", tables.Campaign, "name"),
    # foreign keys and look-ups
    Index("token_title", tables.Token, "title"),
    Index("token_principal", tables.Token, "principal_id"),
    Index("account_token", tables.Account, "token_id, id"),
    Index("account_principal", tables.Account, "principal_id, id"),
    Index("account_over", tables.Account, "id", "status <> 'valid'"),
    # lists, newest first
    Index("orders_created", tables.Order, "created, id"),
    Index("orders_account", tables.Order, "account_id, created, id"),
    Index("orders_status", tables.Order, "status, created, id"),
    # open orders of an account for the same names, among all that it ever had
    Index("orders_open", tables.Order, "account_id, name_set", "status IN ('pending', 'ready')"),
    # the very same CSR, by the end of its signature
    Index("orders_csr", tables.Order, "account_id, substr(csr, (length(csr) - 31))", "csr IS NOT NULL"),
    # foreign keys
    Index("orders_token", tables.Order, "token_id, created, id"),
    Index("orders_principal", tables.Order, "principal_id, created, id"),
    Index("orders_authority", tables.Order, "authority_id, created, id"),
    # failed ones of some principals, among all that they ever had
    Index("orders_failed", tables.Order, "principal_id, created, id", "status = 'invalid'"),
    # what is stuck
    Index("orders_unfinished", tables.Order, "created, id", "stage NOT IN ('done', 'failed')"),
    # jobs: only the rows that still have something to do
    Index(
        "orders_claim",
        tables.Order,
        "created, run_at, lease_until, authority_id, mode, principal_id, id",
        "run_at IS NOT NULL",
    ),
    Index("orders_due", tables.Order, "run_at", "run_at IS NOT NULL AND lease_until IS NULL"),
    Index("orders_leased", tables.Order, "lease_until, run_at", "lease_until IS NOT NULL"),
    Index("orders_waiting", tables.Order, "name_set, authority_id", "stage = 'ordering'"),
    Index("orders_lapsing", tables.Order, "expires", "status IN ('pending', 'ready')"),
    Index("certificate_leased", tables.Certificate, "lease_owner", "lease_owner IS NOT NULL"),
    Index("certificate_window", tables.Certificate, "window_until", "window_until IS NOT NULL"),
    # parts of an order, foreign keys
    Index("authorization_order", tables.Authorization, "order_id"),
    # a name that an account has proven, the longest lasting proof last
    Index(
        "authorization_valid",
        tables.Authorization,
        "account_id, lower(identifier), wildcard, expires",
        "status = 'valid'",
    ),
    Index("authorization_name", tables.Authorization, "lower(identifier), wildcard"),
    Index("txt_record_order", tables.TxtRecord, "order_id"),
    Index("txt_record_authorization", tables.TxtRecord, "authorization_id"),
    Index("txt_record_managed_challenge", tables.TxtRecord, "managed_challenge_id"),
    Index("txt_record_value", tables.TxtRecord, "value"),
    Index("txt_record_due", tables.TxtRecord, "run_at", "state = 'remove'"),
    Index("certificate_order", tables.Certificate, "order_id"),
    Index("certificate_account", tables.Certificate, "account_id, created, id"),
    Index("certificate_authority", tables.Certificate, "authority_id, created, id"),
    Index("certificate_serial", tables.Certificate, "serial"),
    Index("certificate_created", tables.Certificate, "created, id"),
    Index("certificate_ends", tables.Certificate, "not_after, id, account_id, name_set, revoked"),
    Index("certificate_revoked", tables.Certificate, "created, id", "revoked IS NOT NULL"),
    Index("certificate_name_set", tables.Certificate, "name_set, not_after, id", "revoked IS NULL"),
    Index("certificate_unfilled", tables.Certificate, "id", "name_set IS NULL"),
    Index("certificate_name_certificate", tables.CertificateName, "certificate_id, reversed"),
    Index("certificate_name_name", tables.CertificateName, "name, certificate_id"),
    Index("certificate_name_below", tables.CertificateName, "reversed, certificate_id"),
    Index("certificate_name_unfilled", tables.CertificateName, "id", "reversed IS NULL"),
    Index("event_order", tables.Event, "order_id, id"),
    # lists of the audit, newest first; seals whose entries are there
    Index("audit_object", tables.Audit, "object_id, id"),
    Index("audit_actor", tables.Audit, "actor_id, id"),
    Index("audit_request", tables.Audit, "request, id"),
    Index("audit_credential", tables.Audit, "credential, id"),
    Index("audit_address", tables.Audit, "address, id"),
    Index("audit_refused", tables.Audit, "id", "NOT allowed"),
    Index("seal_kept", tables.Seal, "id", "pruned IS NULL"),
    Index("used_nonce_expires", tables.UsedNonce, "expires"),
    Index("rate_limit_full_at", tables.RateLimit, "full_at"),
    Index("zone_lease_until", tables.ZoneLease, "lease_until"),
    Index("idempotency_expires", tables.Idempotency, "expires"),
)
