"""Fulfilment: orders are taken from the client's request to the issued chain, durably (RELIABILITY.md section 2)."""

from acmehub.issuance.worker import Fulfilment

__all__ = ["Fulfilment"]
