"""A CA that signs by itself, with one key: a root that the plugin makes when the authority is first used."""

from datetime import UTC, datetime, timedelta
from typing import Annotated

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from msgspec import Meta
from msgspec.structs import replace

from acmehub import (
    IssueRequest,
    PluginContext,
    PluginSettings,
    ProblemDocument,
    Register,
    Secret,
    UpstreamRefused,
    hookimpl,
    load_csr,
)

BACKDATED = timedelta(hours=1)  # for clients whose clock is slow


class Settings(PluginSettings, frozen=True):
    name: Annotated[str, Meta(min_length=1, max_length=50, description="the root's common name")] = "small CA"
    lifetime_days: Annotated[float, Meta(gt=0, le=90, description="the longest validity of a certificate")] = 30.0
    root: Annotated[str, Meta(description="the root in PEM; made when it is empty")] = ""
    root_key: Annotated[Secret, Meta(description="its key, PKCS #8 in PEM; made with it")] = Secret("")

    def validate(self) -> None:
        if bool(self.root) != bool(self.root_key):
            raise ValueError("root and root_key: give both or none")


class SmallCa:
    def __init__(self, settings: Settings, context: PluginContext) -> None:
        self._settings = settings
        self._now = context.clock.now
        self._revoked = context.data_dir / "small-ca-revoked"

    async def complete(self) -> Settings | None:
        if self._settings.root:
            return None
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, self._settings.name)])
        usage = x509.KeyUsage(True, False, False, False, False, True, True, False, False)
        builder = _builder(name, name, key.public_key(), self._now() - BACKDATED, self._now() + timedelta(days=3650))
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        root = builder.add_extension(usage, critical=True).sign(key, hashes.SHA256())
        pem = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return replace(self._settings, root=_pem(root), root_key=Secret(pem.decode()))

    @property
    def root(self) -> str:
        return self._settings.root

    @property
    def longest_days(self) -> float:
        return self._settings.lifetime_days

    @property
    def issues_for_addresses(self) -> bool:
        return False

    async def sign(self, csr: bytes, request: IssueRequest) -> str:
        names = [item.value for item in request.identifiers if item.type == "dns"]
        if len(names) != len(request.identifiers):
            raise _refused("unsupportedIdentifier", "this CA has certificates for DNS names only")
        if request.profile is not None:
            raise _refused("invalidProfile", f"this CA has no profile {request.profile!r}")
        begin, end = self._validity(request)
        root = x509.load_pem_x509_certificate(self.root.encode())
        public = load_csr(csr).public_key()
        usage = x509.KeyUsage(True, False, False, False, False, False, False, False, False)
        builder = _builder(x509.Name([]), root.subject, public, begin, end)
        builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        builder = builder.add_extension(usage, critical=True)
        builder = builder.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        alternative = x509.SubjectAlternativeName([x509.DNSName(name) for name in names])
        builder = builder.add_extension(alternative, critical=True)  # as the subject is empty (RFC 5280 4.2.1.6)
        key = serialization.load_pem_private_key(self._settings.root_key.reveal().encode(), password=None)
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        return _pem(builder.sign(key, hashes.SHA256()))

    async def revoke_signed(self, certificate: bytes, reason: int | None) -> None:
        serial = x509.load_der_x509_certificate(certificate).serial_number
        with self._revoked.open("a") as file:
            file.write(f"{serial:x} {reason}\n")

    def _validity(self, request: IssueRequest) -> tuple[datetime, datetime]:
        now, longest = self._now(), timedelta(days=self.longest_days)
        begin = request.not_before or now - min(BACKDATED, longest / 4)
        end = request.not_after or min(begin, now) + longest
        if not begin < end or end <= now or end > max(begin, now) + longest or begin < now - BACKDATED:
            raise _refused("malformed", f"this CA has certificates from now on, for {self.longest_days:g} days at most")
        return begin, end


def _builder(
    subject: x509.Name, issuer: x509.Name, public: object, begin: datetime, end: datetime
) -> x509.CertificateBuilder:
    builder = x509.CertificateBuilder(subject_name=subject, issuer_name=issuer)
    builder = builder.public_key(public).serial_number(x509.random_serial_number())  # type: ignore[arg-type]
    return builder.not_valid_before(begin.astimezone(UTC)).not_valid_after(end.astimezone(UTC))


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode()


def _refused(kind: str, detail: str) -> UpstreamRefused:
    return UpstreamRefused(ProblemDocument(type=f"urn:ietf:params:acme:error:{kind}", detail=detail), server="small CA")


@hookimpl
def register_authorities(register: Register) -> None:
    register("ca_small", SmallCa, Settings, "a CA that signs by itself with one key")
