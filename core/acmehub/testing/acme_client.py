"""A small, strict ACME client for tests: it checks every response against RFC 8555 and docs/client-rules.md.

async with httpx.AsyncClient(transport=httpx.ASGITransport(app)) as http:
    client = await AcmeClient.discover(http, "https://hub.test/acme/directory")
    await client.register(ExternalAccount(kid, key))
    chain, key = await client.issue(["a.corp.test"])
"""

import asyncio
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, Self

import httpx

from acmehub.testing.acme_keys import AccountKey, ExternalAccount, PrivateKey, b64, compact, make_csr

TIMESTAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")
_TYPES = ("application/json", "application/problem+json", "application/pem-certificate-chain")
_LINK = re.compile(r'<(https?://[A-Za-z0-9.\[\]:-]+/[A-Za-z0-9/_.-]*)>;rel="([a-z-]+)"')
_URL = re.compile(r"https?://[A-Za-z0-9.\[\]:-]+(/[A-Za-z0-9_.-]+)+")
_ACME = "urn:ietf:params:acme:error:"


class AcmeRefused(AssertionError):
    """The server answered with a problem where the test expected none."""


class Reply:
    """A checked response to a POST."""

    def __init__(self, response: httpx.Response) -> None:
        self.response = response
        self.status = response.status_code
        self.headers = response.headers
        self.body = response.content

    @property
    def json(self) -> Any:
        """The JSON object in the body."""
        return json.loads(self.body)

    @property
    def location(self) -> str:
        """The `Location` header, which must exist."""
        values = self.headers.get_list("location")
        assert len(values) == 1, f"Location: {values}"
        return str(values[0])

    @property
    def problem(self) -> str:
        """The problem's type without the prefix; empty when the response is no problem."""
        if self.headers.get("content-type") != "application/problem+json":
            return ""
        return str(self.json["type"]).removeprefix(_ACME)

    @property
    def retry_after(self) -> int | None:
        """In seconds."""
        value = self.headers.get("retry-after")
        return None if value is None else int(value)

    def links(self, relation: str) -> list[str]:
        """The URLs of a link relation, in the order of the header lines."""
        found = [_LINK.fullmatch(line) for line in self.headers.get_list("link")]
        return [match[1] for match in found if match and match[2] == relation]


class AcmeClient:
    """A client with one account, which keeps one nonce at a time."""

    def __init__(
        self,
        http: httpx.AsyncClient,
        directory: Mapping[str, Any],
        key: AccountKey,
        user_agent: str = "strict-client/1",
    ) -> None:
        self.http = http
        self.directory = directory
        self.key = key
        self.user_agent = user_agent
        self.kid = ""
        self._nonces: list[str] = []

    @classmethod
    async def discover(
        cls, http: httpx.AsyncClient, url: str, *, key: AccountKey | None = None, user_agent: str = "strict-client/1"
    ) -> Self:
        """A client without an account for the server with this directory URL."""
        response = await http.get(url)
        assert response.status_code == 200
        assert response.headers["content-type"] == "application/json"
        check_json(response.content)
        return cls(http, response.json(), key or AccountKey.generate(), user_agent)

    async def nonce(self) -> str:
        """An unused nonce."""
        if self._nonces:
            return self._nonces.pop()
        response = await self.http.head(self.directory["newNonce"])
        assert response.status_code == 200
        return check_nonce(response)

    async def sign(self, url: str, payload: bytes, **header: Any) -> bytes:
        """A signed request body; members of `header` replace the correct ones, None removes one."""
        full: dict[str, Any] = {"nonce": await self.nonce() if "nonce" not in header else "", "url": url}
        full |= {"kid": self.kid} if self.kid else {"jwk": self.key.jwk}
        full |= header
        return self.key.jws({name: value for name, value in full.items() if value is not None}, payload)

    async def send(self, url: str, body: bytes, *, content_type: str = "application/jose+json") -> Reply:
        """POST a body as it is, and check the response."""
        headers = {"content-type": content_type, "user-agent": self.user_agent}
        response = await self.http.post(url, content=body, headers=headers)
        check_answer(response)
        self._nonces.append(response.headers["replay-nonce"])
        return Reply(response)

    async def post(self, url: str, payload: object = None, *, status: int | None = None, **header: Any) -> Reply:
        """A signed POST; `payload` None is POST-as-GET. The response must have `status`, or any 2xx without it."""
        body = await self.sign(url, b"" if payload is None else compact(payload), **header)
        reply = await self.send(url, body)
        if status is None and reply.status >= 400:
            raise AcmeRefused(f"{reply.status} {reply.body.decode()}")
        assert status in (None, reply.status), f"{reply.status} instead of {status}: {reply.body.decode()}"
        return reply

    # ------------------------------------------------------------------------------------------------ resources

    async def register(
        self, external: ExternalAccount | None = None, *, status: int | None = None, **members: Any
    ) -> Reply:
        """newAccount; later requests use the account."""
        url = self.directory["newAccount"]
        if external is not None:
            members["externalAccountBinding"] = external.binding(self.key, url)
        self.kid = ""
        reply = await self.post(url, members, status=status)
        if reply.status < 400:
            assert reply.status in (200, 201)
            assert reply.json["status"] == "valid"
            assert reply.json["orders"].startswith("https://")
            self.kid = reply.location
        return reply

    async def new_order(self, names: Sequence[str], *, status: int | None = None, **members: Any) -> Reply:
        """newOrder for DNS names."""
        asked = [{"type": "dns", "value": name} for name in names]
        reply = await self.post(self.directory["newOrder"], {"identifiers": asked, **members}, status=status)
        if reply.status < 400:
            assert reply.status == 201
            check_order(reply)
            assert [item["value"] for item in reply.json["identifiers"]] == list(dict.fromkeys(names))
        return reply

    async def order(self, url: str) -> Reply:
        """An order."""
        reply = await self.post(url, status=200)
        check_order(reply)
        assert reply.location == url
        return reply

    async def authorization(self, url: str) -> Reply:
        """An authorization."""
        reply = await self.post(url, status=200)
        check_authorization(reply)
        return reply

    async def respond(self, url: str) -> Reply:
        """Respond to a challenge."""
        reply = await self.post(url, {}, status=200)
        assert reply.links("up"), "Link: rel=up is missing"
        assert "location" not in reply.headers
        return reply

    async def finalize(self, order: Mapping[str, Any], csr: bytes, *, status: int | None = None) -> Reply:
        """Finalize an order with a CSR (DER)."""
        reply = await self.post(order["finalize"], {"csr": b64(csr)}, status=status)
        if reply.status < 400:
            assert reply.status == 200
            check_order(reply)
            assert reply.location == order["finalize"].removesuffix("/finalize")
        return reply

    async def certificate(self, url: str) -> str:
        """A chain."""
        reply = await self.post(url, status=200)
        assert reply.headers["content-type"] == "application/pem-certificate-chain"
        assert "up" not in {line.rpartition("rel=")[2].strip('"') for line in reply.headers.get_list("link")}
        return reply.body.decode("ascii")

    async def key_change(self, new: AccountKey, *, status: int | None = None, **header: Any) -> Reply:
        """keyChange to `new`, which signs later requests. Members of `header` replace those of the inner JWS, None
        removes one; `account` and `oldKey` replace those of its payload."""
        url = self.directory["keyChange"]
        inner = {"account": self.kid, "oldKey": self.key.jwk}
        inner |= {name: header.pop(name) for name in ("account", "oldKey") if name in header}
        full = {"jwk": new.jwk, "url": url, **header}
        jws = new.jws({name: value for name, value in full.items() if value is not None}, compact(inner))
        reply = await self.post(url, json.loads(jws), status=status)
        if reply.status < 400:
            assert reply.status == 200
            self.key = new
        return reply

    async def revoke(
        self, certificate: bytes, reason: int | None = None, *, key: AccountKey | None = None, status: int | None = None
    ) -> Reply:
        """revokeCert for a leaf (DER), signed by the account or by `key`, the certificate's key."""
        payload: dict[str, Any] = {"certificate": b64(certificate)}
        if reason is not None:
            payload["reason"] = reason
        signer = self if key is None else type(self)(self.http, self.directory, key, self.user_agent)
        reply = await signer.post(self.directory["revokeCert"], payload, status=status)
        if reply.status < 400:
            assert (reply.status, reply.body) == (200, b"")
        return reply

    async def new_authz(self, name: str, *, status: int | None = None) -> Reply:
        """newAuthz for a DNS name."""
        payload = {"identifier": {"type": "dns", "value": name}}
        reply = await self.post(self.directory["newAuthz"], payload, status=status)
        if reply.status < 400:
            assert reply.status == 201
            assert _URL.fullmatch(reply.location), reply.location
            check_authorization(reply, located=True)
            assert reply.json["identifier"] == payload["identifier"]
        return reply

    async def issue(self, names: Sequence[str], *, seconds: float = 30.0, **members: Any) -> tuple[str, PrivateKey]:
        """An order from newOrder (with more `members`) to the chain; returns the chain and its key."""
        placed = await self.new_order(names, **members)
        csr, key = make_csr(names)
        async with asyncio.timeout(seconds):
            for url in placed.json["authorizations"]:
                authorization = await self.authorization(url)
                while authorization.json["status"] == "pending":
                    offered = authorization.json["challenges"]
                    if all(item["status"] == "pending" for item in offered):
                        await self.respond(offered[0]["url"])
                    authorization = await self.authorization(url)
                assert authorization.json["status"] == "valid", authorization.json
            reply = await self.finalize(placed.json, csr)
            while reply.json["status"] == "processing":
                reply = await self.order(placed.location)
        assert reply.json["status"] == "valid", reply.json
        return await self.certificate(reply.json["certificate"]), key


# ---------------------------------------------------------------------------------------- checks of every response


def check_nonce(response: httpx.Response) -> str:
    """Check that there is one `Replay-Nonce`, in base64url of a possible length (docs/client-rules.md rule 12)."""
    found = response.headers.get_list("replay-nonce")
    assert len(found) == 1, f"Replay-Nonce: {found}"
    assert re.fullmatch(r"[A-Za-z0-9_-]+", found[0]), found
    assert len(found[0]) % 4 != 1
    return str(found[0])


def check_answer(response: httpx.Response) -> None:
    """Check a response to a POST: nonce, content type, compact JSON, links, problem documents."""
    check_nonce(response)
    for line in response.headers.get_list("link"):
        assert _LINK.fullmatch(line), line
    assert any('rel="index"' in line for line in response.headers.get_list("link"))
    assert response.headers.get("retry-after", "1").isdecimal()
    if not response.content:
        assert "content-type" not in response.headers
        assert response.status_code < 400
        return
    content_type = response.headers["content-type"]
    assert content_type in _TYPES, content_type
    if content_type != _TYPES[2]:
        check_json(response.content)
    if response.status_code < 400:
        assert content_type != _TYPES[1]
        return
    assert content_type == "application/problem+json"
    problem = response.json()
    assert problem["type"].startswith(_ACME), problem
    assert problem["detail"]
    assert problem["status"] == response.status_code
    text = "invalid anti-replay"  # clients look for it (docs/client-rules.md rules 13, 21)
    assert (text in problem["detail"]) == (problem["type"] == _ACME + "badNonce" and "no anti" not in problem["detail"])


def check_json(body: bytes) -> None:
    """Compact, ASCII, without `#`, null and empty strings (docs/client-rules.md rule 17)."""
    assert body.isascii(), body
    assert b"#" not in body
    item = json.loads(body)
    assert json.dumps(item, separators=(",", ":"), ensure_ascii=True).replace("#", "\\u0023").encode() == body
    _check_values(item)


def check_order(reply: Reply) -> None:
    """RFC 8555 section 7.1.3; docs/client-rules.md rules 14, 18, 19, 22."""
    order = reply.json
    assert _URL.fullmatch(reply.location), reply.location
    assert order["status"] in ("pending", "ready", "processing", "valid", "invalid")
    assert TIMESTAMP.fullmatch(order["expires"])
    assert order["identifiers"]
    assert len(order["authorizations"]) == len(order["identifiers"])
    assert all(_URL.fullmatch(url) for url in (*order["authorizations"], order["finalize"]))
    assert ("certificate" in order) == (order["status"] == "valid")
    assert ("error" in order) == (order["status"] == "invalid")
    if order["status"] not in ("pending", "processing"):
        assert reply.retry_after is None


def check_authorization(reply: Reply, *, located: bool = False) -> None:
    """RFC 8555 section 7.1.4; docs/client-rules.md rules 6, 8, 9, 14, 22. `located`: a response to newAuthz."""
    authorization = reply.json
    assert ("location" in reply.headers) == located
    assert TIMESTAMP.fullmatch(authorization["expires"])
    assert not authorization["identifier"]["value"].startswith("*")
    assert authorization.get("wildcard", True) is True
    assert authorization["challenges"]
    statuses = {item["status"] for item in authorization["challenges"]}
    if authorization["status"] == "valid":
        assert statuses == {"valid"}
        assert all(TIMESTAMP.fullmatch(item["validated"]) for item in authorization["challenges"])
    if authorization["status"] == "pending":
        assert statuses <= {"pending", "processing"}
    else:
        assert reply.retry_after is None
    for item in authorization["challenges"]:
        assert _URL.fullmatch(item["url"])
        assert re.fullmatch(r"[A-Za-z0-9_-]{22,}", item["token"])


def _check_values(item: object) -> None:
    assert item is not None
    assert item != ""
    for part in item.values() if isinstance(item, dict) else item if isinstance(item, list) else ():
        _check_values(part)
