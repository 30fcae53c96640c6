"""The single-flight lock: one upstream order at a time per upstream account, names and profile."""

import hashlib

from acmehub.models import Order


def lock_key(server: str, account_url: str, order: Order) -> str:
    """The key of the lock that an order takes at `server`, for the hub's account there."""
    parts = (server, account_url, order.name_set, order.profile or "")
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()
