"""An ACME client with little CPU per request; it has its own account key, keep-alive connection and nonce pool."""

import asyncio
import base64
import hashlib
import hmac
import ipaddress
import itertools
import json
import ssl
import time
from collections import Counter, defaultdict
from collections.abc import Awaitable
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeVar
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.x509.oid import NameOID

from bench.http import Answer, Connection, LoadError

T = TypeVar("T")
PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
Identifiers = list[tuple[str, str]]  # (type, value)


def base64url(data: bytes) -> str:
    """Base64url without padding (RFC 7515)."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def encode(value: object) -> str:
    """Compact JSON as base64url."""
    return base64url(json.dumps(value, separators=(",", ":")).encode())


def make_key(kind: str) -> PrivateKey:
    """A new key: `ec256` or `rsa2048`."""
    return ec.generate_private_key(ec.SECP256R1()) if kind == "ec256" else rsa.generate_private_key(65537, 2048)


def spki(key: PrivateKey) -> bytes:
    """The public half, DER."""
    return key.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


class AccountKey:
    """An account's key: JWK, thumbprint, signatures (RFC 7515, 7638)."""

    def __init__(self, kind: str) -> None:
        self._key = make_key(kind)
        numbers: Any = self._key.public_key().public_numbers()
        if kind == "ec256":
            self.alg = "ES256"
            x, y = (base64url(part.to_bytes(32, "big")) for part in (numbers.x, numbers.y))
            self.jwk = {"crv": "P-256", "kty": "EC", "x": x, "y": y}
        else:
            self.alg = "RS256"
            n = base64url(numbers.n.to_bytes(256, "big"))
            self.jwk = {"e": base64url(numbers.e.to_bytes(3, "big")), "kty": "RSA", "n": n}
        canonical = json.dumps(self.jwk, separators=(",", ":"), sort_keys=True).encode()
        self.thumbprint = base64url(hashlib.sha256(canonical).digest())

    def sign(self, data: bytes) -> bytes:
        """The raw JWS signature."""
        if isinstance(self._key, ec.EllipticCurvePrivateKey):
            r, s = decode_dss_signature(self._key.sign(data, ec.ECDSA(hashes.SHA256())))
            return r.to_bytes(32, "big") + s.to_bytes(32, "big")
        return self._key.sign(data, padding.PKCS1v15(), hashes.SHA256())


class Work(NamedTuple):
    """One order to place: its names, its CSR (base64url DER), the public key of that (DER)."""

    identifiers: Identifiers
    csr: str
    spki: bytes


def make_work(identifiers: Identifiers, key: PrivateKey, *, with_cn: bool) -> Work:
    """An order and its CSR, made before the measurement."""
    names: list[x509.GeneralName] = [
        x509.IPAddress(ipaddress.ip_address(value)) if kind == "ip" else x509.DNSName(value)
        for kind, value in identifiers
    ]
    subject = [x509.NameAttribute(NameOID.COMMON_NAME, identifiers[0][1])] if with_cn else []
    csr = (
        x509.CertificateSigningRequestBuilder()
        .subject_name(x509.Name(subject))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .sign(key, hashes.SHA256())
    )
    return Work(identifiers, base64url(csr.public_bytes(serialization.Encoding.DER)), spki(key))


def check_chain(pem: bytes, work: Work) -> dict[str, object]:
    """Check a chain after the measurement: key and names of the leaf, and each signature."""
    chain = x509.load_pem_x509_certificates(pem)
    leaf = chain[0]
    key = leaf.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    san = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    got = [str(value) for kind in (x509.DNSName, x509.IPAddress) for value in san.get_values_for_type(kind)]
    for lower, upper in itertools.pairwise(chain):
        lower.verify_directly_issued_by(upper)
    return {
        "leaf_key_ok": key == work.spki,
        "names_ok": sorted(got) == sorted(value for _, value in work.identifiers),
        "length": len(chain),
        "bytes": len(pem),
    }


@dataclass
class Stats:
    """Counts and times (seconds by step) of the clients of one process."""

    seconds: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    count: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    details: dict[str, str] = field(default_factory=dict)
    done: int = 0
    sample: tuple[bytes, Work] | None = None
    start: float = 0.0
    end: float = 0.0

    def failed(self, error: LoadError) -> None:
        """Count an error; the first detail of each kind is kept."""
        self.errors[error.kind] += 1
        self.details.setdefault(error.kind, error.detail[:300])


@dataclass(frozen=True)
class Target:
    """The server and the timeouts (seconds); `eab` is (kid, HMAC key in base64url)."""

    directory: str
    address: tuple[str, int]
    urls: dict[str, Any]
    tls: ssl.SSLContext | None = None
    keepalive: bool = True
    challenge: str = "http-01"
    contact: str = ""
    poll_interval: float = 0.02
    retry_after_cap: float = 5.0
    poll_limit: float = 60.0
    retries: int = 10
    timeout: float = 60.0


class Client:
    """One ACME client; `stats` and `tokens` (http-01 answers by token) are shared by all clients of the process."""

    def __init__(
        self,
        target: Target,
        stats: Stats,
        tokens: dict[str, bytes],
        key: AccountKey,
        eab: tuple[str, str] | None = None,
    ) -> None:
        self.stats = stats
        self.kid = ""
        self._target = target
        self._tokens = tokens
        self._key = key
        self._eab = eab
        self._connection: Connection | None = None
        self._nonces: list[str] = []

    async def http(self, method: str, url: str, body: bytes = b"", accept: str = "") -> Answer:
        """One exchange; every connection goes to the address of the directory, whatever host the URL has."""
        parts = urlsplit(url)
        head = [f"{method} {parts.path or '/'} HTTP/1.1", f"Host: {parts.netloc}", "User-Agent: acme-load/2"]
        if method == "POST":
            head += ["Content-Type: application/jose+json", f"Content-Length: {len(body)}"]
        if accept:
            head.append(f"Accept: {accept}")
        if not self._target.keepalive:
            head.append("Connection: close")
        data = "\r\n".join([*head, "", ""]).encode() + body
        for last in (False, False, True):
            connection = self._connection
            reused = connection is not None and not connection.closed
            try:
                async with asyncio.timeout(self._target.timeout):
                    if connection is None or connection.closed:
                        connection = self._connection = await self._connect()
                    self.stats.count["requests"] += 1
                    return await connection.send(data, is_head=method == "HEAD")
            except (OSError, TimeoutError) as error:
                if connection is not None:
                    connection.abort()
                # retry once if the server has just closed a keep-alive connection
                again = (isinstance(error, ConnectionResetError) and reused) or isinstance(
                    error, ConnectionRefusedError
                )
                if last or not again:
                    raise LoadError(f"transport:{type(error).__name__}", str(error)) from error
                self.stats.count["reconnects"] += 1
        raise AssertionError("unreachable")

    async def _connect(self) -> Connection:
        self.stats.count["connections"] += 1
        host, port = self._target.address
        name = urlsplit(self._target.directory).hostname if self._target.tls else None
        _, connection = await asyncio.get_running_loop().create_connection(
            Connection, host, port, ssl=self._target.tls, server_hostname=name
        )
        return connection

    def close(self) -> None:
        """Close the connection, if there is one."""
        if self._connection is not None:
            self._connection.abort()

    async def timed(self, step: str, work: Awaitable[T]) -> T:
        """Await `work` and record its duration."""
        start = time.perf_counter()
        result = await work
        self.stats.seconds[step].append(time.perf_counter() - start)
        return result

    async def nonce(self) -> str:
        """A nonce from the pool, or a new one."""
        if self._nonces:
            return self._nonces.pop()
        answer = await self.timed("newNonce", self.http("HEAD", self._target.urls["newNonce"]))
        if "replay-nonce" not in answer.headers:
            raise LoadError(f"newNonce:{answer.status}", "no Replay-Nonce")
        return answer.headers["replay-nonce"]

    async def post(
        self, step: str, url: str, payload: object = None, *, with_jwk: bool = False, accept: str = ""
    ) -> Answer:
        """A signed POST (payload None: POST-as-GET); after badNonce, it is sent again with the nonce of the error."""
        content = "" if payload is None else encode(payload)
        for attempt in range(self._target.retries + 1):
            signer = {"jwk": self._key.jwk} if with_jwk else {"kid": self.kid}
            protected = encode({"alg": self._key.alg, "nonce": await self.nonce(), "url": url, **signer})
            signature = base64url(self._key.sign(f"{protected}.{content}".encode()))
            body = f'{{"protected":"{protected}","payload":"{content}","signature":"{signature}"}}'.encode()
            answer = await self.timed(step, self.http("POST", url, body, accept))
            if "replay-nonce" in answer.headers:
                self._nonces.append(answer.headers["replay-nonce"])
            if answer.status in (200, 201):
                return answer
            kind, detail = _problem(answer)
            if attempt == self._target.retries:
                raise LoadError(f"{step}:{answer.status}:{kind}", detail)
            if kind == "badNonce":
                self.stats.count["badnonce_retried"] += 1
            elif answer.status in (429, 503):
                self.stats.count[f"throttled_{answer.status}"] += 1
                await asyncio.sleep(self.delay(answer, attempt))
            else:
                raise LoadError(f"{step}:{answer.status}:{kind}", detail)
        raise AssertionError("unreachable")

    def delay(self, answer: Answer, tries: int) -> float:
        """Seconds until the next poll: Retry-After up to the cap, else the interval with back-off."""
        after = answer.headers.get("retry-after", "")
        if after.isdigit():
            self.stats.count["retry_after_seen"] += 1
            return min(float(after), self._target.retry_after_cap)
        return float(min(self._target.poll_interval * 1.5**tries, 1.0))

    async def account(self, key: AccountKey | None = None) -> None:
        """Register (RFC 8555 section 7.3), with EAB if the client has credentials."""
        self._key = key or self._key
        url = self._target.urls["newAccount"]
        payload: dict[str, object] = {"termsOfServiceAgreed": True}
        if self._target.contact:
            payload["contact"] = [f"mailto:{self._target.contact}"]
        if self._eab:
            kid, secret = self._eab
            protected = encode({"alg": "HS256", "kid": kid, "url": url})
            content = encode(self._key.jwk)
            hmac_key = base64.urlsafe_b64decode(secret + "=" * (-len(secret) % 4))
            mac = hmac.new(hmac_key, f"{protected}.{content}".encode(), hashlib.sha256).digest()
            payload["externalAccountBinding"] = {
                "protected": protected,
                "payload": content,
                "signature": base64url(mac),
            }
        self.kid = (await self.post("newAccount", url, payload, with_jwk=True)).headers["location"]

    async def poll(self, step: str, url: str, unfinished: tuple[str, ...]) -> Any:
        """POST-as-GET until the status is none of `unfinished`."""
        until = time.perf_counter() + self._target.poll_limit
        for tries in range(100_000):
            answer = await self.post(step, url)
            status = answer.json()["status"]
            if status not in unfinished:
                return answer.json()
            if time.perf_counter() > until:
                raise LoadError(f"{step}:still-{status}")
            await asyncio.sleep(self.delay(answer, tries))
        raise AssertionError("unreachable")

    async def authorize(self, url: str) -> None:
        """Read an authorization; respond to its challenge unless it is valid."""
        authorization = (await self.post("authz", url)).json()
        if authorization["status"] == "valid":
            return
        challenge = next((c for c in authorization["challenges"] if c["type"] == self._target.challenge), None)
        if authorization["status"] != "pending" or challenge is None:
            raise LoadError(f"authz:{authorization['status']}-without-{self._target.challenge}")
        token = challenge["token"]
        self._tokens[token] = f"{token}.{self._key.thumbprint}".encode()
        answer = await self.post("challenge", challenge["url"], {})
        if answer.json().get("status") not in ("valid", "invalid"):  # not decided yet
            await asyncio.sleep(self.delay(answer, 0))
        authorization = await self.poll("authz-poll", url, ("pending", "processing"))
        self._tokens.pop(token, None)
        if authorization["status"] != "valid":
            errors = [c["error"] for c in authorization["challenges"] if "error" in c]
            raise LoadError(f"authz:became-{authorization['status']}", str(errors)[:200])

    async def new_order(self, identifiers: Identifiers) -> Answer:
        """Place an order."""
        payload = {"identifiers": [{"type": kind, "value": value} for kind, value in identifiers]}
        return await self.post("newOrder", self._target.urls["newOrder"], payload)

    async def order(self, work: Work) -> None:
        """An order from newOrder to the certificate, whose key must be the CSR's."""
        placed = await self.new_order(work.identifiers)
        url, order = placed.headers["location"], placed.json()
        for authorization in order["authorizations"]:
            await self.authorize(authorization)
        try:
            answer = await self.post("finalize", order["finalize"], {"csr": work.csr})
        except LoadError as error:
            if ":orderNotReady" not in error.kind:
                raise
            self.stats.count["order_not_ready_retried"] += 1
            await self.poll("order-poll-ready", url, ("pending",))
            answer = await self.post("finalize", order["finalize"], {"csr": work.csr})
        order = answer.json()
        if order.get("status") != "valid" or "certificate" not in order:
            await asyncio.sleep(self.delay(answer, 0))
            order = await self.poll("order-poll", url, ("pending", "ready", "processing"))
        if order["status"] != "valid":
            raise LoadError(f"order:became-{order['status']}", str(order.get("error", ""))[:200])
        pem = (await self.post("certificate", order["certificate"], accept="application/pem-certificate-chain")).body
        # during the measurement only a cheap check: the leaf contains the public key; `check_chain` checks the rest
        leaf = pem.partition(b"-----BEGIN CERTIFICATE-----")[2].partition(b"-----END")[0]
        if work.spki not in base64.b64decode(leaf):
            count = pem.count(b"BEGIN CERT")
            raise LoadError("certificate:key-mismatch", f"{count} served, the first not of the CSR's key")
        self.stats.sample = (pem, work)


def _problem(answer: Answer) -> tuple[str, str]:
    try:
        problem = answer.json()
    except ValueError:
        return "no-problem-document", repr(answer.body[:80])
    return str(problem.get("type", "?")).rsplit(":", 1)[-1], str(problem.get("detail", ""))
