"""Tokens: what is kept of their secrets, the EAB view, limits, states."""

import hashlib
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from acmehub.admin.access.errors import InUse, Invalid, NotFound, Refused
from acmehub.admin.access.gate import Passage
from acmehub.admin.access.reach import Reach
from acmehub.admin.resources.principals import NewPrincipal, PrincipalPatch
from acmehub.admin.resources.tokens import NewToken, TokenPatch
from acmehub.models import AuthorizationMode, Role, RoleAssignment, TokenState
from acmehub.rules.eab import parse_binding, verify_binding
from acmehub.rules.jws import canonical_jwk, decode_base64url
from acmehub.rules.permissions import Forbidden
from tests.admin.conftest import AUDITOR, OPERATOR, ROOT, House, stored
from tests.rules.samples import ACCOUNT_URL, bound, ec_key, public_jwk

CONSUMER = RoleAssignment(Role.MANAGED_ACME_CONSUMER)
TOMORROW = datetime.now(UTC) + timedelta(days=1)


@pytest.fixture
async def app(house: House) -> House:
    await house.principals.add(NewPrincipal(name="app", roles=(CONSUMER, RoleAssignment(Role.AUDITOR))), ROOT)
    return house


def new(title: str = "EAB", **fields: Any) -> NewToken:
    return NewToken(title=title, principal="app", **fields)


async def test_a_token_is_made_with_a_secret_of_which_only_the_hash_is_kept(app: House) -> None:
    added = await app.tokens.add(new(), ROOT)
    secret = added.secret.reveal()
    row = stored(await app.store.tokens.get(added.token.id))
    assert len(decode_base64url(secret)) == 32
    assert row.secret_hash == hashlib.sha256(secret.encode()).digest()
    assert secret.encode() not in row.sealed_hmac_key
    assert secret not in repr(added)
    assert (added.token.state, added.token.principal, added.token.uses) == (TokenState.ACTIVE, "app", 0)
    assert added.token.id[0].isalnum()


async def test_the_eab_view_gives_credentials_that_bind(app: House) -> None:
    added = await app.tokens.add(new(), ROOT)
    view = await app.tokens.eab("EAB", ROOT)
    assert view.kid == added.token.id
    key = decode_base64url(view.hmac_key.reveal())
    raw = bound(key, json.dumps(public_jwk(ec_key())).encode(), kid=view.kid)
    jwk = canonical_jwk(public_jwk(ec_key()))
    verify_binding(parse_binding(raw, account_jwk=jwk, new_account_url=ACCOUNT_URL), key)
    assert view.hmac_key.reveal() not in repr(view)
    latest = (await app.audited())[0]
    assert (latest.action, latest.object, latest.allowed) == ("token.eab", "EAB", True)


async def test_the_eab_view_is_refused_where_it_would_not_work(app: House) -> None:
    await app.tokens.add(new("reader", scope=(Role.AUDITOR,)), ROOT)
    with pytest.raises(Refused, match="not scoped to managed_acme_consumer"):
        await app.tokens.eab("reader", ROOT)
    await app.tokens.add(new(), ROOT)
    await app.principals.set("app", PrincipalPatch(roles=(RoleAssignment(Role.AUDITOR),)), ROOT)
    with pytest.raises(Refused, match="principal 'app' has not the role"):
        await app.tokens.eab("EAB", ROOT)
    await app.principals.set("app", PrincipalPatch(roles=(CONSUMER,)), ROOT)
    await app.tokens.revoke("EAB", ROOT)
    with pytest.raises(Refused, match="revoked"):
        await app.tokens.eab("EAB", ROOT)
    assert [entry.allowed for entry in await app.audited() if entry.action == "token.eab"] == [False, False, False]


async def test_an_auditor_sees_tokens_but_not_their_keys(app: House) -> None:
    await app.tokens.add(new(), ROOT)
    assert len(await app.tokens.list(AUDITOR)) == 1
    with pytest.raises(Forbidden, match=r"august may not do token.eab"):
        await app.tokens.eab("EAB", AUDITOR)


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"title": ""}, "title"),
        ({"scope": ()}, "scope"),
        ({"scope": (Role.ADMINISTRATOR,)}, "scope"),
        ({"names": "a..b"}, "names"),
        ({"names": "*"}, "names"),
        ({"networks": ("192.0.2.1/24",)}, "networks"),
        ({"networks": ("x",)}, "networks"),
        ({"use_limit": 0}, "use_limit"),
        ({"expires": datetime(2027, 1, 1)}, "expires"),  # noqa: DTZ001
    ],
)
async def test_values_that_do_not_fit_name_their_field(app: House, fields: dict[str, Any], field: str) -> None:
    with pytest.raises(Invalid) as caught:
        await app.tokens.add(new(**{"title": "x", **fields}), ROOT)
    assert caught.value.field == field
    await app.tokens.add(new(), ROOT)
    with pytest.raises(Invalid) as caught:
        await app.tokens.set("EAB", TokenPatch(**fields), ROOT)
    assert caught.value.field == field


async def test_rules_and_networks_are_kept_in_one_form(app: House) -> None:
    fields: dict[str, Any] = {"names": " *.Corp.test,corp.TEST", "networks": ("192.0.2.0/24", "2001:DB8::/32")}
    made = (await app.tokens.add(new(**fields), ROOT)).token
    assert made.names == "*.corp.test, corp.test"
    assert made.networks == ("192.0.2.0/24", "2001:db8::/32")


async def test_limits_are_set_and_taken_away(app: House) -> None:
    await app.tokens.add(new(), ROOT)
    patch = TokenPatch(use_limit=2, expires=TOMORROW, names="a.test", authorization=AuthorizationMode.ACCEPT)
    made = await app.tokens.set("EAB", patch, ROOT)
    assert (made.use_limit, made.expires, made.names, made.authorization) == (2, TOMORROW, "a.test", "accept")
    made = await app.tokens.set("EAB", TokenPatch(use_limit=None, expires=None, names=""), ROOT)
    assert (made.use_limit, made.expires, made.names, made.authorization) == (None, None, "", "accept")


async def test_the_states_of_a_token_and_the_way_back(app: House) -> None:
    token = (await app.tokens.add(new(use_limit=1), ROOT)).token

    async def state(**patch: object) -> TokenState:
        return (await app.tokens.set(token.id, TokenPatch(**patch), ROOT)).state

    await app.bind(token.id)
    assert (await app.tokens.show("EAB", ROOT)).state is TokenState.USED_UP
    assert await state(use_limit=2) is TokenState.ACTIVE
    assert await state(expires=datetime.now(UTC)) is TokenState.EXPIRED
    assert await state(enabled=False) is TokenState.DISABLED
    assert await state(expires=TOMORROW) is TokenState.DISABLED
    assert await state(enabled=True) is TokenState.ACTIVE
    await app.principals.set("app", PrincipalPatch(enabled=False), ROOT)
    assert (await app.tokens.show("EAB", ROOT)).state is TokenState.DISABLED


async def test_revocation_is_for_good(app: House) -> None:
    await app.tokens.add(new(), ROOT)
    first = await app.tokens.revoke("EAB", ROOT)
    assert first.state is TokenState.REVOKED
    assert await app.tokens.revoke("EAB", ROOT) == first
    for patch in (TokenPatch(enabled=False), TokenPatch(expires=TOMORROW), TokenPatch(title="x")):
        with pytest.raises(Refused, match="revoked, for good"):
            await app.tokens.set("EAB", patch, ROOT)
    assert await app.tokens.set("EAB", TokenPatch(enabled=True), ROOT) == first


async def test_a_token_that_bound_accounts_is_not_removed_and_they_are_named(app: House) -> None:
    token = (await app.tokens.add(new(), ROOT)).token
    account = await app.bind(token.id)
    with pytest.raises(InUse, match=f"ACME account {account.id}.*token revoke"):
        await app.tokens.remove("EAB", ROOT)
    await app.tokens.add(new("fresh"), ROOT)
    await app.tokens.remove("fresh", ROOT)
    assert [item.title for item in await app.tokens.list(ROOT)] == ["EAB"]


async def test_titles_need_not_be_unique_but_then_the_id_decides(app: House) -> None:
    one = (await app.tokens.add(new(), ROOT)).token
    two = (await app.tokens.add(new(), ROOT)).token
    with pytest.raises(Invalid, match=f"several have the title 'EAB'; name one by its id: .*{two.id}"):
        await app.tokens.show("EAB", ROOT)
    assert await app.tokens.show(one.id, ROOT) == one


async def test_tokens_are_listed_by_principal(app: House) -> None:
    await app.principals.add(NewPrincipal(name="other", roles=(CONSUMER,)), ROOT)
    await app.tokens.add(new(), ROOT)
    await app.tokens.add(NewToken(title="theirs", principal="other"), ROOT)
    assert [item.title for item in await app.tokens.list(ROOT, principal="other")] == ["theirs"]
    assert len(await app.tokens.list(ROOT)) == 2
    with pytest.raises(NotFound, match="no principal 'nobody'"):
        await app.tokens.list(ROOT, principal="nobody")
    with pytest.raises(NotFound, match="make it first"):
        await app.tokens.add(NewToken(title="x", principal="nobody"), ROOT)


async def test_an_operator_does_not_handle_tokens_of_an_auditor(app: House) -> None:
    await app.tokens.add(new(), ROOT)
    for attempt in (
        app.tokens.add(new("x"), OPERATOR),
        app.tokens.eab("EAB", OPERATOR),
        app.tokens.set("EAB", TokenPatch(enabled=False), OPERATOR),
        app.tokens.revoke("EAB", OPERATOR),
        app.tokens.remove("EAB", OPERATOR),
    ):
        with pytest.raises(Forbidden, match="because of auditor"):
            await attempt


async def test_a_use_that_is_counted_meanwhile_is_not_lost_by_a_change(
    app: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = (await app.tokens.add(new(), ROOT)).token
    find = app.tokens.rows.find

    async def find_then_bind(ref: str, reach: Reach | None = None, passage: Passage | None = None):  # type: ignore[no-untyped-def]
        row = await find(ref, reach, passage)
        if row.uses == 0:
            await app.bind(token.id)
        return row

    monkeypatch.setattr(app.tokens.rows, "find", find_then_bind)
    changed = await app.tokens.set("EAB", TokenPatch(use_limit=5), ROOT)
    assert (changed.uses, changed.use_limit) == (1, 5)
