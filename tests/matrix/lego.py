"""lego 4."""

from collections.abc import Sequence
from pathlib import Path

from tests.matrix import ways
from tests.matrix.contract import Way
from tests.matrix.device import Device

HTTP = "--http --http.port 127.0.0.1:"
WEBROOT = "--http --http.webroot ."
ALPN = "--tls --tls.port 127.0.0.1:{port}"
HOOK = "--dns exec --dns.disable-cp"


def issue(executable: str, challenge: str = "", *, eab: bool = True, verb: str = "run") -> ways.Issue:
    """What users paste, with another challenge in it."""

    def act(device: Device, names: Sequence[str]) -> Path:
        text = device.pasted("lego").replace(" lego -s", f" {executable} -s")
        head, _, tail = text.partition(HTTP)
        if challenge:
            text = f"{head}{challenge.format(port=device.free_port())} {tail.partition(' ')[2]}"
        text = text.replace(f"-d {device.name} run", " ".join(f"-d '{name}'" for name in names) + f" {verb}")
        if not eab:
            text = text.replace(device.directory, device.secret_directory)
            text = text.replace(f"--eab --kid {device.kid} --hmac {device.hmac_key} ", "")
        device.shell(text, LEGO_PATH="lego", EXEC_PATH="/bin/true")
        return device.folder / "lego/certificates" / f"{names[0].replace('*', '_')}.crt"

    return act


def basic_ways(executable: str) -> list[Way]:
    """The ways of lego 4."""
    again = issue(executable, verb="renew --days 10000 --no-random-sleep")
    end = issue(executable, verb="revoke")
    standalone = issue(executable)
    return [
        Way("http standalone", ways.one_name(standalone)),
        Way("http webroot", ways.two_names(issue(executable, WEBROOT))),
        Way("tls-alpn standalone", ways.one_name(issue(executable, ALPN))),
        Way("dns hook", ways.one_name(issue(executable, HOOK))),
        Way("wildcard", ways.wildcard(issue(executable, HOOK))),
        Way("no EAB", ways.one_name(issue(executable, eab=False))),
        Way("renewal", ways.renewal(standalone, lambda device: again(device, (device.name,)))),
        Way("revocation", ways.revocation(standalone, lambda device, chain: _ignore(end(device, (device.name,))))),
    ]


def _ignore(_chain: Path) -> None:
    return None
