"""The first tables."""

from piccolo.apps.migrations.auto.migration_manager import MigrationManager
from piccolo.columns import (
    BigInt,
    BigSerial,
    Boolean,
    Bytea,
    Column,
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

TABLES = {
    "Principal principal": "id key, version int, name text, type text, roles text, enabled bool, created time",
    "Token token": (
        "id key, version int, title text, principal_id principal, scope text, names text, authorization text,"
        " networks text, use_limit int?, uses int, expires time?, enabled bool, revoked time?, secret_hash bytes,"
        " sealed_hmac_key bytes, created time"
    ),
    "ManagedChallenge managed_challenge": (
        "id key, version int, name text, plugin text, match text, tags text, cname_zones text, propagation text,"
        " enabled bool, sealed_settings bytes, created time"
    ),
    "Authority authority": (
        "id key, version int, name text, plugin text, default bool, enabled bool, tags text, sealed_settings bytes,"
        " account_url text, sealed_account_key bytes, created time"
    ),
    "Account account": (
        "id key, version int, status text, jwk bytes, thumbprint text, contact text, token_id token,"
        " principal_id principal, binding bytes, user_agent text, created time"
    ),
    "Order orders": (
        "id key, version int, account_id account, token_id token, principal_id principal, status text,"
        " identifiers text, name_set text, mode text, expires time, created time, profile text?, not_before time?,"
        " not_after time?, replaces text?, error text?, csr bytes?, certificate_id text?, authority_id authority,"
        " stage text, flight text?, upstream_url text?, upstream_finalize text?, upstream_certificate text?,"
        " run_at time?, lease_owner text?, lease_until time?, fence bigint, attempts int, give_up_at time"
    ),
    "Authorization authorization_": (
        "id key, version int, order_id orders, account_id text, position int, identifier text, wildcard bool,"
        " status text, expires time, token text, answered text?, validated time?, error text?, upstream_url text?,"
        " upstream_challenge text?, upstream_status text, triggered bool"
    ),
    "TxtRecord txt_record": (
        "id key, version int, order_id orders, authorization_id authorization_,"
        " managed_challenge_id managed_challenge, zone text, name text, value text, state text, run_at time?,"
        " lease_owner text?, lease_until time?, attempts int, last_error text, created time"
    ),
    "Certificate certificate": (
        "id key, version int, order_id orders, account_id account, authority_id authority, names text, serial text,"
        " issuer text, spki_sha256 text, not_before time, not_after time, chain text, alternates text,"
        " revoked time?, created time"
    ),
    "CertificateName certificate_name": "id serial, certificate_id certificate, name text",
    "Event event": "id serial, order_id orders, at time, what text, detail text, server text, seconds real?",
    "Audit audit": "id serial, at time, actor text, action text, object text, detail text, allowed bool",
    "UsedNonce used_nonce": "nonce key, expires time",
    "Revision revision": "name key, value bigint",
}


def _column(kind: str, made: dict[str, type[Table]]) -> tuple[type[Column], dict[str, object]]:
    null = kind.endswith("?")
    kind = kind.rstrip("?")
    if kind in made:
        to = {"references": made[kind], "on_delete": OnDelete.no_action, "on_update": OnUpdate.no_action}
        return ForeignKey, {**to, "null": False}
    if kind == "serial":
        return BigSerial, {"primary_key": True}
    if kind == "key":
        return Text, {"primary_key": True, "default": None}
    simple: dict[str, type[Column]] = {"int": Integer, "bigint": BigInt, "bool": Boolean, "bytes": Bytea}
    bare: dict[str, type[Column]] = {"text": Text, "time": Timestamptz, "real": DoublePrecision}
    if kind in bare or null:
        return {**bare, **simple}[kind], {"default": None, "null": null}
    return simple[kind], {}


async def forwards() -> MigrationManager:
    """Make the tables."""
    manager = MigrationManager(migration_id=ID, app_name="acmehub", description="the first tables")
    made: dict[str, type[Table]] = {}
    for names, columns in TABLES.items():
        class_name, table = names.split()
        manager.add_table(class_name, tablename=table)
        for column in columns.split(", "):
            name, kind = column.split()
            column_class, params = _column(kind, made)
            manager.add_column(class_name, table, name, column_class=column_class, params=params)
        key = {"id": BigSerial(primary_key=True) if columns.startswith("id serial") else Text(primary_key=True)}
        made[table] = create_table_class(class_name, class_kwargs={"tablename": table}, class_members=key)
    return manager
