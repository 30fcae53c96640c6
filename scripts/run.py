"""make run: a hub with embedded defaults on https://localhost:8443, and a first certificate issued through it.

Its data stay in `.run/hub`; Ctrl-C (or SIGTERM) stops it.
"""

import argparse
import signal
import sys
import tempfile
from pathlib import Path
from types import FrameType

from acmehub.testing.hub_process import HubFailed, HubProcess
from scripts.certbot import ROOT, Certbot

FIRST = "first-device.example.test"
RESOURCES = f"""
[[principal]]
name = "first device"
type = "application"
roles = ["managed_acme_consumer"]

[[token]]
title = "First device"
principal = "first device"
scope = ["managed_acme_consumer"]
names = "*.{FIRST.partition(".")[2]}"
"""


def main() -> int:
    """Serve until stopped; the exit status."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--port", type=int, default=8443)
    options.add_argument("--folder", type=Path, default=ROOT / ".run" / "hub")
    chosen = options.parse_args()
    for number in (signal.SIGINT, signal.SIGTERM):  # SIGINT, too: a shell has its background jobs ignore it
        signal.signal(number, _stop)
    hub = HubProcess(chosen.folder, port=chosen.port)
    try:
        hub.apply(RESOURCES)
        with hub:
            _issue_first(hub)
            print(hub.run("token", "eab", "First device"))
            print(f"clients must trust   {hub.ca_file}")
            print(f"log                  {hub.log}")
            print("\nServing. Ctrl-C stops it.", flush=True)
            while not hub.ended(3600):
                continue
            raise HubFailed(f"the hub ended:\n{hub.last_words()}")
    except HubFailed as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nStopped.")
        return 0


def _issue_first(hub: HubProcess) -> None:
    """The first certificate, through ACME, with certbot in a folder that is thrown away."""
    print(f"acmehub serves {hub.directory}; a first certificate for {FIRST}, by certbot:")
    with tempfile.TemporaryDirectory(prefix="acmehub-first-") as folder:
        device = Certbot(Path(folder), hub.ca_file, hub.directory, hub.eab("First device"))
        done = device.certonly([FIRST])
        print("\n".join(f"    {line}" for line in done.stdout.strip().splitlines()))
        if done.returncode:
            raise HubFailed(f"certbot ended with {done.returncode}:\n{hub.last_words()}")


def _stop(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
