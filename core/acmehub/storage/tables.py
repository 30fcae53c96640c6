"""The schema: tables with their columns, which are the fields of `models` by the same names (indexes: `indexes`).

What a model nests (tuples, structs) is JSON in a text column: only the hub reads it, and JSONB would refuse U+0000.
Codecs derive from the columns; the migrations must lead to exactly this schema, which tests compare.
"""

from piccolo.columns import (
    BigInt,
    BigSerial,
    Boolean,
    Bytea,
    DoublePrecision,
    Integer,
)
from piccolo.table import Table

from acmehub.storage.piccolo_engine import DB, key_column, reference, text_column, time_column


class Principal(Table, tablename="principal", db=DB):
    """`models.Principal`."""

    id = key_column()
    version = Integer()
    name = text_column()
    type = text_column()
    roles = text_column()
    enabled = Boolean()
    created = time_column()
    profiles = text_column("[]")
    tags = text_column("[]")
    managed_by = text_column("")


class Token(Table, tablename="token", db=DB):
    """`models.Token`."""

    id = key_column()
    version = Integer()
    title = text_column()
    principal_id = reference(Principal)
    scope = text_column()
    names = text_column()
    authorization = text_column()
    networks = text_column()
    use_limit = Integer(default=None, null=True)
    uses = Integer()
    expires = time_column(null=True)
    enabled = Boolean()
    revoked = time_column(null=True)
    secret_hash = Bytea()
    sealed_hmac_key = Bytea()
    created = time_column()
    directory_hash = Bytea()
    sealed_directory_key = Bytea()
    limits = text_column("{}")
    tags = text_column("[]")
    reveal = Boolean()
    delegates = Boolean()
    managed_by = text_column("")


class ManagedChallenge(Table, tablename="managed_challenge", db=DB):
    """`models.ManagedChallenge`."""

    id = key_column()
    version = Integer()
    name = text_column()
    plugin = text_column()
    match = text_column()
    tags = text_column()
    cname_zones = text_column()
    propagation = text_column()
    enabled = Boolean()
    sealed_settings = Bytea()
    created = time_column()
    zone = text_column("")
    resolvers = text_column("[]")
    managed_by = text_column("")


class Authority(Table, tablename="authority", db=DB):
    """`models.Authority`."""

    id = key_column()
    version = Integer()
    name = text_column()
    plugin = text_column()
    default = Boolean()
    enabled = Boolean()
    tags = text_column()
    sealed_settings = Bytea()
    account_url = text_column()
    sealed_account_key = Bytea()
    created = time_column()
    pauses = text_column("[]")
    managed_by = text_column("")


class Profile(Table, tablename="profile", db=DB):
    """`models.Profile`; `authority_id` is no foreign key, as an empty one leaves the choice to the policy."""

    id = key_column()
    version = Integer()
    name = text_column()
    description = text_column()
    authority_id = text_column()
    upstream_profile = text_column(null=True)
    key_types = text_column()
    lifetime_days = Integer(default=None, null=True)
    enabled = Boolean()
    created = time_column()
    tags = text_column("[]")
    managed_by = text_column("")


class Campaign(Table, tablename="campaign", db=DB):
    """`models.Campaign`."""

    id = key_column()
    version = Integer()
    name = text_column()
    reason = text_column()
    authority_id = text_column()
    profile = text_column()
    names = text_column()
    principal_id = text_column()
    starts = time_column()
    renew_by = time_column()
    explanation_url = text_column()
    ended = time_column(null=True)
    created = time_column()


class Account(Table, tablename="account", db=DB):
    """`models.Account`."""

    id = key_column()
    version = Integer()
    status = text_column()
    jwk = Bytea()
    thumbprint = text_column()
    contact = text_column()
    token_id = reference(Token)
    principal_id = reference(Principal)
    binding = Bytea()
    user_agent = text_column()
    created = time_column()
    learned = text_column(null=True)
    learned_why = text_column("")
    former_keys = text_column("[]")


class Order(Table, tablename="orders", db=DB):
    """`models.Order`. `certificate_id` is no foreign key: the certificate refers to the order."""

    id = key_column()
    version = Integer()
    account_id = reference(Account)
    token_id = reference(Token)
    principal_id = reference(Principal)
    status = text_column()
    identifiers = text_column()
    name_set = text_column()
    mode = text_column()
    expires = time_column()
    created = time_column()
    profile = text_column(null=True)
    not_before = time_column(null=True)
    not_after = time_column(null=True)
    replaces = text_column(null=True)
    error = text_column(null=True)
    csr = Bytea(default=None, null=True)
    certificate_id = text_column(null=True)
    authority_id = reference(Authority)
    stage = text_column()
    lock_key = text_column(null=True)
    upstream_url = text_column(null=True)
    upstream_finalize = text_column(null=True)
    upstream_certificate = text_column(null=True)
    run_at = time_column(null=True)
    lease_owner = text_column(null=True)
    lease_until = time_column(null=True)
    fence = BigInt()
    attempts = Integer()
    deadline = time_column()
    client_profile = text_column(null=True)
    preauthorization = Boolean()


class Authorization(Table, tablename="authorization_", db=DB):
    """`models.Authorization` (AUTHORIZATION is a word of PostgreSQL's)."""

    id = key_column()
    version = Integer()
    order_id = reference(Order)
    account_id = text_column()
    position = Integer()
    identifier = text_column()
    wildcard = Boolean()
    status = text_column()
    expires = time_column()
    token = text_column()
    answered = text_column(null=True)
    validated = time_column(null=True)
    error = text_column(null=True)
    upstream_url = text_column(null=True)
    upstream_challenge = text_column(null=True)
    upstream_status = text_column()
    responded = Boolean()


class TxtRecord(Table, tablename="txt_record", db=DB):
    """`models.TxtRecord`."""

    id = key_column()
    version = Integer()
    order_id = reference(Order)
    authorization_id = reference(Authorization)
    managed_challenge_id = reference(ManagedChallenge)
    zone = text_column()
    name = text_column()
    value = text_column()
    state = text_column()
    run_at = time_column(null=True)
    lease_owner = text_column(null=True)
    lease_until = time_column(null=True)
    attempts = Integer()
    last_error = text_column()
    created = time_column()


class Certificate(Table, tablename="certificate", db=DB):
    """`models.Certificate`."""

    id = key_column()
    version = Integer()
    order_id = reference(Order)
    account_id = reference(Account)
    authority_id = reference(Authority)
    names = text_column()
    serial = text_column()
    issuer = text_column()
    spki_sha256 = text_column()
    not_before = time_column()
    not_after = time_column()
    chain = text_column()
    alternates = text_column()
    revoked = time_column(null=True)
    created = time_column()
    principal_id = text_column("")
    profile = text_column(null=True)
    account_url = text_column("")
    cert_id = text_column("")
    window_start = time_column(null=True)
    window_end = time_column(null=True)
    window_until = time_column(null=True)
    explanation_url = text_column("")
    replaced_by = text_column(null=True)
    revocation_reason = Integer(default=None, null=True)
    name_set = text_column(null=True)
    lease_owner = text_column(null=True)


class CertificateName(Table, tablename="certificate_name", db=DB):
    """Which names a certificate has, for finding it by one."""

    id = BigSerial(primary_key=True)
    certificate_id = reference(Certificate)
    name = text_column()
    reversed = Bytea(default=None, null=True)


class Event(Table, tablename="event", db=DB):
    """`models.Event`, in the order of writing."""

    id = BigSerial(primary_key=True)
    order_id = reference(Order)
    at = time_column()
    kind = text_column()
    detail = text_column()
    server = text_column()
    seconds = DoublePrecision(default=None, null=True)


class Audit(Table, tablename="audit", db=DB):
    """`models.AuditEntry`, in the order of writing."""

    id = BigSerial(primary_key=True)
    at = time_column()
    actor = text_column()
    action = text_column()
    object = text_column()
    detail = text_column()
    allowed = Boolean()
    actor_id = text_column("")
    actor_kind = text_column(null=True)
    via = text_column(null=True)
    address = text_column("")
    request = text_column("")
    credential = text_column("")
    object_kind = text_column("")
    object_id = text_column("")
    object_name = text_column("")
    difference = text_column("")
    withheld = text_column("")
    salt = text_column("")


class Seal(Table, tablename="seal", db=DB):
    """`models.audit.Seal`."""

    id = BigInt(primary_key=True, default=None)
    first = BigInt()
    last = BigInt()
    entries = BigInt()
    at = time_column()
    key = text_column()
    mac = Bytea()
    pruned = Bytea(default=None, null=True)


class SealKey(Table, tablename="seal_key", db=DB):
    """`models.audit.SealKey`."""

    id = key_column()
    sealed_key = Bytea()


class UsedNonce(Table, tablename="used_nonce", db=DB):
    """Nonces that were used."""

    nonce = key_column()
    expires = time_column()


class RateLimit(Table, tablename="rate_limit", db=DB):
    """When a bucket of `rules.rate_limits` is full again, in microseconds since 1970."""

    bucket = key_column()
    full_at = BigInt()


class ZoneLease(Table, tablename="zone_lease", db=DB):
    """Who writes into a zone: `place` is the managed challenge's id and the zone."""

    place = key_column()
    fence = BigInt()
    lease_owner = text_column()
    lease_until = time_column()


class Idempotency(Table, tablename="idempotency", db=DB):
    """`ports.idempotency`: `place` is the owner and the key."""

    place = key_column()
    body_hash = Bytea(default=None)
    sealed_answer = Bytea(default=None, null=True)
    fence = BigInt()
    lease_until = time_column()
    expires = time_column()


class Revision(Table, tablename="revision", db=DB):
    """How often a kind of resource was changed."""

    name = key_column()
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
