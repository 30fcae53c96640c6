"""How one process sees that another one has changed what is configured."""

import msgspec


class Revisions(msgspec.Struct, frozen=True, kw_only=True):
    """How often each kind of resources was changed, by any process; a change moves it in its own transaction.

    `generation` moves when what was read before may not be stored any more: of two revisions that differ in it, none of
    the others can be compared.
    """

    generation: int = 0

    principals: int = 0
    tokens: int = 0
    managed_challenges: int = 0
    authorities: int = 0
    profiles: int = 0
    campaigns: int = 0
