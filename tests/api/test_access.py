"""Who gets in: every route with every wrong principal, from the table."""

import pytest

from acmehub.api.operations import OPERATIONS
from acmehub.models import Role
from acmehub.models.audit import AuditFilter
from acmehub.rules.permissions import PERMISSIONS
from tests.api.desk import ROOT, Desk

ROWS = list(OPERATIONS.values())


async def test_without_a_token_or_with_a_wrong_one_every_route_answers_401(desk: Desk) -> None:
    right = desk.bearers[Role.ADMINISTRATOR]
    head, id, secret = right.split("_", 2)
    await desk.disable("an operator")
    desk.bearers |= {
        "basic": "Basic YTpi",
        "no prefix": right.replace("acmehub_", "other_"),
        "no secret": f"{head}_{id}_",
        "wrong secret": f"{head}_{id}_{secret[:-1]}{'A' if secret[-1] != 'A' else 'B'}",
        "unknown id": f"{head}_{id[::-1]}_{secret}",
    }
    said = set()
    for who in (None, Role.OPERATOR, "basic", "no prefix", "no secret", "wrong secret", "unknown id"):
        for item in ROWS if who in (None, Role.OPERATOR) else ROWS[:2]:
            answer = await desk.ask_operation(item, as_=who)
            assert answer.status_code == 401, (who, item.id, answer.text)
            assert answer.headers["www-authenticate"] == 'Bearer realm="acmehub"'
            assert answer.json()["type"] == "/docs/problems#unauthenticated"
            assert secret not in answer.text
            said.add(answer.json()["detail"])
    assert len(said) == 2  # nobody learns whether an id is known


async def test_a_cookie_or_a_query_parameter_is_no_credential(desk: Desk) -> None:
    token = desk.bearers[Role.ADMINISTRATOR].removeprefix("Bearer ")
    for headers in ({"cookie": f"token={token}; authorization={token}"}, {"x-api-key": token}):
        answer = await desk.http.get(f"/api/v1/me?access_token={token}", headers=headers)
        assert answer.status_code == 401
    for origin in ("https://evil.test", "null"):
        answer = await desk.ask("GET", "/me", origin=origin)
        assert not [name for name in answer.headers if name.startswith("access-control")]


@pytest.mark.parametrize("role", Role)
async def test_a_role_that_may_not_gets_403_from_every_route_and_changes_nothing(desk: Desk, role: Role) -> None:
    refused = [item for item in ROWS if item.permission and role not in PERMISSIONS[item.permission].roles]
    before = await desk.state()
    for item in refused:
        answer = await desk.ask_operation(item, as_=role)
        assert answer.status_code == 403, (item.id, answer.text)
        assert answer.json()["type"] == "/docs/problems#forbidden"
        [entry] = await desk.admin.audit.list(ROOT, filter=AuditFilter(refused=True), limit=1)
        assert entry.action.partition(".")[0] == item.permission.partition(".")[0], item.id
    assert await desk.state() == before
    assert (await desk.ask("GET", "/me", as_=role)).status_code == 200


async def test_who_acts_is_the_principal_and_comes_by_the_api(desk: Desk) -> None:
    me = await desk.get("/me", as_=Role.AUDITOR)
    assert (me["name"], me["roles"]) == ("an auditor", [{"role": "auditor", "tags": [], "names": ""}])
    assert me["token"] in desk.bearers[Role.AUDITOR]


async def test_a_token_acts_with_its_scope_only(desk: Desk) -> None:
    desk.bearers["narrow"] = await desk.bearer("both", Role.OPERATOR, Role.AUDITOR)
    [token] = [item for item in (await desk.get("/tokens"))["items"] if item["title"] == "of both"]
    await desk.ask("PATCH", f"/tokens/{token['id']}", {"scope": ["auditor"]})
    assert [item["role"] for item in (await desk.get("/me", as_="narrow"))["roles"]] == ["auditor"]
    assert (await desk.ask("POST", f"/orders/{desk.ids['order']}/retry", as_="narrow")).status_code == 403


async def test_a_role_that_is_taken_away_is_gone_with_the_next_request(desk: Desk) -> None:
    assert (await desk.ask("GET", "/orders", as_=Role.OPERATOR)).status_code == 200
    await desk.ask("PATCH", "/principals/an operator", {"roles": []})
    assert (await desk.ask("GET", "/orders", as_=Role.OPERATOR)).status_code == 403
    await desk.ask("PATCH", "/principals/an operator", {"enabled": False})
    assert (await desk.ask("GET", "/orders", as_=Role.OPERATOR)).status_code == 401


async def test_a_switched_off_api_is_not_there(desk: Desk) -> None:
    async with desk.another(enabled=False) as http:
        for path in ("/api/v1/me", "/api/v1/openapi.json", "/api/v1/docs"):
            assert (await http.get(path)).status_code == 404
        assert (await http.get("/healthz")).status_code == 200
    assert (await desk.ask("GET", "/me")).status_code == 200
