"""The OpenAPI document and the page that shows it."""

import re
import tomllib
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from acmehub.api import docs_page
from acmehub.api.documents import TokenActions
from acmehub.api.openapi import openapi
from acmehub.api.operations import OPERATIONS
from acmehub.api.problems import TYPES
from acmehub.api.table import JSON, NOT_HERE, Paging
from acmehub.rules.permissions import PERMISSIONS
from tests.api.desk import API, Desk

STATIC = Path(docs_page.__file__).parent / "static"
DOCUMENT = openapi()


def operations() -> list[tuple[str, dict[str, Any]]]:
    return [(f"{method} {path}", one) for path, by in DOCUMENT["paths"].items() for method, one in by.items()]


def references(value: Any) -> set[str]:
    if isinstance(value, dict):
        own = {value["$ref"]} if isinstance(value.get("$ref"), str) else set()
        return own.union(*map(references, value.values()))
    return set().union(*map(references, value)) if isinstance(value, list) else set()


async def test_the_document_is_there_without_a_token_and_says_all(desk: Desk) -> None:
    answer = await desk.ask("GET", "/openapi.json", as_=None)
    assert answer.status_code == 200
    found = answer.json()
    assert found["openapi"] == "3.1.0"
    assert found["security"] == [{"token": []}]
    named = [one["operationId"] for by in found["paths"].values() for one in by.values()]
    assert sorted(named) == sorted(id.replace(".", "_") for id in OPERATIONS)


def test_every_operation_has_roles_an_example_and_its_problems() -> None:
    by_id = {one["operationId"]: one for _, one in operations()}
    for item in OPERATIONS.values():
        one = by_id[item.id.replace(".", "_")]
        roles = sorted(PERMISSIONS[item.permission].roles) if item.permission else []
        assert one["x-roles"] == roles
        assert {"401", "403", "422", "429", "500", "503"} <= set(one["responses"])
        assert ("412" in one["responses"]) is item.conditional
        success = one["responses"][str(item.status)]
        if item.media == JSON and item.status != 204:
            assert success["content"][JSON]["example"]
        if item.body is not None:
            assert all("example" in media for media in one["requestBody"]["content"].values())
        names = [parameter["name"] for parameter in one["parameters"]]
        assert ("limit" in names) is (item.paging is not Paging.NONE or item.id == "audit.follow")
        assert ("Idempotency-Key" in names) is (item.method == "POST")


def test_every_reference_leads_somewhere_and_every_schema_is_used() -> None:
    used = references(DOCUMENT)
    there = {
        f"#/components/{kind}/{name}" for kind in ("schemas", "responses") for name in DOCUMENT["components"][kind]
    }
    assert used <= there
    unused = {name.rpartition("/")[2] for name in there - used}
    assert unused <= {item.__name__ for row in OPERATIONS.values() for item in (row.filter, row.query) if item} | {
        "DryRun"
    }


def test_examples_of_answers_fit_the_types_of_the_verbs() -> None:
    by_id = {one["operationId"]: one for _, one in operations()}
    for item in OPERATIONS.values():
        if item.media != JSON or item.status == 204 or item.reveals or item.id == "plugin.show":
            continue
        example = by_id[item.id.replace(".", "_")]["responses"][str(item.status)]["content"][JSON]["example"]
        if item.paging is not Paging.NONE:
            [example] = example["items"]
        msgspec.convert(example, item.result)


def test_what_patches_may_set_back_is_nullable_and_constraints_are_there() -> None:
    schemas = DOCUMENT["components"]["schemas"]
    patch = schemas["TokenPatch"]["properties"]
    assert {"type": "null"} in patch["names"]["anyOf"]
    assert patch["title"]["type"] == "string"
    assert schemas["TokenActions"]["properties"]["ids"]["maxItems"] == 100
    assert schemas["TokenActions"]["additionalProperties"] is False
    assert set(schemas["TokenView"]["required"]) == set(schemas["TokenView"]["properties"])
    assert TokenActions.__struct_fields__ == ("action", "ids")
    assert "x-roles" in DOCUMENT["paths"]["/orders"]["get"]
    assert NOT_HERE.keys() < PERMISSIONS.keys()


def test_every_type_of_a_problem_is_documented() -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "problems.md").read_text()
    rows = dict(re.findall(r"^### ([a-z-]+)\n\n(\d{3}) ", page, re.MULTILINE))
    assert rows == {kind.name: str(kind.status) for kind in TYPES.values()}


# ---------------------------------------------------------------------------------------------------- the page


@pytest.fixture
async def page(desk: Desk) -> httpx.Response:
    return await desk.ask("GET", "/docs", as_=None)


async def test_the_page_loads_files_of_the_hub_alone(desk: Desk, page: httpx.Response) -> None:
    assert page.status_code == 200
    assert "default-src 'none'; script-src 'self'" in page.headers["content-security-policy"]
    assert "unsafe" not in page.headers["content-security-policy"]
    assert not re.search(r"<script>|<style|style=| on\w+=|https?:", page.text)
    loaded = re.findall(r'(?:src|href)="(assets/[^"]+)"', page.text)
    assert len(loaded) == 3
    for name in loaded:
        answer = await desk.http.get(f"{API}/{name}")
        assert answer.status_code == 200
        assert answer.content == (STATIC / name.removeprefix("assets/")).read_bytes()
    for name in ("VENDORED.toml", "..%2f__init__.py", "LICENSE"):
        assert (await desk.http.get(f"{API}/assets/{name}")).status_code == 404


def test_what_is_vendored_is_listed_with_hash_and_licence() -> None:
    listed = tomllib.loads((STATIC / "VENDORED.toml").read_text())["package"]
    assert [(item["name"], item["licence"]) for item in listed] == [("swagger-ui-dist", "Apache-2.0")]
    there = {path.name for path in STATIC.iterdir()} - {"VENDORED.toml", "start.js"}
    assert there == {name for item in listed for name in item["files"]}
    assert all(re.fullmatch(r"[0-9a-f]{64}", item["sha256"]) for item in listed)
