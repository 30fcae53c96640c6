"""The small programs of ours around client libraries: all take the same options and leave `chain.pem` in `-out`.

How they are built, and their acts; `clients_go`, `clients_rust` and `clients_java` have the rest.
"""

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.matrix import ways
from tests.matrix.device import ClientFailed, Device

HERE = Path(__file__).resolve().parent
BUILT = HERE.parent.parent / ".run" / "matrix"
CHAIN = "chain.pem"


@dataclass(frozen=True)
class Main:
    """Such a program: the command that starts it, what stands before the name of an option, and whether it knows
    External Account Binding."""

    command: tuple[str, ...]
    dash: str = "-"
    eab: bool = True

    def run(self, device: Device, names: Sequence[str] = (), *, eab: bool = True, **options: object) -> Path:
        """Run it for `names` with further `options`; the chain."""
        bound = eab and self.eab
        told: dict[str, object] = {
            "directory": device.directory if bound else device.secret_directory,
            "ca": device.ca_file,
            "out": device.folder,
        }
        if bound:
            told |= {"kid": device.kid, "hmac": device.hmac_key}
        pairs = [*(told | options).items(), *(("name", name) for name in names)]
        device.run(*self.command, *(part for name, value in pairs for part in (self.dash + name, str(value))))
        return device.folder / CHAIN

    def issue(self, *, eab: bool = True, **options: object) -> ways.Issue:
        """Order a certificate."""
        return lambda device, names: self.run(device, names, eab=eab, **options)

    def renew(self, act: str = "issue") -> ways.Renew:
        """Order the next one, or have the program do `act` for that."""
        return lambda device: self.run(device, (device.name,), do=act)

    def revoke(self, device: Device, _chain: Path) -> None:
        """Revoke the certificate."""
        self.run(device, do="revoke")

    def roll(self, device: Device) -> None:
        """Change the account's key."""
        self.run(device, do="roll")

    def with_profile(self, device: Device) -> None:
        """A certificate by the profile that the directory offers."""
        device.got(self.run(device, (device.name,), profile=device.profile))
        device.profiled()


def missing(program: Path, sources: Path, tool: str, install: str) -> str:
    """See `Client.missing`: a program is there when it is newer than each of its sources."""
    if program.exists() and program.stat().st_mtime >= max(path.stat().st_mtime for path in files(sources)):
        return ""
    return f"not built yet: {sources.relative_to(HERE)}" if shutil.which(tool) else install


def files(sources: Path) -> list[Path]:
    """The files that a program is made of."""
    return [path for path in sources.rglob("*") if path.is_file()] if sources.is_dir() else [sources]


def build(folder: Path, *command: str, **environment: str) -> None:
    """Run a build, with what is left of the processors; raises `ClientFailed` with its last words."""
    BUILT.mkdir(parents=True, exist_ok=True)
    if shutil.which(command[0]) is None:
        raise ClientFailed(f"there is no {command[0]}")
    around: Mapping[str, str] = {**os.environ, **environment}
    done = subprocess.run(
        ["nice", "-n", "15", *command],
        cwd=folder,
        env=around,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode:
        raise ClientFailed("\n".join(done.stdout.splitlines()[-15:]))
