"""What is stored: frozen Structs with a version, changed by `msgspec.structs.replace`.

Times are aware UTC datetimes; ids are made by `new_id` unless said otherwise; `version` starts at 1 and is moved by
the store alone, which refuses an update of a version that is no longer the current one. A field named `sealed_…`
holds bytes from `vault`, never clear text.
"""

from acmehub.models.access import AuthorizationMode, Principal, PrincipalType, Role, RoleAssignment, Token, TokenState
from acmehub.models.acme import (
    Account,
    AccountStatus,
    Actor,
    Authorization,
    AuthorizationStatus,
    Certificate,
    ChallengeType,
    Order,
    OrderStatus,
    Stage,
    TxtRecord,
    TxtState,
    Wish,
)
from acmehub.models.base import Model, made_at, new_id
from acmehub.models.records import AuditEntry, Event, EventKind
from acmehub.models.resources import Authority, Campaign, ManagedChallenge, Profile, Propagation, PropagationMode

__all__ = [
    "Account",
    "AccountStatus",
    "Actor",
    "AuditEntry",
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
    "Principal",
    "PrincipalType",
    "Profile",
    "Propagation",
    "PropagationMode",
    "Role",
    "RoleAssignment",
    "Stage",
    "Token",
    "TokenState",
    "TxtRecord",
    "TxtState",
    "Wish",
    "made_at",
    "new_id",
]
