"""Hands orders over to the worker of this process, where there is one."""

from acmehub.issuance.worker import IssuanceWorker
from acmehub.models import Order
from acmehub.rules.csr import CheckedCsr
from acmehub.rules.orders import Lease, OrderBundle


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

    def lease(self, order: Order) -> Lease | None:
        """A lease for an order that is claimed in the write that makes it due; None while off, or without a place."""
        worker = self._worker
        return worker.lease() if worker is not None and worker.has_place(order) else None

    def adopt(self, bundle: OrderBundle, csr: CheckedCsr | None = None) -> None:
        """Go on with an order that was claimed with such a lease; `csr` is its CSR, which has just been checked.

        An order that is claimed just before the dispatcher goes off waits until its lease is over.
        """
        if self._worker is not None:
            self._worker.adopt(bundle, csr)
