"""A client that keeps thousands of TLS connections open, each with one answer that the hub holds: plain asyncio."""

import asyncio
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


class HoldingClient:
    """An account in mode `accept`, with as many connections as the test wants."""

    def __init__(self, directory: str, ca_file: Path) -> None:
        self._url = directory
        self._context = ssl.create_default_context(cafile=ca_file)
        self._key = AccountKey.generate()
        self._kid = ""
        self._directory: dict[str, Any] = {}

    async def register(self, credentials: dict[str, str]) -> None:
        """Bind the account."""
        connection = await Connection.open(self._url, self._context)
        self._directory = (await connection.ask("GET", self._url)).json
        url = self._directory["newAccount"]
        key = urlsafe_b64decode(credentials["hmac_key"] + "=")
        external = ExternalAccount(credentials["kid"], key)
        payload = {"externalAccountBinding": external.binding(self._key, url)}
        nonce = await self._nonce(connection)
        answer = await connection.ask("POST", url, self._signed(url, nonce, payload, jwk=self._key.jwk))
        assert answer.status == 201, answer.body
        self._kid = answer.headers["location"]
        await connection.close()

    async def hold(self, name: str) -> "Held":
        """Order `name` and respond to its challenge: that answer is held."""
        connection = await Connection.open(self._url, self._context)
        url = self._directory["newOrder"]
        payload = {"identifiers": [{"type": "dns", "value": name}]}
        answer = await connection.ask("POST", url, self._signed(url, await self._nonce(connection), payload))
        assert answer.status == 201, answer.body
        (authorization,) = answer.json["authorizations"]
        challenge = authorization.replace("/authz/", "/chall/") + "/http-01"
        body = self._signed(challenge, answer.headers["replay-nonce"], {})
        task = asyncio.create_task(connection.ask("POST", challenge, body))
        return Held(answer.headers["location"].rpartition("/")[2], connection, task)

    async def _nonce(self, connection: Connection) -> str:
        return (await connection.ask("HEAD", self._directory["newNonce"])).headers["replay-nonce"]

    def _signed(self, url: str, nonce: str, payload: object, **header: Any) -> bytes:
        header = header or {"kid": self._kid}
        return self._key.jws({"nonce": nonce, "url": url, **header}, compact(payload))


class Held(NamedTuple):
    """An answer that is held: the order that it is about, and the task that reads it."""

    order_id: str
    connection: Connection
    answer: "asyncio.Task[Answer]"
