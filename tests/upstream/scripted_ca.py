"""A CA that answers with the documents that a test gives it, without a network."""

import base64
import copy
import json
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, TypeVar
from urllib.parse import urlsplit

import msgspec

from acmehub import (
    HttpError,
    HttpResponse,
    IssueRequest,
    RelaySettings,
    SystemClock,
    UpstreamAccount,
    UpstreamError,
)
from acmehub.models.identifiers import Identifier
from acmehub.models.problems import ProblemDocument
from acmehub.testing.fake_ca import FakeCa, make_csr
from acmehub.upstream.directories import DirectoryCache
from acmehub.upstream.exchange import Exchanger
from acmehub.upstream.hosts import Hosts
from acmehub.upstream.keys import new_account_key
from acmehub.upstream.nonces import UpstreamNonces
from acmehub.upstream.steps import Steps

T = TypeVar("T")
Path_ = tuple[str | int, ...]
Refusal = tuple[int, dict[str, Any], dict[str, str]]  # status, members, header lines
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


def at_once(coroutine: Coroutine[Any, Any, T]) -> T:
    """The result of a coroutine that has nothing to wait for."""
    try:
        coroutine.send(None)
    except StopIteration as done:
        result: T = done.value
        return result
    raise AssertionError("it waits")


class AtOnce:
    """`Steps` as plain functions."""

    def __init__(self, steps: Steps) -> None:
        self._steps = steps

    def __getattr__(self, verb: str) -> Callable[..., Any]:
        return lambda *arguments: at_once(getattr(self._steps, verb)(*arguments))


class ScriptedCa:
    """The CA in the place of the HTTP client. `document` and `header` are what the next `outcome` reads."""

    base = "https://ca.test"
    closed = False

    def __init__(self, **settings: Any) -> None:
        self._settings = settings
        self.clock = SystemClock()
        self.chain = FakeCa(self.clock.now()).chains(CSR, [NAME], self.clock.now())[0]
        self.account = UpstreamAccount(f"{self.base}/account", KEY)
        self.calls: list[str] = []
        self.nonces: list[str] = []  # those of its requests
        self.accepted: list[tuple[str, str]] = []  # path and `Accept` of each request
        self.ends: list[float | None] = []
        self.bodies: dict[str, bytes] = {}
        self.redirects: dict[str, tuple[int, str]] = {}  # status and Location by path
        self.more: list[tuple[str, str]] = []  # further header lines
        self.refusals: list[Refusal | None] = []
        self.monotonic = 1000.0
        self.reset()
        self.steps = self.new_steps()

    def reset(self) -> None:
        """All documents as they are at first."""
        self.document: dict[str, Any] = documents(self.base)
        self.header: dict[str, Any] = self.document.pop("headers")

    def new_steps(self) -> AtOnce:
        """The verbs for this CA, with nothing read yet."""
        given = {"directory": f"{self.base}/dir", "terms_of_service_agreed": True, **self._settings}
        settings = RelaySettings(**given)
        hosts = Hosts(settings)
        self.kept = UpstreamNonces(lambda: self.monotonic)
        exchanger = Exchanger(settings.directory, self, seconds=5.0, hosts=hosts, nonces=self.kept, now=self.clock.now)
        directories = DirectoryCache(settings.directory, exchanger.get, hosts, self.clock.monotonic)
        return AtOnce(Steps(settings, exchanger, directories, hosts))

    def outcome(self, verb: str) -> object:
        """What a verb makes of the documents: its result, or the error's type with its problem."""
        try:
            return self.run(verb)
        except UpstreamError as error:
            return Failed(type(error), getattr(error, "problem", None))

    def run(self, verb: str) -> object:
        """What a verb makes of the documents."""
        steps, account = self.steps, self.account
        order = IssueRequest((Identifier("dns", NAME),))
        match verb:
            case "register":
                return steps.register(KEY)
            case "new_order":
                first = self.new_steps()
                made = first.new_order(account, msgspec.structs.replace(order, profile="short"))
                first.revoke(account, b"der", None)
                return made, first.register(KEY), first.renewal_info(CERT_ID)
            case "order":
                return steps.order(account, f"{self.base}/order")
            case "authorization":
                return steps.authorization(account, f"{self.base}/authz")
            case "answer":
                steps.answer(account, f"{self.base}/refused-challenge")
                return None
            case "refused":
                return steps.finalize(account, f"{self.base}/refused", f"{self.base}/order", CSR)
            case "renewal_info":
                return steps.renewal_info(CERT_ID)
            case "headers":
                return self.new_steps().new_order(account, order), steps.certificate(account, f"{self.base}/cert")
        raise AssertionError(verb)

    async def send(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        end: float | None = None,
    ) -> HttpResponse:
        """Answer a request."""
        path = urlsplit(url).path  # on whatever host
        self.calls.append(url.removeprefix(self.base))
        self.accepted.append((path, (headers or {}).get("Accept", "")))
        self.ends.append(end)
        lines = [(name, value) for name, value in self.header.items() if isinstance(value, str)]
        if method == "POST":
            self.nonces.append(_protected(body)["nonce"])
        if method == "POST" and self.refusals:
            refusal = self.refusals.pop(0)
            if refusal is None:
                raise HttpError("the connection was closed before the response")
            status, members, given = refusal
            answer, lines = json.dumps(members).encode(), list(given.items())
        elif path in self.redirects:
            status, location = self.redirects[path]
            answer, lines = b"", [("Location", location)]
        else:
            status, answer = self._answer(path, body)
            lines += self.more
        return HttpResponse(url, status, tuple((name.lower(), value) for name, value in lines), answer)

    def _answer(self, path: str, body: bytes | None) -> tuple[int, bytes]:
        if path in self.bodies:
            return 200, self.bodies[path]
        if path == "/cert":
            return 200, self.chain.encode()
        name = _NAMES.get(path.split("/")[1], "")
        if path == "/refused-challenge" and _jws(body)["payload"]:
            return 400, json.dumps({"type": f"{URN}malformed", "detail": "answered"}).encode()
        if not name:
            return 200, b""
        return 400 if name == "problem" else 200, json.dumps(self.document[name]).encode()


def _jws(body: Any) -> Any:
    return json.loads(body)


def _protected(body: Any) -> Any:
    text = _jws(body)["protected"]
    return json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))


_NAMES = {
    "dir": "directory",
    "new-account": "account",
    "account": "account",
    "new-order": "order",
    "order": "order",
    "authz": "authorization",
    "refused-challenge": "challenge",
    "refused": "problem",
    "renewal": "renewalInfo",
}
