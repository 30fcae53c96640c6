"""Clients that Debian 12 has not: packages of Debian's unstable, unpacked into .run/matrix/debian and not installed."""

from collections.abc import Sequence
from pathlib import Path

from tests.matrix import ways
from tests.matrix.contract import Client, Way, said
from tests.matrix.device import Device
from tests.matrix.mains import BUILT, build

HOME = BUILT / "debian"
ACME_SH = HOME / "acme.sh" / "usr" / "share" / "acme.sh" / "acme.sh"
SUITE = "sid"
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
FETCH = """
mkdir -p lists/partial cache/archives/partial packages "$1"
echo "deb [signed-by=$KEYRING] http://deb.debian.org/debian $SUITE main" >sources.list
options="-o Dir::Etc::sourcelist=$PWD/sources.list -o Dir::Etc::sourceparts=/dev/null -o Dir::State::lists=$PWD/lists"
options="$options -o Dir::Cache=$PWD/cache -o APT::Sandbox::User=root -q"
apt-get $options update
(cd packages && rm -f "$1"_*.deb && apt-get $options download "$1/$SUITE")
dpkg -x packages/"$1"_*.deb "$1"
"""


def fetch(package: str) -> None:
    """Unpack a package of Debian's unstable, with lists of packages of its own: the system's stay as they are."""
    HOME.mkdir(parents=True, exist_ok=True)
    build(HOME, "sh", "-ec", FETCH, "sh", package, SUITE=SUITE, KEYRING=KEYRING)


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
        build=lambda: fetch("acme.sh"),
    ),
]
