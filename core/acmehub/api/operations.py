"""The table of the REST API: routes, OpenAPI document, the command line's requests and docs/api.md derive from it.

A call is `await getattr(getattr(admin, service), verb)(*path arguments, *body, acting, **query)`: the body, where there
is one, is one argument.
"""

from typing import Any

from acmehub.admin.operations.accounts import AccountFields, AccountPatch, AccountSummary
from acmehub.admin.operations.attention.item import AttentionItem
from acmehub.admin.operations.audit import AuditNews, AuditView, Verified
from acmehub.admin.operations.certificates import (
    CertificateDetail,
    CertificatePage,
    CertificateSummary,
    Revocation,
)
from acmehub.admin.operations.check_results import Check
from acmehub.admin.operations.forgetting import Forgotten
from acmehub.admin.operations.orders import OrderDetail, OrderState, OrderSummary
from acmehub.admin.operations.queries import CertificateQuery, CheckRequest, OrderQuery
from acmehub.admin.resources.authorities import AuthorityPatch, AuthorityView, NewAuthority
from acmehub.admin.resources.campaigns import CampaignPlan, CampaignView, CertificateCount, NewCampaign
from acmehub.admin.resources.document import Document
from acmehub.admin.resources.file import Applied
from acmehub.admin.resources.managed_challenges import (
    ManagedChallengePatch,
    ManagedChallengeView,
    NewManagedChallenge,
)
from acmehub.admin.resources.principals import NewPrincipal, PrincipalPatch, PrincipalView
from acmehub.admin.resources.profiles import NewProfile, ProfilePatch, ProfileView
from acmehub.admin.resources.tokens import (
    AddedToken,
    DirectoryView,
    EabView,
    EabViews,
    NewToken,
    TokenPatch,
    TokenView,
)
from acmehub.api.documents import BulkResults, Me, TokenActions
from acmehub.api.table import (
    JSON_LINES,
    PEM_CHAIN,
    PREFIX,
    TOML,
    Applying,
    AuditBehind,
    AuditMac,
    DryRun,
    Operation,
    Paging,
    TokensQuery,
    resource,
    row,
)
from acmehub.models import AuditFilter, Event
from acmehub.rules.renewal import Advice
from acmehub.runtime.plugin_details import PluginDetails
from acmehub.runtime.plugins import InstalledPlugin

_RESOURCES = (
    *resource("principal", "/principals", "principals", "principal", (NewPrincipal, PrincipalPatch, PrincipalView)),
    row(
        "POST",
        "/principals/{principal}/eab",
        "token.eab_of",
        "tokens.eab_of",
        "View a principal's tokens as EAB credentials",
        result=EabViews,
        reveals=True,
    ),
    row(
        "POST",
        "/principals/{principal}/forget",
        "principal.forget",
        "forgetting.forget",
        "Forget what is personal about a principal",
        result=Forgotten,
    ),
    *resource(
        "token",
        "/tokens",
        "tokens",
        "token",
        (NewToken, TokenPatch, TokenView),
        TokensQuery,
        result=AddedToken,
        created="token",
        reveals=True,
    ),
    row("POST", "/tokens/{token}/revoke", "token.revoke", "tokens.revoke", "Revoke a token for good", result=TokenView),
    row(
        "POST",
        "/tokens/{token}/eab",
        "token.eab",
        "tokens.eab",
        "View a token as EAB credentials",
        result=EabView,
        reveals=True,
    ),
    row(
        "POST",
        "/tokens/{token}/directory",
        "token.directory",
        "tokens.directory",
        "View the key of a token's secret directory URL",
        result=DirectoryView,
        reveals=True,
    ),
    row(
        "POST",
        "/tokens/actions",
        "token.actions",
        "",
        "Do one thing to up to 100 tokens, each by itself",
        action="token.set",
        body=TokenActions,
        result=BulkResults,
    ),
    *resource(
        "challenge",
        "/managed-challenges",
        "managed_challenges",
        "managed challenge",
        (NewManagedChallenge, ManagedChallengePatch, ManagedChallengeView),
    ),
    *resource("authority", "/authorities", "authorities", "authority", (NewAuthority, AuthorityPatch, AuthorityView)),
    row(
        "POST",
        "/authorities/{authority}/clear-pause",
        "authority.clear_pause",
        "authorities.clear_pause",
        "Order again from an authority that had paused the hub",
        result=AuthorityView,
    ),
    row(
        "GET",
        "/authorities/{authority}/certificates-in-use",
        "campaign.in_use",
        "campaigns.in_use",
        "Count the certificates of an authority that are in use",
        result=CertificateCount,
    ),
    *resource("profile", "/profiles", "profiles", "profile", (NewProfile, ProfilePatch, ProfileView)),
    row(
        "GET",
        "/campaigns",
        "campaign.list",
        "campaigns.list",
        "List campaigns, each with how far it is",
        result=CampaignView,
        paging=Paging.WHOLE,
    ),
    row(
        "POST",
        "/campaigns",
        "campaign.add",
        "campaigns.add",
        "Begin a campaign, or with dry_run plan it",
        body=NewCampaign,
        query=DryRun,
        result=CampaignPlan,
        status=201,
        created="campaign",
    ),
    row("GET", "/campaigns/{campaign}", "campaign.show", "campaigns.show", "Show a campaign", result=CampaignView),
    row("POST", "/campaigns/{campaign}/end", "campaign.end", "campaigns.end", "End a campaign", result=CampaignView),
)

_RUNNING = (
    row(
        "GET",
        "/orders",
        "order.list",
        "orders.list",
        "List orders, newest first",
        filter=OrderQuery,
        result=OrderSummary,
        paging=Paging.AFTER,
    ),
    row(
        "GET",
        "/orders/{order}",
        "order.show",
        "orders.show",
        "Show an order, or wait until it has changed",
        result=OrderDetail,
        waits=True,
    ),
    row(
        "GET",
        "/orders/{order}/timeline",
        "order.timeline",
        "orders.show",
        "Show the timeline of an order, oldest first",
        action="order.show",
        result=tuple[Event, ...],
        member="timeline",
    ),
    row(
        "POST",
        "/orders/{order}/retry",
        "order.retry",
        "orders.retry",
        "Have an unfinished order worked on at once",
        result=OrderState,
    ),
    row(
        "POST", "/orders/{order}/cancel", "order.cancel", "orders.cancel", "End an unfinished order", result=OrderState
    ),
    row(
        "GET",
        "/accounts",
        "account.list",
        "accounts.list",
        "List ACME accounts",
        result=AccountSummary,
        paging=Paging.AFTER,
    ),
    row("GET", "/accounts/{account}", "account.show", "accounts.show", "Show an ACME account", result=AccountSummary),
    row(
        "PATCH",
        "/accounts/{account}",
        "account.set",
        "accounts.set",
        "Correct what mode auto has learned of an account",
        body=AccountPatch,
        result=AccountSummary,
        conditional=True,
        reads="account.show",
        new=AccountFields,
    ),
    row(
        "POST",
        "/accounts/{account}/deactivate",
        "account.deactivate",
        "accounts.deactivate",
        "Deactivate an account for good",
        result=AccountSummary,
    ),
    row(
        "GET",
        "/certificates",
        "certificate.list",
        "certificates.list",
        "List certificates",
        filter=CertificateQuery,
        result=CertificateSummary,
        paging=Paging.AFTER,
        page=CertificatePage,
    ),
    row(
        "GET",
        "/certificates/{certificate}",
        "certificate.show",
        "certificates.show",
        "Show a certificate, by id or serial number",
        result=CertificateDetail,
    ),
    row(
        "GET",
        "/certificates/{certificate}/chain.pem",
        "certificate.chain",
        "certificates.show",
        "Download the chain of a certificate",
        action="certificate.show",
        result=str,
        member="chain",
        media=PEM_CHAIN,
    ),
    row(
        "GET",
        "/certificates/{certificate}/renewal",
        "campaign.advice",
        "campaigns.advice",
        "Show when a certificate (by id) should be renewed",
        result=Advice,
    ),
    row(
        "POST",
        "/certificates/{certificate}/revoke",
        "certificate.revoke",
        "certificates.revoke",
        "Revoke a certificate at its authority",
        body=Revocation,
        result=CertificateSummary,
    ),
    row(
        "POST",
        "/checks",
        "check",
        "check.check",
        "Say what an order for names would meet",
        body=CheckRequest,
        result=Check,
    ),
)

_WHOLE = (
    row(
        "GET",
        "/attention",
        "attention.list",
        "attention.list",
        "List what needs a person, the worst first",
        result=AttentionItem,
        paging=Paging.WHOLE,
    ),
    row(
        "GET",
        "/audit",
        "audit.list",
        "audit.list",
        "List the audit's entries, newest first",
        filter=AuditFilter,
        result=AuditView,
        paging=Paging.BEFORE,
    ),
    row(
        "GET",
        "/audit/news",
        "audit.follow",
        "audit.follow",
        "Follow the audit: entries after an id, oldest first",
        filter=AuditFilter,
        query=AuditBehind,
        result=AuditNews,
    ),
    row(
        "GET",
        "/audit/verify",
        "audit.verify",
        "audit.verify",
        "Check the seals of the whole audit",
        query=AuditMac,
        result=Verified,
    ),
    row(
        "GET",
        "/audit/export",
        "audit.export",
        "audit.export",
        "Export the audit's entries, oldest first, a line each",
        filter=AuditFilter,
        result=dict[str, Any],
        media=JSON_LINES,
    ),
    row("GET", "/audit/{entry:int}", "audit.show", "audit.show", "Show an entry of the audit", result=AuditView),
    row("GET", "/plugins", "plugin.list", "plugins.list", "List plugins", result=InstalledPlugin, paging=Paging.WHOLE),
    row(
        "GET",
        "/plugins/{plugin}",
        "plugin.show",
        "plugins.show",
        "Show a plugin with the JSON schema of its settings",
        result=PluginDetails,
    ),
    row(
        "POST",
        "/apply",
        "apply",
        "resources_file.apply",
        "Make the resources as a file has them",
        body=Document,
        query=Applying,
        result=Applied,
        reveals=True,
    ),
    row(
        "GET",
        "/export",
        "export",
        "resources_file.export",
        "Export all resources as TOML, secrets left out",
        result=str,
        media=TOML,
    ),
    row("GET", "/me", "me", "", "Show who the token acts as", result=Me),
)

__all__ = ["OPERATIONS", "PREFIX", "Operation", "Paging", "operation_of"]

OPERATIONS: dict[str, Operation] = {item.id: item for item in (*_RESOURCES, *_RUNNING, *_WHOLE)}
"""All operations by id."""


def operation_of(service: str, verb: str) -> Operation:
    """The operation that a verb of a service is called by; `KeyError`."""
    for item in OPERATIONS.values():
        if (item.service, item.verb, item.member) == (service, verb, ""):
            return item
    raise KeyError(f"{service}.{verb}")
