"""Issuance: the background work on orders, from newOrder to the chain, durably (docs/reliability.md section 2)."""

from acmehub.issuance.dispatcher import Dispatcher
from acmehub.issuance.worker import IssuanceWorker

__all__ = ["Dispatcher", "IssuanceWorker"]
