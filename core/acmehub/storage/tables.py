"""The schema: tables with their columns, which are the fields of `models` by the same names (indexes: `indexes`).

What a model nests (tuples, structs) is JSON in a text column: only the hub reads it, and JSONB would refuse U+0000.
Codecs derive from the columns; the migrations must lead to exactly this schema, which tests compare.
"""

from typing import Any

from piccolo.columns import (
    BigInt,
    BigSerial,
    Boolean,
    Bytea,
    DoublePrecision,
    ForeignKey,
    Integer,
    OnDelete,
    OnUpdate,
    Text,
    Timestamptz,
)
from piccolo.table import Table

from acmehub.storage.piccolo_engine import DB


def _key() -> Text:
    return Text(primary_key=True, default=None)


def _text(default: str | None = None, *, null: bool = False) -> Text:
    return Text(default=default, null=null)


def _time(*, null: bool = False) -> Timestamptz:
    return Timestamptz(default=None, null=null)


def _to(table: type[Table]) -> ForeignKey[Any]:
    return ForeignKey(table, null=False, on_delete=OnDelete.no_action, on_update=OnUpdate.no_action)


class Principal(Table, tablename="principal", db=DB):
    """`models.Principal`."""

    id = _key()
    version = Integer()
    name = _text()
    type = _text()
    roles = _text()
    enabled = Boolean()
    created = _time()
    profiles = _text("[]")
    tags = _text("[]")
    managed_by = _text("")


class Token(Table, tablename="token", db=DB):
    """`models.Token`."""

    id = _key()
    version = Integer()
    title = _text()
    principal_id = _to(Principal)
    scope = _text()
    names = _text()
    authorization = _text()
    networks = _text()
    use_limit = Integer(default=None, null=True)
    uses = Integer()
    expires = _time(null=True)
    enabled = Boolean()
    revoked = _time(null=True)
    secret_hash = Bytea()
    sealed_hmac_key = Bytea()
    created = _time()
    directory_hash = Bytea()
    sealed_directory_key = Bytea()
    limits = _text("{}")
    tags = _text("[]")
    reveal = Boolean()
    delegates = Boolean()
    managed_by = _text("")


class ManagedChallenge(Table, tablename="managed_challenge", db=DB):
    """`models.ManagedChallenge`."""

    id = _key()
    version = Integer()
    name = _text()
    plugin = _text()
    match = _text()
    tags = _text()
    cname_zones = _text()
    propagation = _text()
    enabled = Boolean()
    sealed_settings = Bytea()
    created = _time()
    zone = _text("")
    resolvers = _text("[]")
    managed_by = _text("")


class Authority(Table, tablename="authority", db=DB):
    """`models.Authority`."""

    id = _key()
    version = Integer()
    name = _text()
    plugin = _text()
    default = Boolean()
    enabled = Boolean()
    tags = _text()
    sealed_settings = Bytea()
    account_url = _text()
    sealed_account_key = Bytea()
    created = _time()
    pauses = _text("[]")
    managed_by = _text("")


class Profile(Table, tablename="profile", db=DB):
    """`models.Profile`; `authority_id` is no foreign key, as an empty one leaves the choice to the policy."""

    id = _key()
    version = Integer()
    name = _text()
    description = _text()
    authority_id = _text()
    upstream_profile = _text(null=True)
    key_types = _text()
    lifetime_days = Integer(default=None, null=True)
    enabled = Boolean()
    created = _time()
    tags = _text("[]")
    managed_by = _text("")


class Campaign(Table, tablename="campaign", db=DB):
    """`models.Campaign`."""

    id = _key()
    version = Integer()
    name = _text()
    reason = _text()
    authority_id = _text()
    profile = _text()
    names = _text()
    principal_id = _text()
    starts = _time()
    renew_by = _time()
    explanation_url = _text()
    ended = _time(null=True)
    created = _time()


class Account(Table, tablename="account", db=DB):
    """`models.Account`."""

    id = _key()
    version = Integer()
    status = _text()
    jwk = Bytea()
    thumbprint = _text()
    contact = _text()
    token_id = _to(Token)
    principal_id = _to(Principal)
    binding = Bytea()
    user_agent = _text()
    created = _time()
    learned = _text(null=True)
    learned_why = _text("")
    former_keys = _text("[]")


class Order(Table, tablename="orders", db=DB):
    """`models.Order`. `certificate_id` is no foreign key: the certificate refers to the order."""

    id = _key()
    version = Integer()
    account_id = _to(Account)
    token_id = _to(Token)
    principal_id = _to(Principal)
    status = _text()
    identifiers = _text()
    name_set = _text()
    mode = _text()
    expires = _time()
    created = _time()
    profile = _text(null=True)
    not_before = _time(null=True)
    not_after = _time(null=True)
    replaces = _text(null=True)
    error = _text(null=True)
    csr = Bytea(default=None, null=True)
    certificate_id = _text(null=True)
    authority_id = _to(Authority)
    stage = _text()
    lock_key = _text(null=True)
    upstream_url = _text(null=True)
    upstream_finalize = _text(null=True)
    upstream_certificate = _text(null=True)
    run_at = _time(null=True)
    lease_owner = _text(null=True)
    lease_until = _time(null=True)
    fence = BigInt()
    attempts = Integer()
    deadline = _time()
    client_profile = _text(null=True)
    preauthorization = Boolean()


class Authorization(Table, tablename="authorization_", db=DB):
    """`models.Authorization` (AUTHORIZATION is a word of PostgreSQL's)."""

    id = _key()
    version = Integer()
    order_id = _to(Order)
    account_id = _text()
    position = Integer()
    identifier = _text()
    wildcard = Boolean()
    status = _text()
    expires = _time()
    token = _text()
    answered = _text(null=True)
    validated = _time(null=True)
    error = _text(null=True)
    upstream_url = _text(null=True)
    upstream_challenge = _text(null=True)
    upstream_status = _text()
    responded = Boolean()


class TxtRecord(Table, tablename="txt_record", db=DB):
    """`models.TxtRecord`."""

    id = _key()
    version = Integer()
    order_id = _to(Order)
    authorization_id = _to(Authorization)
    managed_challenge_id = _to(ManagedChallenge)
    zone = _text()
    name = _text()
    value = _text()
    state = _text()
    run_at = _time(null=True)
    lease_owner = _text(null=True)
    lease_until = _time(null=True)
    attempts = Integer()
    last_error = _text()
    created = _time()


class Certificate(Table, tablename="certificate", db=DB):
    """`models.Certificate`."""

    id = _key()
    version = Integer()
    order_id = _to(Order)
    account_id = _to(Account)
    authority_id = _to(Authority)
    names = _text()
    serial = _text()
    issuer = _text()
    spki_sha256 = _text()
    not_before = _time()
    not_after = _time()
    chain = _text()
    alternates = _text()
    revoked = _time(null=True)
    created = _time()
    principal_id = _text("")
    profile = _text(null=True)
    account_url = _text("")
    cert_id = _text("")
    window_start = _time(null=True)
    window_end = _time(null=True)
    window_until = _time(null=True)
    explanation_url = _text("")
    replaced_by = _text(null=True)
    revocation_reason = Integer(default=None, null=True)
    name_set = _text(null=True)
    lease_owner = _text(null=True)


class CertificateName(Table, tablename="certificate_name", db=DB):
    """Which names a certificate has, for finding it by one."""

    id = BigSerial(primary_key=True)
    certificate_id = _to(Certificate)
    name = _text()
    reversed = Bytea(default=None, null=True)


class Event(Table, tablename="event", db=DB):
    """`models.Event`, in the order of writing."""

    id = BigSerial(primary_key=True)
    order_id = _to(Order)
    at = _time()
    kind = _text()
    detail = _text()
    server = _text()
    seconds = DoublePrecision(default=None, null=True)


class Audit(Table, tablename="audit", db=DB):
    """`models.AuditEntry`, in the order of writing."""

    id = BigSerial(primary_key=True)
    at = _time()
    actor = _text()
    action = _text()
    object = _text()
    detail = _text()
    allowed = Boolean()
    actor_id = _text("")
    actor_kind = _text(null=True)
    via = _text(null=True)
    address = _text("")
    request = _text("")
    credential = _text("")
    object_kind = _text("")
    object_id = _text("")
    object_name = _text("")
    difference = _text("")
    withheld = _text("")
    salt = _text("")


class Seal(Table, tablename="seal", db=DB):
    """`models.audit.Seal`."""

    id = BigInt(primary_key=True, default=None)
    first = BigInt()
    last = BigInt()
    entries = BigInt()
    at = _time()
    key = _text()
    mac = Bytea()
    pruned = Bytea(default=None, null=True)


class SealKey(Table, tablename="seal_key", db=DB):
    """`models.audit.SealKey`."""

    id = _key()
    sealed_key = Bytea()


class UsedNonce(Table, tablename="used_nonce", db=DB):
    """Nonces that were used."""

    nonce = _key()
    expires = _time()


class RateLimit(Table, tablename="rate_limit", db=DB):
    """When a bucket of `rules.rate_limits` is full again, in microseconds since 1970."""

    bucket = _key()
    full_at = BigInt()


class ZoneLease(Table, tablename="zone_lease", db=DB):
    """Who writes into a zone: `place` is the managed challenge's id and the zone."""

    place = _key()
    fence = BigInt()
    lease_owner = _text()
    lease_until = _time()


class Idempotency(Table, tablename="idempotency", db=DB):
    """`ports.idempotency`: `place` is the owner and the key."""

    place = _key()
    body_hash = Bytea(default=None)
    sealed_answer = Bytea(default=None, null=True)
    fence = BigInt()
    lease_until = _time()
    expires = _time()


class Revision(Table, tablename="revision", db=DB):
    """How often a kind of resource was changed."""

    name = _key()
    value = BigInt()


TABLES: tuple[type[Table], ...] = (
    Principal,
    Token,
    ManagedChallenge,
    Authority,
    Profile,
    Campaign,
    Account,
    Order,
    Authorization,
    TxtRecord,
    Certificate,
    CertificateName,
    Event,
    Audit,
    Seal,
    SealKey,
    UsedNonce,
    RateLimit,
    ZoneLease,
    Idempotency,
    Revision,
)
