"""certbot, of any version."""

from collections.abc import Sequence
from pathlib import Path

from tests.matrix import ways
from tests.matrix.contract import Act, Limit, Way
from tests.matrix.device import Device

FOLDERS = "--config-dir config --work-dir work --logs-dir logs"
STANDALONE = "--standalone"
WEBROOT = "--webroot -w ."
HOOK = "--manual --preferred-challenges dns --manual-auth-hook true"


def issue(
    executable: Path | str, authenticator: str = STANDALONE, *, eab: bool = True, options: str = ""
) -> ways.Issue:
    """What users paste, with another authenticator in it."""

    def act(device: Device, names: Sequence[str]) -> Path:
        text = device.pasted("certbot").replace("certbot certonly", f"{executable} certonly")
        text = text.replace(STANDALONE, authenticator).replace(
            f"-d {device.name}", " ".join(f"-d '{name}'" for name in names)
        )
        if not eab:
            text = text.replace(device.directory, device.secret_directory)
            text = text.replace(f"--eab-kid {device.kid} --eab-hmac-key {device.hmac_key} ", "")
        port = f"--http-01-port {device.free_port()}" if authenticator == STANDALONE else ""
        device.shell(f"{text} --cert-name it {FOLDERS} {port} {options}")
        return device.folder / "config/live/it/fullchain.pem"

    return act


def renew(executable: Path | str, options: str = "--force-renewal") -> ways.Renew:
    """`certbot renew`, without options as the timer does it."""

    def act(device: Device) -> Path:
        device.shell(f"{executable} renew -n --no-random-sleep-on-renew {FOLDERS} {options}", **_trust(device))
        return device.folder / "config/live/it/fullchain.pem"

    return act


def revoke(executable: Path | str) -> ways.Revoke:
    """`certbot revoke`."""

    def act(device: Device, chain: Path) -> None:
        revoke = f"{executable} revoke -n --no-delete-after-revoke --server {device.directory} --cert-path {chain}"
        device.shell(f"{revoke} {FOLDERS}", **_trust(device))

    return act


def basic_ways(executable: Path | str, *, patient: bool = True) -> list[Way]:
    """The ways of every certbot; certbot 1 is not `patient`: it has no option that makes it wait longer."""
    standalone = issue(executable)
    cured: Act = ways.one_name(issue(executable, options="--issuance-timeout 300"))
    limit = Limit(90, "90 s for an answer to finalize", "--issuance-timeout 300", cured) if patient else None
    return [
        Way("http standalone", ways.one_name(standalone), limit),
        Way("http webroot", ways.two_names(issue(executable, WEBROOT)), limit),
        Way("dns hook", ways.one_name(issue(executable, HOOK)), limit),
        Way("wildcard", ways.wildcard(issue(executable, HOOK)), limit),
        Way("no EAB", ways.one_name(issue(executable, eab=False)), limit),
        Way("renewal", ways.renewal(standalone, renew(executable)), limit),
        Way("revocation", ways.revocation(standalone, revoke(executable)), limit),
    ]


def _trust(device: Device) -> dict[str, str]:
    return {"REQUESTS_CA_BUNDLE": str(device.ca_file)}
