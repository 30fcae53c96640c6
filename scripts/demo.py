"""make demo: a device gets a certificate through the hub, from a CA that validates over DNS; all on this machine.

    certbot (PyPI) -> hub -> upstream CA (a second hub: `ca_local`, mode `verify`) -> DNS server (RFC 2136 with TSIG)

The device has EAB credentials and nothing else; only the hub holds the DNS key. Nothing needs root, all ports are
free ones on loopback, everything is stopped at the end. Exit status 0 only if the chain verifies and no TXT is left.
"""

import base64
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path

import dns.message
import dns.query
import dns.rdatatype
from cryptography import x509
from cryptography.x509.verification import PolicyBuilder, Store

from acmehub.testing.hub_process import HubFailed, HubProcess, free_port
from scripts.certbot import Certbot

ZONE = "corp.test"
NAMES = ("www.corp.test", "vpn.corp.test")

UPSTREAM = """
[[principal]]
name = "hub"
type = "application"
roles = ["managed_acme_consumer"]

[[token]]
title = "The hub's account"
principal = "hub"
scope = ["managed_acme_consumer"]
names = "corp.test, *.corp.test"
authorization = "verify"
"""

HUB = """
[[authority]]
name = "upstream"
plugin = "ca_acme"
default = true
settings = {{ directory = "{directory}", ca_file = "{ca_file}", eab_kid = "{kid}", eab_hmac_key = "env:UPSTREAM_HMAC" }}

[[managed_challenge]]
name = "corp zone"
plugin = "dns_rfc2136"
match = "corp.test, *.corp.test"
settings = {{ server = "127.0.0.1", port = {dns_port}, key_name = "hub.", key_secret = "env:TSIG" }}

[[principal]]
name = "firewall-01"
type = "application"
roles = ["managed_acme_consumer"]

[[token]]
title = "Example ACME EAB Credentials"
principal = "firewall-01"
scope = ["managed_acme_consumer"]
names = "*.corp.test"
"""


def main() -> int:
    """Play the story; the exit status."""
    begin = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="acmehub-demo-") as name, ExitStack() as running:
        try:
            problems = _play(Path(name), running)
        except HubFailed as error:
            problems = [str(error)]
    for problem in problems:
        print(f"FAILED: {problem}", file=sys.stderr)
    if not problems:
        print(f"\nDone in {time.monotonic() - begin:.0f} s: the chain verifies, no TXT record is left, all is stopped.")
    return 1 if problems else 0


def _play(folder: Path, running: ExitStack) -> Sequence[str]:
    tsig = base64.b64encode(secrets.token_bytes(32)).decode()
    dns_port = free_port()
    _step(f"A DNS server for {ZONE} on port {dns_port}; it takes updates signed with the TSIG key 'hub.'")
    running.enter_context(_dns_server(folder, dns_port, tsig))
    dns_config = f'[dns]\nresolvers = ["127.0.0.1:{dns_port}"]\nport = {dns_port}\n'

    _step("An upstream CA (a second hub) that issues nothing before it has seen a TXT record in the DNS itself")
    upstream = HubProcess(folder / "upstream", config=f'{dns_config}[verify]\nnetworks = ["127.0.0.0/8"]\n')
    upstream.apply(UPSTREAM)
    running.enter_context(upstream)
    account = upstream.eab("The hub's account")
    print(f"    {upstream.directory}")

    _step("The hub: it has an account at that CA and holds the DNS key")
    hub = HubProcess(folder / "hub", config=dns_config)
    resources = HUB.format(
        directory=upstream.directory, ca_file=upstream.ca_file, kid=account["kid"], dns_port=dns_port
    )
    print(_indented(hub.apply(resources, TSIG=tsig, UPSTREAM_HMAC=account["hmac_key"])))
    running.enter_context(hub)
    print(f"    {hub.directory}")

    _step(f"A device runs certbot for {' and '.join(NAMES)}; it knows the hub's URL and its EAB credentials only")
    device = Certbot(folder / "device", hub.ca_file, hub.directory, hub.eab("Example ACME EAB Credentials"))
    done = device.certonly(NAMES)
    print(_indented(done.stdout))
    if done.returncode:
        return [f"certbot ended with {done.returncode}", hub.last_words()]

    _step("How the hub fulfilled the order")
    order = hub.json("order", "list")[0]
    print(_indented(hub.run("order", "show", order["id"])))

    _step("The certificate, and the traces in the DNS")
    return [*_verify(device.chain(), upstream.ca_file), *_records_left(dns_port)]


@contextmanager
def _dns_server(folder: Path, port: int, tsig: str) -> Iterator[None]:
    key = folder / "tsig"
    key.touch(mode=0o600)
    key.write_text(tsig)
    command = [sys.executable, "-m", "acmehub.testing.dns_server", "--zone", ZONE, "--port", str(port)]
    command += ["--tsig", f"hub.:hmac-sha256:{key}"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        process.stdout.readline()  # it says that it serves
        yield
    finally:
        process.terminate()
        process.wait()


def _verify(chain_file: Path, root_file: Path) -> Sequence[str]:
    """Complaints about the chain: it must lead to the CA's root and name what was asked for."""
    chain = x509.load_pem_x509_certificates(chain_file.read_bytes())
    root = x509.load_pem_x509_certificate(root_file.read_bytes())
    for certificate in (*chain, root):
        print(f"    {certificate.subject.rfc4514_string() or ', '.join(NAMES)}")
    verifier = PolicyBuilder().store(Store([root])).time(datetime.now(UTC))
    try:
        for name in NAMES:
            verifier.build_server_verifier(x509.DNSName(name)).verify(chain[0], chain[1:])
    except x509.verification.VerificationError as error:
        return [f"the chain does not verify: {error}"]
    print("    the chain verifies, for each name")
    return []


def _records_left(port: int) -> Sequence[str]:
    """Complaints about TXT records that are still there; they are removed right after the CA has seen them."""
    left: list[str] = []
    deadline = time.monotonic() + 20
    for name in NAMES:
        while texts := _txt(f"_acme-challenge.{name}", port):
            if time.monotonic() > deadline:
                left.append(f"TXT records are left at _acme-challenge.{name}: {texts}")
                break
            time.sleep(0.2)
    if not left:
        print("    no TXT record is left")
    return left


def _txt(name: str, port: int) -> list[str]:
    answer = dns.query.udp(dns.message.make_query(name, dns.rdatatype.TXT), "127.0.0.1", port=port, timeout=5)
    return [str(item) for rrset in answer.answer for item in rrset]


def _step(text: str) -> None:
    print(f"\n==> {text}")


def _indented(text: str) -> str:
    return "\n".join(f"    {line}" for line in text.strip().splitlines())


if __name__ == "__main__":
    sys.exit(main())
