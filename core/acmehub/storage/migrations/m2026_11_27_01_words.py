"""The words of RFC 8555 for what is stored: columns, the stage `responding`, kinds of events."""

from piccolo.apps.migrations.auto.migration_manager import MigrationManager

from acmehub.storage.piccolo_engine import DB

ID = "2026-11-27T00:00:01"

KINDS = {  # texts of earlier versions, and the kind from now on
    "asked for again": "order reused",
    "`replaces` left out": "`replaces` ignored",
    "proof remembered": "authorization reused",
    "proof seen": "validated",
    "proof not seen": "validation failed",
    "certificate handed out again": "certificate reused",
    "upstream order made": "upstream order created",
    "upstream order authorized": "upstream order ready",
    "upstream order found valid": "upstream order valid",
    "upstream order is used up": "upstream order used up",
    "upstream order was dead from the beginning": "upstream order invalid at first sight",
    "upstream order is pending again": "upstream order pending again",
    "upstream order handed over": "upstream order given to another order",
    "upstream order taken over": "upstream order taken from another order",
    "orders anew": "upstream order restarted",
    "orders anew with another upstream account": "upstream account changed",
    "upstream account lost, to be registered anew": "upstream account lost",
    "waits for another order of the same names": "waits for another order for the same names",
    "challenge found to be answered": "challenge was answered upstream before",
    "challenge triggered": "challenge answered upstream",
    "TXT record made": "TXT record created",
    "TXT records seen": "TXT records visible",
    "TXT records not seen": "TXT records not visible",
    "CA is not ready after all": "CA not ready",
    "`replaces` not passed on": "`replaces` not sent",
    "CA refused, ordered without `replaces`": "CA refused `replaces`",
    "CA not available": "CA unavailable",
    "CA limits the rate": "CA rate limit",
    "CA does not know it": "CA does not know the resource",
    "DNS provider not available": "DNS provider unavailable",
    "unforeseen error": "unexpected error",
    "retried by the operator": "retried by an operator",
}
KEPT = (
    "order opened",
    "pre-authorization opened",
    "challenge answered",
    "approved",
    "finalize requested",
    "upstream order read",
    "upstream order failed",
    "upstream order lost",
    "authorizations read",
    "authorizations valid upstream",
    "waits for TXT records",
    "TXT record removed",
    "CSR sent",
    "certificate has no URL yet",
    "chain downloaded",
    "wrong certificate refused",
    "wrong certificate revoked",
    "wrong certificate could not be revoked",
    "CA refused",
    "DNS gives no answer",
    "DNS provider refused",
    "needs an operator",
    "certificate issued",
    "certificate downloaded",
    "certificate revoked",
    "order failed",
    "TXT record cannot be removed",
)


async def forwards() -> MigrationManager:
    """Rename columns and values; a text that no version of the hub wrote becomes the detail of a `noted`."""
    manager = MigrationManager(migration_id=ID, app_name="acmehub", description="words")
    manager.rename_column("Order", "orders", "give_up_at", "deadline")
    manager.rename_column("Order", "orders", "flight", "lock_key")
    manager.rename_column("Authorization", "authorization_", "triggered", "responded")
    manager.rename_column("Event", "event", "what", "kind")

    async def rename() -> None:  # raw: rows; runs before the columns get their new names
        await DB.run_ddl("UPDATE orders SET stage = 'responding' WHERE stage = 'triggering'")
        await DB.run_ddl("DROP INDEX orders_flight_unique")
        await DB.run_ddl("CREATE UNIQUE INDEX orders_lock_key_unique ON orders (flight) WHERE flight IS NOT NULL")
        await DB.run_ddl(
            "UPDATE event SET what = 'TXT record cannot be removed', detail = substr(what, 31) || ': ' || detail"
            " WHERE what LIKE 'TXT record cannot be removed, %'"
        )
        for old, new in KINDS.items():
            await DB.run_ddl(f"UPDATE event SET what = '{new}' WHERE what = '{old}'")  # noqa: S608  words of this file
        known = ", ".join(f"'{kind}'" for kind in (*KEPT, *KINDS.values()))
        rest = f"UPDATE event SET what = 'noted', detail = what || ': ' || detail WHERE what NOT IN ({known})"  # noqa: S608
        await DB.run_ddl(rest)

    manager.add_raw(rename)
    return manager
