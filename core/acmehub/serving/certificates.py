"""The TLS certificate that `serve` presents: its own, issued by an authority of the hub, or an operator's files.

Both keep one `ssl.SSLContext` and load new certificates into it; listeners use them from the next connection on.
"""

import asyncio
import ipaddress
import logging
import os
import ssl
from datetime import datetime, timedelta
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from acmehub.app.hub import Hub
from acmehub.app.own_certificate import OWN_FILE
from acmehub.config import Config, ConfigError
from acmehub.models.identifiers import Identifier, canonical
from acmehub.ports.authority import IssueRequest, SigningAuthority, UpstreamError
from acmehub.ports.clock import Clock
from acmehub.ports.store import StoreError
from acmehub.runtime.plugin_objects import PLUGIN_UNUSABLE
from acmehub.runtime.vault import write_private
from acmehub.serving.data_dir import ROOT_FILE

RELOAD_INTERVAL = 60.0
_RETRY = timedelta(hours=1)
_log = logging.getLogger(__name__)


class ServingCertificate(Protocol):
    """A source of the server's certificate: `context` is loaded once `prepare` has returned."""

    context: ssl.SSLContext

    async def prepare(self) -> None:
        """Have a usable certificate; raises `ConfigError` when there is none."""
        ...

    def load_kept(self) -> bool:
        """Load a certificate for which the storage is not needed; False when there is none. Raises as `prepare`."""
        ...

    async def refresh(self) -> None:
        """Load or get a newer certificate when there should be one; a failure is logged and the old one stays."""
        ...

    def tell_again(self) -> None:
        """An operator asks for a refresh: a failure is logged even if the last one was the same."""
        return

    def seconds_to_next(self) -> float:
        """When to call `refresh` again."""
        ...


def serving_certificate(hub: Hub) -> ServingCertificate | None:
    """The source that `[tls] mode` names; None for `off`."""
    tls = hub.config.tls
    if tls.mode == "off":
        return None
    if tls.certificate is not None and tls.key is not None:
        return CertificateFiles(tls.certificate, tls.key)
    return OwnCertificate(hub)


async def keep_fresh(certificate: ServingCertificate, asked: asyncio.Event) -> None:
    """Refresh in time, and whenever `asked` is set (SIGHUP); runs until cancelled."""
    while True:
        try:
            async with asyncio.timeout(certificate.seconds_to_next()):
                await asked.wait()
        except TimeoutError:
            pass
        if asked.is_set():
            certificate.tell_again()
        asked.clear()
        await certificate.refresh()


def new_context() -> ssl.SSLContext:
    """A server's context: TLS 1.2 at least, HTTP/1.1 by ALPN."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    return context


# ------------------------------------------------------------------------------------------------------- files


class CertificateFiles(ServingCertificate):
    """A chain and a key in files of the operator, checked once a minute and read again when either has changed."""

    def __init__(self, certificate: Path, key: Path) -> None:
        self.context = new_context()
        self._certificate = certificate
        self._key = key
        self._loaded: tuple[object, ...] = ()
        self._told = ""  # why the files are not loaded again

    async def prepare(self) -> None:
        self.load_kept()

    def load_kept(self) -> bool:
        for path in (self._certificate, self._key):
            if not path.is_file():
                raise ConfigError(f"$.tls: {path}: no such file")
        if self._key.stat().st_mode & 0o007:
            raise ConfigError(f"$.tls.key: {self._key}: every user can read this key: chmod 640 {self._key} (or 600)")
        try:
            self._load()
        except (OSError, ssl.SSLError) as error:
            raise ConfigError(f"$.tls: {self._certificate} and {self._key}: {_reason(error)}") from None
        return True

    async def refresh(self) -> None:
        try:
            if self._seen() != self._loaded:
                self._load()
                self._told = ""
                _log.info("TLS certificate loaded again", extra={"file": str(self._certificate)})
        except (OSError, ssl.SSLError) as error:
            reason = _reason(error)
            if reason != self._told:  # the files are looked at once a minute
                _log.error("TLS certificate not loaded again: %s", reason, extra={"file": str(self._certificate)})
            self._told = reason

    def tell_again(self) -> None:
        self._told = ""

    def seconds_to_next(self) -> float:
        return RELOAD_INTERVAL

    def _load(self) -> None:
        seen = self._seen()
        new_context().load_cert_chain(self._certificate, self._key)  # refused here, a bad pair leaves the context as is
        self.context.load_cert_chain(self._certificate, self._key)
        self._loaded = seen

    def _seen(self) -> tuple[object, ...]:
        stats = [path.stat() for path in (self._certificate, self._key)]
        return tuple((item.st_mtime_ns, item.st_size, item.st_ino) for item in stats)


def _reason(error: OSError) -> str:
    if isinstance(error, ssl.SSLError):
        return "not a chain and its key in PEM" + (f" ({error.reason})" if error.reason else "")
    return error.strerror or type(error).__name__


# --------------------------------------------------------------------------------------------------------- own


class OwnCertificate(ServingCertificate):
    """A certificate for the hub itself from one of its signing authorities, kept in the data directory.

    The same certificate serves over restarts; it is replaced after two thirds of its life, or when its names or the
    authority's root have changed.
    """

    def __init__(self, hub: Hub) -> None:
        self.context = new_context()
        self.root_file = hub.config.data_dir / ROOT_FILE
        self._hub = hub
        self._clock: Clock = hub.clock
        self._file = hub.config.data_dir / OWN_FILE
        self._names = own_names(hub.config)
        self._renew_at = self._clock.now()

    async def prepare(self) -> None:
        await self._fresh(await self._authority())

    def load_kept(self) -> bool:
        try:
            self.context.load_cert_chain(self._file)
        except OSError:  # none, or a damaged one
            return False
        return True

    async def refresh(self) -> None:
        try:
            await self.prepare()
        except (ConfigError, UpstreamError, StoreError, OSError, *PLUGIN_UNUSABLE) as error:
            self._renew_at = self._clock.now() + _RETRY
            _log.error("own TLS certificate not renewed, next attempt in an hour: %s", error)

    def seconds_to_next(self) -> float:
        return max(0.0, (self._renew_at - self._clock.now()).total_seconds())

    async def _authority(self) -> SigningAuthority:
        name = self._hub.config.tls.authority
        rows = await self._hub.store.authorities.named(name)
        if not rows:
            raise ConfigError(
                f"$.tls: mode auto needs the authority {name!r}: acmehub authority add {name} --plugin ca_local, "
                "or set tls.mode to files or off"
            )
        instance = await self._hub.plugin_objects.authority(rows[0].id)
        if not isinstance(instance.object, SigningAuthority):
            raise ConfigError(f"$.tls.authority: {name!r} ({rows[0].plugin}) does not sign by itself")
        return instance.object

    async def _fresh(self, authority: SigningAuthority) -> None:
        _write_if_changed(self.root_file, authority.root.encode())
        now = self._clock.now()
        certificate = self._stored(authority.root, now)
        if certificate is None:
            certificate = await self._issue(authority)
            _log.info(
                "own TLS certificate issued", extra={"names": self._names, "until": certificate.not_valid_after_utc}
            )
        self.context.load_cert_chain(self._file)
        self._renew_at = _renewal(certificate)

    def _stored(self, root: str, now: datetime) -> x509.Certificate | None:
        """The certificate in the data directory if it still serves."""
        try:
            chain = x509.load_pem_x509_certificates(self._file.read_bytes())
        except (FileNotFoundError, ValueError):
            return None
        trusted = x509.load_pem_x509_certificate(root.encode())
        right = (
            chain[-1].issuer == trusted.subject
            and _names_of(chain[0]) == set(self._names)
            and chain[0].not_valid_before_utc <= now < _renewal(chain[0])
        )
        return chain[0] if right and _signed_by(chain[-1], trusted) else None

    async def _issue(self, authority: SigningAuthority) -> x509.Certificate:
        key = ec.generate_private_key(ec.SECP256R1())
        csr = (
            x509.CertificateSigningRequestBuilder()
            .subject_name(x509.Name([]))
            .add_extension(x509.SubjectAlternativeName([_general_name(name) for name in self._names]), critical=True)
            .sign(key, hashes.SHA256())
        )
        request = IssueRequest(identifiers=tuple(_identifier(name) for name in self._names))
        chain = await authority.sign(csr.public_bytes(serialization.Encoding.DER), request)
        pem = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        new = self._file.with_name(f".{self._file.name}.{os.getpid()}")
        new.unlink(missing_ok=True)  # left by a process that died here
        write_private(new, pem + chain.encode())
        new.replace(self._file)
        return x509.load_pem_x509_certificates(chain.encode())[0]


def own_names(config: Config) -> tuple[str, ...]:
    """The names that the hub's own certificate is for: the host of its URL, `[tls] names`, and those of a loopback."""
    host = urlsplit(config.base_url).hostname or "localhost"
    names = [host, *config.tls.names]
    if host == "localhost":
        names += ["127.0.0.1", "::1"]
    return tuple(dict.fromkeys(str(_general_name(canonical(name)).value) for name in names))


def _renewal(certificate: x509.Certificate) -> datetime:
    begin, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    return begin + (end - begin) * 2 / 3


def _names_of(certificate: x509.Certificate) -> set[str]:
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return {str(name.value) for name in names}


def _signed_by(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def _identifier(name: str) -> Identifier:
    return Identifier("dns" if isinstance(_general_name(name), x509.DNSName) else "ip", name)


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _write_if_changed(path: Path, content: bytes) -> None:
    if not path.exists() or path.read_bytes() != content:
        new = path.with_name(f".{path.name}.{os.getpid()}")
        new.write_bytes(content)
        new.replace(path)
