"""What a storage plugin for another SQL engine builds on. **Unstable**: it may change with every minor version.

A plugin implements `SqlDriver` (run units of work in one transaction, keep the schema, tell of changes) and offers
`SqlStore(driver)`; verbs, schema and migrations are shared by all engines. A storage that is not SQL implements
`acmehub.Store`, and needs of this only the types in the signatures of its verbs. Either one must pass
`acmehub.testing.store_contract`.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from acmehub.models.accounts import Account as Account
    from acmehub.models.accounts import AccountStatus as AccountStatus
    from acmehub.models.accounts import Actor as Actor
    from acmehub.models.audit import ActorKind as ActorKind
    from acmehub.models.audit import AuditEntry as AuditEntry
    from acmehub.models.audit import AuditFilter as AuditFilter
    from acmehub.models.audit import AuditRecord as AuditRecord
    from acmehub.models.audit import Seal as Seal
    from acmehub.models.audit import SealKey as SealKey
    from acmehub.models.authorities import Authority as Authority
    from acmehub.models.authorities import Pause as Pause
    from acmehub.models.authorities import Profile as Profile
    from acmehub.models.campaigns import Campaign as Campaign
    from acmehub.models.certificates import Certificate as Certificate
    from acmehub.models.events import Event as Event
    from acmehub.models.events import EventKind as EventKind
    from acmehub.models.managed_challenges import ManagedChallenge as ManagedChallenge
    from acmehub.models.managed_challenges import Propagation as Propagation
    from acmehub.models.managed_challenges import PropagationMode as PropagationMode
    from acmehub.models.orders import Authorization as Authorization
    from acmehub.models.orders import AuthorizationStatus as AuthorizationStatus
    from acmehub.models.orders import ChallengeType as ChallengeType
    from acmehub.models.orders import Order as Order
    from acmehub.models.orders import OrderStatus as OrderStatus
    from acmehub.models.orders import Stage as Stage
    from acmehub.models.txt_records import TxtRecord as TxtRecord
    from acmehub.models.txt_records import TxtState as TxtState
    from acmehub.ports.copying import CopiesRows as CopiesRows
    from acmehub.ports.copying import HasRows as HasRows
    from acmehub.ports.copying import OtherSchema as OtherSchema
    from acmehub.ports.copying import StoreSnapshot as StoreSnapshot
    from acmehub.ports.copying import TableColumn as TableColumn
    from acmehub.ports.copying import TablePage as TablePage
    from acmehub.ports.figures import CertificateState as CertificateState
    from acmehub.ports.figures import Counts as Counts
    from acmehub.ports.figures import ExpiryBucket as ExpiryBucket
    from acmehub.ports.figures import FailureCause as FailureCause
    from acmehub.ports.idempotency import IdempotencyKey as IdempotencyKey
    from acmehub.ports.idempotency import IdempotencyKeys as IdempotencyKeys
    from acmehub.ports.idempotency import IdempotentRequest as IdempotentRequest
    from acmehub.ports.lists import AccountFilter as AccountFilter
    from acmehub.ports.lists import CertificateFilter as CertificateFilter
    from acmehub.ports.lists import OrderFilter as OrderFilter
    from acmehub.ports.order_store import Orders as Orders
    from acmehub.ports.order_store import TxtRecords as TxtRecords
    from acmehub.ports.revisions import Revisions as Revisions
    from acmehub.ports.seals import Seals as Seals
    from acmehub.ports.spending import NonceUse as NonceUse
    from acmehub.ports.spending import RateLimits as RateLimits
    from acmehub.ports.spending import UsedNonces as UsedNonces
    from acmehub.ports.store import Accounts as Accounts
    from acmehub.ports.store import Certificates as Certificates
    from acmehub.ports.store import Records as Records
    from acmehub.ports.store import Resources as Resources
    from acmehub.ports.zone_leases import ZoneLeases as ZoneLeases
    from acmehub.rules.orders import Change as Change
    from acmehub.rules.orders import Lease as Lease
    from acmehub.rules.orders import OrderBundle as OrderBundle
    from acmehub.rules.rate_limits import Charge as Charge
    from acmehub.rules.rate_limits import RateLimit as RateLimit
    from acmehub.rules.rate_limits import TokensLacking as TokensLacking
    from acmehub.rules.rate_limits import TokensTaken as TokensTaken
    from acmehub.storage.driver import SchemaSession as SchemaSession
    from acmehub.storage.driver import SqlDriver as SqlDriver
    from acmehub.storage.outages import StorageOutages as StorageOutages
    from acmehub.storage.sqlite.driver import SqliteDriver as SqliteDriver
    from acmehub.storage.statements import Batch as Batch
    from acmehub.storage.statements import Changed as Changed
    from acmehub.storage.statements import Dialect as Dialect
    from acmehub.storage.statements import Rows as Rows
    from acmehub.storage.statements import Sql as Sql
    from acmehub.storage.statements import Statement as Statement
    from acmehub.storage.statements import Step as Step
    from acmehub.storage.statements import Unit as Unit
    from acmehub.storage.store import SqlStore as SqlStore

_HOMES = {
    "acmehub.models.accounts": (
        "Account",
        "AccountStatus",
        "Actor",
    ),
    "acmehub.models.audit": ("ActorKind", "AuditEntry", "AuditFilter", "AuditRecord", "Seal", "SealKey"),
    "acmehub.models.authorities": (
        "Authority",
        "Pause",
        "Profile",
    ),
    "acmehub.models.campaigns": ("Campaign",),
    "acmehub.models.certificates": ("Certificate",),
    "acmehub.models.events": (
        "Event",
        "EventKind",
    ),
    "acmehub.models.managed_challenges": (
        "ManagedChallenge",
        "Propagation",
        "PropagationMode",
    ),
    "acmehub.models.orders": (
        "Authorization",
        "AuthorizationStatus",
        "ChallengeType",
        "Order",
        "OrderStatus",
        "Stage",
    ),
    "acmehub.models.txt_records": (
        "TxtRecord",
        "TxtState",
    ),
    "acmehub.ports.copying": (
        "CopiesRows",
        "HasRows",
        "OtherSchema",
        "StoreSnapshot",
        "TableColumn",
        "TablePage",
    ),
    "acmehub.ports.figures": ("CertificateState", "Counts", "ExpiryBucket", "FailureCause"),
    "acmehub.ports.idempotency": ("IdempotencyKey", "IdempotencyKeys", "IdempotentRequest"),
    "acmehub.ports.lists": ("AccountFilter", "CertificateFilter", "OrderFilter"),
    "acmehub.ports.order_store": ("Orders", "TxtRecords"),
    "acmehub.ports.revisions": ("Revisions",),
    "acmehub.ports.seals": ("Seals",),
    "acmehub.ports.spending": (
        "NonceUse",
        "RateLimits",
        "UsedNonces",
    ),
    "acmehub.ports.store": (
        "Accounts",
        "Certificates",
        "Records",
        "Resources",
    ),
    "acmehub.ports.zone_leases": ("ZoneLeases",),
    "acmehub.rules.orders": (
        "Change",
        "Lease",
        "OrderBundle",
    ),
    "acmehub.rules.rate_limits": (
        "Charge",
        "RateLimit",
        "TokensLacking",
        "TokensTaken",
    ),
    "acmehub.storage.driver": (
        "SchemaSession",
        "SqlDriver",
    ),
    "acmehub.storage.outages": ("StorageOutages",),
    "acmehub.storage.sqlite.driver": ("SqliteDriver",),
    "acmehub.storage.statements": (
        "Batch",
        "Changed",
        "Dialect",
        "Rows",
        "Sql",
        "Statement",
        "Step",
        "Unit",
    ),
    "acmehub.storage.store": ("SqlStore",),
}

_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}

__all__ = sorted(_HOME_OF)


def __getattr__(name: str) -> Any:
    if name in _HOME_OF:
        return getattr(importlib.import_module(_HOME_OF[name]), name)
    raise AttributeError(f"module 'acmehub.storage_api' has no public name {name!r}")


def __dir__() -> list[str]:
    return __all__
