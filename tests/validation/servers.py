"""Servers of clients: HTTP with responses given byte by byte, and TLS with a given certificate."""

import asyncio
import ipaddress
import ssl
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from acmehub.models.identifiers import is_address
from acmehub.validation.tls_alpn01 import ALPN

Answers = Callable[[str], bytes]


class HttpServer:
    """An HTTP server: `answers` maps a request target to the bytes that are sent; `seen` has the requests' heads."""

    def __init__(self) -> None:
        self.answers: dict[str, bytes] = {}
        self.seen: list[str] = []
        self.silent = False
        self.port = 0

    def serve(self, target: str, body: str | bytes, *, status: str = "200 OK", head: str = "") -> None:
        """Answer `target` with a body of known length."""
        data = body.encode() if isinstance(body, str) else body
        self.answers[target] = f"HTTP/1.1 {status}\r\n{head}Content-Length: {len(data)}\r\n\r\n".encode() + data

    def redirect(self, target: str, location: str, status: str = "302 Found") -> None:
        """Answer `target` with a redirect."""
        self.serve(target, "", status=status, head=f"Location: {location}\r\n")

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            self.seen.append(head)
            if self.silent:
                await reader.read()
            writer.write(self.answers.get(head.split(" ")[1], b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"))
            await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass  # the hub has closed the connection, or sent nothing
        finally:
            writer.close()


@asynccontextmanager
async def http_server(
    *addresses: str, port: int = 0, tls: ssl.SSLContext | None = None, server: HttpServer | None = None
) -> AsyncIterator[HttpServer]:
    """A server at these addresses, all on one port."""
    made = server or HttpServer()
    listening: list[asyncio.Server] = []
    try:
        for address in addresses or ("127.0.0.1",):
            listening.append(await asyncio.start_server(made.handle, address, port, ssl=tls))
            port = listening[0].sockets[0].getsockname()[1]
        made.port = port if server is None else made.port
        yield made
    finally:
        for item in listening:
            item.close()
            await item.wait_closed()


class TlsServer:
    """What was asked of a TLS server: the names in the handshakes."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.names: list[str | None] = []


@asynccontextmanager
async def tls_server(
    context: ssl.SSLContext, *, address: str = "127.0.0.1", alpn: Sequence[str] = (ALPN,)
) -> AsyncIterator[TlsServer]:
    """A TLS server that says nothing."""
    names: list[str | None] = []
    if alpn:
        context.set_alpn_protocols(list(alpn))
    context.sni_callback = lambda _socket, name, _context: names.append(name)

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.read()
        except OSError:
            pass  # the hub closes without a TLS shutdown
        finally:
            writer.close()

    listening = await asyncio.start_server(handle, address, 0, ssl=context)
    async with listening:
        made = TlsServer(listening.sockets[0].getsockname()[1])
        made.names = names
        yield made


def names(*names: str) -> x509.SubjectAlternativeName:
    """The extension for these names and addresses."""
    return x509.SubjectAlternativeName(
        [x509.IPAddress(ipaddress.ip_address(item)) if is_address(item) else x509.DNSName(item) for item in names]
    )


def identity(
    folder: Path,
    *extensions: tuple[x509.ExtensionType, bool],
    issuer_key: ec.EllipticCurvePrivateKey | None = None,
    issuer: str = "ACME challenge",
) -> ssl.SSLContext:
    """A server's context with a certificate that has these extensions (critical or not), self-signed unless told."""
    key = ec.generate_private_key(ec.SECP256R1())
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(_name("ACME challenge"))
        .issuer_name(_name(issuer))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
    )
    for value, critical in extensions:
        builder = builder.add_extension(value, critical=critical)
    certificate = builder.sign(issuer_key or key, hashes.SHA256())
    return context_of(folder, certificate, key)


def context_of(folder: Path, certificate: x509.Certificate, key: Any) -> ssl.SSLContext:
    """A server's context with this certificate."""
    path = folder / f"{certificate.serial_number}.pem"
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    path.write_bytes(certificate.public_bytes(Encoding.PEM) + pem)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    return context


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, text)])
