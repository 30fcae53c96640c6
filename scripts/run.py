"""make run: a hub with embedded defaults on https://localhost:8443, and a first certificate issued through it.

Its data stay in `.run/hub`; Ctrl-C (or SIGTERM) stops it. `--check` only looks whether it can run; make does
that before it installs a client.
"""

import argparse
import errno
import fcntl
import os
import shlex
import shutil
import signal
import socket
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from acmehub.testing.hub_process import HubFailed, HubProcess
from scripts.certbot import FROM_PYPI, ROOT, Certbot

FIRST = "first-device.example.test"
OWN = "host.example.test"
KEPT = "~/acmehub-device"
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
CERTBOT = """\
#!/bin/sh
# certbot that trusts the hub of this folder. certbot has no option for that and does not remember the variable.
REQUESTS_CA_BUNDLE={ca_file} exec {certbot} "$@"
"""
LOOPBACK = ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1"))  # "localhost" may mean either


def main() -> int:
    """Serve until stopped; the exit status."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--port", type=_port, default=8443)
    options.add_argument("--folder", type=Path, default=ROOT / ".run" / "hub")
    options.add_argument("--check", action="store_true")
    chosen = options.parse_args()
    for number in (signal.SIGINT, signal.SIGTERM):  # SIGINT, too: a shell has its background jobs ignore it
        signal.signal(number, _stop)
    hub = HubProcess(chosen.folder.absolute(), port=chosen.port)
    try:
        with _alone(hub.folder):
            _refuse_a_port_in_use(hub.port)
            if chosen.check:
                return 0
            hub.apply(RESOURCES)
            with hub:
                _issue_first(hub)
                _say_how_to_go_on(hub)
                print("\nServing. Ctrl-C stops it.", flush=True)
                while not hub.ended(3600):
                    continue
                raise HubFailed(f"the hub ended:\n{hub.last_words()}")
    except HubFailed as error:
        print(f"acmehub: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nStopped.")
        return 0


def _port(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and 0 < int(text) < 65536):
        raise argparse.ArgumentTypeError(f"{text!r} is no port: 1 to 65535")
    return int(text)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Nobody else runs the hub of this folder meanwhile."""
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder / "run.lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise HubFailed(f"the hub in {folder} runs already: end it with Ctrl-C where it was started") from None
    finally:
        os.close(descriptor)


def _refuse_a_port_in_use(port: int) -> None:
    """Raise `HubFailed`, with the command that helps, when nothing can listen on the port."""
    if complaint := _complaint(port):
        others = range(max(port + 1, 1024), 65536)
        other = next((number for number in others if not _complaint(number)), 8443)
        raise HubFailed(f"port {port} {complaint}: make run PORT={other}")


def _complaint(port: int) -> str:
    """Why nothing can listen on a port of this machine; empty when something can."""
    for family, address in LOOPBACK:
        try:
            with socket.socket(family, socket.SOCK_STREAM) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind((address, port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return "is in use by another process; choose another one"
            if error.errno == errno.EACCES:
                return "is for root alone; choose another one"
            if family is socket.AF_INET:  # a machine may be without IPv6
                return f"cannot be used ({error.strerror}); choose another one"
    return ""


def _issue_first(hub: HubProcess) -> None:
    """The first certificate, through ACME, with certbot; it is kept beside the hub's data."""
    print(f"acmehub serves {hub.directory}; a first certificate for {FIRST}, by certbot:")
    device = Certbot(hub.folder / "first-device", hub.ca_file, hub.directory, hub.eab("First device"))
    done = device.certonly([FIRST], "--force-renewal", name=FIRST)
    print("\n".join(f"    {line}" for line in done.stdout.strip().splitlines()))
    if done.returncode:
        raise HubFailed(f"certbot ended with {done.returncode}:\n{hub.last_words()}")


def _say_how_to_go_on(hub: HubProcess) -> None:
    """Lines to paste; each works from any folder. Those of clients work for every user who can read this clone."""
    ca_file = hub.folder / "ca.pem"  # the data directory is for the hub's user alone
    shutil.copyfile(hub.ca_file, ca_file)
    ca_file.chmod(0o644)
    certbot = hub.folder / "certbot"
    certbot.write_text(CERTBOT.format(ca_file=shlex.quote(str(ca_file)), certbot=shlex.quote(str(FROM_PYPI))))
    certbot.chmod(0o755)
    token = hub.eab("First device")
    places = " ".join(f"--{kind}-dir {KEPT}/{kind}" for kind in ("config", "work", "logs"))
    account = ["-n", "--agree-tos", "-m", "you@example.org", "--server", hub.directory]
    account += ["--eab-kid", token["kid"], "--eab-hmac-key", token["hmac_key"]]
    others = [part for client in ("lego", "Caddy", "acme.sh") for part in ("--client", client)]
    print(f"""
This hub for people    https://localhost:{hub.port}/
Clients must trust     {ca_file}
Log                    {hub.log}

A device of your own, by certbot, as any user of this machine:

    {shlex.join([str(certbot), "certonly", *account])} {places} --standalone -d {OWN}

The certificate is then {KEPT}/config/live/{OWN}/fullchain.pem, its key beside it. To renew it now, due or not:

    {shlex.join([str(certbot), "renew"])} {places} --force-renewal --no-random-sleep-on-renew

Other clients:
{hub.run("token", "eab", "First device", *others).replace(str(hub.ca_file), str(ca_file))}
What to type next, as the user who runs this: credentials for another device, and the orders so far:
""")
    title = f"Device {len(hub.json('token', 'list')) + 1}"
    names = title.lower().replace(" ", "-") + ".example.test"
    for command in (("token", "add", title, "--names", names), ("token", "eab", title), ("order", "list")):
        print(f"    {_acmehub(hub, command)}")


def _acmehub(hub: HubProcess, command: Sequence[str]) -> str:
    """A line that runs an `acmehub` command on this hub, from any folder."""
    program = Path(sys.executable).with_name("acmehub")
    return shlex.join([str(program), *command, "--config", str(hub.folder / "acmehub.toml")])


def _stop(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
