"""acmehub: a managed ACME service for devices that cannot prove control of a domain.

These are the public names: a plugin imports from here (a storage also from `acmehub.storage_api`, tests also from
`acmehub.testing`) and from nowhere else in the package. They are loaded when first used, so that a plugin pays only for
what it takes.
"""

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from acmehub.admin.access.errors import ServiceError as ServiceError
    from acmehub.admin.access.errors import Unauthenticated as Unauthenticated
    from acmehub.app.plugin_hub import PluginHub as PluginHub
    from acmehub.http_client.client import HttpClient as HttpClient
    from acmehub.http_client.messages import HttpError as HttpError
    from acmehub.http_client.messages import HttpResponse as HttpResponse
    from acmehub.http_client.messages import HttpTimeout as HttpTimeout
    from acmehub.models.audit import Origin as Origin
    from acmehub.models.audit import Via as Via
    from acmehub.models.identifiers import Identifier as Identifier
    from acmehub.models.principals import Principal as Principal
    from acmehub.models.principals import PrincipalType as PrincipalType
    from acmehub.models.principals import Role as Role
    from acmehub.models.principals import RoleAssignment as RoleAssignment
    from acmehub.models.problems import Problem as Problem
    from acmehub.models.problems import ProblemDocument as ProblemDocument
    from acmehub.models.problems import ProblemType as ProblemType
    from acmehub.models.problems import Subproblem as Subproblem
    from acmehub.models.text import escape_controls as escape_controls
    from acmehub.models.tokens import AuthorizationMode as AuthorizationMode
    from acmehub.models.tokens import Token as Token
    from acmehub.models.tokens import TokenLimits as TokenLimits
    from acmehub.ports.authority import AllowsLeafOnly as AllowsLeafOnly
    from acmehub.ports.authority import AnswersProbe as AnswersProbe
    from acmehub.ports.authority import CompletesSettings as CompletesSettings
    from acmehub.ports.authority import GrantsLifetimes as GrantsLifetimes
    from acmehub.ports.authority import InformsOfRenewal as InformsOfRenewal
    from acmehub.ports.authority import IssuedChain as IssuedChain
    from acmehub.ports.authority import IssueRequest as IssueRequest
    from acmehub.ports.authority import IssuesForAddresses as IssuesForAddresses
    from acmehub.ports.authority import PollsFirst as PollsFirst
    from acmehub.ports.authority import RelayAuthority as RelayAuthority
    from acmehub.ports.authority import SigningAuthority as SigningAuthority
    from acmehub.ports.authority import UpstreamAccount as UpstreamAccount
    from acmehub.ports.authority import UpstreamAccountLost as UpstreamAccountLost
    from acmehub.ports.authority import UpstreamAccountRefused as UpstreamAccountRefused
    from acmehub.ports.authority import UpstreamAuthorization as UpstreamAuthorization
    from acmehub.ports.authority import UpstreamError as UpstreamError
    from acmehub.ports.authority import UpstreamObjectLost as UpstreamObjectLost
    from acmehub.ports.authority import UpstreamOrder as UpstreamOrder
    from acmehub.ports.authority import UpstreamRateLimited as UpstreamRateLimited
    from acmehub.ports.authority import UpstreamRefused as UpstreamRefused
    from acmehub.ports.authority import UpstreamRenewalInfo as UpstreamRenewalInfo
    from acmehub.ports.authority import UpstreamUnavailable as UpstreamUnavailable
    from acmehub.ports.clock import Clock as Clock
    from acmehub.ports.clock import SystemClock as SystemClock
    from acmehub.ports.dns import AddsManyRecords as AddsManyRecords
    from acmehub.ports.dns import DnsProvider as DnsProvider
    from acmehub.ports.dns import DnsProviderError as DnsProviderError
    from acmehub.ports.dns import DnsProviderRefused as DnsProviderRefused
    from acmehub.ports.dns import DnsProviderUnavailable as DnsProviderUnavailable
    from acmehub.ports.dns import RewritesRecordSets as RewritesRecordSets
    from acmehub.ports.dns import WaitsForPropagation as WaitsForPropagation
    from acmehub.ports.hookspecs import hookimpl as hookimpl
    from acmehub.ports.plugins import AccountCreated as AccountCreated
    from acmehub.ports.plugins import Candidate as Candidate
    from acmehub.ports.plugins import Closes as Closes
    from acmehub.ports.plugins import Notifier as Notifier
    from acmehub.ports.plugins import OrderFinished as OrderFinished
    from acmehub.ports.plugins import OrderRequest as OrderRequest
    from acmehub.ports.plugins import PluginContext as PluginContext
    from acmehub.ports.plugins import Register as Register
    from acmehub.ports.plugins import Selection as Selection
    from acmehub.ports.settings import PluginSettings as PluginSettings
    from acmehub.ports.settings import Secret as Secret
    from acmehub.ports.settings import SettingsError as SettingsError
    from acmehub.ports.settings import read_settings as read_settings
    from acmehub.ports.store import Conflict as Conflict
    from acmehub.ports.store import Fenced as Fenced
    from acmehub.ports.store import Missing as Missing
    from acmehub.ports.store import Store as Store
    from acmehub.ports.store import StoreAbsent as StoreAbsent
    from acmehub.ports.store import StoreAway as StoreAway
    from acmehub.ports.store import StoreError as StoreError
    from acmehub.ports.store import StoreOutdated as StoreOutdated
    from acmehub.ports.store import StoreUnavailable as StoreUnavailable
    from acmehub.rules.csr import load_csr as load_csr
    from acmehub.rules.permissions import Acting as Acting
    from acmehub.rules.permissions import Forbidden as Forbidden
    from acmehub.rules.times import parse_retry_after as parse_retry_after
    from acmehub.rules.urls import https_or_loopback as https_or_loopback
    from acmehub.upstream.authority import AcmeRelay as AcmeRelay
    from acmehub.upstream.settings import RelaySettings as RelaySettings

_HOMES = {
    "acmehub.admin.access.errors": ("ServiceError", "Unauthenticated"),
    "acmehub.app.plugin_hub": ("PluginHub",),
    "acmehub.models.audit": ("Origin", "Via"),
    "acmehub.rules.permissions": ("Acting", "Forbidden"),
    "acmehub.http_client.client": ("HttpClient",),
    "acmehub.http_client.messages": ("HttpError", "HttpResponse", "HttpTimeout"),
    "acmehub.ports.hookspecs": ("hookimpl",),
    "acmehub.models.identifiers": ("Identifier",),
    "acmehub.ports.authority": (
        "AllowsLeafOnly",
        "AnswersProbe",
        "CompletesSettings",
        "GrantsLifetimes",
        "InformsOfRenewal",
        "IssueRequest",
        "IssuedChain",
        "IssuesForAddresses",
        "PollsFirst",
        "RelayAuthority",
        "SigningAuthority",
        "UpstreamAccount",
        "UpstreamAccountLost",
        "UpstreamAccountRefused",
        "UpstreamAuthorization",
        "UpstreamError",
        "UpstreamObjectLost",
        "UpstreamOrder",
        "UpstreamRateLimited",
        "UpstreamRefused",
        "UpstreamRenewalInfo",
        "UpstreamUnavailable",
    ),
    "acmehub.ports.clock": ("Clock", "SystemClock"),
    "acmehub.ports.dns": (
        "AddsManyRecords",
        "DnsProvider",
        "DnsProviderError",
        "DnsProviderRefused",
        "DnsProviderUnavailable",
        "RewritesRecordSets",
        "WaitsForPropagation",
    ),
    "acmehub.ports.plugins": (
        "AccountCreated",
        "Candidate",
        "Closes",
        "Notifier",
        "OrderFinished",
        "OrderRequest",
        "PluginContext",
        "Register",
        "Selection",
    ),
    "acmehub.ports.settings": ("PluginSettings", "Secret", "SettingsError", "read_settings"),
    "acmehub.ports.store": (
        "Conflict",
        "Fenced",
        "Missing",
        "Store",
        "StoreAbsent",
        "StoreAway",
        "StoreError",
        "StoreOutdated",
        "StoreUnavailable",
    ),
    "acmehub.models.principals": ("Principal", "PrincipalType", "Role", "RoleAssignment"),
    "acmehub.models.tokens": ("AuthorizationMode", "Token", "TokenLimits"),
    "acmehub.models.problems": ("Problem", "ProblemDocument", "ProblemType", "Subproblem"),
    "acmehub.models.text": ("escape_controls",),
    "acmehub.rules.csr": ("load_csr",),
    "acmehub.rules.times": ("parse_retry_after",),
    "acmehub.rules.urls": ("https_or_loopback",),
    "acmehub.upstream.authority": ("AcmeRelay",),
    "acmehub.upstream.settings": ("RelaySettings",),
}

_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}

__all__ = ["__version__", *sorted(_HOME_OF)]


def __getattr__(name: str) -> Any:
    if name in _HOME_OF:
        return getattr(importlib.import_module(_HOME_OF[name]), name)
    raise AttributeError(f"module 'acmehub' has no public name {name!r}")


def __dir__() -> list[str]:
    return __all__
