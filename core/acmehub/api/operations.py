"""The table of the REST API: routes, OpenAPI document, the command line's requests and docs/api.md derive from it.

A call is `await getattr(getattr(admin, service), verb)(*path arguments, *body, acting, **query)`: the body, where there
is one, is one argument.
"""

import enum
import re
from typing import Any, Literal

import msgspec

from acmehub.admin.operations.accounts import AccountPatch, AccountSummary
from acmehub.admin.operations.certificates import (
    CertificateDetail,
    CertificatePage,
    CertificateSummary,
    Revocation,
)
from acmehub.admin.operations.check_results import Check, CheckRequest
from acmehub.admin.operations.orders import OrderDetail, OrderState, OrderSummary
from acmehub.admin.operations.queries import CertificateQuery, OrderQuery
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
from acmehub.models import AuditFilter, AuditRecord, Event
from acmehub.rules.permissions import PERMISSIONS
from acmehub.rules.renewal import Advice
from acmehub.runtime.plugin_details import PluginDetails
from acmehub.runtime.plugins import InstalledPlugin

PREFIX = "/api/v1"
JSON = "application/json"
JSON_LINES = "application/jsonl"
MERGE_PATCH = "application/merge-patch+json"
PEM_CHAIN = "application/pem-certificate-chain"
TOML = "application/toml"
_ARGUMENT = re.compile(r"\{(\w+)(?::(int))?\}")


class Paging(enum.Enum):
    """How the verb of a list gives its pages."""

    NONE = ""
    """It is no list."""
    WHOLE = "whole"
    """The verb returns all, oldest first; the API cuts pages out of it."""
    AFTER = "after"
    """The verb takes `after`, the id of the last one of the page before, and `limit`."""
    BEFORE = "before"
    """The same with `before`, the number of an entry of the audit."""


class TokensQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Which tokens: those of a principal (name or id), or all."""

    principal: str = ""


class DryRun(msgspec.Struct, frozen=True, kw_only=True):
    """With `dry_run` nothing is changed: the answer says what would be."""

    dry_run: bool = False


class Operation(msgspec.Struct, frozen=True, kw_only=True):
    """A row: `id` is the action in `PERMISSIONS`, unless `action` names another one.

    `path` is below `PREFIX`; its arguments are `{name}` (a name or an id) and `{name:int}`. `body`: the type of the
    request's body. `filter`: a struct whose fields are query parameters, which the verb takes as the keyword `filter`;
    `query`: one whose fields the verb takes as keywords one by one. `result`: the type of what the verb returns; with
    `paging`, of one item of it, and the verb returns a sequence of those, or a `page` with `items`. `member`: the
    answer is this member of the result alone. `media`: of the answer. `created`: the member of the result that has the
    `id` of what was made, as a path with dots ("." for the result itself). `conditional`: the verb takes the version of
    `If-Match` as the keyword `version`, and `reads` is the operation that shows what is changed. `waits`: `wait` and
    `since` hold the answer until there is a newer version. An operation without a service is the API's own.
    """

    id: str
    method: Literal["GET", "POST", "PATCH", "DELETE"]
    path: str
    summary: str
    service: str = ""
    verb: str = ""
    body: Any = None
    filter: type[msgspec.Struct] | None = None
    query: type[msgspec.Struct] | None = None
    result: Any = None
    paging: Paging = Paging.NONE
    page: type[msgspec.Struct] | None = None
    status: int = 200
    action: str = ""
    member: str = ""
    media: str = JSON
    created: str = ""
    conditional: bool = False
    reads: str = ""
    waits: bool = False

    @property
    def path_arguments(self) -> tuple[tuple[str, type], ...]:
        """The arguments of the path in their order, each with its type."""
        return tuple((name, int if kind else str) for name, kind in _ARGUMENT.findall(self.path))

    @property
    def permission(self) -> str:
        """The action that the gate is asked for; empty where every token may."""
        found = self.action or self.id
        return found if found in PERMISSIONS else ""

    def url(self, *arguments: str | int) -> str:
        """The path with these arguments, percent-encoded by the caller."""
        values = iter(arguments)
        return PREFIX + _ARGUMENT.sub(lambda _: str(next(values)), self.path)


def _resource(
    noun: str,
    path: str,
    service: str,
    what: str,
    new: Any,
    patch: Any,
    view: Any,
    *,
    added: Any = None,
    made: str = ".",
) -> tuple[Operation, ...]:
    """List, add, show, set and remove of a resource."""
    one = f"{path}/{{{noun}}}"
    return (
        Operation(
            id=f"{noun}.list",
            method="GET",
            path=path,
            summary=f"List {what}s",
            service=service,
            verb="list",
            query=TokensQuery if noun == "token" else None,
            result=view,
            paging=Paging.WHOLE,
        ),
        Operation(
            id=f"{noun}.add",
            method="POST",
            path=path,
            summary=f"Add a {what}",
            service=service,
            verb="add",
            body=new,
            result=added or view,
            status=201,
            created=made,
        ),
        Operation(
            id=f"{noun}.show",
            method="GET",
            path=one,
            summary=f"Show a {what}",
            service=service,
            verb="show",
            result=view,
        ),
        Operation(
            id=f"{noun}.set",
            method="PATCH",
            path=one,
            summary=f"Change a {what}",
            service=service,
            verb="set",
            body=patch,
            result=view,
            conditional=True,
            reads=f"{noun}.show",
        ),
        Operation(
            id=f"{noun}.remove",
            method="DELETE",
            path=one,
            summary=f"Remove a {what}",
            service=service,
            verb="remove",
            status=204,
        ),
    )


_RESOURCES = (
    *_resource("principal", "/principals", "principals", "principal", NewPrincipal, PrincipalPatch, PrincipalView),
    Operation(
        id="token.eab_of",
        method="POST",
        path="/principals/{principal}/eab",
        summary="View a principal's tokens as EAB credentials",
        service="tokens",
        verb="eab_of",
        result=EabViews,
    ),
    *_resource("token", "/tokens", "tokens", "token", NewToken, TokenPatch, TokenView, added=AddedToken, made="token"),
    Operation(
        id="token.revoke",
        method="POST",
        path="/tokens/{token}/revoke",
        summary="Revoke a token for good",
        service="tokens",
        verb="revoke",
        result=TokenView,
    ),
    Operation(
        id="token.eab",
        method="POST",
        path="/tokens/{token}/eab",
        summary="View a token as EAB credentials",
        service="tokens",
        verb="eab",
        result=EabView,
    ),
    Operation(
        id="token.directory",
        method="POST",
        path="/tokens/{token}/directory",
        summary="View the key of a token's secret directory URL",
        service="tokens",
        verb="directory",
        result=DirectoryView,
    ),
    Operation(
        id="token.actions",
        action="token.set",
        method="POST",
        path="/tokens/actions",
        summary="Do one thing to up to 100 tokens, each by itself",
        body=TokenActions,
        result=BulkResults,
    ),
    *_resource(
        "challenge",
        "/managed-challenges",
        "managed_challenges",
        "managed challenge",
        NewManagedChallenge,
        ManagedChallengePatch,
        ManagedChallengeView,
    ),
    *_resource("authority", "/authorities", "authorities", "authority", NewAuthority, AuthorityPatch, AuthorityView),
    Operation(
        id="authority.clear_pause",
        method="POST",
        path="/authorities/{authority}/clear-pause",
        summary="Order again from an authority that had paused the hub",
        service="authorities",
        verb="clear_pause",
        result=AuthorityView,
    ),
    Operation(
        id="campaign.in_use",
        method="GET",
        path="/authorities/{authority}/certificates-in-use",
        summary="Count the certificates of an authority that are in use",
        service="campaigns",
        verb="in_use",
        result=CertificateCount,
    ),
    *_resource("profile", "/profiles", "profiles", "profile", NewProfile, ProfilePatch, ProfileView),
    Operation(
        id="campaign.list",
        method="GET",
        path="/campaigns",
        summary="List campaigns, each with how far it is",
        service="campaigns",
        verb="list",
        result=CampaignView,
        paging=Paging.WHOLE,
    ),
    Operation(
        id="campaign.add",
        method="POST",
        path="/campaigns",
        summary="Begin a campaign, or with dry_run plan it",
        service="campaigns",
        verb="add",
        body=NewCampaign,
        query=DryRun,
        result=CampaignPlan,
        status=201,
        created="campaign",
    ),
    Operation(
        id="campaign.show",
        method="GET",
        path="/campaigns/{campaign}",
        summary="Show a campaign",
        service="campaigns",
        verb="show",
        result=CampaignView,
    ),
    Operation(
        id="campaign.end",
        method="POST",
        path="/campaigns/{campaign}/end",
        summary="End a campaign",
        service="campaigns",
        verb="end",
        result=CampaignView,
    ),
)

_RUNNING = (
    Operation(
        id="order.list",
        method="GET",
        path="/orders",
        summary="List orders, newest first",
        service="orders",
        verb="list",
        filter=OrderQuery,
        result=OrderSummary,
        paging=Paging.AFTER,
    ),
    Operation(
        id="order.show",
        method="GET",
        path="/orders/{order}",
        summary="Show an order, or wait until it has changed",
        service="orders",
        verb="show",
        result=OrderDetail,
        waits=True,
    ),
    Operation(
        id="order.timeline",
        action="order.show",
        method="GET",
        path="/orders/{order}/timeline",
        summary="Show the timeline of an order, oldest first",
        service="orders",
        verb="show",
        result=tuple[Event, ...],
        member="timeline",
    ),
    Operation(
        id="order.retry",
        method="POST",
        path="/orders/{order}/retry",
        summary="Have an unfinished order worked on at once",
        service="orders",
        verb="retry",
        result=OrderState,
    ),
    Operation(
        id="order.cancel",
        method="POST",
        path="/orders/{order}/cancel",
        summary="End an unfinished order",
        service="orders",
        verb="cancel",
        result=OrderState,
    ),
    Operation(
        id="account.list",
        method="GET",
        path="/accounts",
        summary="List ACME accounts",
        service="accounts",
        verb="list",
        result=AccountSummary,
        paging=Paging.AFTER,
    ),
    Operation(
        id="account.show",
        method="GET",
        path="/accounts/{account}",
        summary="Show an ACME account",
        service="accounts",
        verb="show",
        result=AccountSummary,
    ),
    Operation(
        id="account.set",
        method="PATCH",
        path="/accounts/{account}",
        summary="Correct what mode auto has learned of an account",
        service="accounts",
        verb="set",
        body=AccountPatch,
        result=AccountSummary,
        conditional=True,
        reads="account.show",
    ),
    Operation(
        id="account.deactivate",
        method="POST",
        path="/accounts/{account}/deactivate",
        summary="Deactivate an account for good",
        service="accounts",
        verb="deactivate",
        result=AccountSummary,
    ),
    Operation(
        id="certificate.list",
        method="GET",
        path="/certificates",
        summary="List certificates, newest first, or by their end with expires_within",
        service="certificates",
        verb="list",
        filter=CertificateQuery,
        result=CertificateSummary,
        paging=Paging.AFTER,
        page=CertificatePage,
    ),
    Operation(
        id="certificate.show",
        method="GET",
        path="/certificates/{certificate}",
        summary="Show a certificate, by id or serial number",
        service="certificates",
        verb="show",
        result=CertificateDetail,
    ),
    Operation(
        id="certificate.chain",
        action="certificate.show",
        method="GET",
        path="/certificates/{certificate}/chain.pem",
        summary="Download the chain of a certificate",
        service="certificates",
        verb="show",
        result=str,
        member="chain",
        media=PEM_CHAIN,
    ),
    Operation(
        id="campaign.advice",
        method="GET",
        path="/certificates/{certificate}/renewal",
        summary="Show when a certificate (by id) should be renewed",
        service="campaigns",
        verb="advice",
        result=Advice,
    ),
    Operation(
        id="certificate.revoke",
        method="POST",
        path="/certificates/{certificate}/revoke",
        summary="Revoke a certificate at its authority",
        service="certificates",
        verb="revoke",
        body=Revocation,
        result=CertificateSummary,
    ),
    Operation(
        id="check",
        method="POST",
        path="/checks",
        summary="Say what an order for names would meet",
        service="check",
        verb="check",
        body=CheckRequest,
        result=Check,
    ),
)

_WHOLE = (
    Operation(
        id="audit.list",
        method="GET",
        path="/audit",
        summary="List the audit's entries, newest first",
        service="audit",
        verb="list",
        filter=AuditFilter,
        result=AuditRecord,
        paging=Paging.BEFORE,
    ),
    Operation(
        id="audit.export",
        method="GET",
        path="/audit/export",
        summary="Export the audit's entries, oldest first, a line each",
        service="audit",
        verb="export",
        filter=AuditFilter,
        result=AuditRecord,
        media=JSON_LINES,
    ),
    Operation(
        id="audit.show",
        method="GET",
        path="/audit/{entry:int}",
        summary="Show an entry of the audit",
        service="audit",
        verb="show",
        result=AuditRecord,
    ),
    Operation(
        id="plugin.list",
        method="GET",
        path="/plugins",
        summary="List installed plugins",
        service="plugins",
        verb="list",
        result=InstalledPlugin,
        paging=Paging.WHOLE,
    ),
    Operation(
        id="plugin.show",
        method="GET",
        path="/plugins/{plugin}",
        summary="Show a plugin with the JSON schema of its settings",
        service="plugins",
        verb="show",
        result=PluginDetails,
    ),
    Operation(
        id="apply",
        method="POST",
        path="/apply",
        summary="Make the resources as a file has them, or with dry_run only say what that would change",
        service="resources_file",
        verb="apply",
        body=Document,
        query=DryRun,
        result=Applied,
    ),
    Operation(
        id="export",
        method="GET",
        path="/export",
        summary="Export all resources as TOML, secrets left out",
        service="resources_file",
        verb="export",
        result=str,
        media=TOML,
    ),
    Operation(id="me", method="GET", path="/me", summary="Show who the token acts as", result=Me),
)

OPERATIONS: dict[str, Operation] = {item.id: item for item in (*_RESOURCES, *_RUNNING, *_WHOLE)}
"""All operations by id."""

NOT_HERE = {
    "check.live": "`check` with `live` in its body asks for it",
    "campaign.plan": "`campaign.add` with `dry_run` asks for it",
    "reseal": "needs the keys on the hub's machine (`acmehub db reseal`)",
    "backup.create": "writes a file with the master keys on the hub's machine",
    "storage.copy": "needs a stopped hub, and the configuration on its machine",
}
"""Actions of `PERMISSIONS` that no operation has by their name, and why."""


def operation_of(service: str, verb: str) -> Operation:
    """The operation that a verb of a service is called by; `KeyError`."""
    for item in OPERATIONS.values():
        if (item.service, item.verb, item.member) == (service, verb, ""):
            return item
    raise KeyError(f"{service}.{verb}")
