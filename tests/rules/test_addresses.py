"""Addresses as identifiers (RFC 8738): text, scope, certificate requests and certificates."""

import ipaddress
from typing import Any

import pytest
from cryptography import x509
from hypothesis import given
from hypothesis import strategies as st

from acmehub.models.identifiers import Identifier, identifier_of, is_address, name_set
from acmehub.models.problems import Problem, ProblemType
from acmehub.rules.chains import ChainMismatch, check_leaf
from acmehub.rules.csr import CheckedCsr, check_csr
from acmehub.rules.names import address_flaw, check_identifiers, name_flaw
from acmehub.rules.scopes import Addresses, MatchIndex, Scope, decide, match_rule, parse_rule
from tests.rules.certificates import ca_certificate, leaf_certificate, pem, request
from tests.rules.samples import NOW, managed_challenge, principal, token

FOUR, SIX = "192.0.2.1", "2001:db8::1"


def ip(*addresses: str) -> list[Identifier]:
    return [Identifier("ip", item) for item in addresses]


def san(*names: str) -> x509.SubjectAlternativeName:
    return x509.SubjectAlternativeName(
        [x509.IPAddress(ipaddress.ip_address(item)) if is_address(item) else x509.DNSName(item) for item in names]
    )


# ---------------------------------------------------------------------------------------------------------- text


@pytest.mark.parametrize(
    "text", [FOUR, SIX, "10.0.0.1", "127.0.0.1", "::1", "fd00::1", "2001:db8:0:1:1:1:1:1", "2001:db8::1:0:0:1"]
)
def test_addresses_in_their_one_text_can_be_ordered(text: str) -> None:
    assert address_flaw(text) is None
    check_identifiers(ip(text))


@pytest.mark.parametrize(
    ("text", "type", "word"),
    [
        ("", ProblemType.MALFORMED, "not an IP address"),
        ("a.test", ProblemType.MALFORMED, "not an IP address"),
        ("192.0.2", ProblemType.MALFORMED, "not an IP address"),
        ("192.0.2.01", ProblemType.MALFORMED, "not an IP address"),
        ("192.0.2.256", ProblemType.MALFORMED, "not an IP address"),
        ("0xc0000201", ProblemType.MALFORMED, "not an IP address"),
        ("192.0.2.1 ", ProblemType.MALFORMED, "not an IP address"),
        ("192.0.2.0/24", ProblemType.MALFORMED, "no network"),
        ("*.0.2.1", ProblemType.MALFORMED, "not an IP address"),
        ("\u0661.0.2.1", ProblemType.MALFORMED, "not an IP address"),
        ("[2001:db8::1]", ProblemType.MALFORMED, "not an IP address"),
        ("fe80::1%eth0", ProblemType.MALFORMED, "zone"),
        ("2001:DB8::1", ProblemType.MALFORMED, "write it as 2001:db8::1"),
        ("2001:db8:0:0:0:0:0:1", ProblemType.MALFORMED, "write it as 2001:db8::1"),
        ("2001:0db8::1", ProblemType.MALFORMED, "write it as 2001:db8::1"),
        ("2001:db8::0:1", ProblemType.MALFORMED, "write it as 2001:db8::1"),
        ("2001:db8::1:1:1:1:1", ProblemType.MALFORMED, "write it as 2001:db8:0:1:1:1:1:1"),
        ("::ffff:192.0.2.1", ProblemType.REJECTED_IDENTIFIER, "192.0.2.1 instead"),
        ("::ffff:c000:201", ProblemType.REJECTED_IDENTIFIER, "192.0.2.1 instead"),
        ("0.0.0.0", ProblemType.REJECTED_IDENTIFIER, "no host"),
        ("::", ProblemType.REJECTED_IDENTIFIER, "no host"),
        ("224.0.0.1", ProblemType.REJECTED_IDENTIFIER, "no host"),
        ("ff02::1", ProblemType.REJECTED_IDENTIFIER, "no host"),
        ("255.255.255.255", ProblemType.REJECTED_IDENTIFIER, "no host"),
    ],
)
def test_other_texts_are_refused_with_what_would_be_right(text: str, type: ProblemType, word: str) -> None:
    with pytest.raises(Problem) as caught:
        check_identifiers(ip(text))
    assert caught.value.type is type
    assert word in caught.value.detail
    assert caught.value.detail.isascii()
    assert caught.value.subproblems[0].identifier == Identifier("ip", text)


@given(st.ip_addresses())
def test_each_address_has_exactly_one_text(address: Any) -> None:
    text = str(address)
    flaw = address_flaw(text)
    assert flaw is None or flaw.type is ProblemType.REJECTED_IDENTIFIER
    assert is_address(text)
    assert name_flaw(text) is not None
    other = address.exploded.upper()
    assert other == text or address_flaw(other) is not None


@given(st.text(alphabet="0123456789abcdefABCDEF:.%/x ", max_size=45))
def test_no_text_is_taken_that_would_change_on_its_way_into_a_certificate(text: str) -> None:
    if address_flaw(text) is None:
        assert san(text).get_values_for_type(x509.IPAddress) == [ipaddress.ip_address(text)]
        assert str(ipaddress.ip_address(text)) == text


@given(st.from_regex(r"[a-z0-9*.-]{1,30}", fullmatch=True))
def test_no_name_that_can_be_ordered_looks_like_an_address(name: str) -> None:
    if name_flaw(name) is None:
        assert not is_address(name)
        assert identifier_of(name) == Identifier("dns", name)


def test_sets_of_names_and_of_addresses_are_never_equal() -> None:
    assert name_set(tuple(ip(FOUR))) != name_set((Identifier("dns", FOUR),))
    assert name_set((*ip(SIX), Identifier("dns", "B.test"))) == name_set((Identifier("dns", "b.test"), *ip(SIX)))
    assert name_set((Identifier("dns", "a.test"),)) == "a.test"  # as it was stored before there were addresses


# --------------------------------------------------------------------------------------------------------- scope


@pytest.mark.parametrize(
    ("rule", "name", "matches"),
    [
        (FOUR, FOUR, True),
        (FOUR, "192.0.2.2", False),
        ("10.0.0.0/8", "10.255.1.2", True),
        ("10.0.0.0/8", "11.0.0.1", False),
        ("10.0.0.0/8", SIX, False),
        ("2001:db8::/32", SIX, True),
        ("2001:DB8::/32", "2001:db8:ffff::1", True),
        ("2001:db8::/32", "2001:db9::1", False),
        ("a.test, 10.0.0.0/8", "10.0.0.1", True),
        ("a.test, 10.0.0.0/8", "a.test", True),
        ("a.test", "10.0.0.1", False),
        ("*.test", FOUR, False),
        ("0.0.0.0/0", "a.test", False),
        ("0.0.0.0/0", "*.a.test", False),
    ],
)
def test_a_rule_covers_addresses_by_networks_alone(rule: str, name: str, matches: bool) -> None:
    assert match_rule(rule).matches(name) is matches


def test_labels_that_are_numbers_cover_no_address() -> None:
    index = MatchIndex([managed_challenge("*.test")])
    index._below[("1",)] = [managed_challenge("*.test")]  # what no rule can say any more
    assert index.matching("10.0.0.1") == []


@pytest.mark.parametrize(
    "rule", ["10.0.0.1/8", "10.0.0.0/33", "10.0.0.0/", "10.0.0.0/255.0.0.0", "*.0.0.1", "fe80::1%eth0", "::1/x", "1"]
)
def test_bad_networks_are_refused_and_named(rule: str) -> None:
    with pytest.raises(ValueError, match=r"match rule, part '") as caught:
        parse_rule(f"a.test, {rule}")
    assert rule in str(caught.value)


def test_a_rule_with_networks_is_written_as_it_is_kept() -> None:
    rule = match_rule("2001:DB8:0::/32,10.0.0.0/8 , 192.0.2.1/32,A.test")
    assert str(rule) == "2001:db8::/32, 10.0.0.0/8, 192.0.2.1, a.test"
    assert match_rule(str(rule)) == rule
    assert [part.example for part in rule.patterns if isinstance(part, Addresses)] == [
        ipaddress.ip_address(text) for text in ("2001:db8::1", "10.0.0.1", "192.0.2.1")
    ]


def scope(names: str, *identifiers: Identifier, needs_challenge: bool = False) -> Scope:
    index = MatchIndex([managed_challenge("corp.test, *.corp.test")])
    return decide(identifiers, token(names=names), principal(), index, needs_challenge=needs_challenge)


def test_an_address_is_in_scope_where_the_names_of_the_token_have_it() -> None:
    assert scope("10.0.0.0/8, *.corp.test", *ip("10.0.0.1"), Identifier("dns", "a.corp.test")).challenges == {}


@pytest.mark.parametrize(
    ("names", "needs_challenge", "word"),
    [
        ("10.0.0.0/8", False, "outside the names"),
        ("*.corp.test", False, "outside the names"),
        ("", False, "names of the API token"),
        ("192.0.2.0/24", True, "dns-01, which cannot prove an address"),
    ],
)
def test_an_address_out_of_scope_is_refused_with_what_would_be_needed(
    names: str, needs_challenge: bool, word: str
) -> None:
    with pytest.raises(Problem) as caught:
        scope(names, *ip(FOUR), needs_challenge=needs_challenge)
    assert caught.value.type is ProblemType.REJECTED_IDENTIFIER
    assert word in caught.value.detail


# ------------------------------------------------------------------------------------- requests and certificates


def checked(der: bytes, *identifiers: Identifier) -> CheckedCsr:
    return check_csr(der, identifiers, b"")


@pytest.mark.parametrize("cn", [(), (FOUR,)])
def test_a_request_for_addresses_and_names_fits_its_order(cn: tuple[str, ...]) -> None:
    der = request(cn=cn, extensions=[(san(FOUR, SIX, "a.test"), False)])
    assert checked(der, *ip(FOUR, SIX), Identifier("dns", "a.test")).names == (FOUR, SIX, "a.test")


@pytest.mark.parametrize(
    ("der", "word"),
    [
        (request(extensions=[(san(SIX), False)]), f"asks for {SIX}, which the order has not and lacks {FOUR}"),
        (request(extensions=[(san(FOUR, SIX), False)]), f"asks for {SIX}"),
        (request(FOUR), f"asks for {FOUR} as a DNS name"),
        (request(cn=[FOUR]), f"asks for {FOUR} as a DNS name"),
        (
            request(extensions=[(x509.SubjectAlternativeName([x509.DNSName(FOUR), *san(FOUR)]), False)]),
            f"asks for {FOUR} as a DNS name",
        ),
        (request(cn=[SIX], extensions=[(san(FOUR), False)]), f"asks for {SIX} as a DNS name"),
        (request("a.test"), f"asks for a.test, which the order has not and lacks {FOUR}"),
    ],
)
def test_a_request_for_anything_else_than_the_address_is_refused(der: bytes, word: str) -> None:
    with pytest.raises(Problem) as caught:
        checked(der, *ip(FOUR))
    assert caught.value.type is ProblemType.BAD_CSR
    assert word in caught.value.detail


def test_an_address_in_the_request_is_no_name_of_an_order_for_names() -> None:
    with pytest.raises(Problem, match=FOUR):
        checked(request("a.test", cn=["a.test"], extensions=[]), Identifier("dns", "a.test"), *ip(FOUR))
    both = request(extensions=[(san("a.test", FOUR), False)])
    with pytest.raises(Problem, match=f"asks for {FOUR}"):
        checked(both, Identifier("dns", "a.test"))


def leaf_of(*extensions: x509.ExtensionType, cn: tuple[str, ...] = ()) -> str:
    return pem(leaf_certificate(extensions=list(extensions), cn=cn), ca_certificate())


def test_a_certificate_for_the_address_is_taken() -> None:
    der = request(extensions=[(san(FOUR, "a.test"), False)])
    wanted = [*ip(FOUR), Identifier("dns", "a.test")]
    for cn in ((), (FOUR,), ("a.test",)):
        assert check_leaf(leaf_of(san(FOUR, "a.test"), cn=cn), der, wanted, NOW).names == (FOUR, "a.test")


@pytest.mark.parametrize(
    ("chain", "word"),
    [
        (leaf_of(x509.SubjectAlternativeName([x509.DNSName(FOUR)])), "mixed up"),
        (leaf_of(cn=(FOUR,)), "mixed up"),
        (leaf_of(san(FOUR, SIX)), SIX),
        (leaf_of(san("192.0.2.2")), "192.0.2.2"),
    ],
)
def test_a_certificate_for_anything_else_is_refused(chain: str, word: str) -> None:
    der = request(extensions=[(san(FOUR), False)])
    with pytest.raises(ChainMismatch, match=word):
        check_leaf(chain, der, ip(FOUR), NOW)


@pytest.mark.parametrize("name", ["10.0.0.999", "10.1", "::g", "host.123"])
def test_what_only_looks_like_an_address_is_covered_by_no_network(name: str) -> None:
    assert not match_rule("0.0.0.0/0, ::/0").matches(name)


def test_a_managed_challenge_never_serves_an_address_whatever_its_rule_says() -> None:
    """Services refuse such a rule; one that stands in the storage all the same must not be taken for a name."""
    index = MatchIndex([managed_challenge("10.0.0.0/8, corp.test")])
    assert index.best("10.0.0.1") is None
    assert index.best("corp.test") is not None
