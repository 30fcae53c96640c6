"""What orders need of the worker of this process."""

from contextlib import AbstractContextManager
from typing import Protocol

from acmehub.models import Order
from acmehub.rules.csr import CheckedCsr
from acmehub.rules.finalizing import Handover
from acmehub.rules.orders import OrderBundle


class OrderDispatcher(Protocol):
    """Hands orders over to the worker of this process, where there is one."""

    def handing_over(self, order: Order) -> AbstractContextManager[Handover | None]:
        """What claims an order in the write that makes it due; None without a worker or a place. Inside, the place is
        kept for it until `adopt`."""
        ...

    def adopt(self, bundle: OrderBundle, csr: CheckedCsr | None = None) -> None:
        """Go on with an order that was claimed so; `csr` is its CSR, which has just been checked."""
        ...
