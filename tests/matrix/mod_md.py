"""Apache with mod_md: an instance of its own, on high ports, from a folder."""

from collections.abc import Sequence
from pathlib import Path

from tests.matrix import ways
from tests.matrix.contract import Way
from tests.matrix.device import Device

PROGRAM = "/usr/sbin/apache2"
MODULES = ("mpm_event", "authz_core", "socache_shmcb", "ssl", "md")

SERVER = """
ServerRoot {folder}
ServerName localhost
DefaultRuntimeDir {folder}
PidFile {folder}/pid
ErrorLog {folder}/error.log
LogLevel warn md:debug
StartServers 1
{modules}
Listen 127.0.0.1:{http}
Listen 127.0.0.1:{https}
Mutex file:{folder} default
MDPortMap http:{http} https:{https}
MDStoreDir md
"""

SITE = """
<VirtualHost *:{https}>
    ServerName {name}
    SSLEngine on
</VirtualHost>
"""


def issue(*, eab: bool = True, config: str = "") -> ways.Issue:
    """Run it with what users paste (and `config`) until it has staged a certificate, then once more to install it."""

    def act(device: Device, names: Sequence[str]) -> Path:
        pasted = device.pasted("Apache mod_md").replace(f"MDomain {device.name}", f"MDomain {' '.join(names)}")
        if not eab:
            pasted = pasted.replace(device.directory, device.secret_directory)
            pasted = pasted.replace(f"MDExternalAccountBinding {device.kid} {device.hmac_key}\n", "")
        modules = "\n".join(f"LoadModule {name}_module /usr/lib/apache2/modules/mod_{name}.so" for name in MODULES)
        ports = {"http": device.free_port(), "https": device.free_port()}
        server = SERVER.format(folder=device.folder, modules=modules, **ports)
        config_file = device.write(
            "apache.conf", f"{server}\n{pasted}\n{config}\n{SITE.format(name=names[0], **ports)}"
        )
        staged = device.folder / "md/staging" / names[0] / "pubcert.pem"
        kept = device.folder / "md/domains" / names[0] / "pubcert.pem"
        with device.daemon(PROGRAM, "-f", config_file, "-D", "FOREGROUND") as process:
            device.until(lambda: staged.exists() and staged.read_text().count("END CERTIFICATE") > 1, process)
        before = kept.read_text() if kept.exists() else ""
        with device.daemon(PROGRAM, "-f", config_file, "-D", "FOREGROUND") as process:
            device.until(lambda: kept.exists() and kept.read_text() != before and not staged.exists(), process)
        return kept

    return act


def renew(device: Device) -> Path:
    """With nearly all of the lifetime as its renewal window."""
    return issue(config="MDRenewWindow 2160h")(device, (device.name,))


def renew_by_ari(device: Device) -> Path:
    """Run again as it was."""
    return issue()(device, (device.name,))


def with_profile(device: Device) -> None:
    """`MDProfile`."""
    device.got(issue(config=f"MDProfile {device.profile}")(device, (device.name,)))
    device.profiled()


WAYS = [
    Way("automatic", ways.two_names(issue())),
    Way("wildcard, dns hook", ways.wildcard(issue(config="MDCAChallenges dns-01\nMDChallengeDns01 /bin/true"))),
    Way("no EAB", ways.one_name(issue(eab=False))),
    Way("profile", with_profile),
    Way("renewal", ways.renewal(issue(), renew)),
    Way("ARI renewal", ways.ari_renewal(issue(), renew_by_ari)),
]
