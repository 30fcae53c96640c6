"""`replaces` in newOrder (RFC 9773 section 5): taken where it holds, else left out and noted, never a refusal.

A renewal is worth more than what is known of it (docs/client-rules.md rule 29).
"""

from collections.abc import Iterable

import msgspec

from acmehub.models import Actor, Certificate, Event, EventKind, Order
from acmehub.models.identifiers import canonical
from acmehub.models.wire import NewOrder
from acmehub.ports.store import Store
from acmehub.rules.renewal import identifier, serial_or_none


class Replacement(msgspec.Struct, frozen=True):
    """The ARI identifier of the certificate that an order replaces, or None and why it was left out (empty: the
    client named none)."""

    cert_id: str | None = None
    left_out: str = ""

    def events(self, order: Order) -> tuple[Event, ...]:
        """What the order's timeline says of it."""
        if not self.left_out:
            return ()
        return (Event(order_id=order.id, at=order.created, kind=EventKind.REPLACES_IGNORED, detail=self.left_out),)


NONE = Replacement()


async def replacement_of(store: Store, actor: Actor, asked: NewOrder) -> Replacement:
    """What becomes of the client's `replaces`; the storage is asked only when there is one."""
    if asked.replaces is None:
        return NONE
    serial = serial_or_none(asked.replaces)
    if serial is None:
        return Replacement(left_out="it is not an identifier of a certificate (RFC 9773 section 4.1)")
    same = await store.certificates.by_serial(serial)
    certificate = next((item for item in same if identifier(item) == asked.replaces), None)
    if certificate is None:
        return Replacement(left_out="this hub has no such certificate")
    objection = _objection(certificate, actor, (item.value for item in asked.identifiers))
    return Replacement(left_out=objection) if objection else Replacement(cert_id=asked.replaces)


def _objection(certificate: Certificate, actor: Actor, names: Iterable[str]) -> str:
    owners = (certificate.account_id, certificate.principal_id)
    if actor.account.id not in owners and actor.principal.id not in owners:
        return f"certificate {certificate.id} is another principal's"
    if set(map(canonical, certificate.names)).isdisjoint(map(canonical, names)):
        return f"certificate {certificate.id} has none of the names"
    if certificate.replaced_by is not None:
        return f"certificate {certificate.id} was replaced by order {certificate.replaced_by} already"
    return ""
