"""The OpenAPI 3.1 document, made of the table of operations."""

import functools
from typing import Any

import msgspec

from acmehub import __version__
from acmehub.admin.resources.authorities import NewAuthority
from acmehub.admin.resources.document import Document
from acmehub.admin.resources.managed_challenges import NewManagedChallenge
from acmehub.admin.resources.principals import NewPrincipal
from acmehub.admin.resources.profiles import NewProfile
from acmehub.admin.resources.tokens import NewToken
from acmehub.api.answers import DEFAULT_LIMIT, MOST
from acmehub.api.examples import EXAMPLES
from acmehub.api.operations import OPERATIONS
from acmehub.api.problems import PROBLEM_JSON, TYPES, ProblemBody
from acmehub.api.schemas import Schema, Schemas, nullable, without_null
from acmehub.api.table import JSON, JSON_LINES, LARGEST, MERGE_PATCH, PREFIX, TOML, Operation, Paging
from acmehub.api.waiting import LONGEST
from acmehub.rules.permissions import PERMISSIONS

_DESCRIPTION = """\
The API of an acmehub (docs/api.md). Every path argument that names a thing takes its name or its id.

`If-Match` with the ETag of an answer makes a PATCH fail (412) when the thing was changed meanwhile. `Idempotency-Key`
makes a POST safe to repeat for 24 hours. Errors are problem documents (RFC 9457), whose types docs/problems.md lists.
"""
_ALWAYS = (400, 401, 403, 422, 429, 500, 503)
_FILE = {
    "authority": NewAuthority,
    "managed_challenge": NewManagedChallenge,
    "profile": NewProfile,
    "principal": NewPrincipal,
    "token": NewToken,
}


@functools.cache
def document() -> bytes:
    """The document as JSON."""
    return msgspec.json.encode(openapi())


def openapi() -> dict[str, Any]:
    """The document as plain values."""
    schemas = _schemas()
    paths: dict[str, dict[str, Any]] = {}
    for operation in OPERATIONS.values():
        paths.setdefault(_path(operation), {})[operation.method.lower()] = _operation(operation, schemas)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "acmehub",
            "version": __version__,
            "description": _DESCRIPTION,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": PREFIX}],
        "security": [{"token": []}],
        "tags": [{"name": name} for name in dict.fromkeys(map(_tag, OPERATIONS.values()))],
        "paths": paths,
        "components": {
            "schemas": schemas.components,
            "responses": {f"problem-{status}": _problem(status) for status in _statuses()},
            "securitySchemes": {
                "token": {
                    "type": "http",
                    "scheme": "bearer",
                    "bearerFormat": "acmehub_<token id>_<API secret>",
                    "description": "An API token whose scope has the role that the operation needs.",
                }
            },
        },
    }


def _schemas() -> Schemas:
    rows = OPERATIONS.values()
    bodies = [item.body for item in rows if item.body not in (None, Document)]
    queries = [kind for item in rows for kind in (item.filter, item.query) if kind is not None]
    results = [item.result for item in rows if item.result is not None]
    made = Schemas([*bodies, *_FILE.values(), *queries], [*results, ProblemBody])
    for item in rows:
        if item.method == "PATCH":
            defaults = {field.name for field in msgspec.structs.fields(item.new) if not field.required}
            patch = made.resolved(made.of(item.body))
            patch["properties"] = {
                name: nullable(schema) if name in defaults else schema for name, schema in patch["properties"].items()
            }
    problem = made.resolved(made.of(ProblemBody))
    problem["required"] = ["type", "title", "status", "detail"]
    return made


def _operation(item: Operation, schemas: Schemas) -> dict[str, Any]:
    permission = PERMISSIONS.get(item.permission)
    found: dict[str, Any] = {
        "operationId": item.id.replace(".", "_"),
        "summary": item.summary,
        "tags": [_tag(item)],
        "x-roles": sorted(permission.roles) if permission is not None else [],
        "parameters": [*_parameters(item, schemas)],
        "responses": {
            **_success(item, schemas),
            **{str(status): {"$ref": f"#/components/responses/problem-{status}"} for status in _refusals(item)},
        },
    }
    if item.body is not None:
        found["requestBody"] = {"required": True, "content": _body(item, schemas)}
    return found


def _parameters(item: Operation, schemas: Schemas) -> list[dict[str, Any]]:
    found = [
        {"name": name, "in": "path", "required": True, "schema": _of_path(kind)} for name, kind in item.path_arguments
    ]
    for kind in (item.filter, item.query):
        properties = schemas.properties(kind) if kind is not None else {}
        found += [{"name": name, "in": "query", "schema": without_null(one)} for name, one in properties.items()]
    if item.paging is not Paging.NONE:
        limit = {"type": "integer", "minimum": 1, "maximum": MOST, "default": DEFAULT_LIMIT}
        found += [_parameter("limit", limit, "The most items of a page.")]
        found += [_parameter("after", {"type": "string"}, "What the page before gave as `next`.")]
    if item.waits:
        wait = {"type": "number", "minimum": 0, "maximum": LONGEST, "default": 0}
        since = {"type": "integer", "minimum": 0, "maximum": 2**63 - 1, "default": 0}
        found += [_parameter("wait", wait, "Seconds to wait for news of the order.")]
        found += [_parameter("since", since, "News is a `version` above this one; 0: above the present one.")]
    if item.conditional:
        found.append(
            {"name": "If-Match", "in": "header", "schema": {"type": "string", "pattern": r'^(\*|"[0-9]{1,18}")$'}}
        )
    if item.method == "POST":
        key = {"type": "string", "pattern": "^[!-~]{1,64}$"}
        found.append({"name": "Idempotency-Key", "in": "header", "schema": key})
    return found


def _parameter(name: str, schema: Schema, description: str) -> dict[str, Any]:
    return {"name": name, "in": "query", "schema": schema, "description": description}


def _of_path(kind: type) -> Schema:
    if kind is int:
        return {"type": "integer", "minimum": 0, "maximum": LARGEST}
    return {"type": "string", "minLength": 1}


def _body(item: Operation, schemas: Schemas) -> dict[str, Any]:
    example = EXAMPLES[item.id]
    if item.body is Document:
        tables = {name: {"type": "array", "items": schemas.of(kind)} for name, kind in _FILE.items()}
        schema: Schema = {"type": "object", "properties": tables, "additionalProperties": False}
        text = {"schema": {"type": "string"}, "example": '[[principal]]\nname = "firewall-01"\n'}
        return {JSON: {"schema": schema, "example": example}, TOML: text}
    media = MERGE_PATCH if item.method == "PATCH" else JSON
    return {media: {"schema": schemas.of(item.body), "example": example}}


def _success(item: Operation, schemas: Schemas) -> dict[str, Any]:
    if item.status == 204:
        return {"204": {"description": "It is gone."}}
    schema = _shown(item, schemas)
    content = {"schema": schema}
    if item.media == JSON:
        content["example"] = schemas.sample(schema)
    answer: dict[str, Any] = {"description": f"{item.summary}.", "content": {item.media: content}}
    found = {str(item.status): answer}
    if item.status == 201:
        answer["headers"] = {"Location": {"schema": {"type": "string"}}, "ETag": {"schema": {"type": "string"}}}
        if item.query is not None:
            found["200"] = {"description": "What would be made.", "content": answer["content"]}
    return found


def _shown(item: Operation, schemas: Schemas) -> Schema:
    """The schema of an answer's body."""
    if item.media == JSON_LINES:
        line = schemas.sample(schemas.of(item.result))
        return {
            "type": "string",
            "description": "A JSON object a line.",
            "examples": [msgspec.json.encode(line).decode()],
        }
    if item.media != JSON:
        return {"type": "string"}
    schema = schemas.of(item.result)
    if item.paging is Paging.NONE:
        return _checked(schema, schemas) if item.id == "check" else schema
    properties: dict[str, Schema] = {
        "items": {"type": "array", "items": schema},
        "next": {"anyOf": [{"type": "string"}, {"type": "null"}]},
    }
    if item.page is not None:
        properties |= {name: {"type": "boolean"} for name in item.page.__struct_fields__ if name != "items"}
    return {"type": "object", "properties": properties, "required": [*properties]}


def _checked(schema: Schema, schemas: Schemas) -> Schema:
    """A check says besides whether it is good."""
    found = schemas.resolved(schema)
    if "good" not in found["properties"]:
        found["properties"] = {"good": {"type": "boolean"}, **found["properties"]}
        found["required"] = ["good", *found["required"]]
    return schema


def _refusals(item: Operation) -> tuple[int, ...]:
    found = {*_ALWAYS}
    if item.path_arguments or item.filter is not None or item.query is not None or item.body is not None:
        found.add(404)
    if item.method != "GET":
        found |= {409, 413}
    if item.body is not None:
        found.add(415)
    if item.conditional:
        found.add(412)
    if item.id in ("certificate.revoke", "check"):
        found.add(502)
    return tuple(sorted(found))


def _statuses() -> tuple[int, ...]:
    return tuple(sorted({status for item in OPERATIONS.values() for status in _refusals(item)}))


def _problem(status: int) -> dict[str, Any]:
    kinds = [kind for kind in TYPES.values() if kind.status == status]
    example = {"type": kinds[0].url, "title": kinds[0].title, "status": status, "detail": "what was wrong, in words"}
    headers = {"Retry-After": {"schema": {"type": "integer"}}} if status in (429, 503) else {}
    headers |= {"WWW-Authenticate": {"schema": {"type": "string"}}} if status == 401 else {}
    return {
        "description": "; ".join(f"`{kind.name}`: {kind.title}" for kind in kinds),
        "headers": headers,
        "content": {PROBLEM_JSON: {"schema": {"$ref": "#/components/schemas/ProblemBody"}, "example": example}},
    }


def _path(item: Operation) -> str:
    return item.path.replace(":int}", "}")


def _tag(item: Operation) -> str:
    return item.path.split("/")[1]
