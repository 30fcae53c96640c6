"""Attention: what fails now, since when, in whose words, what to do. One verb for all who show or tell it."""

from collections.abc import Sequence

from acmehub.admin.access.gate import Gate
from acmehub.admin.operations.attention.item import AttentionItem
from acmehub.admin.operations.attention.reading import Attention
from acmehub.ports.clock import Clock
from acmehub.ports.store import Store
from acmehub.rules.permissions import Acting


class AttentionService:
    """What needs a person, as far as an operator may see it."""

    noun = "attention"

    def __init__(self, store: Store, clock: Clock, attention: Attention) -> None:
        self._attention = attention
        self._gate = Gate(store, clock)

    async def list(self, acting: Acting) -> Sequence[AttentionItem]:
        """What needs a person, the worst first; with a role that tags narrow, of the principals that it reaches."""
        async with self._gate(acting, "attention.list") as passage:
            return await self._attention.items(await passage.reach.principal_ids())
