"""The first tables, as they were then."""

from typing import Any

from piccolo.apps.migrations.auto.migration_manager import MigrationManager
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
from piccolo.table import Table, create_table_class

ID = "2026-11-24T00:00:01"


def _to(tablename: str) -> ForeignKey[Any]:
    """To a table of which only the key is named: Piccolo mistakes other columns of it for settings of this one."""
    key = create_table_class(
        tablename, class_kwargs={"tablename": tablename}, class_members={"id": Text(primary_key=True)}
    )
    return ForeignKey(key, null=False, on_delete=OnDelete.no_action, on_update=OnUpdate.no_action)


class Principal(Table, tablename="principal"):
    id = Text(primary_key=True, default=None)
    version = Integer()
    name = Text(default=None)
    type = Text(default=None)
    roles = Text(default=None)
    enabled = Boolean()
    created = Timestamptz(default=None)


class Token(Table, tablename="token"):
    id = Text(primary_key=True, default=None)
    version = Integer()
    title = Text(default=None)
    principal_id = _to("principal")
    scope = Text(default=None)
    names = Text(default=None)
    authorization = Text(default=None)
    networks = Text(default=None)
    use_limit = Integer(default=None, null=True)
    uses = Integer()
    expires = Timestamptz(default=None, null=True)
    enabled = Boolean()
    revoked = Timestamptz(default=None, null=True)
    secret_hash = Bytea()
    sealed_hmac_key = Bytea()
    created = Timestamptz(default=None)


class ManagedChallenge(Table, tablename="managed_challenge"):
    id = Text(primary_key=True, default=None)
    version = Integer()
    name = Text(default=None)
    plugin = Text(default=None)
    match = Text(default=None)
    tags = Text(default=None)
    cname_zones = Text(default=None)
    propagation = Text(default=None)
    enabled = Boolean()
    sealed_settings = Bytea()
    created = Timestamptz(default=None)


class Authority(Table, tablename="authority"):
    id = Text(primary_key=True, default=None)
    version = Integer()
    name = Text(default=None)
    plugin = Text(default=None)
    default = Boolean()
    enabled = Boolean()
    tags = Text(default=None)
    sealed_settings = Bytea()
    account_url = Text(default=None)
    sealed_account_key = Bytea()
    created = Timestamptz(default=None)


class Account(Table, tablename="account"):
    id = Text(primary_key=True, default=None)
    version = Integer()
    status = Text(default=None)
    jwk = Bytea()
    thumbprint = Text(default=None)
    contact = Text(default=None)
    token_id = _to("token")
    principal_id = _to("principal")
    binding = Bytea()
    user_agent = Text(default=None)
    created = Timestamptz(default=None)


class Order(Table, tablename="orders"):
    id = Text(primary_key=True, default=None)
    version = Integer()
    account_id = _to("account")
    token_id = _to("token")
    principal_id = _to("principal")
    status = Text(default=None)
    identifiers = Text(default=None)
    name_set = Text(default=None)
    mode = Text(default=None)
    expires = Timestamptz(default=None)
    created = Timestamptz(default=None)
    profile = Text(default=None, null=True)
    not_before = Timestamptz(default=None, null=True)
    not_after = Timestamptz(default=None, null=True)
    replaces = Text(default=None, null=True)
    error = Text(default=None, null=True)
    csr = Bytea(default=None, null=True)
    certificate_id = Text(default=None, null=True)
    authority_id = _to("authority")
    stage = Text(default=None)
    flight = Text(default=None, null=True)
    upstream_url = Text(default=None, null=True)
    upstream_finalize = Text(default=None, null=True)
    upstream_certificate = Text(default=None, null=True)
    run_at = Timestamptz(default=None, null=True)
    lease_owner = Text(default=None, null=True)
    lease_until = Timestamptz(default=None, null=True)
    fence = BigInt()
    attempts = Integer()
    give_up_at = Timestamptz(default=None)


class Authorization(Table, tablename="authorization_"):
    id = Text(primary_key=True, default=None)
    version = Integer()
    order_id = _to("orders")
    account_id = Text(default=None)
    position = Integer()
    identifier = Text(default=None)
    wildcard = Boolean()
    status = Text(default=None)
    expires = Timestamptz(default=None)
    token = Text(default=None)
    answered = Text(default=None, null=True)
    validated = Timestamptz(default=None, null=True)
    error = Text(default=None, null=True)
    upstream_url = Text(default=None, null=True)
    upstream_challenge = Text(default=None, null=True)
    upstream_status = Text(default=None)
    triggered = Boolean()


class TxtRecord(Table, tablename="txt_record"):
    id = Text(primary_key=True, default=None)
    version = Integer()
    order_id = _to("orders")
    authorization_id = _to("authorization_")
    managed_challenge_id = _to("managed_challenge")
    zone = Text(default=None)
    name = Text(default=None)
    value = Text(default=None)
    state = Text(default=None)
    run_at = Timestamptz(default=None, null=True)
    lease_owner = Text(default=None, null=True)
    lease_until = Timestamptz(default=None, null=True)
    attempts = Integer()
    last_error = Text(default=None)
    created = Timestamptz(default=None)


class Certificate(Table, tablename="certificate"):
    id = Text(primary_key=True, default=None)
    version = Integer()
    order_id = _to("orders")
    account_id = _to("account")
    authority_id = _to("authority")
    names = Text(default=None)
    serial = Text(default=None)
    issuer = Text(default=None)
    spki_sha256 = Text(default=None)
    not_before = Timestamptz(default=None)
    not_after = Timestamptz(default=None)
    chain = Text(default=None)
    alternates = Text(default=None)
    revoked = Timestamptz(default=None, null=True)
    created = Timestamptz(default=None)


class CertificateName(Table, tablename="certificate_name"):
    id = BigSerial(primary_key=True)
    certificate_id = _to("certificate")
    name = Text(default=None)


class Event(Table, tablename="event"):
    id = BigSerial(primary_key=True)
    order_id = _to("orders")
    at = Timestamptz(default=None)
    what = Text(default=None)
    detail = Text(default=None)
    server = Text(default=None)
    seconds = DoublePrecision(default=None, null=True)


class Audit(Table, tablename="audit"):
    id = BigSerial(primary_key=True)
    at = Timestamptz(default=None)
    actor = Text(default=None)
    action = Text(default=None)
    object = Text(default=None)
    detail = Text(default=None)
    allowed = Boolean()


class UsedNonce(Table, tablename="used_nonce"):
    nonce = Text(primary_key=True, default=None)
    expires = Timestamptz(default=None)


class Revision(Table, tablename="revision"):
    name = Text(primary_key=True, default=None)
    value = BigInt()


TABLES = (
    Principal,
    Token,
    ManagedChallenge,
    Authority,
    Account,
    Order,
    Authorization,
    TxtRecord,
    Certificate,
    CertificateName,
    Event,
    Audit,
    UsedNonce,
    Revision,
)


async def forwards() -> MigrationManager:
    """Make the tables."""
    manager = MigrationManager(migration_id=ID, app_name="acmehub", description="the first tables")
    for table in TABLES:
        name, tablename = table.__name__, table._meta.tablename
        manager.add_table(name, tablename=tablename)
        for column in table._meta.columns:
            manager.add_column(
                name, tablename, column._meta.name, column_class=type(column), params=column._meta.params
            )
    return manager
