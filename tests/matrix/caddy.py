"""Caddy 2: a server that gets its certificates by itself, one order per name."""

import json
from collections.abc import Sequence
from pathlib import Path

from tests.matrix import ways
from tests.matrix.contract import Way
from tests.matrix.device import Device


def issue(executable: str, *, eab: bool = True, window: float | None = None) -> ways.Issue:
    """Run it with the global options that users paste until it has the certificate; `window`: renew in this part of the
    lifetime (1: at once)."""

    def act(device: Device, names: Sequence[str]) -> Path:
        options = device.pasted("Caddy")
        if not eab:
            options = options.replace(device.directory, device.secret_directory)
            options = options[: options.index("\tacme_eab")] + "}"
        ports = f"\tadmin off\n\thttp_port {device.free_port()}\n\thttps_port {device.free_port()}\n"
        sites = "\n".join(f"{name} {{\n\ttls {device.mail}\n\trespond ok\n}}" for name in names)
        device.write("Caddyfile", f"{{\n{ports}{options.removeprefix('{')}\n{sites}\n")
        adapted = json.loads(device.run(executable, "adapt", "--config", "Caddyfile").strip().splitlines()[-1])
        if window is not None:
            for policy in adapted["apps"]["tls"]["automation"]["policies"]:
                policy["renewal_window_ratio"] = window
        device.write("caddy.json", json.dumps(adapted))
        before = _chains(device)
        with device.daemon(executable, "run", "--config", "caddy.json") as process:
            device.until(lambda: _chains(device) not in ({}, before), process)
        [chain] = _chains(device)
        return chain

    return act


def basic_ways(executable: str) -> list[Way]:
    """The ways of every Caddy."""
    get = issue(executable)
    again = issue(executable, window=1.0)
    return [
        Way("automatic HTTPS", ways.one_name(get)),
        Way("wildcard", ways.only_wildcard(get)),
        Way("no EAB", ways.one_name(issue(executable, eab=False))),
        Way("renewal", ways.renewal(get, lambda device: again(device, (device.name,)))),
    ]


def _chains(device: Device) -> dict[Path, str]:
    """Its complete chains."""
    found = {path: path.read_text() for path in device.folder.glob(".local/share/caddy/certificates/*/*/*.crt")}
    return {path: text for path, text in found.items() if text.count("END CERTIFICATE") > 1}
