"""What is stored: frozen Structs with a version, changed by `msgspec.structs.replace`.

Times are aware datetimes in UTC. Ids come from `new_id` unless a docstring says otherwise. `version` starts at 1; only
the store increases it, and it refuses to update a row whose version is no longer the current one. A field named
`sealed_…` holds bytes sealed by `runtime/vault.py`, never clear text.
"""

from acmehub.models.accounts import Account, AccountStatus, Actor
from acmehub.models.audit import (
    ActorKind,
    AuditActor,
    AuditEntry,
    AuditFilter,
    AuditRecord,
    Origin,
    Seal,
    SealKey,
    Via,
)
from acmehub.models.authorities import Authority, Pause, Profile
from acmehub.models.base import Model, made_at, new_id
from acmehub.models.campaigns import Campaign
from acmehub.models.certificates import Certificate
from acmehub.models.events import Event, EventKind
from acmehub.models.managed_challenges import ManagedChallenge, Propagation, PropagationMode
from acmehub.models.orders import Authorization, AuthorizationStatus, ChallengeType, Order, OrderStatus, Stage, Wish
from acmehub.models.principals import Principal, PrincipalType, Role, RoleAssignment
from acmehub.models.tokens import AuthorizationMode, Token, TokenLimits, TokenState
from acmehub.models.txt_records import TxtRecord, TxtState

__all__ = [
    "Account",
    "AccountStatus",
    "Actor",
    "ActorKind",
    "AuditActor",
    "AuditEntry",
    "AuditFilter",
    "AuditRecord",
    "Authority",
    "Authorization",
    "AuthorizationMode",
    "AuthorizationStatus",
    "Campaign",
    "Certificate",
    "ChallengeType",
    "Event",
    "EventKind",
    "ManagedChallenge",
    "Model",
    "Order",
    "OrderStatus",
    "Origin",
    "Pause",
    "Principal",
    "PrincipalType",
    "Profile",
    "Propagation",
    "PropagationMode",
    "Role",
    "RoleAssignment",
    "Seal",
    "SealKey",
    "Stage",
    "Token",
    "TokenLimits",
    "TokenState",
    "TxtRecord",
    "TxtState",
    "Via",
    "Wish",
    "made_at",
    "new_id",
]
