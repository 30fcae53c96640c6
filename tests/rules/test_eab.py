"""External account binding and the states of a token: RFC 8555 section 7.3.4, docs/client-rules.md rule 26."""

import hmac
import itertools
import json
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from acmehub.models import AccountStatus, Principal, Role, RoleAssignment, Token, TokenState
from acmehub.models.problems import Problem, ProblemType
from acmehub.rules.eab import (
    HMAC_KEY_BYTES,
    TOKEN_MOVES,
    TokenMove,
    eab_text,
    new_hmac_key,
    parse_binding,
    require_active,
    token_state,
    use_token,
    verify_binding,
)
from acmehub.rules.jws import canonical_jwk, decode_base64url, encode_base64url
from tests.rules.samples import (
    ACCOUNT_URL,
    NOW,
    actor,
    bound,
    ec_key,
    flattened,
    principal,
    public_jwk,
    rsa_key,
    token,
)

JWK = canonical_jwk(public_jwk(ec_key()))
KEY = b"k" * 32
LATER = NOW + timedelta(days=1)
HERE = "192.0.2.1"


def payload(**change: Any) -> bytes:
    return json.dumps(public_jwk(ec_key()) | change).encode()


def refusal(raw: bytes, key: bytes | None = KEY) -> Problem:
    with pytest.raises(Problem) as caught:
        verify_binding(parse_binding(raw, account_jwk=JWK, new_account_url=ACCOUNT_URL), key)
    assert caught.value.detail.isascii()
    return caught.value


# -------------------------------------------------------------------------------------------------- the binding


@pytest.mark.parametrize("algorithm", ["HS256", "HS384", "HS512"])
@pytest.mark.parametrize("length", [1, 16, 32, 48, 64, 200])
def test_each_hmac_algorithm_works_with_a_key_of_any_length(algorithm: str, length: int) -> None:
    key = bytes(range(length))
    raw = bound(key, payload(), algorithm=algorithm)
    binding = parse_binding(raw, account_jwk=JWK, new_account_url=ACCOUNT_URL)
    assert (binding.kid, binding.alg) == ("token1", algorithm)
    verify_binding(binding, key)


def test_the_key_in_the_binding_is_compared_by_its_meaning_not_by_its_text() -> None:
    spaced = json.dumps({"alg": "ES256", **public_jwk(ec_key())}, indent=2).encode()
    verify_binding(parse_binding(bound(KEY, spaced), account_jwk=JWK, new_account_url=ACCOUNT_URL), KEY)


def test_an_unknown_key_id_and_a_wrong_mac_get_the_same_answer() -> None:
    wrong, unknown = refusal(bound(b"other", payload())), refusal(bound(KEY, payload()), None)
    assert wrong.document() == unknown.document()
    assert wrong.type is ProblemType.UNAUTHORIZED


def test_an_empty_mac_and_an_empty_key_do_not_fit_each_other() -> None:
    raw = flattened(json.dumps({"alg": "HS256", "kid": "token1", "url": ACCOUNT_URL}), payload(), lambda _: b"")
    assert refusal(raw).type is ProblemType.UNAUTHORIZED


@pytest.mark.parametrize("change", [lambda mac: mac[:-1], lambda mac: mac + b"\0", lambda mac: mac[:16], lambda _: b""])
def test_a_mac_that_is_cut_or_prolonged_is_refused(change: Callable[[bytes], bytes]) -> None:
    text = json.dumps({"alg": "HS256", "kid": "token1", "url": ACCOUNT_URL})
    raw = flattened(text, payload(), lambda clear: change(hmac.new(KEY, clear, "sha256").digest()))
    assert refusal(raw).type is ProblemType.UNAUTHORIZED


def test_a_binding_for_another_account_key_is_refused() -> None:
    for other in (ec_key("ES256", 1), rsa_key()):
        problem = refusal(bound(KEY, json.dumps(public_jwk(other)).encode()))
        assert problem.type is ProblemType.MALFORMED
        assert "not the key that signs" in problem.detail


@pytest.mark.parametrize("url", ["", "http://hub.test/acme/new-account", ACCOUNT_URL + "/", ACCOUNT_URL.upper()])
def test_a_binding_for_another_url_is_refused(url: str) -> None:
    assert "'url'" in refusal(bound(KEY, payload(), url=url)).detail


@pytest.mark.parametrize("algorithm", ["none", "ES256", "RS256", "hs256", "HS1", ""])
def test_other_algorithms_are_refused_with_the_list_of_those_taken(algorithm: str) -> None:
    problem = refusal(bound(KEY, payload(), algorithm=algorithm))
    assert problem.type is ProblemType.BAD_SIGNATURE_ALGORITHM
    assert problem.algorithms == ("HS256", "HS384", "HS512")


@pytest.mark.parametrize("member", ["nonce", "jwk"])
def test_a_header_with_nonce_or_jwk_is_refused(member: str) -> None:
    assert refusal(bound(KEY, payload(), **{member: "AAAA"})).type is ProblemType.MALFORMED


@pytest.mark.parametrize("member", ["alg", "kid", "url"])
def test_a_header_without_algorithm_key_id_or_url_is_refused(member: str) -> None:
    header = {"alg": "HS256", "kid": "token1", "url": ACCOUNT_URL}
    del header[member]
    problem = refusal(flattened(json.dumps(header), payload(), lambda _: bytes(32)))
    assert problem.type is ProblemType.MALFORMED
    assert member in problem.detail


@pytest.mark.parametrize("clear", [b"", b"{", b"\xff", b"[" * 20_000, b'{"kty":"EC","kty":"EC"}'])
def test_a_payload_that_is_no_json_object_is_refused(clear: bytes) -> None:
    assert refusal(bound(KEY, clear)).type is ProblemType.MALFORMED


@pytest.mark.parametrize("clear", [b"[]", b"null", b"{}", b'{"kty":"oct","k":"AA"}'])
def test_a_payload_that_is_no_public_key_is_refused(clear: bytes) -> None:
    assert refusal(bound(KEY, clear)).type is ProblemType.BAD_PUBLIC_KEY


@given(st.binary(max_size=200))
def test_any_bytes_are_a_problem_and_nothing_else(raw: bytes) -> None:
    began = time.thread_time()
    assert refusal(raw).status < 500
    assert time.thread_time() - began < 1.0


@given(st.data())
def test_a_binding_with_some_bytes_changed_is_never_taken(data: st.DataObject) -> None:
    raw = bytearray(bound(KEY, payload()))
    raw[data.draw(st.integers(0, len(raw) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    refusal(bytes(raw))


def test_new_keys_are_random_and_their_text_suits_command_lines() -> None:
    keys = {new_hmac_key() for _ in range(300)}
    assert len(keys) == 300
    for key in keys:
        text = eab_text(key)
        assert len(key) == HMAC_KEY_BYTES
        assert text[0].isalnum()
        assert "=" not in text
        assert decode_base64url(text) == key


def test_a_key_whose_text_would_begin_with_a_dash_is_drawn_again(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = iter([b"\xf8" + bytes(31), b"\xff" * 32, b"\0" * 32])
    monkeypatch.setattr("acmehub.rules.eab.secrets.token_bytes", lambda _: next(drawn))
    assert [encode_base64url(b"\xf8" + bytes(31))[0], encode_base64url(b"\xff" * 32)[0]] == ["-", "_"]
    assert new_hmac_key() == bytes(32)


# ------------------------------------------------------------------------------------------- states and moves

USED_ONCE = {"use_limit": 1, "uses": 1}
PAST = {"expires": NOW}
OFF = {"enabled": False}
GONE = {"revoked": NOW}


@pytest.mark.parametrize(
    ("fields", "state"),
    [
        ({}, TokenState.ACTIVE),
        ({"use_limit": 2, "uses": 1}, TokenState.ACTIVE),
        ({"uses": 1000}, TokenState.ACTIVE),
        ({"expires": LATER}, TokenState.ACTIVE),
        (USED_ONCE, TokenState.USED_UP),
        ({"use_limit": 0}, TokenState.USED_UP),
        (PAST, TokenState.EXPIRED),
        (USED_ONCE | PAST, TokenState.EXPIRED),
        (USED_ONCE | PAST | OFF, TokenState.DISABLED),
        (USED_ONCE | PAST | OFF | GONE, TokenState.REVOKED),
        (GONE, TokenState.REVOKED),
    ],
)
def test_the_state_of_a_token_is_computed_from_its_row(fields: dict[str, Any], state: TokenState) -> None:
    assert token_state(token(**fields), principal(), NOW) is state


def test_a_disabled_principal_disables_its_tokens() -> None:
    assert token_state(token(), principal(enabled=False), NOW) is TokenState.DISABLED


def moved(before: Token, move: TokenMove) -> Token:
    match move:
        case TokenMove.USE | TokenMove.USE_LAST:
            return use_token(before, principal(), address=HERE, now=NOW)
        case TokenMove.LAPSE:
            return replace(before, expires=NOW)
        case TokenMove.DISABLE:
            return replace(before, enabled=False)
        case TokenMove.ENABLE:
            return replace(before, enabled=True)
        case TokenMove.EXTEND:
            return replace(before, expires=before.expires and LATER, use_limit=before.use_limit and 9)
        case TokenMove.REVOKE:
            return replace(before, revoked=NOW)


def rows() -> list[Token]:
    parts: list[tuple[dict[str, Any], ...]] = [
        ({}, {"use_limit": 3, "uses": 1}, {"use_limit": 2, "uses": 1}, USED_ONCE),
        ({}, {"expires": LATER}, PAST),
        ({}, OFF),
        ({}, GONE),
    ]
    return [token(**{k: v for part in chosen for k, v in part.items()}) for chosen in itertools.product(*parts)]


def applies(before: Token, move: TokenMove) -> bool:
    last = before.use_limit is not None and before.uses + 1 >= before.use_limit
    if move in (TokenMove.USE, TokenMove.USE_LAST):
        return move is (TokenMove.USE_LAST if last else TokenMove.USE)
    return True


def test_all_moves_of_all_tokens_lead_where_the_table_says_and_each_place_in_it_is_reached() -> None:
    seen: dict[tuple[TokenState, TokenMove], set[TokenState]] = {}
    for before, move in itertools.product(rows(), TokenMove):
        state = token_state(before, principal(), NOW)
        if move not in TOKEN_MOVES[state] or not applies(before, move):
            continue
        variants = [moved(before, move)]
        if move is TokenMove.EXTEND:  # an operator may extend the one limit only, or by too little
            variants += [replace(before, expires=before.expires and LATER), before]
        seen.setdefault((state, move), set()).update(token_state(item, principal(), NOW) for item in variants)
    table = {(state, move): set(targets) for state, moves in TOKEN_MOVES.items() for move, targets in moves.items()}
    assert seen == table


@pytest.mark.parametrize("state", [state for state in TokenState if TokenMove.USE not in TOKEN_MOVES[state]])
def test_a_token_binds_in_no_state_whose_row_lacks_the_move(state: TokenState) -> None:
    for before in rows():
        if token_state(before, principal(), NOW) is state:
            with pytest.raises(Problem):
                use_token(before, principal(), address=HERE, now=NOW)


def test_each_state_has_a_row_and_revoked_is_the_end() -> None:
    assert set(TOKEN_MOVES) == set(TokenState)
    assert TOKEN_MOVES[TokenState.REVOKED] == {}


# ------------------------------------------------------------------------------------------------ using a token


def test_a_use_is_counted() -> None:
    assert use_token(token(uses=3), principal(), address=HERE, now=NOW).uses == 4


@pytest.mark.parametrize(
    ("fields", "word"),
    [
        (USED_ONCE, "as often as it may"),
        (PAST, "expired"),
        (OFF, "disabled"),
        (GONE, "revoked"),
        ({"scope": (Role.OPERATOR,)}, "managed_acme_consumer"),
        ({"scope": ()}, "managed_acme_consumer"),
        ({"networks": ("198.51.100.0/24",)}, HERE),
    ],
)
def test_a_token_that_may_not_be_used_says_why(fields: dict[str, Any], word: str) -> None:
    with pytest.raises(Problem) as caught:
        use_token(token(**fields), principal(), address=HERE, now=NOW)
    assert caught.value.type is ProblemType.UNAUTHORIZED
    assert word in caught.value.detail


@pytest.mark.parametrize("role", [role for role in Role if role is not Role.MANAGED_ACME_CONSUMER])
def test_a_principal_without_the_role_cannot_bind_accounts(role: Role) -> None:
    with pytest.raises(Problem, match="managed_acme_consumer"):
        use_token(token(), principal(role), address=HERE, now=NOW)


def test_a_disabled_principal_is_named() -> None:
    with pytest.raises(Problem, match="'firewall-01' is disabled"):
        use_token(token(), principal(enabled=False), address=HERE, now=NOW)


@pytest.mark.parametrize(
    ("networks", "address", "fits"),
    [
        ((), "", True),
        (("192.0.2.0/24",), "192.0.2.255", True),
        (("192.0.2.0/24",), "192.0.3.0", False),
        (("192.0.2.1/32",), "::ffff:192.0.2.1", True),
        (("2001:db8::/32", "192.0.2.0/24"), "2001:db8::1", True),
        (("2001:db8::/32",), "2001:db9::1", False),
        (("0.0.0.0/0",), "::1", False),
        (("0.0.0.0/0", "::/0"), "", False),
        (("0.0.0.0/0",), "testclient", False),
    ],
)
def test_source_networks_narrow_who_may_bind(networks: tuple[str, ...], address: str, fits: bool) -> None:
    row = token(networks=networks)
    if fits:
        use_token(row, principal(), address=address, now=NOW)
    else:
        with pytest.raises(Problem, match="may not be used from"):
            use_token(row, principal(), address=address, now=NOW)


# ------------------------------------------------------------------------------------------------ each request


@pytest.mark.parametrize("fields", [{}, USED_ONCE, PAST, {"networks": ("198.51.100.0/24",)}])
def test_an_account_goes_on_when_its_token_is_only_over_for_binding(fields: dict[str, Any]) -> None:
    require_active(replace(actor(), token=token(**fields)), NOW)


@pytest.mark.parametrize(
    ("account_token", "owner", "word"),
    [
        (token(enabled=False), principal(), "it is disabled"),
        (token(revoked=NOW), principal(), "revoked"),
        (token(), principal(enabled=False), "principal 'firewall-01' is disabled"),
        (token(), principal(Role.AUDITOR), "managed_acme_consumer"),
        (token(scope=(Role.AUDITOR,)), principal(RoleAssignment(Role.MANAGED_ACME_CONSUMER, ("x",))), "managed_acme"),
    ],
)
def test_an_account_is_refused_at_once_when_its_token_or_principal_is_stopped(
    account_token: Token, owner: Principal, word: str
) -> None:
    with pytest.raises(Problem) as caught:
        require_active(replace(actor(), token=account_token, principal=owner), NOW)
    assert caught.value.type is ProblemType.UNAUTHORIZED
    assert word in caught.value.detail


@pytest.mark.parametrize("status", [AccountStatus.DEACTIVATED, AccountStatus.REVOKED])
def test_an_account_that_is_not_valid_is_refused(status: AccountStatus) -> None:
    with pytest.raises(Problem, match=status.value) as caught:
        require_active(actor(status=status), NOW)
    assert (caught.value.type, caught.value.status) == (ProblemType.UNAUTHORIZED, 401)
