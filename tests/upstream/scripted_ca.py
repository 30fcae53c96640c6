"""A CA that answers with the documents that a test gives it, over HTTP on this machine."""

import copy
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import msgspec

from acmehub import AcmeRelay, IssueRequest, RelaySettings, UpstreamAccount, UpstreamError
from acmehub.models.identifiers import Identifier
from acmehub.models.problems import ProblemDocument
from acmehub.testing.fake_ca import FakeCa, make_csr
from acmehub.testing.fault_proxy import Call, FaultProxy, Forward, ProxyReply
from acmehub.upstream.keys import new_account_key
from tests.servers.pebble_lab import context

Path_ = tuple[str | int, ...]
REMOVED = object()
NAME = "www.corp.test"
KEY = new_account_key("ec256")
CSR = make_csr([NAME])
CERT_ID = "aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE"
URN = "urn:ietf:params:acme:error:"
PROBLEM: dict[str, Any] = {
    "type": f"{URN}badCSR",
    "detail": "this CSR is bad",
    "title": "Bad",
    "status": 400,
    "instance": "https://ca.test/help/7",
    "identifier": {"type": "dns", "value": NAME},
    "algorithms": ["ES256"],
    "subproblems": [
        {"type": f"{URN}caa", "detail": "CAA", "title": "Caa", "identifier": {"type": "dns", "value": NAME}},
    ],
}


def documents(base: str) -> dict[str, Any]:
    """Each document with every member that it may have."""
    return {
        "directory": {
            "newNonce": f"{base}/nonce",
            "newAccount": f"{base}/new-account",
            "newOrder": f"{base}/new-order",
            "revokeCert": f"{base}/revoke",
            "keyChange": f"{base}/key-change",
            "renewalInfo": f"{base}/renewal",
            "meta": {
                "termsOfService": "https://ca.test/terms",
                "website": "https://ca.test",
                "caaIdentities": ["ca.test"],
                "externalAccountRequired": False,
                "profiles": {"classic": "90 days", "short": "six"},
            },
        },
        "account": {
            "status": "valid",
            "contact": ["mailto:a@b.test"],
            "termsOfServiceAgreed": True,
            "orders": f"{base}/orders",
        },
        "order": {
            "status": "invalid",
            "expires": "2026-12-01T00:00:00Z",
            "notBefore": "2026-12-01T00:00:00Z",
            "identifiers": [{"type": "dns", "value": NAME}],
            "authorizations": [f"{base}/authz"],
            "finalize": f"{base}/finalize",
            "certificate": f"{base}/cert",
            "error": PROBLEM,
        },
        "authorization": {
            "identifier": {"type": "dns", "value": NAME},
            "status": "pending",
            "expires": "2026-12-01T00:00:00Z",
            "wildcard": True,
            "challenges": [
                {
                    "type": "dns-01",
                    "url": f"{base}/challenge",
                    "status": "processing",
                    "token": "dG9rZW4tb2YtdGhlLWNh",
                    "validated": "2026-12-01T00:00:00Z",
                    "error": PROBLEM,
                }
            ],
            "error": PROBLEM,
        },
        "challenge": {"type": "dns-01", "url": f"{base}/challenge", "status": "valid", "token": "dG9rZW4"},
        "problem": PROBLEM,
        "renewalInfo": {
            "suggestedWindow": {"start": "2026-12-01T12:00:00Z", "end": "2026-12-03T12:00:00Z"},
            "explanationURL": "https://ca.test/why",
        },
        "headers": {
            "Location": f"{base}/order",
            "Replay-Nonce": "bm9uY2U",
            "Retry-After": "7",
            "Link": f'<{base}/cert/1>;rel="alternate"',
            "Content-Type": "application/json",
            "Date": "Mon, 07 Dec 2026 12:00:00 GMT",
        },
    }


VERBS = {
    "directory": "new_order",
    "account": "register",
    "order": "order",
    "authorization": "authorization",
    "challenge": "answer",
    "problem": "refused",
    "renewalInfo": "renewal_info",
    "headers": "headers",
}
"""The verb of `ScriptedCa.outcome` that reads the document."""


def members(value: Any, at: Path_ = ()) -> list[Path_]:
    """The paths of all members of a document, and of the items of its arrays."""
    found: list[Path_] = []
    items: Sequence[tuple[str | int, Any]] = ()
    if isinstance(value, dict):
        items = list(value.items())
    elif isinstance(value, list):
        items = list(enumerate(value))
    for name, inner in items:
        found += [(*at, name), *members(inner, (*at, name))]
    return found


def changed(document: Any, at: Path_, value: object) -> Any:
    """The document with one member replaced, or `REMOVED`."""
    after = copy.deepcopy(document)
    inner = after
    for name in at[:-1]:
        inner = inner[name]
    if value is REMOVED:
        del inner[at[-1]]
    else:
        inner[at[-1]] = value
    return after


class Failed(msgspec.Struct, frozen=True):
    """An `UpstreamError`: its type, and the CA's problem when it is a refusal."""

    kind: type[UpstreamError]
    problem: ProblemDocument | None


class ScriptedCa:
    """The CA and a relay to it. `say` sets what the next `outcome` reads."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        self._folder = folder
        self._settings = settings
        self._proxy = FaultProxy("http://127.0.0.1:1", folder=folder)
        self.base = ""
        self.document: dict[str, Any] = {}
        self.header: dict[str, str] = {}
        self.chain = FakeCa(context(folder).clock.now()).chains(CSR, [NAME], context(folder).clock.now())[0]
        self.calls: list[str] = []

    def __enter__(self) -> Self:
        self._proxy.__enter__()
        self._proxy.play(self._answer, times=None)
        self.base = self._proxy.url
        self.reset()
        self.relay = self.new_relay()
        self.account = UpstreamAccount(f"{self.base}/account", KEY)
        return self

    def __exit__(self, *_: object) -> None:
        self._proxy.__exit__()

    def reset(self) -> None:
        """All documents as they are at first."""
        self.document = documents(self.base)
        self.header = self.document.pop("headers")

    def new_relay(self, **settings: Any) -> AcmeRelay:
        """A relay that has read nothing yet."""
        given = {"directory": f"{self.base}/dir", "terms_of_service_agreed": True, "timeout": 5, **self._settings}
        return AcmeRelay(RelaySettings(**{**given, **settings}), context(self._folder))

    async def outcome(self, verb: str) -> object:
        """What a verb makes of the documents: its result, or the error's type with its problem."""
        try:
            return await self._run(verb)
        except UpstreamError as error:
            return Failed(type(error), getattr(error, "problem", None))

    async def _run(self, verb: str) -> object:
        relay, account = self.relay, self.account
        match verb:
            case "register":
                return await relay.register(KEY)
            case "new_order":
                first = self.new_relay()
                made = await first.new_order(account, IssueRequest((Identifier("dns", NAME),), profile="short"))
                return (
                    made,
                    await first.register(KEY),
                    await first.revoke(account, b"der", None),
                    await first.renewal_info(CERT_ID),
                )
            case "order":
                return await relay.order(account, f"{self.base}/order")
            case "authorization":
                return await relay.authorization(account, f"{self.base}/authz")
            case "answer":
                return await relay.answer(account, f"{self.base}/refused-challenge")
            case "refused":
                return await relay.finalize(account, f"{self.base}/refused", f"{self.base}/order", CSR)
            case "renewal_info":
                return await relay.renewal_info(CERT_ID)
            case "headers":
                order = await self.new_relay().new_order(account, IssueRequest((Identifier("dns", NAME),)))
                return order, await relay.certificate(account, f"{self.base}/cert")
        raise AssertionError(verb)

    def _answer(self, call: Call, _forward: Forward) -> ProxyReply:
        self.calls.append(call.path)
        name = {
            "dir": "directory",
            "new-account": "account",
            "account": "account",
            "new-order": "order",
            "order": "order",
            "authz": "authorization",
            "refused-challenge": "refused",
            "challenge": "challenge",
            "refused": "problem",
            "renewal": "renewalInfo",
        }.get(call.path.split("/")[1], "")
        headers = {"Replay-Nonce": "bm9uY2U", **self.header}
        status, body = 200, b""
        if call.path == "/cert":
            body = self.chain.encode()
        elif call.path == "/refused-challenge":
            status, body = (400, json.dumps({"type": f"{URN}malformed", "detail": "answered"}).encode())
            if call.payload() is None:
                status, body = 200, json.dumps(self.document["challenge"]).encode()
        elif name:
            status = 400 if name == "problem" else 200
            body = json.dumps(self.document[name]).encode()
        return ProxyReply(status=status, headers=tuple(_lines(headers)), body=body)


def _lines(headers: Mapping[str, Any]) -> list[tuple[str, str]]:
    return [(name, value) for name, value in headers.items() if isinstance(value, str)]
