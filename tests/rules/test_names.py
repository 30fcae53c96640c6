"""Which names may stand in an order at all: docs/reliability.md section 5, "Identifiers"."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from acmehub.models.identifiers import Identifier
from acmehub.models.problems import Problem, ProblemType
from acmehub.rules.names import MAX_IDENTIFIERS, check_identifiers, is_public_suffix, name_flaw

LONG_LABEL = "a" * 63
LONGEST = ".".join(["a" * 49] * 5 + ["abc"])


def dns(*names: str) -> list[Identifier]:
    return [Identifier("dns", name) for name in names]


@pytest.mark.parametrize(
    "name",
    [
        "a.test",
        "A.Corp.TEST",
        "printer",
        "1.2.3.test",
        "3com.test",
        "ab-cd--ef.test",
        f"{LONG_LABEL}.test",
        LONGEST,
        "*.corp.test",
        "*.github.io",
        "xn--bcher-kva.test",
        "XN--BCHER-KVA.test",
        "*.xn--bcher-kva.test",
        "xn--fiqs8s",
    ],
)
def test_names_that_can_be_ordered(name: str) -> None:
    assert name_flaw(name) is None
    check_identifiers(dns(name))


@pytest.mark.parametrize(
    ("name", "type", "word"),
    [
        ("", ProblemType.MALFORMED, "empty"),
        (".", ProblemType.MALFORMED, "empty label"),
        ("a.test.", ProblemType.MALFORMED, "empty label"),
        (".a.test", ProblemType.MALFORMED, "empty label"),
        ("a..test", ProblemType.MALFORMED, "empty label"),
        (f"a{LONG_LABEL}.test", ProblemType.MALFORMED, "63"),
        (f"a{LONGEST}", ProblemType.MALFORMED, "253"),
        (f"*.{LONGEST}", ProblemType.MALFORMED, "253"),
        ("-a.test", ProblemType.MALFORMED, "letters, digits"),
        ("a-.test", ProblemType.MALFORMED, "letters, digits"),
        ("a_b.test", ProblemType.MALFORMED, "letters, digits"),
        ("a b.test", ProblemType.MALFORMED, "letters, digits"),
        ("a.test\n", ProblemType.MALFORMED, "letters, digits"),
        ("a\0.test", ProblemType.MALFORMED, "letters, digits"),
        ("a/b.test", ProblemType.MALFORMED, "letters, digits"),
        ("b\u00fccher.test", ProblemType.MALFORMED, "A-labels"),
        ("\u212a.test", ProblemType.MALFORMED, "A-labels"),
        ("\uff41.test", ProblemType.MALFORMED, "A-labels"),
        ("xn--zzzzzz.test", ProblemType.MALFORMED, "A-label"),
        ("xn--a.test", ProblemType.MALFORMED, "A-label"),
        ("xn--.test", ProblemType.MALFORMED, "letters, digits"),
        ("ab--cd.test", ProblemType.MALFORMED, "A-label"),
        ("*", ProblemType.MALFORMED, "whole first label"),
        ("*.", ProblemType.MALFORMED, "empty"),
        ("*.*.test", ProblemType.MALFORMED, "whole first label"),
        ("a.*.test", ProblemType.MALFORMED, "whole first label"),
        ("a*.corp.test", ProblemType.MALFORMED, "whole first label"),
        ("192.0.2.1", ProblemType.REJECTED_IDENTIFIER, "IP address"),
        ("0x7f.1", ProblemType.REJECTED_IDENTIFIER, "IP address"),
        ("1.0x7F", ProblemType.REJECTED_IDENTIFIER, "IP address"),
        ("2130706433", ProblemType.REJECTED_IDENTIFIER, "IP address"),
        ("*.0.2.1", ProblemType.REJECTED_IDENTIFIER, "IP address"),
        ("::1", ProblemType.MALFORMED, "letters, digits"),
        ("[::1]", ProblemType.MALFORMED, "letters, digits"),
        ("*.com", ProblemType.REJECTED_IDENTIFIER, "public suffix"),
        ("*.CO.uk", ProblemType.REJECTED_IDENTIFIER, "public suffix"),
        ("*.test", ProblemType.REJECTED_IDENTIFIER, "public suffix"),
        ("*.xn--fiqs8s", ProblemType.REJECTED_IDENTIFIER, "public suffix"),
    ],
)
def test_names_that_cannot_be_ordered_say_why(name: str, type: ProblemType, word: str) -> None:
    with pytest.raises(Problem) as caught:
        check_identifiers(dns(name))
    assert caught.value.type is type
    assert word in caught.value.detail
    assert caught.value.detail.isascii()
    assert caught.value.subproblems[0].identifier == Identifier("dns", name)


@pytest.mark.parametrize("kind", ["IP", "DNS", "", "email", "\u00e9" * 100])
def test_other_types_are_unsupported(kind: str) -> None:
    with pytest.raises(Problem) as caught:
        check_identifiers([Identifier(kind, "192.0.2.1")])
    assert caught.value.type is ProblemType.UNSUPPORTED_IDENTIFIER
    assert caught.value.detail.isascii()


def test_each_bad_name_has_its_subproblem() -> None:
    with pytest.raises(Problem) as caught:
        check_identifiers([*dns("a.test", "a_b.test", "*.com"), Identifier("mail", "a@b.test")])
    assert caught.value.type is ProblemType.COMPOUND
    assert [part.type.rpartition(":")[2] for part in caught.value.subproblems] == [
        "malformed",
        "rejectedIdentifier",
        "unsupportedIdentifier",
    ]
    assert caught.value.detail == "3 of 4 identifiers cannot be ordered"


def test_an_order_has_one_to_a_hundred_identifiers() -> None:
    check_identifiers(dns(*(f"n{i}.test" for i in range(MAX_IDENTIFIERS))))
    for names in ([], [f"n{i}.test" for i in range(MAX_IDENTIFIERS + 1)]):
        with pytest.raises(Problem) as caught:
            check_identifiers(dns(*names))
        assert caught.value.type is ProblemType.MALFORMED


def test_public_suffixes_are_those_of_registries_not_of_companies() -> None:
    assert is_public_suffix("co.uk")
    assert is_public_suffix("a.kawasaki.jp")
    assert not is_public_suffix("city.kawasaki.jp")
    assert not is_public_suffix("github.io")


@given(st.text(max_size=300))
def test_any_text_is_a_problem_or_a_name_and_nothing_else(name: str) -> None:
    began = time.thread_time()
    flaw = name_flaw(name)
    if flaw is None:
        assert name.isascii()
        assert len(name) <= 253
        assert all(0 < len(label) <= 63 for label in name.split("."))
    else:
        assert flaw.detail.isascii()
    assert time.thread_time() - began < 0.5


@given(st.from_regex(r"(\*\.)?(xn--)?[a-z0-9-]{1,59}(\.[a-z]{2,6}){1,3}", fullmatch=True))
def test_names_that_look_right_never_raise(name: str) -> None:
    name_flaw(name)
