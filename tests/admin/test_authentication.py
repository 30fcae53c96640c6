"""API tokens at the API: who acts with one, what is refused and what is told of it, and what a token may not give."""

import hmac
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from msgspec.structs import replace

from acmehub.admin.access.errors import Invalid, NotFound, Refused, Unauthenticated
from acmehub.admin.resources.authorities import AuthorityPatch, NewAuthority
from acmehub.admin.resources.campaigns import NewCampaign
from acmehub.admin.resources.document import read_document
from acmehub.admin.resources.principals import NewPrincipal, PrincipalPatch
from acmehub.admin.resources.tokens import AddedToken, NewToken, TokenPatch
from acmehub.models import Role, RoleAssignment
from acmehub.models.audit import Origin, Via
from acmehub.rules.permissions import Acting, Forbidden
from tests.admin.conftest import OPERATOR, ROOT, House

HERE = Origin(via=Via.API, address="192.0.2.7", request="r1")
ADMINISTRATOR, OPERATES = RoleAssignment(Role.ADMINISTRATOR), RoleAssignment(Role.OPERATOR, ("lab",))
CONSUMES = RoleAssignment(Role.MANAGED_ACME_CONSUMER, ("lab",))


async def added(house: House, *roles: RoleAssignment, **fields: Any) -> AddedToken:
    """A token of a new principal with these roles, scoped to all of them unless `fields` say otherwise."""
    await house.principals.add(NewPrincipal(name="robot", roles=roles), ROOT)
    scope = fields.pop("scope", tuple(dict.fromkeys(item.role for item in roles)))
    return await house.tokens.add(NewToken(title="api", principal="robot", scope=scope, **fields), ROOT)


async def acting(house: House, token: AddedToken, origin: Origin = HERE) -> Acting:
    return await house.tokens.authenticate(token.token.id, token.secret.reveal(), origin)


async def test_a_token_acts_with_the_roles_of_its_scope_that_its_principal_has_now(house: House) -> None:
    token = await added(house, OPERATES, CONSUMES, RoleAssignment(Role.AUDITOR), scope=(Role.OPERATOR, Role.AUDITOR))
    who = await acting(house, token)
    assert who.roles == {OPERATES, RoleAssignment(Role.AUDITOR)}
    assert (who.name, who.origin) == ("robot", replace(HERE, credential=token.token.id))
    assert (who.proven, who.delegates) == (False, False)
    await house.principals.set("robot", PrincipalPatch(roles=(CONSUMES, OPERATES)), ROOT)
    assert (await acting(house, token)).roles == {OPERATES}


async def test_flags_of_a_token_are_what_it_may_do_besides(house: House) -> None:
    who = await acting(house, await added(house, ADMINISTRATOR, reveal=True, delegates=True))
    assert (who.proven, who.delegates) == (True, True)


async def test_every_refusal_says_the_same_and_the_audit_has_the_reason(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = await added(house, OPERATES, networks=("192.0.2.0/24",))
    id, secret = token.token.id, token.secret.reveal()
    compared: list[bytes] = []
    compare = hmac.compare_digest

    def spy(one: bytes, other: bytes) -> bool:
        compared.append(other)
        return compare(one, other)

    monkeypatch.setattr(hmac, "compare_digest", spy)
    elsewhere = 0

    async def refused(id: str, secret: str, address: str = "") -> str:
        nonlocal elsewhere
        elsewhere += 1  # another address each time: one has an entry a minute
        origin = replace(HERE, address=address or f"192.0.2.{elsewhere}")
        with pytest.raises(Unauthenticated) as caught:
            await house.tokens.authenticate(id, secret, origin)
        latest = (await house.audited())[0]
        assert (latest.action, latest.allowed) == ("token.authenticate", False)
        assert secret not in repr(latest) + str(caught.value)
        words.add(str(caught.value))
        return latest.detail

    words: set[str] = set()
    assert await refused("0" * 44, secret) == "the id is not known"
    assert await refused("no id", secret) == "the id is not known"
    assert await refused(id, "x" + secret) == "the secret is another one"
    assert await refused(id, secret, "198.51.100.1") == "the address is outside of its networks"
    assert await refused(id, secret, "nowhere") == "the address is outside of its networks"
    await house.tokens.set("api", TokenPatch(enabled=False), ROOT)
    assert await refused(id, secret) == "the token is disabled"
    await house.tokens.set("api", TokenPatch(enabled=True), ROOT)
    await house.principals.set("robot", PrincipalPatch(enabled=False), ROOT)
    assert await refused(id, secret) == "its principal is disabled"
    await house.principals.set("robot", PrincipalPatch(enabled=True), ROOT)
    await house.tokens.set("api", TokenPatch(expires=datetime.now(UTC) - timedelta(seconds=1)), ROOT)
    assert await refused(id, secret) == "the token is expired"
    await house.tokens.revoke("api", ROOT)
    assert await refused(id, secret) == "the token is revoked"
    assert len(words) == 1
    assert len(compared) == elsewhere  # one comparison each, of an unknown id, too
    assert {len(item) for item in compared} == {32}


async def test_a_caller_in_a_loop_does_not_fill_the_audit(house: House) -> None:
    before = len(await house.audited())
    for _ in range(5):
        with pytest.raises(Unauthenticated):
            await house.tokens.authenticate("0" * 44, "guess", HERE)
    assert len(await house.audited()) == before + 1


async def test_a_token_that_is_used_up_binds_no_account_and_still_acts(house: House) -> None:
    token = await added(house, OPERATES, CONSUMES, use_limit=1)
    await house.bind(token.token.id)
    assert (await acting(house, token)).roles == {OPERATES, CONSUMES}


# ------------------------------------------------------------------------------------- what a token may not give


async def test_a_token_makes_no_token_unless_it_delegates(house: House) -> None:
    who = await acting(house, await added(house, ADMINISTRATOR, CONSUMES, reveal=True))
    for scope in (Role.ADMINISTRATOR, Role.MANAGED_ACME_CONSUMER):
        with pytest.raises(Forbidden, match="with 'delegates'"):
            await house.tokens.add(NewToken(title="more", principal="robot", scope=(scope,)), who)
    with pytest.raises(Forbidden, match="may not make tokens itself"):
        await house.tokens.set("api", TokenPatch(delegates=True), who)
    file = read_document('[[token]]\ntitle = "more"\nprincipal = "robot"\nscope = ["administrator"]\n', "f.toml")
    with pytest.raises(Forbidden, match="with 'delegates'"):
        await house.files.apply(file, who)


async def test_a_token_gives_no_flag_that_it_has_not(house: House) -> None:
    who = await acting(house, await added(house, ADMINISTRATOR, CONSUMES, delegates=True))
    robot = await house.principals.add(NewPrincipal(name="other", roles=(CONSUMES,)), ROOT)
    with pytest.raises(Forbidden, match="it takes a fresh sign-in, or an API token with 'reveal'"):
        await house.tokens.add(NewToken(title="more", principal=robot.name, reveal=True), who)
    await house.tokens.add(NewToken(title="plain", principal=robot.name), who)
    with pytest.raises(Forbidden, match="it takes a fresh sign-in, or an API token with 'reveal'"):
        await house.tokens.set("plain", TokenPatch(reveal=True), who)


@pytest.mark.parametrize("flags", [{"reveal": True}, {"delegates": True}])
async def test_only_an_administrator_sets_the_flags_of_a_token(house: House, flags: dict[str, Any]) -> None:
    await house.principals.add(NewPrincipal(name="app", roles=(CONSUMES,)), ROOT)
    with pytest.raises(Forbidden, match="only an administrator may"):
        await house.tokens.add(NewToken(title="EAB", principal="app", **flags), OPERATOR)
    await house.tokens.add(NewToken(title="EAB", principal="app", **flags), ROOT)
    with pytest.raises(Forbidden, match="only an administrator may"):
        await house.tokens.set("EAB", TokenPatch(**dict.fromkeys(flags, False)), OPERATOR)
    assert (await house.tokens.set("EAB", TokenPatch(title="same flags"), OPERATOR)).title == "same flags"


# ------------------------------------------------------------------------------- no way to a role above consumer


NARROWED = Acting("nora", frozenset({RoleAssignment(Role.OPERATOR, ("lab",))}), proven=True, delegates=True)
ABOVE = [Role.ADMINISTRATOR, Role.OPERATOR, Role.AUDITOR]


@pytest.mark.parametrize("who", [OPERATOR, NARROWED], ids=["operator", "narrowed"])
@pytest.mark.parametrize("role", ABOVE)
async def test_an_operator_neither_gains_nor_touches_a_role_above_consumer(
    house: House, who: Acting, role: Role
) -> None:
    above = RoleAssignment(role)
    await house.principals.add(NewPrincipal(name="root", roles=(ADMINISTRATOR,)), ROOT)
    await house.principals.add(NewPrincipal(name="boss", roles=(above, CONSUMES), tags=("lab",)), ROOT)
    await house.principals.add(NewPrincipal(name="app", roles=(CONSUMES,)), ROOT)
    await house.tokens.add(NewToken(title="boss's", principal="boss", scope=(role,), tags=("lab",)), ROOT)
    await house.tokens.add(NewToken(title="app's", principal="app"), ROOT)
    tries: list[Any] = [
        house.principals.add(NewPrincipal(name="me", roles=(above,), tags=("lab",)), who),
        house.principals.set("app", PrincipalPatch(roles=(CONSUMES, above)), who),
        house.principals.set("boss", PrincipalPatch(name="mine"), who),
        house.principals.set("boss", PrincipalPatch(enabled=False), who),
        house.principals.set("boss", PrincipalPatch(roles=(CONSUMES,)), who),
        house.principals.remove("boss", who),
        house.tokens.add(NewToken(title="mine", principal="boss", scope=(role,)), who),
        house.tokens.add(NewToken(title="mine", principal="boss"), who),
        house.tokens.set("boss's", TokenPatch(title="mine"), who),
        house.tokens.set("boss's", TokenPatch(scope=(Role.MANAGED_ACME_CONSUMER,)), who),
        house.tokens.revoke("boss's", who),
        house.tokens.remove("boss's", who),
        house.tokens.eab("boss's", who),
        house.tokens.eab_of("boss", who),
        house.tokens.directory("boss's", who),
        house.files.apply(read_document(f'[[principal]]\nname = "app"\nroles = ["{role}"]\n', "f.toml"), who),
        house.files.apply(read_document('[[principal]]\nname = "boss"\nroles = []\ntags = ["lab"]\n', "f.toml"), who),
        house.files.apply(
            read_document(f'[[token]]\ntitle = "t"\nprincipal = "boss"\nscope = ["{role}"]\n', "f.toml"), who
        ),
    ]
    rows = [await house.principals.list(ROOT), await house.tokens.list(ROOT)]
    for number, attempt in enumerate(tries):
        with pytest.raises(Forbidden, match="only an administrator may"):
            await attempt
        assert [await house.principals.list(ROOT), await house.tokens.list(ROOT)] == rows, number
    with pytest.raises(Invalid, match="has not the role"):  # a scope is within the roles of the principal
        await house.tokens.set("app's", TokenPatch(scope=(role,)), replace(ROOT, name="root"))


async def test_an_operator_whose_role_is_narrowed_gives_no_more_than_its_tags(house: House) -> None:
    everywhere, production = RoleAssignment(Role.MANAGED_ACME_CONSUMER), replace(CONSUMES, tags=("production",))
    for roles in ((everywhere,), (production,), (replace(CONSUMES, tags=("lab", "production")),)):
        with pytest.raises(Forbidden, match="only what has the tags lab"):
            await house.principals.add(NewPrincipal(name="app", roles=roles, tags=("lab",)), NARROWED)
    with pytest.raises(Forbidden, match="without a tag of its own role: lab"):
        await house.principals.add(NewPrincipal(name="app"), NARROWED)
    with pytest.raises(Forbidden, match="give or take the tags production"):
        await house.principals.add(NewPrincipal(name="app", tags=("lab", "production")), NARROWED)
    await house.principals.add(NewPrincipal(name="app", roles=(CONSUMES,), tags=("production",)), ROOT)
    with pytest.raises(Forbidden, match="give or take the tags production"):
        await house.principals.set("app", PrincipalPatch(tags=()), NARROWED)
    await house.principals.set("app", PrincipalPatch(tags=("production", "lab")), NARROWED)
    await house.principals.add(NewPrincipal(name="strong", roles=(everywhere,), tags=("lab",)), ROOT)
    await house.tokens.add(NewToken(title="strong", principal="strong"), ROOT)
    for attempt in (  # it is seen, and may more than who looks
        house.tokens.eab("strong", NARROWED),
        house.tokens.add(NewToken(title="mine", principal="strong"), NARROWED),
        house.principals.remove("strong", NARROWED),
    ):
        with pytest.raises(Forbidden, match="reaches all managed challenges"):
            await attempt


async def test_what_concerns_the_whole_hub_is_not_for_a_narrowed_role(house: House) -> None:
    await house.authorities.add(NewAuthority(name="first", plugin="ca_fake"), ROOT)
    with pytest.raises(Forbidden, match="the default: it concerns the whole hub"):
        await house.authorities.add(NewAuthority(name="ca", plugin="ca_fake", tags=("lab",), default=True), NARROWED)
    await house.authorities.add(NewAuthority(name="ca", plugin="ca_fake", tags=("lab",)), NARROWED)
    with pytest.raises(Forbidden, match="the default: it concerns the whole hub"):
        await house.authorities.set("ca", AuthorityPatch(default=True), NARROWED)
    with pytest.raises(Forbidden, match="of all principals renewed: name one: it concerns the whole hub"):
        await house.campaigns.add(NewCampaign(name="all", renew_by=datetime(2099, 1, 1, tzinfo=UTC)), NARROWED)


async def test_a_name_that_something_unseen_has_is_refused_before_anything_is_written(house: House) -> None:
    await house.principals.add(NewPrincipal(name="taken", tags=("production",)), ROOT)
    entries = '[[principal]]\nname = "free"\ntags = ["lab"]\n\n[[principal]]\nname = "taken"\ntags = ["lab"]\n'
    with pytest.raises(Exception, match="there is a principal 'taken' already"):
        await house.files.apply(read_document(entries, "f.toml"), NARROWED)
    with pytest.raises(NotFound):
        await house.principals.show("free", ROOT)


async def test_refused_is_for_nobody_and_forbidden_for_who_asks(house: House) -> None:
    await house.principals.add(NewPrincipal(name="root", roles=(ADMINISTRATOR,)), ROOT)
    with pytest.raises(Refused):
        await house.principals.remove("root", ROOT)
    with pytest.raises(Forbidden):
        await house.principals.remove("root", OPERATOR)
