"""Hands orders over to the worker of this process, where there is one."""

from collections.abc import Iterator
from contextlib import contextmanager

from acmehub.issuance.worker import IssuanceWorker
from acmehub.models import Order
from acmehub.rules.csr import CheckedCsr
from acmehub.rules.finalizing import Handover
from acmehub.rules.orders import OrderBundle


class Dispatcher:
    """On while this process works on orders; while it is off, a worker of another process finds them in the storage."""

    def __init__(self) -> None:
        self._worker: IssuanceWorker | None = None

    def turn_on(self, worker: IssuanceWorker) -> None:
        """From now on `worker` takes orders."""
        self._worker = worker

    def turn_off(self) -> None:
        """From now on no order is claimed."""
        self._worker = None

    @contextmanager
    def handing_over(self, order: Order) -> Iterator[Handover | None]:
        """What claims an order in the write that makes it due; None while off, or without a place.

        Inside, the place is kept for it until `adopt`.
        """
        worker = self._worker
        handover = worker.take(order) if worker is not None else None
        try:
            yield handover
        finally:
            if worker is not None and handover is not None:
                worker.release(order)

    def adopt(self, bundle: OrderBundle, csr: CheckedCsr | None = None) -> None:
        """Go on with an order that was claimed so; `csr` is its CSR, which has just been checked.

        An order that is claimed just before the dispatcher goes off waits until its lease is over.
        """
        if self._worker is not None:
            self._worker.adopt(bundle, csr)
