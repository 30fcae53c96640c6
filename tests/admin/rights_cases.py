"""A small hub with two sides, tagged `lab` and `production`, each with one of everything; and every verb of the admin
services as a case that names something of one side. `test_narrowed_roles` calls the services with them; whatever stands
before the services can be driven by the same cases: a case has the path, the body and the query of its request.
"""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec

from acmehub.admin.operations.accounts import AccountPatch
from acmehub.admin.operations.certificates import Revocation
from acmehub.admin.operations.queries import CertificateQuery, CheckRequest, OrderQuery
from acmehub.admin.resources.authorities import AuthorityPatch, NewAuthority
from acmehub.admin.resources.campaigns import NewCampaign
from acmehub.admin.resources.document import Document
from acmehub.admin.resources.managed_challenges import ManagedChallengePatch, NewManagedChallenge
from acmehub.admin.resources.principals import NewPrincipal, PrincipalPatch
from acmehub.admin.resources.profiles import NewProfile, ProfilePatch
from acmehub.admin.resources.tokens import NewToken, TokenPatch
from acmehub.admin.services import Admin
from acmehub.models import Account, Actor, AuthorizationMode, Certificate, Pause, Role, RoleAssignment, new_id
from acmehub.ports.store import Store
from acmehub.rules.orders import Change
from acmehub.rules.permissions import Acting
from acmehub.testing.store_samples import Seed, a_certificate

RENEW_BY = datetime(2099, 11, 27, tzinfo=UTC)
USES = 50  # of a token that has one more, which attention speaks of
SETTINGS = {"server": "s", "key_secret": "k"}
ROOT = Acting.machine("cli:root")
LAB, PRODUCTION = "lab", "production"


class Side(msgspec.Struct, frozen=True, kw_only=True):
    """What bears one tag: names are made of it, `ids` by noun are those that the hub has given."""

    tag: str
    ids: Mapping[str, str]
    certificate: Certificate
    serial: str

    @property
    def words(self) -> frozenset[str]:
        """Whatever tells that there is something of this side."""
        return frozenset({*self.ids.values(), self.serial, *(f"{noun}-{self.tag}" for noun in NOUNS)})


NOUNS = ("app", "idle", "eab", "unused", "zone", "ca", "spare", "short", "incident", "host")


class Case(msgspec.Struct, frozen=True, kw_only=True):
    """A call of a verb: `await getattr(getattr(admin, service), verb)(*path, *body, acting, **query)`.

    `noun`: of the thing on the path, by whose name, id or beginning of an id it is called; empty for none.
    """

    action: str
    service: str
    verb: str
    noun: str = ""
    body: Callable[[Side], tuple[Any, ...]] = lambda _: ()
    query: Callable[[Side], Mapping[str, Any]] = lambda _: {}
    nameless: bool = False

    def refs(self, side: Side) -> tuple[str, ...]:
        """The ways to name the thing of a side; a beginning of an id is left out where it is not the only one's."""
        if not self.noun:
            return ()
        id = side.ids[self.noun]
        names = () if self.nameless else (f"{self.noun}-{side.tag}",)
        serial = (side.serial,) if self.noun == "certificate" else ()
        return (*names, *serial, id, id[:-1])

    async def call(self, admin: Admin, acting: Acting, side: Side, ref: str = "") -> Any:
        """Do it to what `ref` names, with the rest from a side."""
        path = (ref,) if self.noun else ()
        verb = getattr(getattr(admin, self.service), self.verb)
        found = await verb(*path, *self.body(side), acting, **self.query(side))
        return [item async for item in found] if self.verb == "export" and self.service == "audit" else found


def _tagged(side: Side) -> tuple[RoleAssignment, ...]:
    return (RoleAssignment(Role.MANAGED_ACME_CONSUMER, (side.tag,)),)


def _resource(
    service: str, noun: str, action: str, body: Callable[[Side], Any], patch: Any, removed: str
) -> list[Case]:
    return [
        Case(action=f"{action}.list", service=service, verb="list"),
        Case(action=f"{action}.show", service=service, verb="show", noun=noun),
        Case(action=f"{action}.add", service=service, verb="add", body=lambda side: (body(side),)),
        Case(action=f"{action}.set", service=service, verb="set", noun=noun, body=lambda _: (patch,)),
        Case(action=f"{action}.remove", service=service, verb="remove", noun=removed),
    ]


LOOKED_FOR = (("principal", "app"), ("token", "eab"), ("authority", "ca"), ("challenge", "zone"))


def _looked_for(action: str, service: str, query: Callable[..., msgspec.Struct], field: str, noun: str) -> Case:
    def asked(side: Side) -> Mapping[str, Any]:
        return {"filter": query(**{field: f"{noun}-{side.tag}"})}

    return Case(action=action, service=service, verb="list", query=asked)


CASES: list[Case] = [
    *_resource(
        "principals",
        "app",
        "principal",
        lambda side: NewPrincipal(name="new", roles=_tagged(side)),
        PrincipalPatch(enabled=False),
        "idle",
    ),
    *_resource(
        "tokens",
        "eab",
        "token",
        lambda side: NewToken(title="new", principal=f"app-{side.tag}"),
        TokenPatch(enabled=False),
        "unused",
    ),
    *_resource(
        "managed_challenges",
        "zone",
        "challenge",
        lambda side: NewManagedChallenge(
            name="new", plugin="dns_fake", match="a.test", settings=SETTINGS, tags=(side.tag,)
        ),
        ManagedChallengePatch(enabled=False),
        "zone",
    ),
    *_resource(
        "authorities",
        "ca",
        "authority",
        lambda side: NewAuthority(name="new", plugin="ca_fake", tags=(side.tag,)),
        AuthorityPatch(enabled=False),
        "spare",
    ),
    *_resource(
        "profiles",
        "short",
        "profile",
        lambda side: NewProfile(name="new", description="New", authority=f"ca-{side.tag}", tags=(side.tag,)),
        ProfilePatch(enabled=False),
        "short",
    ),
    Case(
        action="token.list",
        service="tokens",
        verb="list",
        query=lambda side: {"principal": f"app-{side.tag}"},
    ),
    Case(action="token.revoke", service="tokens", verb="revoke", noun="eab"),
    Case(action="token.eab", service="tokens", verb="eab", noun="eab"),
    Case(action="token.eab_of", service="tokens", verb="eab_of", noun="app"),
    Case(action="token.directory", service="tokens", verb="directory", noun="eab"),
    Case(action="authority.clear_pause", service="authorities", verb="clear_pause", noun="ca"),
    Case(action="campaign.list", service="campaigns", verb="list"),
    Case(action="campaign.show", service="campaigns", verb="show", noun="incident"),
    Case(
        action="campaign.plan",
        service="campaigns",
        verb="add",
        body=lambda side: (NewCampaign(name="new", principal=f"app-{side.tag}", renew_by=RENEW_BY),),
        query=lambda _: {"dry_run": True},
    ),
    Case(
        action="campaign.add",
        service="campaigns",
        verb="add",
        body=lambda side: (NewCampaign(name="new", principal=f"app-{side.tag}", renew_by=RENEW_BY),),
    ),
    Case(action="campaign.end", service="campaigns", verb="end", noun="incident"),
    Case(action="campaign.advice", service="campaigns", verb="advice", body=lambda side: (side.certificate.id,)),
    Case(action="campaign.in_use", service="campaigns", verb="in_use", noun="ca"),
    Case(action="order.list", service="orders", verb="list"),
    *(_looked_for("order.list", "orders", OrderQuery, *pair) for pair in LOOKED_FOR),
    Case(action="order.show", service="orders", verb="show", noun="order", nameless=True),
    Case(action="order.retry", service="orders", verb="retry", noun="order", nameless=True),
    Case(action="order.cancel", service="orders", verb="cancel", noun="order", nameless=True),
    Case(action="account.list", service="accounts", verb="list"),
    Case(action="account.show", service="accounts", verb="show", noun="account", nameless=True),
    Case(
        action="account.set",
        service="accounts",
        verb="set",
        noun="account",
        nameless=True,
        body=lambda _: (AccountPatch(learned=AuthorizationMode.ACCEPT),),
    ),
    Case(action="account.deactivate", service="accounts", verb="deactivate", noun="account", nameless=True),
    Case(action="certificate.list", service="certificates", verb="list"),
    *(_looked_for("certificate.list", "certificates", CertificateQuery, *pair) for pair in LOOKED_FOR[:3]),
    Case(action="certificate.show", service="certificates", verb="show", noun="certificate", nameless=True),
    Case(
        action="certificate.revoke",
        service="certificates",
        verb="revoke",
        noun="certificate",
        nameless=True,
        body=lambda _: (Revocation(reason="no reason of RFC 5280"),),
    ),
    Case(
        action="check",
        service="check",
        verb="check",
        body=lambda side: (CheckRequest(names=(f"www.{side.tag}.test",)),),
    ),
    Case(
        action="check",
        service="check",
        verb="check",
        body=lambda side: (CheckRequest(names=(f"www.{side.tag}.test",), principal=f"app-{side.tag}"),),
    ),
    Case(
        action="check",
        service="check",
        verb="check",
        body=lambda side: (CheckRequest(names=(f"www.{side.tag}.test",), token=f"eab-{side.tag}"),),
    ),
    Case(
        action="check.live",
        service="check",
        verb="check",
        body=lambda side: (CheckRequest(names=(f"www.{side.tag}.test",), challenge=f"zone-{side.tag}", live=True),),
    ),
    Case(
        action="apply",
        service="resources_file",
        verb="apply",
        body=lambda side: (Document(principals=(NewPrincipal(name="new", roles=_tagged(side)),)),),
    ),
    Case(
        action="apply",
        service="resources_file",
        verb="apply",
        body=lambda side: (Document(tokens=(NewToken(title="new", principal=f"app-{side.tag}"),)),),
        query=lambda _: {"dry_run": True},
    ),
    Case(action="export", service="resources_file", verb="export"),
    Case(action="attention.list", service="attention", verb="list"),
    Case(action="audit.list", service="audit", verb="list"),
    Case(action="audit.follow", service="audit", verb="follow"),
    Case(action="audit.export", service="audit", verb="export"),
]
ELSEWHERE = {
    "audit.show",
    "audit.verify",
    "plugin.list",
    "plugin.show",
    "principal.forget",
    "reseal",
    "backup.create",
    "storage.copy",
}
"""What no tags concern, and is called with something else than a thing of a side."""


async def furnish(admin: Admin, store: Store) -> tuple[Side, Side]:
    """Both sides of a hub that is empty: `lab` and `production`. Its default authority bears no tag."""
    await admin.authorities.add(NewAuthority(name="untagged", plugin="ca_local"), ROOT)
    sides = await _side(admin, store, LAB), await _side(admin, store, PRODUCTION)
    await admin.check.check(
        CheckRequest(names=("www.lab.test",)), ROOT
    )  # the authority makes its keys at its first use
    return sides


async def _side(admin: Admin, store: Store, tag: str) -> Side:
    consumer = (RoleAssignment(Role.MANAGED_ACME_CONSUMER, (tag,)),)
    app = await admin.principals.add(NewPrincipal(name=f"app-{tag}", roles=consumer), ROOT)
    idle = await admin.principals.add(NewPrincipal(name=f"idle-{tag}", tags=(tag,)), ROOT)
    token = NewToken(title=f"eab-{tag}", principal=app.name, secret_directory=True, use_limit=USES + 1)
    eab = await admin.tokens.add(token, ROOT)
    unused = await admin.tokens.add(NewToken(title=f"unused-{tag}", principal=app.name), ROOT)
    zone = await admin.managed_challenges.add(
        NewManagedChallenge(
            name=f"zone-{tag}", plugin="dns_fake", match=f"*.{tag}.test", settings=SETTINGS, tags=(tag,)
        ),
        ROOT,
    )
    ca = await admin.authorities.add(NewAuthority(name=f"ca-{tag}", plugin="ca_local", tags=(tag,)), ROOT)
    spare = await admin.authorities.add(NewAuthority(name=f"spare-{tag}", plugin="ca_fake", tags=(tag,)), ROOT)
    row = await admin.authorities.rows.find(ca.id)
    await store.authorities.replace(msgspec.structs.replace(row, pauses=(Pause(RENEW_BY, "paused"),)))
    short = await admin.profiles.add(NewProfile(name=f"short-{tag}", description="Short", tags=(tag,)), ROOT)
    campaign = NewCampaign(name=f"incident-{tag}", principal=app.name, renew_by=RENEW_BY)
    incident = (await admin.campaigns.add(campaign, ROOT)).campaign
    account, order, certificate = await ordered(admin, store, app.id, eab.token.id, ca.id, zone.id, f"host-{tag}")
    ids = {
        "app": app.id,
        "idle": idle.id,
        "eab": eab.token.id,
        "unused": unused.token.id,
        "zone": zone.id,
        "ca": ca.id,
        "spare": spare.id,
        "short": short.id,
        "incident": incident.id,
        "account": account,
        "order": order,
        "certificate": certificate.id,
    }
    return Side(tag=tag, ids=ids, certificate=certificate, serial=certificate.serial)


async def ordered(
    admin: Admin, store: Store, app: str, eab: str, ca: str, zone: str, host: str
) -> tuple[str, str, Certificate]:
    """An account of a token, one order of it that waits and one that has led to a certificate."""
    token = await admin.tokens.rows.find(eab)
    account = Account(jwk=b"{}", thumbprint=new_id(), token_id=token.id, principal_id=app, created=datetime.now(UTC))
    await store.accounts.bind(account, lambda row, _: msgspec.structs.replace(row, uses=USES))
    principal, authority = await admin.principals.rows.find(app), await admin.authorities.rows.find(ca)
    seed = Seed(Actor(account, token, principal), authority, await admin.managed_challenges.rows.find(zone))
    done = seed.order(f"done.{host}.test", created=datetime.now(UTC))
    waiting = seed.order(f"{host}.test", created=datetime.now(UTC))
    certificate = msgspec.structs.replace(a_certificate(done.order), principal_id=app)
    await store.orders.add(done)
    await store.orders.add(waiting)
    await store.orders.apply(done.order.id, lambda stored: Change(order=stored.order, certificate=certificate))
    return account.id, waiting.order.id, certificate
