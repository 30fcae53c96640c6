"""Who may do what: each verb of each service with each role, from one table written out by hand; and the audit, which
is written with the change or not at all."""

import inspect
import sqlite3
from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing, suppress
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest
from msgspec.structs import replace

from acmehub.admin.access.errors import NotFound
from acmehub.admin.operations.accounts import AccountPatch
from acmehub.admin.operations.certificates import Revocation
from acmehub.admin.operations.moving import BackupContent
from acmehub.admin.operations.queries import CheckRequest
from acmehub.admin.operations.resealing import ResealingService
from acmehub.admin.resources.authorities import AuthorityPatch, NewAuthority
from acmehub.admin.resources.campaigns import NewCampaign
from acmehub.admin.resources.document import Document
from acmehub.admin.resources.managed_challenges import ManagedChallengePatch, NewManagedChallenge
from acmehub.admin.resources.principals import NewPrincipal, PrincipalPatch
from acmehub.admin.resources.profiles import NewProfile, ProfilePatch
from acmehub.admin.resources.tokens import NewToken, TokenPatch
from acmehub.admin.services import Admin
from acmehub.models import Actor, AuthorizationMode, OrderStatus, Pause, Role, RoleAssignment
from acmehub.ports.clock import SystemClock
from acmehub.rules.orders import Change
from acmehub.rules.permissions import PERMISSIONS, Acting, Forbidden
from acmehub.runtime.vault import Vault, encode_key
from acmehub.storage_api import SqliteDriver, SqlStore
from acmehub.testing.store_samples import Seed, a_certificate
from tests.admin.conftest import ROOT, House

FRIDAY = NewCampaign(renew_by=datetime(2099, 11, 27, tzinfo=UTC))
CHALLENGE = NewManagedChallenge(
    name="new", plugin="dns_fake", match="a.test", settings={"server": "s", "key_secret": "k"}
)
FILE = Document(principals=(NewPrincipal(name="from a file"),))
DATABASE = "acmehub.db"
CONTENT = BackupContent(
    keys=[encode_key(bytes(32))], files={}, version="0.1.0", storage="storage_sqlite", public_url=""
)


class Furnished(msgspec.Struct):
    """A house with one of everything, and the ids of what has no name."""

    house: House
    admin: Admin
    account: str
    order: str
    certificate: str


Verb = Callable[[Furnished, Acting], Awaitable[object]]


# by service and method, as they stand in `Admin`
VERBS: dict[str, Verb] = {
    "principals.add": lambda hall, who: hall.admin.principals.add(NewPrincipal(name="new"), who),
    "principals.list": lambda hall, who: hall.admin.principals.list(who),
    "principals.show": lambda hall, who: hall.admin.principals.show("app", who),
    "principals.set": lambda hall, who: hall.admin.principals.set("app", PrincipalPatch(enabled=False), who),
    "principals.remove": lambda hall, who: hall.admin.principals.remove("idle", who),
    "tokens.add": lambda hall, who: hall.admin.tokens.add(NewToken(title="new", principal="app"), who),
    "tokens.list": lambda hall, who: hall.admin.tokens.list(who),
    "tokens.show": lambda hall, who: hall.admin.tokens.show("EAB", who),
    "tokens.set": lambda hall, who: hall.admin.tokens.set("EAB", TokenPatch(enabled=False), who),
    "tokens.revoke": lambda hall, who: hall.admin.tokens.revoke("EAB", who),
    "tokens.remove": lambda hall, who: hall.admin.tokens.remove("unused", who),
    "tokens.eab": lambda hall, who: hall.admin.tokens.eab("EAB", who),
    "tokens.eab_of": lambda hall, who: hall.admin.tokens.eab_of("app", who),
    "tokens.directory": lambda hall, who: hall.admin.tokens.directory("EAB", who),
    "managed_challenges.add": lambda hall, who: hall.admin.managed_challenges.add(CHALLENGE, who),
    "managed_challenges.list": lambda hall, who: hall.admin.managed_challenges.list(who),
    "managed_challenges.show": lambda hall, who: hall.admin.managed_challenges.show("zone", who),
    "managed_challenges.set": lambda hall, who: hall.admin.managed_challenges.set(
        "zone", ManagedChallengePatch(tags=("x",)), who
    ),
    "managed_challenges.remove": lambda hall, who: hall.admin.managed_challenges.remove("zone", who),
    "authorities.add": lambda hall, who: hall.admin.authorities.add(
        NewAuthority(name="new", plugin="ca_fake", default=True), who
    ),
    "authorities.list": lambda hall, who: hall.admin.authorities.list(who),
    "authorities.show": lambda hall, who: hall.admin.authorities.show("ca", who),
    "authorities.set": lambda hall, who: hall.admin.authorities.set("ca", AuthorityPatch(enabled=False), who),
    "authorities.clear_pause": lambda hall, who: hall.admin.authorities.clear_pause("ca", who),
    "authorities.remove": lambda hall, who: hall.admin.authorities.remove("spare", who),
    "profiles.add": lambda hall, who: hall.admin.profiles.add(NewProfile(name="new", description="New"), who),
    "profiles.list": lambda hall, who: hall.admin.profiles.list(who),
    "profiles.show": lambda hall, who: hall.admin.profiles.show("short", who),
    "profiles.set": lambda hall, who: hall.admin.profiles.set("short", ProfilePatch(enabled=False), who),
    "profiles.remove": lambda hall, who: hall.admin.profiles.remove("short", who),
    "campaigns.add": lambda hall, who: hall.admin.campaigns.add(FRIDAY, who),
    "campaigns.add dry": lambda hall, who: hall.admin.campaigns.add(FRIDAY, who, dry_run=True),
    "campaigns.list": lambda hall, who: hall.admin.campaigns.list(who),
    "campaigns.show": lambda hall, who: hall.admin.campaigns.show("incident", who),
    "campaigns.end": lambda hall, who: hall.admin.campaigns.end("incident", who),
    "campaigns.advice": lambda hall, who: hall.admin.campaigns.advice(hall.certificate, who),
    "campaigns.in_use": lambda hall, who: hall.admin.campaigns.in_use("ca", who),
    "orders.list": lambda hall, who: hall.admin.orders.list(who),
    "orders.show": lambda hall, who: hall.admin.orders.show(hall.order, who),
    "orders.retry": lambda hall, who: hall.admin.orders.retry(hall.order, who),
    "orders.cancel": lambda hall, who: hall.admin.orders.cancel(hall.order, who),
    "accounts.list": lambda hall, who: hall.admin.accounts.list(who),
    "accounts.show": lambda hall, who: hall.admin.accounts.show(hall.account, who),
    "accounts.set": lambda hall, who: hall.admin.accounts.set(
        hall.account, AccountPatch(learned=AuthorizationMode.ACCEPT), who
    ),
    "accounts.deactivate": lambda hall, who: hall.admin.accounts.deactivate(hall.account, who),
    "certificates.list": lambda hall, who: hall.admin.certificates.list(who),
    "certificates.show": lambda hall, who: hall.admin.certificates.show(hall.certificate, who),
    "certificates.revoke": lambda hall, who: hall.admin.certificates.revoke(
        "none", Revocation(reason="superseded"), who
    ),
    "plugins.list": lambda hall, who: hall.admin.plugins.list(who),
    "plugins.show": lambda hall, who: hall.admin.plugins.show("ca_local", who),
    "attention.list": lambda hall, who: hall.admin.attention.list(who),
    "audit.list": lambda hall, who: hall.admin.audit.list(who),
    "audit.show": lambda hall, who: hall.admin.audit.show(1, who),
    "audit.export": lambda hall, who: hall.admin.audit.export(who),
    "audit.follow": lambda hall, who: hall.admin.audit.follow(who),
    "audit.verify": lambda hall, who: hall.admin.audit.verify(who),
    "forgetting.forget": lambda hall, who: hall.admin.forgetting.forget("gone", who),
    "resources_file.apply": lambda hall, who: hall.admin.resources_file.apply(FILE, who),
    "resources_file.export": lambda hall, who: hall.admin.resources_file.export(who),
    "check.check": lambda hall, who: hall.admin.check.check(CheckRequest(names=("b.test",)), who),
    "check.check live": lambda hall, who: hall.admin.check.check(CheckRequest(names=("b.test",), live=True), who),
    "resealing.reseal": lambda hall, who: hall.admin.resealing.reseal(who),
    "moving.backup": lambda hall, who: hall.admin.moving.backup(hall.house.folder / "hub.backup", CONTENT, who),
    "moving.copy": lambda hall, who: hall.admin.moving.copy(
        SqlStore(SqliteDriver(hall.house.folder / "other.db")), "storage_sqlite", who
    ),
}
NOUNS = {
    "principals": "principal",
    "tokens": "token",
    "managed_challenges": "challenge",
    "authorities": "authority",
    "profiles": "profile",
    "campaigns": "campaign",
    "orders": "order",
    "accounts": "account",
    "certificates": "certificate",
    "attention": "attention",
    "audit": "audit",
    "plugins": "plugin",
}
ALONE = {
    "resources_file.apply": "apply",
    "resources_file.export": "export",
    "campaigns.add dry": "campaign.plan",
    "check.check": "check",
    "check.check live": "check.live",
    "forgetting.forget": "principal.forget",
    "resealing.reseal": "reseal",
    "moving.backup": "backup.create",
    "moving.copy": "storage.copy",
}


def action_of(verb: str) -> str:
    """The name of a verb in the table of permissions and in the audit."""
    service, _, method = verb.partition(".")
    return ALONE.get(verb) or f"{NOUNS[service]}.{method}"


READS = {
    *(verb for verb in VERBS if verb.endswith((".list", ".show"))),
    "campaigns.add dry",
    "campaigns.advice",
    "campaigns.in_use",
    "resources_file.export",
    "audit.export",
    "audit.follow",
    "audit.verify",
    "check.check",
}
WRITES = sorted(set(VERBS) - READS)
MAY = {
    Role.ADMINISTRATOR: set(VERBS),
    Role.OPERATOR: set(VERBS)
    - {"audit.verify", "forgetting.forget", "resealing.reseal", "moving.backup", "moving.copy"},
    Role.AUDITOR: READS,
    Role.MANAGED_ACME_CONSUMER: set(),
    Role.MANAGED_CHALLENGE_CONSUMER: set(),
}
NOBODY = Acting("nobody", frozenset())
BEFORE = {"tokens.authenticate"}  # it finds out who acts


def holding(*roles: RoleAssignment) -> Acting:
    """Somebody who may do all that these roles may: a token with all flags, a person who has just signed in."""
    return Acting("somebody", frozenset(roles), proven=True, delegates=True)


@pytest.fixture
async def hall(house: House) -> Furnished:
    consumer = (RoleAssignment(Role.MANAGED_ACME_CONSUMER),)
    await house.principals.add(NewPrincipal(name="app", roles=consumer), ROOT)
    await house.principals.add(NewPrincipal(name="idle"), ROOT)
    await house.principals.add(NewPrincipal(name="gone", enabled=False), ROOT)
    await house.tokens.add(NewToken(title="EAB", principal="app", secret_directory=True), ROOT)
    await house.tokens.add(NewToken(title="unused", principal="app"), ROOT)
    settings = {"server": "s", "key_secret": "k"}
    zone = NewManagedChallenge(name="zone", plugin="dns_fake", match="b.test", settings=settings)
    await house.managed_challenges.add(zone, ROOT)
    await house.authorities.add(NewAuthority(name="ca", plugin="ca_local"), ROOT)
    await house.authorities.add(NewAuthority(name="spare", plugin="ca_fake"), ROOT)
    await house.store.authorities.replace(
        replace(await house.authorities.rows.find("ca"), pauses=(Pause(FRIDAY.renew_by, "paused"),))
    )
    await house.profiles.add(NewProfile(name="short", description="Short"), ROOT)
    await house.campaigns.add(NewCampaign(name="incident", renew_by=FRIDAY.renew_by), ROOT)
    return await with_an_order(house)


async def with_an_order(house: House) -> Furnished:
    token = await house.tokens.rows.find("EAB")
    account = await house.bind(token.id)
    principal = await house.principals.rows.find("app")
    authority = await house.authorities.rows.find("ca")
    challenge = await house.managed_challenges.rows.find("zone")
    seed = Seed(Actor(account, token, principal), authority, challenge)
    done, waiting = seed.order("a.b.test", created=datetime.now(UTC)), seed.order("b.test", created=datetime.now(UTC))
    certificate = a_certificate(done.order)
    await house.store.orders.add(done)
    await house.store.orders.add(waiting)
    await house.store.orders.apply(done.order.id, lambda stored: Change(order=stored.order, certificate=certificate))
    return Furnished(house, house.admin, account.id, waiting.order.id, certificate.id)


def public_coroutines() -> Iterator[tuple[str, Callable[..., object]]]:
    """Every public coroutine of every service, as `service.method`."""
    for field, service in Admin.__annotations__.items():
        for name, method in inspect.getmembers(service, inspect.iscoroutinefunction):
            if not name.startswith("_"):
                yield f"{field}.{name}", method


def test_every_public_coroutine_of_a_service_is_tried_here_and_takes_who_acts() -> None:
    found = dict(public_coroutines())
    assert set(found) - BEFORE == {verb for verb in VERBS if " " not in verb}
    without = [verb for verb, method in found.items() if "acting" not in inspect.signature(method).parameters]
    assert set(without) == BEFORE


def test_every_verb_has_a_row_in_the_table_and_every_row_a_verb() -> None:
    assert {action_of(verb) for verb in VERBS} == set(PERMISSIONS)
    audited = {action for action, permission in PERMISSIONS.items() if permission.audited}
    assert audited == {action_of(verb) for verb in WRITES} - {"apply"}  # its parts leave entries of their own


@pytest.mark.parametrize("role", Role)
@pytest.mark.parametrize("verb", VERBS)
async def test_each_verb_is_refused_to_each_role_that_may_not_do_it(hall: Furnished, verb: str, role: Role) -> None:
    who = holding(RoleAssignment(role))
    action = action_of(verb)
    before = await hall.house.audited()
    if verb in MAY[role]:
        unseen = verb == "certificates.revoke" or (verb == "audit.show" and role is Role.OPERATOR)
        with suppress(*([NotFound] if unseen else [])):
            await VERBS[verb](hall, who)
        known = {entry.id for entry in before}
        written = [entry for entry in await hall.house.audited() if entry.id not in known]
        assert bool(written) is (verb in WRITES)
        assert all(entry.actor == "somebody" for entry in written)
        return
    with pytest.raises(Forbidden, match=f"somebody may not do {action}: it takes the role"):
        await VERBS[verb](hall, who)
    written = [entry for entry in await hall.house.audited() if entry not in before]
    assert [(entry.action, entry.allowed) for entry in written] == [(action, False)]


async def test_without_a_role_every_verb_is_refused_and_the_refusal_is_audited(hall: Furnished) -> None:
    for verb, call in VERBS.items():
        before = state(hall.house)
        with pytest.raises(Forbidden):
            await call(hall, NOBODY)
        latest = (await hall.house.audited())[0]
        assert (latest.actor, latest.action, latest.allowed) == ("nobody", action_of(verb), False)
        assert state(hall.house) == before


@pytest.mark.parametrize("verb", ["orders.list", "tokens.add", "resealing.reseal"])
async def test_a_role_that_tags_narrow_is_not_the_whole_role(hall: Furnished, verb: str) -> None:
    narrowed = Acting("olga", frozenset({RoleAssignment(Role.ADMINISTRATOR, ("lab",))}))
    with pytest.raises(Forbidden):
        await VERBS[verb](hall, narrowed)


@pytest.mark.parametrize("tags", [(), ("lab",)])
async def test_an_operator_sees_of_the_audit_what_it_has_done_itself(hall: Furnished, tags: tuple[str, ...]) -> None:
    operators = [
        Acting(name, frozenset({RoleAssignment(Role.OPERATOR, tags)}), principal_id=name, proven=True, delegates=True)
        for name in ("olga", "olga2")
    ]
    for who in operators:
        with suppress(Forbidden):
            await hall.admin.resealing.reseal(who)
    olga, _ = operators
    audit = hall.admin.audit
    [entry] = await audit.list(olga)
    assert (entry.actor, entry.action) == ("olga", "reseal")
    assert [item.id async for item in await audit.export(olga)] == [entry.id]
    assert await audit.show(entry.id, olga) == entry
    with pytest.raises(NotFound, match=f"there is no entry {entry.id + 1} in the audit"):
        await audit.show(entry.id + 1, olga)
    assert len(await audit.list(ROOT)) > 2


# ------------------------------------------------------------------------------------- the change and its entry


def state(house: House) -> dict[str, list[tuple[object, ...]]]:
    """All rows of all tables but the audit, as another connection reads them."""
    with closing(sqlite3.connect(house.folder / DATABASE)) as connection:
        tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        return {
            name: connection.execute(f'SELECT * FROM "{name}"').fetchall()
            for name in tables
            if name not in ("audit", "sqlite_sequence")
        }


def break_writes(folder: Path, *tables: str) -> None:
    """Have every write to these tables fail as a damaged database does."""
    with closing(sqlite3.connect(folder / DATABASE)) as connection:
        for table in tables:
            for event in ("INSERT", "UPDATE", "DELETE"):
                fail = "BEGIN INSERT INTO nowhere VALUES (1); END"
                connection.execute(f'CREATE TRIGGER "{table}_{event}" AFTER {event} ON "{table}" {fail}')


REVEALS = {"tokens.eab", "tokens.eab_of", "tokens.directory", "moving.backup", "moving.copy"}
OUTSIDE = {"certificates.revoke", "check.check live"}  # what they change is not in the storage


@pytest.mark.parametrize("verb", [verb for verb in WRITES if verb not in OUTSIDE])
async def test_what_cannot_be_audited_is_not_done(hall: Furnished, verb: str) -> None:
    if verb == "resealing.reseal":
        hall = with_a_new_key(hall)
    before = state(hall.house)
    assert before["principal"]
    break_writes(hall.house.folder, "audit")
    with pytest.raises(sqlite3.OperationalError, match="nowhere"):
        await VERBS[verb](hall, ROOT)
    assert state(hall.house) == before


@pytest.mark.parametrize("verb", [verb for verb in WRITES if verb not in OUTSIDE | REVEALS])
async def test_what_cannot_be_done_is_not_audited_as_done(hall: Furnished, verb: str) -> None:
    if verb == "resealing.reseal":
        hall = with_a_new_key(hall)
    before = await hall.house.audited()
    break_writes(hall.house.folder, *(name for name in state(hall.house) if name != "migration"))
    with pytest.raises(sqlite3.OperationalError, match="nowhere"):
        await VERBS[verb](hall, ROOT)
    assert await hall.house.audited() == before


async def test_a_change_that_others_follow_from_is_audited_with_them(hall: Furnished) -> None:
    old = await hall.admin.authorities.show("ca", ROOT)
    await hall.admin.authorities.add(NewAuthority(name="new", plugin="ca_fake", default=True), ROOT)
    other, new = (await hall.house.audited())[:2]
    assert (new.action, new.object) == ("authority.add", "new")
    assert (other.action, other.object, other.difference) == ("authority.add", old.id, "default: true -> false")


async def test_an_order_is_cancelled_with_who_did_it(hall: Furnished) -> None:
    cancelled = await hall.admin.orders.cancel(hall.order, ROOT)
    assert cancelled.status is OrderStatus.INVALID
    latest = (await hall.house.audited())[0]
    assert (latest.actor, latest.action, latest.object) == (ROOT.name, "order.cancel", f"order {hall.order}")


def with_a_new_key(hall: Furnished) -> Furnished:
    """The same house after another master key was put first: there is something to seal again."""
    service = ResealingService(hall.house.store, Vault([bytes([1]) * 32, bytes(32)]), SystemClock())
    return msgspec.structs.replace(hall, admin=msgspec.structs.replace(hall.admin, resealing=service))
