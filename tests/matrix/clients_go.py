"""Clients from Go modules: lego, Caddy and Traefik's ACME provider, and small programs around the libraries.

Go 1.26 builds them into .run/matrix/go/bin; what they are made of is pinned in go/*/go.mod.
"""

import json
import re
from collections.abc import Sequence
from pathlib import Path

from tests.matrix import caddy, ways
from tests.matrix.contract import Client, Way
from tests.matrix.device import Device
from tests.matrix.mains import BUILT, HERE, Main, build, missing

GO = HERE / "go"
BIN = BUILT / "go" / "bin"
LEGO, CADDY = BIN / "lego", BIN / "caddy"
INSTALL = "install Go 1.26 or newer"
SOURCE = "Go module"
FEW_DNS_PROVIDERS = "lego_dnslight,lego_dns_exec,lego_dns_rfc2136"  # some of the others need what no registry has
LEGO_HOOK = "--dns exec --dns.propagation.wait 1s"


# ---------------------------------------------------------------------------------------------------------- lego 5


def lego(challenge: str = "", *, eab: bool = True, options: str = "") -> ways.Issue:
    """What users paste, with another challenge or more options in it."""

    def act(device: Device, names: Sequence[str]) -> Path:
        text = device.pasted("lego 5").replace(" lego run", f" {LEGO} run --path lego {options}")
        if challenge:
            text = re.sub(r"--http --http\.address \S+", challenge, text)
        text = text.replace(f"-d {device.name}", " ".join(f"-d '{name}'" for name in names))
        if not eab:
            text = text.replace(device.directory, device.secret_directory)
            text = text.replace(f"--eab --eab.kid {device.kid} --eab.hmac {device.hmac_key} ", "")
        device.shell(text, EXEC_PATH="/bin/true")
        return device.folder / "lego/certificates" / f"{names[0].replace('*', '_')}.crt"

    return act


def lego_renew(options: str) -> ways.Renew:
    """`lego run` again, which renews when it is time."""
    return lambda device: lego(options=f"--no-random-sleep {options}")(device, (device.name,))


def lego_revoke(device: Device, _chain: Path) -> None:
    """`lego certificates revoke`."""
    _lego(device, "certificates revoke", f"--cert.name {device.name} --keep")


def lego_roll(device: Device) -> None:
    """`lego accounts keyrollover`, which asks whether it may."""
    _lego(device, "accounts keyrollover", before="echo y |")


def lego_profile(device: Device) -> None:
    """`--profile`."""
    device.got(lego(options=f"--profile {device.profile}")(device, (device.name,)))
    device.profiled()


def _lego(device: Device, verb: str, options: str = "", before: str = "") -> None:
    account = f"--path lego -s {device.directory} -m {device.mail}"
    device.shell(f"{before} {LEGO} {verb} {account} {options}", LEGO_CA_CERTIFICATES=str(device.ca_file))


# ----------------------------------------------------------------------------------------------------------- Caddy


def caddy_ari(device: Device) -> Path:
    """Start Caddy again when it is time to ask for the renewal window: the hub's Retry-After is struck out."""
    for path in device.folder.glob(".local/share/caddy/certificates/*/*/*.json"):
        stored = json.loads(path.read_text())
        del stored["issuer_data"]["renewal_info"]["_retryAfter"]
        path.write_text(json.dumps(stored))
    return caddy.issue(str(CADDY))(device, (device.name,))


# -------------------------------------------------------------------------------------------- small programs of ours


def certmagic(*, eab: bool = True, act: str = "manage", **options: object) -> ways.Issue:
    """CertMagic manages one name; its storage has the chain."""

    def run(device: Device, names: Sequence[str]) -> Path:
        program("certmagic").run(device, names, eab=eab, do=act, port=device.free_port(), **options)
        name = names[0].replace("*", "wildcard_")
        [chain] = device.folder.glob(f"certificates/*/{name}/{name}.crt")
        return chain

    return run


def certmagic_profile(device: Device) -> None:
    """`Profile` of its ACMEIssuer."""
    device.got(certmagic(profile=device.profile)(device, (device.name,)))
    device.profiled()


def traefik_again(device: Device) -> Path:
    """Traefik renews a certificate that was taken out of its acme.json."""
    path = device.folder / "acme.json"
    stored = json.loads(path.read_text())
    stored["hub"]["Certificates"] = []
    path.write_text(json.dumps(stored))
    return program("traefik").run(device, (device.name,))


def program(name: str) -> Main:
    """A program of go/."""
    return Main((str(BIN / name),))


def _client(name: str, folder: str, module: str, its_ways: Sequence[Way], *tags: str) -> Client:
    """A client built from a folder of go/."""
    sources = GO / folder
    return Client(
        name,
        SOURCE,
        version=lambda: _pinned(sources, module),
        missing=lambda: missing(BIN / folder, sources, "go", INSTALL),
        ways=its_ways,
        build=lambda: build(sources, "go", "build", "-p", "1", *tags, "-o", str(BIN / folder), "."),
    )


def _pinned(sources: Path, module: str) -> str:
    found = re.search(rf"{re.escape(module)} v([0-9.]+)", (sources / "go.mod").read_text())
    return found[1] if found else ""


LEGO_WAYS = [
    Way("http standalone", ways.one_name(lego())),
    Way("http webroot", ways.two_names(lego("--http --http.webroot ."))),
    Way("dns hook", ways.one_name(lego(LEGO_HOOK))),
    Way("wildcard", ways.wildcard(lego(LEGO_HOOK))),
    Way("no EAB", ways.one_name(lego(eab=False))),
    Way("profile", lego_profile),
    Way("renewal", ways.renewal(lego(), lego_renew("--renew-force"))),
    Way("ARI renewal", ways.ari_renewal(lego(), lego_renew(""))),
    Way("revocation", ways.revocation(lego(), lego_revoke)),
    Way("key roll-over", ways.roll_over(lego(), lego_roll, lego_renew("--renew-force"))),
]

CADDY_WAYS = [
    *caddy.basic_ways(str(CADDY)),
    Way("ARI renewal", ways.ari_renewal(caddy.issue(str(CADDY)), caddy_ari)),
]

ACMEZ = program("acmez")
ACMEZ_WAYS = [
    Way("library", ways.two_names(ACMEZ.issue())),
    Way("wildcard", ways.wildcard(ACMEZ.issue())),
    Way("no EAB", ways.one_name(ACMEZ.issue(eab=False))),
    Way("profile", ACMEZ.with_profile),
    Way("renewal", ways.renewal(ACMEZ.issue(), ACMEZ.renew())),
    Way("ARI renewal", ways.ari_renewal(ACMEZ.issue(), ACMEZ.renew("ari"))),
    Way("revocation", ways.revocation(ACMEZ.issue(), ACMEZ.revoke)),
    Way("key roll-over", ways.roll_over(ACMEZ.issue(), ACMEZ.roll, ACMEZ.renew())),
]

AUTOCERT = program("autocert")
AUTOCERT_WAYS = [
    Way("GetCertificate", ways.one_name(AUTOCERT.issue())),
    Way("no EAB", ways.one_name(AUTOCERT.issue(eab=False))),
    Way("renewal", ways.renewal(AUTOCERT.issue(), AUTOCERT.renew("renew"))),
    Way("revocation", ways.revocation(AUTOCERT.issue(), AUTOCERT.revoke)),
    Way("key roll-over", ways.roll_over(AUTOCERT.issue(), AUTOCERT.roll, AUTOCERT.renew("renew"))),
]

CERTMAGIC_WAYS = [
    Way("ManageSync", ways.one_name(certmagic())),
    Way("wildcard", ways.only_wildcard(certmagic())),
    Way("no EAB", ways.one_name(certmagic(eab=False))),
    Way("profile", certmagic_profile),
    Way("renewal", ways.renewal(certmagic(), lambda device: certmagic(act="renew")(device, (device.name,)))),
]

TRAEFIK = program("traefik")
TRAEFIK_WAYS = [
    Way("httpChallenge", ways.two_names(TRAEFIK.issue())),
    Way("wildcard", ways.wildcard(TRAEFIK.issue())),
    Way("no EAB", ways.one_name(TRAEFIK.issue(eab=False))),
    Way("profile", TRAEFIK.with_profile),
    Way("renewal", ways.renewal(TRAEFIK.issue(), traefik_again)),
]

CERT_MANAGER = program("certmanager")
CERT_MANAGER_WAYS = [
    Way("ACME package", ways.two_names(CERT_MANAGER.issue())),
    Way("wildcard", ways.wildcard(CERT_MANAGER.issue())),
    Way("no EAB", ways.one_name(CERT_MANAGER.issue(eab=False))),
    Way("profile", CERT_MANAGER.with_profile),
    Way("renewal", ways.renewal(CERT_MANAGER.issue(), CERT_MANAGER.renew())),
    Way("ARI renewal", ways.ari_renewal(CERT_MANAGER.issue(), CERT_MANAGER.renew("ari"))),
]

CLIENTS = [
    _client("lego", "lego", "github.com/go-acme/lego/v5", LEGO_WAYS, "-tags", FEW_DNS_PROVIDERS),
    _client("Caddy", "caddy", "github.com/caddyserver/caddy/v2", CADDY_WAYS),
    _client("Traefik", "traefik", "github.com/traefik/traefik/v3", TRAEFIK_WAYS, "-tags", FEW_DNS_PROVIDERS),
    _client("CertMagic", "certmagic", "github.com/caddyserver/certmagic", CERTMAGIC_WAYS),
    _client("acmez", "acmez", "github.com/mholt/acmez/v3", ACMEZ_WAYS),
    _client("x/crypto autocert", "autocert", "golang.org/x/crypto", AUTOCERT_WAYS),
    _client("cert-manager", "certmanager", "github.com/cert-manager/cert-manager", CERT_MANAGER_WAYS),
]
