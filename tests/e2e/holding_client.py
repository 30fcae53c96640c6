"""A client that keeps thousands of TLS connections open, each with one answer that the hub holds: plain asyncio."""

import asyncio
import itertools
import json
import ssl
import time
from base64 import urlsafe_b64decode
from pathlib import Path
from typing import Any, NamedTuple, Self
from urllib.parse import urlsplit

from acmehub.testing.acme_keys import AccountKey, ExternalAccount, compact


class Answer(NamedTuple):
    """An HTTP answer, and when it was read (monotonic)."""

    status: int
    headers: dict[str, str]
    body: bytes
    at: float

    @property
    def json(self) -> Any:
        """The body's object."""
        return json.loads(self.body)


class Connection:
    """One kept TLS connection to the hub."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, host: str) -> None:
        self._reader = reader
        self._writer = writer
        self._host = host

    @classmethod
    async def open(cls, url: str, context: ssl.SSLContext) -> Self:
        """Connect to the host of `url`."""
        parts = urlsplit(url)
        assert parts.hostname is not None
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", parts.port, ssl=context, server_hostname=parts.hostname
        )
        return cls(reader, writer, parts.netloc)

    async def ask(self, method: str, url: str, body: bytes = b"") -> Answer:
        """One exchange."""
        head = f"{method} {urlsplit(url).path} HTTP/1.1\r\nhost: {self._host}\r\nuser-agent: holding-client/1\r\n"
        if method == "POST":
            head += f"content-type: application/jose+json\r\ncontent-length: {len(body)}\r\n"
        self._writer.write(head.encode() + b"\r\n" + body)
        lines = (await self._reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines[1:] if line)}
        length = int(headers.get("content-length", "0")) if method != "HEAD" else 0
        data = await self._reader.readexactly(length)
        return Answer(int(lines[0].split()[1]), headers, data, time.monotonic())

    async def close(self) -> None:
        """Hang up."""
        self._writer.close()
        try:
            await self._writer.wait_closed()
        except (OSError, ssl.SSLError):
            return  # the hub was quicker


ACCOUNTS = 8  # one account has a tenth of the long polls


class HoldingClient:
    """Accounts in mode `accept`, with as many connections as the test wants."""

    def __init__(self, directory: str, ca_file: Path) -> None:
        self._url = directory
        self._context = ssl.create_default_context(cafile=ca_file)
        self._accounts: list[tuple[AccountKey, str]] = []  # with the account's URL
        self._turn = itertools.count()
        self._directory: dict[str, Any] = {}

    async def register(self, credentials: dict[str, str]) -> None:
        """Bind the accounts."""
        connection = await Connection.open(self._url, self._context)
        self._directory = (await connection.ask("GET", self._url)).json
        url = self._directory["newAccount"]
        key = urlsafe_b64decode(credentials["hmac_key"] + "=")
        external = ExternalAccount(credentials["kid"], key)
        for _ in range(ACCOUNTS):
            account = AccountKey.generate()
            payload = {"externalAccountBinding": external.binding(account, url)}
            nonce = await self._nonce(connection)
            body = account.jws({"nonce": nonce, "url": url, "jwk": account.jwk}, compact(payload))
            answer = await connection.ask("POST", url, body)
            assert answer.status == 201, answer.body
            self._accounts.append((account, answer.headers["location"]))
        await connection.close()

    async def hold(self, name: str) -> "Held":
        """Order `name` and respond to its challenge: that answer is held."""
        account = self._accounts[next(self._turn) % ACCOUNTS]
        connection = await Connection.open(self._url, self._context)
        url = self._directory["newOrder"]
        payload = {"identifiers": [{"type": "dns", "value": name}]}
        answer = await connection.ask("POST", url, _signed(account, url, await self._nonce(connection), payload))
        assert answer.status == 201, answer.body
        (authorization,) = answer.json["authorizations"]
        challenge = authorization.replace("/authz/", "/chall/") + "/http-01"
        body = _signed(account, challenge, answer.headers["replay-nonce"], {})
        task = asyncio.create_task(connection.ask("POST", challenge, body))
        return Held(answer.headers["location"].rpartition("/")[2], connection, task)

    async def _nonce(self, connection: Connection) -> str:
        return (await connection.ask("HEAD", self._directory["newNonce"])).headers["replay-nonce"]


def _signed(account: tuple[AccountKey, str], url: str, nonce: str, payload: object) -> bytes:
    key, kid = account
    return key.jws({"nonce": nonce, "url": url, "kid": kid}, compact(payload))


class Held(NamedTuple):
    """An answer that is held: the order that it is about, and the task that reads it."""

    order_id: str
    connection: Connection
    answer: "asyncio.Task[Answer]"
