"""Indexes: uniqueness, every foreign key, and the paths of claims and lists."""

from piccolo.apps.migrations.auto.migration_manager import MigrationManager

from acmehub.storage.piccolo_engine import DB

ID = "2026-11-24T00:00:02"

INDEXES = (  # raw: Piccolo knows no UNIQUE, no WHERE and no name of an index
    # named <table>_<field>_unique: the drivers read the field from the name
    "CREATE UNIQUE INDEX IF NOT EXISTS principal_name_unique ON principal (name)",
    "CREATE UNIQUE INDEX IF NOT EXISTS managed_challenge_name_unique ON managed_challenge (name)",
    "CREATE UNIQUE INDEX IF NOT EXISTS authority_name_unique ON authority (name)",
    "CREATE UNIQUE INDEX IF NOT EXISTS account_thumbprint_unique ON account (thumbprint)",
    "CREATE UNIQUE INDEX IF NOT EXISTS orders_flight_unique ON orders (flight) WHERE flight IS NOT NULL",
    "CREATE INDEX IF NOT EXISTS token_title ON token (title)",
    "CREATE INDEX IF NOT EXISTS token_principal ON token (principal_id)",
    "CREATE INDEX IF NOT EXISTS account_token ON account (token_id)",
    "CREATE INDEX IF NOT EXISTS account_principal ON account (principal_id)",
    # lists, newest first
    "CREATE INDEX IF NOT EXISTS orders_created ON orders (created, id)",
    "CREATE INDEX IF NOT EXISTS orders_account ON orders (account_id, created, id)",
    "CREATE INDEX IF NOT EXISTS orders_status ON orders (status, created, id)",
    "CREATE INDEX IF NOT EXISTS orders_token ON orders (token_id)",
    "CREATE INDEX IF NOT EXISTS orders_principal ON orders (principal_id)",
    "CREATE INDEX IF NOT EXISTS orders_authority ON orders (authority_id)",
    # jobs: only the rows that still have something to do
    "CREATE INDEX IF NOT EXISTS orders_due ON orders (run_at, lease_until) WHERE run_at IS NOT NULL",
    "CREATE INDEX IF NOT EXISTS orders_leased ON orders (lease_until, run_at) WHERE lease_until IS NOT NULL",
    "CREATE INDEX IF NOT EXISTS orders_waiting ON orders (name_set, authority_id) WHERE stage = 'ordering'",
    "CREATE INDEX IF NOT EXISTS orders_upstream ON orders (upstream_url) WHERE upstream_url IS NOT NULL",
    "CREATE INDEX IF NOT EXISTS orders_lapsing ON orders (expires) WHERE status IN ('pending', 'ready')",
    "CREATE INDEX IF NOT EXISTS authorization_order ON authorization_ (order_id)",
    "CREATE INDEX IF NOT EXISTS txt_record_order ON txt_record (order_id)",
    "CREATE INDEX IF NOT EXISTS txt_record_authorization ON txt_record (authorization_id)",
    "CREATE INDEX IF NOT EXISTS txt_record_managed_challenge ON txt_record (managed_challenge_id)",
    "CREATE INDEX IF NOT EXISTS txt_record_due ON txt_record (run_at) WHERE state = 'remove'",
    "CREATE INDEX IF NOT EXISTS certificate_order ON certificate (order_id)",
    "CREATE INDEX IF NOT EXISTS certificate_account ON certificate (account_id)",
    "CREATE INDEX IF NOT EXISTS certificate_authority ON certificate (authority_id)",
    "CREATE INDEX IF NOT EXISTS certificate_serial ON certificate (serial)",
    "CREATE INDEX IF NOT EXISTS certificate_created ON certificate (created, id)",
    "CREATE INDEX IF NOT EXISTS certificate_name_certificate ON certificate_name (certificate_id)",
    "CREATE INDEX IF NOT EXISTS certificate_name_name ON certificate_name (name, certificate_id)",
    "CREATE INDEX IF NOT EXISTS event_order ON event (order_id, id)",
    "CREATE INDEX IF NOT EXISTS used_nonce_expires ON used_nonce (expires)",
)


async def forwards() -> MigrationManager:
    """Make the indexes; harmless when some of them are there."""
    manager = MigrationManager(migration_id=ID, app_name="acmehub", description="indexes")

    async def make() -> None:
        for text in INDEXES:
            await DB.run_ddl(text)

    manager.add_raw(make)
    return manager
