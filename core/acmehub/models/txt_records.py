"""TXT records for dns-01 that the hub has created, will create or will remove."""

import enum
from datetime import datetime

from acmehub.models.base import Model


class TxtState(enum.StrEnum):
    """`planned` before add_txt, `present` after it, `remove` once its removal is scheduled."""

    PLANNED = "planned"
    PRESENT = "present"
    REMOVE = "remove"


class TxtRecord(Model, frozen=True, kw_only=True):
    """A TXT value that the hub creates, has created or must remove; the row is deleted after the removal.

    `run_at` is the earliest time of the removal, also before the removal is scheduled: for a planned record it lies
    after the end of an `add_txt` that may be running, for a present one it is the time of its creation. Scheduling the
    removal does not change it.
    """

    order_id: str
    authorization_id: str
    managed_challenge_id: str
    zone: str
    name: str
    value: str
    state: TxtState = TxtState.PLANNED
    run_at: datetime | None = None
    lease_owner: str | None = None
    lease_until: datetime | None = None
    attempts: int = 0
    last_error: str = ""
    created: datetime
