"""A member of a CA's document that is null, empty or of another type is absent; only needed ones are missed."""

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from acmehub import UpstreamRefused, UpstreamUnavailable
from acmehub.models.text import escape_controls
from acmehub.upstream.members import decode
from tests.upstream.scripted_ca import PROBLEM, REMOVED, VERBS, Failed, Path_, ScriptedCa, changed, documents, members

DOCUMENTS = documents(ScriptedCa.base)
CASES = [(name, at) for name, document in DOCUMENTS.items() for at in members(document)]
EMPTY: dict[type, list[object]] = {  # and of another type, by the type of the member
    str: [None, "", "  ", 7, 7.5, True, [], [7], {}, {"a": 1}],
    int: [None, "", "x", [], {}, True, 7.5],
    bool: [None, "", "yes", 7, [], {}],
    list: [None, "", "x", 7, True, {}, {"a": 1}, [], [None, "", 7, [], {}]],
    dict: [None, "", "x", 7, True, [], [{}], {}],
}
NEEDED = {
    ("directory", "newNonce"),
    ("directory", "newAccount"),
    ("directory", "newOrder"),
    ("order", "status"),
    ("authorization", "identifier"),
    ("authorization", "identifier", "value"),
    ("authorization", "status"),
    ("authorization", "challenges", 0, "token"),
    ("challenge", "status"),
    ("renewalInfo", "suggestedWindow"),
    ("renewalInfo", "suggestedWindow", "start"),
    ("renewalInfo", "suggestedWindow", "end"),
    ("headers", "Location"),
    ("headers", "Replay-Nonce"),
}


@pytest.fixture(scope="module")
def scripted() -> ScriptedCa:
    return ScriptedCa()


@pytest.fixture
def ca(scripted: ScriptedCa) -> ScriptedCa:
    scripted.reset()
    return scripted


def member(document: Any, at: Path_) -> Any:
    for name in at:
        document = document[name]
    return document


def outcome(ca: ScriptedCa, document: str, at: Path_, value: object) -> object:
    ca.reset()
    if document == "headers":
        ca.header = changed(ca.header, at, value)
    else:
        ca.document[document] = changed(ca.document[document], at, value)
    return ca.outcome(VERBS[document])


@pytest.mark.parametrize(
    ("document", "at"), CASES, ids=lambda item: item if isinstance(item, str) else ".".join(map(str, item))
)
def test_a_member_that_is_null_empty_or_of_another_type_is_absent(ca: ScriptedCa, document: str, at: Path_) -> None:
    given = member(documents(ca.base)[document], at)
    values = ["", "  "] if document == "headers" else EMPTY[type(given)]
    absent = outcome(ca, document, at, REMOVED)
    whole = outcome(ca, document, at, given)
    assert (absent == Failed(UpstreamUnavailable, None)) == ((document, *at) in NEEDED), absent
    if document == "problem" and at not in (("type",), ("detail",)):
        assert isinstance(absent, Failed)
        assert absent.problem is not None
        assert (absent.problem.type, absent.problem.detail) == (PROBLEM["type"], PROBLEM["detail"]), (
            "type and detail survive"
        )
    assert isinstance(whole, Failed) == (document == "problem"), whole
    if at[-2:-1] == ("profiles",):
        absent = whole  # a profile is offered, whatever is said of it
    for value in values:
        assert outcome(ca, document, at, value) == absent, f"{value!r} is not as good as absent"


@pytest.mark.parametrize(
    ("document", "at"), [case for case in CASES if isinstance(member(DOCUMENTS[case[0]], case[1]), list)]
)
def test_items_that_are_null_empty_or_of_another_type_are_left_out(ca: ScriptedCa, document: str, at: Path_) -> None:
    given = member(ca.document[document], at)
    whole = outcome(ca, document, at, given)
    assert outcome(ca, document, at, [None, "", 7, *given, [], {}, True]) == whole


def test_a_final_refusal_with_null_subproblems_stays_a_refusal_in_its_words(ca: ScriptedCa) -> None:
    ca.document["problem"] = {**PROBLEM, "subproblems": None, "status": "403"}
    with pytest.raises(UpstreamRefused, match="this CSR is bad") as caught:
        ca.run("refused")
    assert (caught.value.problem.type, caught.value.problem.status) == (PROBLEM["type"], 403)


TEXT = st.text(max_size=8) | st.sampled_from(
    ["\ud800", "a\x00b", "\u202e\x9b31m", "9" * 5000, "0001-01-01T00:00:00+23:59"]
)
ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXT | st.just(10**4000),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)
HEADER = st.text(
    st.characters(min_codepoint=32, max_codepoint=255, exclude_characters="\x7f"), max_size=20
) | st.sampled_from(
    [
        "99999999999999999999",
        "Mon, 01 Jan 99999 00:00:00 GMT",
        "Fri, 31 Dec 9999 23:59:59 -2359",
        "Mon, 01 Jan 0001 00:00:00 +2359",
    ]
)


@given(st.sampled_from(CASES), ANY, HEADER)
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_value_of_any_member_makes_an_error_that_is_not_foreseen(
    scripted: ScriptedCa, case: tuple[str, Path_], value: object, header: str
) -> None:
    document, at = case
    seen = outcome(scripted, document, at, header if document == "headers" else value)
    for text in strings(seen):
        assert escape_controls(text).encode().decode() == text or "BEGIN CERTIFICATE" in text, repr(text)


def strings(value: Any) -> Iterator[str]:
    """All texts in an outcome."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, tuple | list):
        for item in value:
            yield from strings(item)
    elif hasattr(value, "__struct_fields__"):
        for name in value.__struct_fields__:
            yield from strings(getattr(value, name))


@pytest.mark.parametrize("body", [b"[" * 500_000, b'{"status":' * 50_000, b'{"status": ' + b"9" * 100_000 + b"}"])
def test_a_document_that_cannot_be_decoded_is_none(body: bytes) -> None:
    assert decode(body) is None
