"""Who may have which name: match rules, tags, and the scope of a token.

docs/vocabulary.md, "Scope"; docs/reliability.md 1.5.
"""

import time
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from acmehub.models import ManagedChallenge, Principal, Role, RoleAssignment, Token
from acmehub.models.identifiers import Identifier
from acmehub.models.problems import Problem, ProblemType
from acmehub.rules.scopes import MatchIndex, Pattern, Scope, decide, match_rule, opened_by, parse_rule
from tests.rules.samples import NOW, managed_challenge, principal, token

CONSUMER = Role.MANAGED_ACME_CONSUMER


def names_of(challenges: list[ManagedChallenge]) -> list[str]:
    return [item.name for item in challenges]


# --------------------------------------------------------------------------------------------------- match rules


@pytest.mark.parametrize(
    ("rule", "name", "matches"),
    [
        ("corp.test", "corp.test", True),
        ("corp.test", "CORP.Test", True),
        ("Corp.TEST", "corp.test", True),
        ("corp.test", "a.corp.test", False),
        ("corp.test", "*.corp.test", False),
        ("corp.test", "test", False),
        ("*.corp.test", "a.corp.test", True),
        ("*.corp.test", "b.a.corp.test", True),
        ("*.corp.test", "*.corp.test", True),
        ("*.corp.test", "*.a.corp.test", True),
        ("*.corp.test", "corp.test", False),
        ("*.corp.test", "evilcorp.test", False),
        ("*.corp.test", "a.evilcorp.test", False),
        ("*.corp.test", "corp.test.evil", False),
        ("*.a.corp.test", "*.corp.test", False),
        ("a.test, *.b.test", "x.b.test", True),
        ("a.test,*.b.test", "b.test", False),
        ("*.test", "a.test", True),
    ],
)
def test_a_rule_covers_what_the_vocabulary_says(rule: str, name: str, matches: bool) -> None:
    assert match_rule(rule).matches(name) is matches
    assert (MatchIndex([managed_challenge(rule)]).best(name) is not None) is matches


@pytest.mark.parametrize(
    ("rule", "part"),
    [
        ("", ""),
        ("a.test,", ""),
        (",a.test", ""),
        ("a.test b.test", "a.test b.test"),
        ("a.test, b_c.test", "b_c.test"),
        ("*", "*"),
        ("*.", "*."),
        ("a.*.test", "a.*.test"),
        ("*.*.test", "*.*.test"),
        ("a*.test", "a*.test"),
        ("a.test.", "a.test."),
        ("b\u00fccher.test", "b\\\\xfccher.test"),
        ("a" * 300, "aaa"),
    ],
)
def test_a_bad_rule_is_refused_and_the_bad_part_named(rule: str, part: str) -> None:
    with pytest.raises(ValueError, match="match rule, part '") as caught:
        parse_rule(rule)
    assert part.replace("\\\\", "\\") in str(caught.value)


def test_a_rule_is_written_as_it_is_kept() -> None:
    rule = match_rule(" *.B.test ,a.test,a.TEST")
    assert str(rule) == "*.b.test, a.test"
    assert match_rule(str(rule)) == rule
    assert rule.patterns == (Pattern(("test", "b"), below=True), Pattern(("test", "a")))


def test_rank_says_what_is_more_specific() -> None:
    ranked = sorted(parse_rule("*.test, *.a.b.test, b.test, *.b.test, c.a.b.test"), key=lambda item: item.rank)
    assert list(map(str, ranked)) == ["*.test", "*.b.test", "*.a.b.test", "b.test", "c.a.b.test"]


def test_the_most_specific_wins_then_the_longest_then_the_oldest() -> None:
    young = managed_challenge("*.corp.test", "young", created=NOW + timedelta(days=1))
    index = MatchIndex(
        [
            young,
            managed_challenge("*.test", "top"),
            managed_challenge("*.corp.test", "old"),
            managed_challenge("a.corp.test", "exact"),
            managed_challenge("*.a.corp.test", "deep"),
            managed_challenge("a.corp.test, *.corp.test", "off", enabled=False, created=NOW - timedelta(days=9)),
        ]
    )
    assert names_of(index.matching("a.corp.test")) == ["exact", "old", "young", "top"]
    assert names_of(index.matching("x.a.corp.test")) == ["deep", "old", "young", "top"]
    assert names_of(index.matching("*.corp.test")) == ["old", "young", "top"]
    assert index.best("corp.example") is None


def test_a_rule_that_cannot_be_read_is_an_error_of_the_index() -> None:
    with pytest.raises(ValueError, match="match rule"):
        MatchIndex([managed_challenge("a..b")])


LABEL = st.sampled_from(["a", "b", "aa", "ab", "test"])
NAME = st.lists(LABEL, min_size=1, max_size=4).map(".".join)
PATTERN = st.tuples(st.sampled_from(["", "*."]), NAME).map("".join)
RULES = st.lists(st.tuples(PATTERN, st.integers(0, 3), st.booleans()), max_size=12)


@settings(max_examples=300)
@given(RULES, st.tuples(st.sampled_from(["", "*."]), NAME).map("".join))
def test_the_index_agrees_with_a_naive_model(rules: list[tuple[str, int, bool]], name: str) -> None:
    rows = [
        managed_challenge(rule, str(number), id=f"{number:03}", created=NOW + timedelta(days=age), enabled=enabled)
        for number, (rule, age, enabled) in enumerate(rules)
    ]

    def covers(rule: str) -> bool:
        if rule.startswith("*."):
            return name.endswith(rule[1:])  # the dot stays: a whole label
        return name == rule

    naive = sorted(
        (row for row in rows if row.enabled and covers(row.match)),
        key=lambda row: (row.match.startswith("*."), -row.match.count("."), row.created, row.id),
    )
    assert names_of(MatchIndex(rows).matching(name)) == names_of(naive)


@given(st.text(max_size=80))
def test_any_text_is_a_rule_or_a_value_error(text: str) -> None:
    try:
        patterns = parse_rule(text)
    except ValueError:
        return
    assert parse_rule(", ".join(map(str, patterns))) == patterns


def test_ten_thousand_rules_are_as_quick_as_one() -> None:
    index = MatchIndex([managed_challenge(f"*.c{number}.corp.test") for number in range(10_000)])
    began = time.thread_time()
    for _ in range(1000):
        assert index.best("x.c9999.corp.test") is not None
    assert time.thread_time() - began < 0.5  # 20 us each, on a machine that is busy otherwise


# --------------------------------------------------------------------------------------------------------- scopes


def decided(
    *names: str,
    challenges: tuple[ManagedChallenge, ...] = (),
    by: Token | None = None,
    of: Principal | None = None,
    needs_challenge: bool = True,
) -> Scope:
    identifiers = [Identifier("dns", name) for name in names]
    index = MatchIndex(challenges)
    return decide(identifiers, by or token(), of or principal(), index, needs_challenge=needs_challenge)


def refusal(*names: str, **fields: Any) -> Problem:
    with pytest.raises(Problem) as caught:
        decided(*names, **fields)
    assert caught.value.detail.isascii()
    return caught.value


CORP = managed_challenge("corp.test, *.corp.test", "corp zone")
LAB = managed_challenge("*.lab.corp.test", "lab zone", tags=("lab", "test"))


def test_each_name_has_its_managed_challenge() -> None:
    scope = decided("corp.test", "*.Corp.test", "a.lab.corp.test", challenges=(CORP, LAB))
    assert scope.challenge_of("corp.test") is CORP
    assert scope.challenge_of("*.corp.test") is CORP
    assert scope.challenge_of("*.CORP.test") is CORP
    assert scope.challenge_of("a.lab.corp.test") is LAB
    assert scope.challenge_of("other.test") is None


def test_each_name_outside_has_a_subproblem_that_says_which_rule_would_be_needed() -> None:
    problem = refusal("a.corp.test", "x.evilcorp.test", "*.evil.test", "test", challenges=(CORP,))
    assert problem.type is ProblemType.REJECTED_IDENTIFIER
    assert problem.detail == "3 of 4 names are outside the scope of this API token"
    assert [(part.identifier and part.identifier.value, part.detail) for part in problem.subproblems] == [
        (
            "x.evilcorp.test",
            "x.evilcorp.test: no managed challenge covers it; "
            "a rule with x.evilcorp.test or *.evilcorp.test would be needed",
        ),
        ("*.evil.test", "*.evil.test: no managed challenge covers it; a rule with *.evil.test would be needed"),
        ("test", "test: no managed challenge covers it; a rule with test would be needed"),
    ]


def test_the_names_of_a_token_narrow_further() -> None:
    narrowed = token(names="*.lab.corp.test")
    assert decided("a.lab.corp.test", by=narrowed, challenges=(CORP,)).challenge_of("a.lab.corp.test") is CORP
    problem = refusal("a.corp.test", by=narrowed, challenges=(CORP,))
    assert "outside the names of this API token (*.lab.corp.test)" in problem.detail


def test_the_names_of_a_token_are_not_enough_where_a_challenge_is_needed() -> None:
    assert "no managed challenge" in refusal("a.test", by=token(names="a.test")).detail


def test_an_authority_without_challenges_needs_the_scope_only() -> None:
    scope = decided("a.test", by=token(names="*.test"), needs_challenge=False)
    assert scope.challenge_of("a.test") is None
    assert "outside the names" in refusal("b.example", by=token(names="*.test"), needs_challenge=False).detail


def test_without_names_the_managed_challenges_are_the_scope_for_every_authority() -> None:
    assert decided("a.corp.test", challenges=(CORP,), needs_challenge=False).challenge_of("a.corp.test") is CORP
    assert refusal("a.test", challenges=(CORP,), needs_challenge=False).type is ProblemType.REJECTED_IDENTIFIER


@pytest.mark.parametrize("needs_challenge", [True, False])
@pytest.mark.parametrize(
    ("by", "of"),
    [
        (token(scope=(Role.OPERATOR,)), principal(CONSUMER, Role.OPERATOR)),
        (token(scope=()), principal()),
        (token(), principal(Role.ADMINISTRATOR)),
        (token(), principal(Role.MANAGED_CHALLENGE_CONSUMER)),
    ],
)
def test_token_and_principal_both_need_the_role(by: Token, of: Principal, needs_challenge: bool) -> None:
    problem = refusal("corp.test", by=by, of=of, challenges=(CORP,), needs_challenge=needs_challenge)
    assert problem.type is ProblemType.UNAUTHORIZED
    assert "managed_acme_consumer" in problem.detail


def test_tags_of_the_role_narrow_which_managed_challenges_may_be_used() -> None:
    lab_only = principal(RoleAssignment(CONSUMER, ("lab",)))
    assert decided("a.lab.corp.test", of=lab_only, challenges=(CORP, LAB)).challenge_of("a.lab.corp.test") is LAB
    problem = refusal("a.corp.test", of=lab_only, challenges=(CORP, LAB))
    assert "not open to 'firewall-01'" in problem.detail


def test_several_assignments_of_the_role_add_up() -> None:
    both = principal(RoleAssignment(CONSUMER, ("x",)), RoleAssignment(CONSUMER, ("test",)))
    assert decided("a.lab.corp.test", of=both, challenges=(LAB,)).challenge_of("a.lab.corp.test") is LAB


def test_the_best_of_those_that_are_open_serves_a_name() -> None:
    wide = managed_challenge("*.corp.test", "wide", tags=("office",))
    office = principal(RoleAssignment(CONSUMER, ("office",)))
    assert decided("a.lab.corp.test", of=office, challenges=(wide, LAB)).challenge_of("a.lab.corp.test") is wide


@pytest.mark.parametrize(
    ("tags", "assigned", "opened"),
    [
        ((), ((),), True),
        (("a",), ((),), True),
        ((), (("a",),), False),
        (("a", "b"), (("b", "c"),), True),
        ((), (), False),
    ],
)
def test_an_assignment_without_tags_opens_all(
    tags: tuple[str, ...], assigned: tuple[tuple[str, ...], ...], opened: bool
) -> None:
    challenge = managed_challenge("a.test", tags=tags)
    assert opened_by(challenge, [RoleAssignment(CONSUMER, one) for one in assigned]) is opened


def test_a_disabled_managed_challenge_opens_nothing() -> None:
    off = managed_challenge("corp.test", enabled=False)
    assert "no managed challenge covers it" in refusal("corp.test", challenges=(off,)).detail


def test_a_domain_rule_of_a_role_narrows_the_names_that_it_is_for() -> None:
    ruled = principal(RoleAssignment(CONSUMER, (), "*.lab.corp.test"), RoleAssignment(CONSUMER, ("office",)))
    lab = managed_challenge("*.lab.corp.test", tags=("lab",))
    office = managed_challenge("*.office.corp.test", tags=("office",))
    other = managed_challenge("*.other.corp.test")
    challenges = (lab, office, other)
    assert decided("a.lab.corp.test", of=ruled, challenges=challenges).challenge_of("a.lab.corp.test") is lab
    assert decided("a.office.corp.test", of=ruled, challenges=challenges).challenge_of("a.office.corp.test") is office
    assert "not open to" in refusal("a.other.corp.test", of=ruled, challenges=challenges).detail
    only = principal(RoleAssignment(CONSUMER, (), "*.lab.corp.test"))
    refused = refusal("a.lab.corp.test", "a.other.corp.test", of=only, challenges=challenges)
    assert [part.detail for part in refused.subproblems] == [
        "a.other.corp.test: outside the domain rules of its principal's role (*.lab.corp.test)"
    ]


def test_a_domain_rule_of_a_role_holds_where_no_challenge_is_needed_and_beside_the_names_of_the_token() -> None:
    only = principal(RoleAssignment(CONSUMER, (), "*.lab.corp.test"))
    narrow = token(names="*.corp.test, 10.0.0.0/8")
    decided("a.lab.corp.test", by=narrow, of=only, needs_challenge=False)
    assert "outside the domain rules" in refusal("a.corp.test", by=narrow, of=only, needs_challenge=False).detail
    assert "outside the names" in refusal("a.lab.corp.test", by=token(names="b.test"), of=only).detail
