"""Create, change, remove, list: what a program relies on."""

from typing import Any

import httpx
import pytest

from tests.api.desk import API, RFC2136, Desk


def problem(answer: httpx.Response, status: int, name: str, field: str | None = None) -> dict[str, Any]:
    found: dict[str, Any] = answer.json()
    assert (answer.status_code, found["type"], found["status"]) == (status, f"/docs/problems#{name}", status), found
    assert answer.headers["content-type"] == "application/problem+json"
    if field is not None:
        assert [item["field"] for item in found["errors"]] == [field], found
    return found


# ------------------------------------------------------------------------------------------ create and change


async def test_what_is_made_has_a_location_an_etag_and_all_its_fields(desk: Desk) -> None:
    made = await desk.ask("POST", "/principals", {"name": "new"})
    assert made.status_code == 201
    assert made.headers["etag"] == '"1"'
    assert made.headers["location"] == f"{API}/principals/{made.json()['id']}"
    assert (
        await desk.http.get(made.headers["location"], headers={"authorization": desk.bearers["auditor"]})
    ).json() == (made.json())
    token = await desk.ask("POST", "/tokens", {"title": "t", "principal": "new", "scope": []})
    problem(token, 422, "invalid", "scope")
    token = await desk.ask("POST", "/tokens", {"title": "t", "principal": "app"})
    assert token.headers["location"] == f"{API}/tokens/{token.json()['token']['id']}"
    assert len(token.json()["secret"]) == 43
    planned = await desk.ask("POST", "/campaigns?dry_run=true", {"renew_by": "2099-01-01T00:00:00Z"})
    assert planned.status_code == 200
    assert "location" not in planned.headers
    assert len((await desk.get("/campaigns"))["items"]) == 1


async def test_a_merge_patch_changes_what_it_names_and_null_is_the_default(desk: Desk) -> None:
    await desk.ask("POST", "/tokens", {"title": "t", "principal": "app", "use_limit": 3, "names": "b.test"})
    changed = (
        await desk.ask("PATCH", "/tokens/t", {"use_limit": None, "limits": {"names": 5, "new_orders": 7}})
    ).json()
    assert (changed["use_limit"], changed["names"], changed["version"]) == (None, "b.test", 2)
    changed = (await desk.ask("PATCH", "/tokens/t", {"names": None, "limits": {"names": None}})).json()
    assert (changed["names"], changed["limits"]) == ("", {"new_orders": 7})
    problem(await desk.ask("PATCH", "/tokens/t", {"title": None}), 422, "invalid", "title")
    zone = (await desk.ask("PATCH", "/managed-challenges/zone", {"propagation": {"limit": 5}})).json()
    assert (zone["propagation"]["limit"], zone["propagation"]["delay"]) == (5, 30)


async def test_what_is_read_can_be_written_back_and_what_only_the_hub_sets_cannot_be_changed(desk: Desk) -> None:
    for path in ("/principals/app", "/tokens/EAB", "/authorities/spare", "/profiles/short"):
        whole = await desk.get(path)
        written = await desk.ask("PATCH", path, whole)
        assert written.status_code == 200, written.text
        assert written.json() == whole
        problem(await desk.ask("PATCH", path, {"id": "another"}), 422, "invalid", "id")
    problem(await desk.ask("PATCH", "/tokens/EAB", {"principal": "idle"}), 422, "invalid", "principal")


async def test_if_match_refuses_a_change_of_something_that_was_changed_meanwhile(desk: Desk) -> None:
    for path, change in (
        ("/principals/app", {"profiles": ["short"]}),
        ("/tokens/EAB", {"names": "b.test"}),
        ("/managed-challenges/zone", {"tags": ["x"]}),
        ("/authorities/spare", {"tags": ["x"]}),
        ("/profiles/short", {"description": "Shorter"}),
        (f"/accounts/{desk.ids['account']}", {"learned": "accept"}),
    ):
        seen = (await desk.ask("GET", path)).headers["etag"]
        other = await desk.ask("PATCH", path, change, if_match=seen)
        assert other.status_code == 200, other.text
        assert other.headers["etag"] != seen
        late = problem(await desk.ask("PATCH", path, change, if_match=seen), 412, "version-mismatch")
        assert (f'"{late["expected"]}"', f'"{late["current"]}"') == (seen, other.headers["etag"])
        assert (await desk.ask("PATCH", path, change, if_match="*")).status_code == 200
    problem(await desk.ask("PATCH", "/tokens/EAB", {}, if_match='W/"1"'), 422, "invalid", "if-match")


async def test_what_is_removed_is_gone_and_what_is_in_use_is_not(desk: Desk) -> None:
    gone = await desk.ask("DELETE", "/principals/idle")
    assert (gone.status_code, gone.content) == (204, b"")
    problem(await desk.ask("DELETE", "/principals/idle"), 404, "not-found")
    used = problem(await desk.ask("DELETE", "/principals/app"), 409, "in-use")
    assert used["users"] == ["token 'EAB'", "token 'unused'", "token 'credentials'"]


async def test_a_path_takes_names_ids_and_beginnings_of_ids(desk: Desk) -> None:
    id = (await desk.get("/principals/app"))["id"]
    assert (await desk.get(f"/principals/{id}"))["name"] == (await desk.get(f"/principals/{id[:40]}"))["name"] == "app"
    problem(await desk.ask("GET", "/principals/nobody"), 404, "not-found")
    problem(await desk.ask("GET", "/principals/%00"), 422, "invalid", "principal")
    for number in (2**63, 2**63 - 1, 2**63 - 2):
        problem(await desk.ask("GET", f"/audit/{number}"), 404, "not-found")


# ------------------------------------------------------------------------------------------------------ errors


@pytest.mark.parametrize(
    ("body", "field", "told"),
    [
        ({"name": "a", "rols": []}, "rols", "did you mean 'roles'?"),
        ({"name": "a", "roles": [{"role": "operator", "tag": []}]}, "roles[0].tag", "did you mean 'tags'?"),
        ({"name": "a", "roles": [{"role": "operatr"}]}, "roles[0].role", "'operatr' is not one of administrator"),
        ({"name": 3}, "name", "expected `str`, got `int`"),
        ({}, "", "missing required field `name`"),
        ({"name": "a\0"}, "name", "contains the character NUL"),
        ({"name": " a"}, "name", "without blanks at the ends"),
    ],
)
async def test_an_error_names_the_field_and_the_cure(desk: Desk, body: Any, field: str, told: str) -> None:
    found = problem(await desk.ask("POST", "/principals", body), 422, "invalid", field)
    assert told in found["errors"][0]["message"].replace("object m", "m")


async def test_settings_and_numbers_and_times_are_named_exactly(desk: Desk) -> None:
    new = {"name": "n", "plugin": "dns_rfc2136", "match": "c.test", "settings": {**RFC2136, "port": "x"}}
    problem(await desk.ask("POST", "/managed-challenges", new), 422, "invalid", "settings.port")
    secret = {**new, "settings": {**RFC2136, "key_secret": "file:/etc/passwd"}}
    problem(await desk.ask("POST", "/managed-challenges", secret), 422, "invalid", "settings.key_secret")
    token = {"title": "t", "principal": "app"}
    problem(await desk.ask("POST", "/tokens", {**token, "use_limit": 2**63}), 422, "invalid", "use_limit")
    problem(await desk.ask("POST", "/tokens", {**token, "expires": "2030-01-01T00:00:00"}), 422, "invalid", "expires")
    problem(await desk.ask("GET", "/orders?since=2030-01-01T00:00:00"), 422, "invalid", "since")
    problem(await desk.ask("GET", "/orders?status=null"), 422, "invalid", "status")
    problem(await desk.ask("GET", "/orders?status=done"), 422, "invalid", "status")
    problem(await desk.ask("GET", "/orders?limt=1"), 422, "invalid", "limt")
    problem(await desk.ask("GET", "/orders?limit=1&limit=2"), 422, "invalid", "limit")


async def test_what_cannot_be_read_is_malformed(desk: Desk) -> None:
    headers = {"authorization": desk.bearers["administrator"], "content-type": "application/json; charset=utf-8"}
    for content in (b"", b"{", b"[]", b"[" * 100_000, b'{"name": "\xff"}'):
        answer = await desk.http.post(f"{API}/principals", content=content, headers=headers)
        problem(answer, 400, "malformed")
    answer = await desk.http.post(
        f"{API}/principals", content=b"name=a", headers={**headers, "content-type": "text/plain"}
    )
    problem(answer, 415, "unsupported-media-type")
    problem(await desk.ask("GET", "/nothing"), 404, "not-found")
    assert problem(await desk.ask("PUT", "/orders"), 405, "method-not-allowed")
    for method in ("PUT", "OPTIONS"):
        allowed = (await desk.ask(method, "/tokens/EAB")).headers["allow"].split(", ")
        assert sorted(allowed) == ["DELETE", "GET", "OPTIONS", "PATCH"]


async def test_states_and_names_conflict(desk: Desk) -> None:
    problem(await desk.ask("POST", "/principals", {"name": "app"}), 409, "taken")
    await desk.ask("POST", f"/orders/{desk.ids['order']}/cancel")
    problem(await desk.ask("POST", f"/orders/{desk.ids['order']}/cancel"), 409, "refused")


async def test_a_defect_has_a_reference_that_the_log_has_as_well(desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    async def broken(*_: object, **__: object) -> None:
        raise KeyError("secret words")

    object.__setattr__(desk.admin.profiles, "list", broken)
    found = problem(await desk.ask("GET", "/profiles"), 500, "internal")
    assert "secret words" not in str(found)
    assert [record.__dict__["reference"] for record in caplog.records if "reference" in record.__dict__] == [
        found["reference"]
    ]


# ------------------------------------------------------------------------------------------------------- lists


@pytest.mark.parametrize(
    "path", ["/tokens", "/principals", "/audit", "/orders", "/plugins", "/accounts", "/certificates"]
)
async def test_pages_put_together_are_the_list(desk: Desk, path: str) -> None:
    whole = (await desk.get(f"{path}?limit=200"))["items"]
    found: list[Any] = []
    after: str | None = ""
    while after is not None:
        page = await desk.get(f"{path}?limit=3{f'&after={after}' if after else ''}")
        assert 1 <= len(page["items"]) <= 3
        found += page["items"]
        after = page["next"]
    assert found[-len(whole) :] == whole if path == "/audit" else found == whole


async def test_a_cursor_stands_behind_what_is_gone_and_serves_its_list_only(desk: Desk) -> None:
    page = await desk.get("/principals?limit=3")
    await desk.ask("POST", "/principals", {"name": "last"})
    third = page["items"][-1]
    [token] = (await desk.get(f"/tokens?principal={third['name']}"))["items"]
    await desk.ask("DELETE", f"/tokens/{token['id']}")
    assert (await desk.ask("DELETE", f"/principals/{third['id']}")).status_code == 204
    rest = await desk.get(f"/principals?limit=200&after={page['next']}")
    assert rest["items"][-1]["name"] == "last"
    assert third["id"] not in [item["id"] for item in rest["items"]]
    problem(await desk.ask("GET", f"/profiles?after={page['next']}"), 422, "invalid", "after")
    for limit in (0, 201):
        problem(await desk.ask("GET", f"/orders?limit={limit}"), 422, "invalid", "limit")


async def test_filters_narrow_lists(desk: Desk) -> None:
    assert [item["title"] for item in (await desk.get("/tokens?principal=idle"))["items"]] == []
    assert len((await desk.get("/orders?status=pending&name=b.test"))["items"]) == 1
    assert len((await desk.get("/orders?status=valid"))["items"]) == 0
    found = await desk.get("/certificates?uncovered=true&expires_within=P36500D")
    assert (len(found["items"]), found["complete"]) == (1, True)
    problem(await desk.ask("GET", "/certificates?uncovered=true"), 422, "invalid", "uncovered")


# -------------------------------------------------------------------------------------------------- the others


async def test_many_tokens_at_once_get_a_result_each(desk: Desk) -> None:
    done = (await desk.ask("POST", "/tokens/actions", {"action": "revoke", "ids": ["EAB", "none", "unused"]})).json()
    assert [(item["id"], item["done"]) for item in done["results"]] == [
        ("EAB", True),
        ("none", False),
        ("unused", True),
    ]
    assert done["results"][1]["type"] == "/docs/problems#not-found"
    assert {(await desk.get(f"/tokens/{title}"))["state"] for title in ("EAB", "unused")} == {"revoked"}
    many = {"action": "revoke", "ids": ["x"] * 101}
    problem(await desk.ask("POST", "/tokens/actions", many), 422, "invalid", "ids")


async def test_a_file_is_applied_as_toml_and_as_json(desk: Desk) -> None:
    headers = {"authorization": desk.bearers["administrator"]}
    text = '[[principal]]\nname = "from toml"\nroles = ["managed_acme_consumer:x"]\n'
    toml = {**headers, "content-type": "application/toml"}
    planned = await desk.http.post(f"{API}/apply?dry_run=true", content=text, headers=toml)
    change = {"kind": "principal", "name": "from toml", "step": "create", "fields": [], "managed_by": ""}
    assert planned.json()["changes"] == [change]
    problem(await desk.ask("GET", "/principals/from toml"), 404, "not-found")
    assert (await desk.http.post(f"{API}/apply", content=text, headers=toml)).status_code == 200
    body = {
        "principal": [{"name": "from json", "roles": [{"role": "managed_acme_consumer"}]}],
        "token": [{"title": "t", "principal": "from json"}],
    }
    applied = (await desk.ask("POST", "/apply", body)).json()
    assert [item["step"] for item in applied["changes"]] == ["create", "create"]
    assert len(applied["tokens"][0]["secret"]) == 43
    wrong = problem(await desk.ask("POST", "/apply", {"principal": [{"nam": "x"}], "tokens": []}), 422, "invalid")
    assert [item["message"] for item in wrong["errors"]] == [
        "tokens: unknown table; did you mean 'token'?",
        "[[principal]] number 1: nam: unknown key; did you mean 'name'?",
    ]
    assert 'name = "from json"' in (await desk.ask("GET", "/export")).text


async def test_secrets_are_given_out_where_they_are_asked_for_only(desk: Desk) -> None:
    eab = (await desk.ask("POST", "/tokens/EAB/eab")).json()
    key = (await desk.ask("POST", "/tokens/EAB/directory")).json()["directory_key"]
    assert eab["directory_key"] == key
    assert (await desk.ask("POST", "/principals/app/eab")).json()["shown"][0]["hmac_key"] == eab["hmac_key"]
    for path in ("/tokens", "/tokens/EAB", "/audit", "/export", "/principals/app"):
        text = (await desk.ask("GET", path)).text
        assert eab["hmac_key"] not in text
        assert key not in text
    for path in ("/managed-challenges", "/managed-challenges/zone", "/export", "/audit"):
        assert RFC2136["key_secret"] not in (await desk.ask("GET", path)).text
