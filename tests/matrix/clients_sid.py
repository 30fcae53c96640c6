"""Clients that Debian 12 has not: packages of its unstable and experimental, in .run/matrix/debian, not installed."""

from collections.abc import Sequence
from pathlib import Path

from tests.matrix import haproxy, ways
from tests.matrix.contract import Client, Way, said
from tests.matrix.device import Device
from tests.matrix.mains import BUILT, build

HOME = BUILT / "debian"
ACME_SH = HOME / "acme.sh" / "usr" / "share" / "acme.sh" / "acme.sh"
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
FETCH = """
folder=$1
shift
mkdir -p lists/partial cache/archives/partial "$folder" "packages/$folder"
for suite in sid experimental; do
    echo "deb [signed-by=$KEYRING] http://deb.debian.org/debian $suite main"
done >sources.list
options="-o Dir::Etc::sourcelist=$PWD/sources.list -o Dir::Etc::sourceparts=/dev/null -o Dir::State::lists=$PWD/lists"
options="$options -o Dir::Cache=$PWD/cache -o APT::Sandbox::User=root -q"
apt-get $options update
(cd "packages/$folder" && rm -f -- *.deb && apt-get $options download "$@")
for package in packages/"$folder"/*.deb; do dpkg -x "$package" "$folder"; done
"""


def fetch(folder: str, *packages: str) -> None:
    """Unpack packages (`name/suite`), with lists of packages of our own: the system's stay as they are."""
    HOME.mkdir(parents=True, exist_ok=True)
    build(HOME, "sh", "-ec", FETCH, "sh", folder, *packages, KEYRING=KEYRING)


def acme_sh(how: str = "--stateless", *, eab: bool = True) -> ways.Issue:
    """What users paste, with another way of proving control in it."""

    def act(device: Device, names: Sequence[str]) -> Path:
        text = device.pasted("acme.sh").replace("acme.sh --", f"{ACME_SH} --home {device.folder}/home --")
        text = text.replace("--stateless", how).replace(f"-d {device.name}", " ".join(f"-d '{name}'" for name in names))
        if not eab:
            text = text.replace(device.directory, device.secret_directory)
            text = text.replace(f"--eab-kid {device.kid} --eab-hmac-key {device.hmac_key} ", "")
        device.shell(text)
        return _chain(device)

    return act


def acme_sh_renew(device: Device) -> Path:
    """`--renew --force`."""
    _acme_sh(device, f"--renew --force -d {device.name} --ecc")
    return _chain(device)


def acme_sh_revoke(device: Device, _chain_file: Path) -> None:
    """`--revoke`."""
    _acme_sh(device, f"--revoke -d {device.name} --ecc")


def _acme_sh(device: Device, act: str) -> None:
    device.shell(f"{ACME_SH} --home {device.folder}/home {act} --ca-bundle {device.ca_file}")


def _chain(device: Device) -> Path:
    return next(device.folder.glob("home/*_ecc/fullchain.cer"), device.folder / "home" / "fullchain.cer")


CLIENTS = [
    Client(
        "acme.sh",
        "Debian sid",
        version=lambda: said(str(ACME_SH), "--version", "--home", str(HOME / "acme.sh")),
        missing=lambda: "" if ACME_SH.exists() else "not fetched yet: package acme.sh of Debian's unstable",
        ways=[
            Way("stateless", ways.two_names(acme_sh())),
            Way("webroot", ways.one_name(acme_sh("-w ."))),
            Way("wildcard", ways.wildcard(acme_sh())),
            Way("no EAB", ways.one_name(acme_sh(eab=False))),
            Way("renewal", ways.renewal(acme_sh(), acme_sh_renew)),
            Way("revocation", ways.revocation(acme_sh(), acme_sh_revoke)),
        ],
        build=lambda: fetch("acme.sh", "acme.sh/sid"),
    ),
    Client(
        "HAProxy",
        "Debian experimental",
        version=lambda: said(*haproxy.COMMAND, "-v"),
        missing=lambda: "" if haproxy.PROGRAM.exists() else "not fetched yet: package haproxy of Debian's experimental",
        ways=haproxy.WAYS,
        build=lambda: fetch("haproxy", "haproxy/experimental", *(f"{package}/sid" for package in haproxy.NEEDS)),
    ),
]
