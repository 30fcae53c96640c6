"""Fuzzing of the verifier of signed requests: requests, account bindings and key changes."""

import functools
import hmac
import json
from collections.abc import Callable
from random import Random
from typing import Any

import msgspec

from acmehub.models.problems import Problem
from acmehub.models.wire import NewAccount, NewOrder
from acmehub.rules.eab import parse_binding, verify_binding
from acmehub.rules.jws import ALGORITHMS, encode_base64url, load_key, parse, thumbprint, verify
from acmehub.rules.key_change import check_key_change
from acmehub.testing.acme_keys import AccountKey, b64
from tests.fuzz.mutation import mutate_bytes, mutate_json
from tests.fuzz.running import Target, refusal

URL = "https://hub.test/acme/new-account"
KID = "https://hub.test/acme/acct/1"
SECRET = b"s" * 32
KINDS = ("P-256", "P-384", "P-521", "RSA", "Ed25519")
PAYLOADS: tuple[dict[str, Any], ...] = (
    {"identifiers": [{"type": "dns", "value": "a.corp.test"}], "profile": "x", "notBefore": "2026-11-24T00:00:00Z"},
    {
        "contact": ["mailto:ops@example.org"],
        "termsOfServiceAgreed": True,
        "externalAccountBinding": {"protected": "e30"},
    },
)
Sign = Callable[[bytes], bytes]


@functools.cache
def key(kind: str) -> AccountKey:
    """One key of each kind per run."""
    return AccountKey.generate(kind)


def flattened(header: bytes, payload: bytes, sign: Sign) -> dict[str, str]:
    """A flattened JWS of any header text, rightly signed."""
    protected, body = encode_base64url(header), encode_base64url(payload)
    signature = encode_base64url(sign(f"{protected}.{body}".encode()))
    return {"protected": protected, "payload": body, "signature": signature}


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def damaged(chance: Random, header: dict[str, Any], payload: dict[str, Any], sign: Sign) -> bytes:
    """A JWS that is odd in one place or several: in header or payload before they are signed, or in what was signed."""
    head, body = json.dumps(header).encode(), json.dumps(payload).encode()
    where = chance.randrange(8)
    if where in (0, 1, 2):
        head = _bytes(mutate_json(chance, header))
    if where in (2, 3):
        body = _bytes(mutate_json(chance, payload))
    if where == 4:
        body = mutate_bytes(chance, body)
    jws = flattened(head, body, sign)
    if where == 5:
        name = chance.choice(list(jws))
        jws[name] = mutate_bytes(chance, jws[name].encode()).decode("latin-1")
    if where == 6:
        return _bytes(mutate_json(chance, jws))
    text = json.dumps(jws).encode()
    return mutate_bytes(chance, text) if where == 7 else text


def make_request(chance: Random) -> bytes:
    """A request signed by a key that it carries, or by an account."""
    owner = key(chance.choice(KINDS))
    who = {"jwk": owner.jwk} if chance.random() < 0.6 else {"kid": KID}
    header = {"alg": owner.alg, "nonce": b64(b"n" * 24), "url": URL, **who}
    return damaged(chance, header, chance.choice(PAYLOADS), owner.sign)


def take_request(body: bytes) -> str:
    """As `http/signed` does; a `kid` may belong to any of the keys."""
    try:
        jws = parse(body)
        if jws.jwk is not None:
            verify(jws, load_key(jws.jwk))
            thumbprint(jws.jwk)
        else:
            owner = next((kind for kind in KINDS if key(kind).alg == jws.alg), KINDS[0])
            verify(jws, load_key(json.dumps(key(owner).jwk).encode()))
    except Problem as problem:
        return refusal(problem)
    for wire in (NewAccount, NewOrder):
        try:
            msgspec.json.decode(jws.payload, type=wire)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):  # what `Signed.object` makes a Problem of
            continue
    return "taken"


def make_binding(chance: Random) -> bytes:
    """An external account binding for the P-256 key."""
    alg = chance.choice(("HS256", "HS384", "HS512"))
    header = {"alg": alg, "kid": "token1", "url": URL}
    return damaged(chance, header, key("P-256").jwk, lambda data: hmac.digest(SECRET, data, f"sha{alg[2:]}"))


def take_binding(body: bytes) -> str:
    """As `AccountService` does."""
    try:
        binding = parse_binding(body, account_jwk=_canonical("P-256"), new_account_url=URL)
        verify_binding(binding, SECRET)
    except Problem as problem:
        return refusal(problem)
    return "taken"


def make_key_change(chance: Random) -> bytes:
    """The inner JWS of a key change from the P-256 key to another."""
    owner = key(chance.choice(KINDS))
    header = {"alg": owner.alg, "url": URL, "jwk": owner.jwk}
    return damaged(chance, header, {"account": KID, "oldKey": key("P-256").jwk}, owner.sign)


def take_key_change(body: bytes) -> str:
    """As the keyChange resource does."""
    try:
        check_key_change(body, url=URL, account_url=KID, account_jwk=_canonical("P-256"))
    except Problem as problem:
        return refusal(problem)
    return "taken"


@functools.cache
def _canonical(kind: str) -> bytes:
    return json.dumps(dict(sorted(key(kind).jwk.items())), separators=(",", ":")).encode()


MAKES = (make_request, make_request, make_binding, make_key_change)
TAKES = {make_request: take_request, make_binding: take_binding, make_key_change: take_key_change}


def make(chance: Random) -> bytes:
    """An input of one of the three, which its first byte names."""
    number = chance.randrange(len(MAKES))
    return bytes([number]) + MAKES[number](chance)


def take(data: bytes) -> str:
    """Read it as what it is."""
    return TAKES[MAKES[data[0]]](data[1:])


JWS = Target("jws", make, take)
assert set(ALGORITHMS) == {key(kind).alg for kind in KINDS}, "a new algorithm wants its kind of key here"
