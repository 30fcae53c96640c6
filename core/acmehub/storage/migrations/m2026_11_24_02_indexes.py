"""Indexes: uniqueness, every foreign key, and the paths of claims and lists."""

from piccolo.apps.migrations.auto.migration_manager import MigrationManager
from piccolo.engine import engine_finder

ID = "2026-11-24T00:00:02"

UNIQUE = {  # named <table>_<field>_unique: the drivers read the field from the name
    "principal": ("name",),
    "managed_challenge": ("name",),
    "authority": ("name",),
    "account": ("thumbprint",),
}

INDEXES = (
    "UNIQUE INDEX orders_flight_unique ON orders (flight) WHERE flight IS NOT NULL",
    "INDEX token_title ON token (title)",
    "INDEX token_principal ON token (principal_id)",
    "INDEX account_token ON account (token_id)",
    "INDEX account_principal ON account (principal_id)",
    # lists, newest first
    "INDEX orders_created ON orders (created, id)",
    "INDEX orders_account ON orders (account_id, created, id)",
    "INDEX orders_status ON orders (status, created, id)",
    "INDEX orders_token ON orders (token_id)",
    "INDEX orders_principal ON orders (principal_id)",
    "INDEX orders_authority ON orders (authority_id)",
    # jobs: only the rows that still have something to do
    "INDEX orders_due ON orders (run_at, lease_until) WHERE run_at IS NOT NULL",
    "INDEX orders_leased ON orders (lease_until, run_at) WHERE lease_until IS NOT NULL",
    "INDEX orders_waiting ON orders (name_set, authority_id) WHERE stage = 'ordering'",
    "INDEX orders_upstream ON orders (upstream_url) WHERE upstream_url IS NOT NULL",
    "INDEX orders_lapsing ON orders (expires) WHERE status IN ('pending', 'ready')",
    "INDEX authorization_order ON authorization_ (order_id)",
    "INDEX txt_record_order ON txt_record (order_id)",
    "INDEX txt_record_authorization ON txt_record (authorization_id)",
    "INDEX txt_record_managed_challenge ON txt_record (managed_challenge_id)",
    "INDEX txt_record_due ON txt_record (run_at) WHERE state = 'remove'",
    "INDEX certificate_order ON certificate (order_id)",
    "INDEX certificate_account ON certificate (account_id)",
    "INDEX certificate_authority ON certificate (authority_id)",
    "INDEX certificate_serial ON certificate (serial)",
    "INDEX certificate_created ON certificate (created, id)",
    "INDEX certificate_name_certificate ON certificate_name (certificate_id)",
    "INDEX certificate_name_name ON certificate_name (name, certificate_id)",
    "INDEX event_order ON event (order_id, id)",
    "INDEX used_nonce_expires ON used_nonce (expires)",
)


async def forwards() -> MigrationManager:
    """Make the indexes; harmless when some of them are there."""
    manager = MigrationManager(migration_id=ID, app_name="acmehub", description="indexes")
    unique = [
        f"UNIQUE INDEX {table}_{field}_unique ON {table} ({field})"
        for table, fields in UNIQUE.items()
        for field in fields
    ]

    async def make() -> None:
        engine = engine_finder()
        assert engine is not None
        for text in (*unique, *INDEXES):
            await engine.run_ddl("CREATE " + text.replace("INDEX ", "INDEX IF NOT EXISTS ", 1))

    manager.add_raw(make)
    return manager
