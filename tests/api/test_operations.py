"""The table of operations: whole, and fitting the verbs."""

import inspect
from collections import Counter
from typing import Any

import pytest

from acmehub.admin.resources.document import Document, read_tables
from acmehub.admin.resources.tokens import DirectoryView
from acmehub.admin.services import Admin
from acmehub.api.answers import encode
from acmehub.api.examples import EXAMPLES
from acmehub.api.operations import OPERATIONS, operation_of
from acmehub.api.reading import convert, read_patch
from acmehub.api.table import NOT_HERE, Operation, Paging
from acmehub.ports.settings import Secret
from acmehub.rules.permissions import PERMISSIONS
from tests.api.desk import Desk

ROWS = list(OPERATIONS.values())


def verb_of(item: Operation) -> Any:
    return getattr(Admin.__annotations__[item.service], item.verb)


def test_each_action_has_an_operation_or_a_reason_why_not() -> None:
    with_one = {item.permission for item in ROWS} - {""}
    assert with_one | NOT_HERE.keys() == set(PERMISSIONS)
    assert with_one.isdisjoint(NOT_HERE)
    assert [item.id for item in ROWS if not item.permission] == ["me"]


def test_no_two_operations_answer_one_request() -> None:
    assert Counter((item.method, item.path) for item in ROWS).most_common(1)[0][1] == 1


@pytest.mark.parametrize("item", [item for item in ROWS if item.service], ids=lambda item: item.id)
def test_a_verb_takes_path_arguments_then_a_body_then_who_acts_then_keywords(item: Operation) -> None:
    parameters = list(inspect.signature(verb_of(item)).parameters.values())[1:]
    positional = [one.name for one in parameters if one.kind is not inspect.Parameter.KEYWORD_ONLY]
    keywords = {one.name for one in parameters if one.kind is inspect.Parameter.KEYWORD_ONLY}
    assert positional.index("acting") == len(positional) - 1 == len(item.path_arguments) + (item.body is not None)
    wanted = {"filter"} if item.filter is not None else set()
    wanted |= set(item.query.__struct_fields__) if item.query is not None else set()
    wanted |= {"version"} if item.conditional else set()
    wanted |= {item.paging.value, "limit"} if item.paging in (Paging.AFTER, Paging.BEFORE) else set()
    assert keywords - {"sources", "progress"} == wanted


def test_a_verb_is_found_by_its_service_and_name() -> None:
    assert operation_of("orders", "show").id == "order.show"
    with pytest.raises(KeyError):
        operation_of("orders", "forget")


def test_each_body_has_an_example_that_is_read() -> None:
    assert set(EXAMPLES) == {item.id for item in ROWS if item.body is not None}
    for name, example in EXAMPLES.items():
        item = OPERATIONS[name]
        if item.body is Document:
            assert read_tables(example).principals
        elif item.method == "PATCH":
            assert read_patch(example, item.body, item.new, {}).given()
        else:
            convert(example, item.body)


async def test_each_get_answers(desk: Desk) -> None:
    for item in ROWS:
        if item.method == "GET":
            answer = await desk.ask("GET", desk.path(item))
            assert answer.status_code == 200, (item.id, answer.text)
            assert answer.headers["cache-control"] == "no-store"
            assert answer.headers["content-type"].startswith(item.media)
            assert "set-cookie" not in answer.headers


def test_a_secret_is_encoded_only_where_the_operation_reveals() -> None:
    view = DirectoryView(Secret("the key"))
    assert encode(view, reveals=True) == b'{"directory_key":"the key"}'
    with pytest.raises(NotImplementedError):
        encode(view)
    assert {item.id for item in ROWS if item.reveals} == {
        "token.add",
        "token.eab",
        "token.eab_of",
        "token.directory",
        "apply",
    }
