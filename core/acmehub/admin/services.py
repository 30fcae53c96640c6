"""All admin services of a hub, one per noun."""

from collections.abc import Callable
from datetime import timedelta

import msgspec

from acmehub.admin.operations.accounts import AccountsAdmin
from acmehub.admin.operations.attention.reading import Attention, Dates
from acmehub.admin.operations.attention.service import AttentionService
from acmehub.admin.operations.audit import AuditAdmin
from acmehub.admin.operations.certificates import CertificatesAdmin
from acmehub.admin.operations.check import CheckService
from acmehub.admin.operations.forgetting import ForgettingService
from acmehub.admin.operations.moving import MovingService
from acmehub.admin.operations.orders import OrdersAdmin
from acmehub.admin.operations.plugins import PluginsAdmin
from acmehub.admin.operations.resealing import ResealingService
from acmehub.admin.resources.authorities import AuthorityService
from acmehub.admin.resources.campaigns import CampaignService
from acmehub.admin.resources.file import ResourcesFileService
from acmehub.admin.resources.managed_challenges import ManagedChallengeService
from acmehub.admin.resources.principals import PrincipalService
from acmehub.admin.resources.profiles import ProfileService
from acmehub.admin.resources.tokens import TokenService
from acmehub.dns01 import Solver
from acmehub.ports.clock import Clock
from acmehub.ports.store import Store
from acmehub.runtime.client_limits.refusals import Refusals
from acmehub.runtime.plugin_objects import PluginObjects
from acmehub.runtime.plugins import Registry
from acmehub.runtime.revocation import RevocationService
from acmehub.runtime.snapshot import Snapshots
from acmehub.runtime.vault import Vault


class Admin(msgspec.Struct, frozen=True, kw_only=True):
    """The services by noun. Every coroutine of theirs asks `rules.permissions` whether `acting` may do it."""

    principals: PrincipalService
    tokens: TokenService
    managed_challenges: ManagedChallengeService
    authorities: AuthorityService
    profiles: ProfileService
    campaigns: CampaignService
    orders: OrdersAdmin
    accounts: AccountsAdmin
    certificates: CertificatesAdmin
    attention: AttentionService
    audit: AuditAdmin
    resources_file: ResourcesFileService
    check: CheckService
    forgetting: ForgettingService
    plugins: PluginsAdmin
    resealing: ResealingService
    moving: MovingService


def build_admin(
    store: Store,
    vault: Vault,
    registry: Registry,
    clock: Clock,
    *,
    plugin_objects: PluginObjects,
    solver: Solver,
    snapshots: Snapshots,
    revocation: RevocationService,
    refusals: Refusals,
    issuance_timeout: timedelta,
    own_certificate: Callable[[], Dates | None],
    own_tls: str,
) -> Admin:
    """The services over the parts of a hub; `own_tls` names the authority that signs its own TLS certificate."""
    principals = PrincipalService(store, vault, registry, clock)
    tokens = TokenService(store, vault, registry, clock, refusals)
    managed_challenges = ManagedChallengeService(store, vault, registry, clock)
    authorities = AuthorityService(store, vault, registry, clock, own_tls)
    profiles = ProfileService(store, vault, registry, clock, authorities, plugin_objects)
    return Admin(
        principals=principals,
        tokens=tokens,
        managed_challenges=managed_challenges,
        authorities=authorities,
        profiles=profiles,
        campaigns=CampaignService(store, vault, registry, clock, authorities, principals),
        orders=OrdersAdmin(store, clock, issuance_timeout),
        accounts=AccountsAdmin(store, clock),
        certificates=CertificatesAdmin(store, revocation, clock),
        attention=AttentionService(store, clock, Attention(store, clock, snapshots, issuance_timeout, own_certificate)),
        audit=AuditAdmin(store, vault, clock),
        resources_file=ResourcesFileService(
            store, clock, principals, tokens, managed_challenges, authorities, profiles
        ),
        check=CheckService(
            store, snapshots, registry, plugin_objects, solver, principals, tokens, managed_challenges, clock
        ),
        forgetting=ForgettingService(store, vault, clock),
        plugins=PluginsAdmin(store, registry, clock),
        resealing=ResealingService(store, vault, clock),
        moving=MovingService(store, vault, clock),
    )
