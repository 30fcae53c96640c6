"""Figures about what is stored, for attention, metrics and plots."""

import enum
from collections.abc import Mapping
from datetime import datetime

import msgspec

from acmehub.models import EventKind, Stage, TxtState


class FailureCause(msgspec.Struct, frozen=True, kw_only=True):
    """Failed orders that have an authority, a problem type, a last trouble and a managed challenge in common.

    `problem`: the type of the problem document. `trouble`: the kind of the last event that kept them from going on
    (None: none did). `managed_challenge_id`: of TXT records of theirs that still stand (empty: none do).
    `first` and `last`: when the first and the last of them failed; `order_id` is one of the last ones.
    `principals`: how many of them are whose, by principal id.
    """

    authority_id: str
    managed_challenge_id: str
    problem: str
    trouble: EventKind | None
    count: int
    first: datetime
    last: datetime
    order_id: str
    principals: Mapping[str, int]


class ExpiryBucket(msgspec.Struct, frozen=True):
    """How many certificates that are not revoked end from `begin` on until the next bucket begins, and how many of them
    no other certificate covers (`CertificateFilter.uncovered`)."""

    begin: datetime
    count: int = 0
    uncovered: int = 0


class CertificateState(enum.StrEnum):
    """What is counted apart; a revoked one counts as such until it ends."""

    VALID = "valid"
    REVOKED = "revoked"
    EXPIRED = "expired"


class Counts(msgspec.Struct, frozen=True, kw_only=True):
    """How much there is of what at one moment.

    `open_orders`: those that are not over, by stage; `certificates` by state; `txt_records` by state, rows that are not
    removed yet. `due_since`: when the first of the orders that no worker has claimed was due (None: none is);
    `claimed`: how many orders a worker has claimed. Only what there is of has an entry.
    """

    open_orders: Mapping[Stage, int]
    certificates: Mapping[CertificateState, int]
    txt_records: Mapping[TxtState, int]
    due_since: datetime | None
    claimed: int
